"""The last look into Redis: everything that the promises say about its contents, written to files for the judge."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import redis

_READ = 2_000
_FIELDS = ("epoch", "nonce", "owner", "cursor", "count", "block")
Note = Callable[..., None]


def entries(client: Any, name: str, until: str = "+") -> Any:
    """All entries of a stream, in order."""
    after = "-"
    while found := client.xrange(name, after, until, count=_READ):
        yield from found
        after = "(" + found[-1][0].decode()


def _taken(fields: dict[bytes, bytes]) -> dict[str, Any]:
    """What the sender meant, or `raw` if that can't be read."""
    try:
        value = json.loads(fields[b"data"])
        return {name: value[name] for name in ("key", "seq", "of", "do") if name in value}
    except (KeyError, ValueError, TypeError, RecursionError):
        return {"raw": repr(fields)[:200]}


def note_taken(note: Note, stream: str, partition: int, found: Any) -> None:
    """Write entries (id, fields) to taken.jsonl."""
    for entry, fields in found:
        note("taken.jsonl", stream=stream, partition=partition, id=entry, **_taken(fields))


def save(client: redis.Redis, note: Note, partitions: dict[str, int]) -> None:
    """Write taken.jsonl, dead.jsonl, own.jsonl and states.jsonl. `partitions`: stream -> how many."""
    for stream, count in partitions.items():
        for partition in range(count):
            found = entries(client, f"{{chaos:{stream}:{partition}}}:events")
            note_taken(note, stream, partition, ((entry.decode(), fields) for entry, fields in found))
    for name in sorted(client.scan_iter(match="{chaos:*.dead:*}:events", count=1_000)):
        for entry, fields in entries(client, name.decode()):
            told = {
                key.decode()[7:]: value.decode("utf-8", "replace")
                for key, value in fields.items()
                if key[:7] == b"h:dead-"
            }
            note("dead.jsonl", id=entry.decode(), **told)
    for name in sorted(client.scan_iter(match="{chaos:*}:own:*", count=1_000)):
        found = re.fullmatch(r"\{chaos:(.*):(\d+)\}:own:(.*)", name.decode())
        assert found is not None
        values: Any = client.hmget(name, *_FIELDS)
        texts = [None if value is None else value.decode("utf-8", "replace") for value in values]
        note(
            "own.jsonl", stream=found[1], partition=int(found[2]), processor=found[3],
            **dict(zip(_FIELDS, texts, strict=True)),
        )  # fmt: skip
    for name in sorted(client.scan_iter(match="{chaos:*}:state:sink:*", count=1_000)):
        value: Any = client.get(name)
        note("states.jsonl", key=name.decode().rpartition(":")[2], **json.loads(value))


def settled(client: Any, partitions: dict[str, int], processors: dict[str, str], *, parked: bool = True) -> list[str]:
    """What is still unread: "sink:3 has 17" and so on, and what is `parked`; empty once every cursor is at its end."""
    left = []
    for processor, stream in processors.items():
        for partition in range(partitions[stream]):
            tag = f"{{chaos:{stream}:{partition}}}"
            try:
                added = client.xinfo_stream(f"{tag}:events")["entries-added"]
            except redis.ResponseError:
                added = 0  # nothing was ever sent there
            fields = client.hmget(f"{tag}:own:{processor}", "count", "parked_events")
            count, waiting = (int(each or 0) for each in fields)
            if parked and waiting:
                left.append(f"{processor}:{partition} has {waiting} parked")
            if count != added:
                left.append(f"{processor}:{partition} has {added - count} of {added} unread")
    return left
