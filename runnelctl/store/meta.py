"""What senders and hosts must agree on before they touch a stream, kept in Redis: partitions, partitioner, codec.

A sender that counts 16 partitions where a host counts 8 would spread one key's events over two of them, and nobody
would notice that their order is gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runnelctl.core import keys, registry
from runnelctl.core.model import Stream, Topology
from runnelctl.errors import RedisUnfit
from runnelctl.store.connect import Asks


def agree(client: Asks, topology: Topology) -> None:
    """Check every stream of the topology against `{name}:meta`, and write those that are not there yet.

    Raises RedisUnfit with both values if a stream is known to Redis with another identity, and redis-py's errors.
    """
    key = keys.meta(topology.name)
    if not topology.streams:
        return
    fields = {_field(stream): identity(stream) for stream in topology.streams.values()}
    known = client.hmget(key, list(fields))
    missing = [field for field, value in zip(fields, known, strict=True) if value is None]
    if missing:
        # Two first senders race here; HSETNX lets one of them write and both read what was written.
        for field in missing:
            client.hsetnx(key, field, fields[field])
        known = client.hmget(key, list(fields))
    differing = [
        _difference(stream, value)
        for stream, value in zip(topology.streams.values(), known, strict=True)
        if not _same(value, identity(stream))
    ]
    if differing:
        raise RedisUnfit("\n".join(differing))


def conflicts(known: Mapping[bytes, bytes], topology: Topology) -> list[str]:
    """A sentence for each stream that Redis knows with another identity; `known` is the whole hash."""
    stored = [(stream, known.get(_field(stream).encode())) for stream in topology.streams.values()]
    return [
        _difference(stream, value)
        for stream, value in stored
        if value is not None and not _same(value, identity(stream))
    ]


def streams(known: Mapping[bytes, bytes]) -> dict[str, int]:
    """The streams that Redis knows, with their partitions; 0 where that can't be read."""
    found = {}
    for name, text in known.items():
        if name.startswith(b"stream:"):
            try:
                found[name.decode("utf-8", "replace").removeprefix("stream:")] = int(json.loads(text)["partitions"])
            except (ValueError, KeyError, TypeError):
                found[name.decode("utf-8", "replace").removeprefix("stream:")] = 0
    return found


def identity(stream: Stream) -> str:
    """What may not change while the stream holds events, as JSON. Compression counts only where an entry can't tell
    for itself whether it is compressed (records/compression.py)."""
    about: dict[str, Any] = {"partitions": stream.partitions, "partitioner": stream.partitioner.value}
    if stream.codec != "json":
        about["codec"] = stream.codec
    if not stream.tells_compression:
        about["compression"] = stream.compression
    return json.dumps(about)


def register(client: Asks, topology: Topology) -> None:
    """Write down the processors of every stream, so that retention waits for those of other files as well. Raises
    redis-py's errors."""
    fields = {
        registry.field(each.stream, each.name): json.dumps({"start": each.start.value})
        for each in topology.processors.values()
    }
    if fields:
        write_down(client, topology.name, fields)


def write_down(client: Asks, name: str, fields: Mapping[str, str]) -> None:
    """Set fields of `{name}:meta`, as far as they are not as they should be: a full server refuses even what would
    change nothing. Raises redis-py's errors."""
    for (field, text), known in zip(fields.items(), client.hmget(keys.meta(name), list(fields)), strict=True):
        if known is None or (known.decode("utf-8", "replace") if isinstance(known, bytes) else known) != text:
            client.hset(keys.meta(name), field, text)


def _field(stream: Stream) -> str:
    return f"stream:{stream.name}"


def _same(stored: bytes | str | None, own: str) -> bool:
    try:
        return stored is not None and json.loads(stored) == json.loads(own)
    except ValueError:
        return False


def _difference(stream: Stream, stored: bytes | str | None) -> str:
    there = stored.decode("utf-8", "replace") if isinstance(stored, bytes) else str(stored)
    moved = True
    try:
        held, own = json.loads(there), json.loads(identity(stream))
        there = _worded(held)
        moved = any(held[key] != own[key] for key in ("partitions", "partitioner"))
    except (ValueError, KeyError, TypeError):
        pass
    why = "keys would move to other partitions and lose their order" if moved else "what is stored could not be read"
    return (
        f"stream {stream.name!r} has {there} in Redis, but {_worded(json.loads(identity(stream)))} in the topology: "
        f"{why}. Put the old values back, or use a new stream name"
    )


def _worded(about: Mapping[str, Any]) -> str:
    """An identity in words; what is as usual is left out."""
    more = "".join(f", {key} {about[key]}" for key in ("codec", "compression") if key in about)
    return f"{about['partitions']} partitions by {about['partitioner']}{more}"
