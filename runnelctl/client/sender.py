"""What both clients are made of: the topology, a codec per stream, and the cutting of many records into windows."""

from __future__ import annotations

import difflib
import itertools
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from runnelctl import errors, topology
from runnelctl.core.model import Stream, Topology
from runnelctl.records import Codec, Encoded, codec_for, header_fields
from runnelctl.store import connect as store
from runnelctl.store import meta, preflight
from runnelctl.store.durability import Demand
from runnelctl.store.lane import Batch
from runnelctl.store.produce import Producer

Headers = Mapping[str, str | bytes]
Stamp = Callable[[], Headers]
#: Records that are checked, queued and sent together by `send_many`; bounds memory and how long the loop is held.
WINDOW_RECORDS = 1_000
WINDOW_BYTES = 4 * 1024 * 1024
#: A slow source's records don't wait for the window to fill.
WINDOW_MS = 200


class Sender:
    """What both clients are made of: the topology, a codec per stream, the producer and the way to Redis."""

    def __init__(
        self, topology: str | Path | Topology, *, timeout_ms: int, wait_ms: float, stamp: Stamp | None = None
    ) -> None:
        self._given, self._timeout_ms, self._wait_ms, self._stamp = topology, timeout_ms, wait_ms, stamp
        self._codecs: dict[str, Codec] = {}
        self._reached: Any = None
        self._demand: Demand | None = None
        self._pid = os.getpid()

    def _open(self) -> None:
        """Load the topology, reach its Redis and agree on the streams. Blocks."""
        of = self._given if isinstance(self._given, Topology) else topology.load(Path(self._given))
        self._reached = store.reach(of.redis, of.name)
        client = store.client(self._reached.endpoint, client_name=f"runnelctl-{of.name}-send")
        try:
            with store.translated(self._reached.endpoint):
                meta.agree(client, of)
                self._demand = preflight.demand(client, self._reached.endpoint, of.durability)
        except BaseException:
            self._reached.close()
            raise
        finally:
            client.close()
        self._codecs = {name: codec_for(stream) for name, stream in of.streams.items()}
        self._topology = of

    def _new_producer(self) -> Producer:
        endpoint = self._reached.endpoint
        return Producer(
            self._topology.name,
            translate=lambda error: store.translate(error, endpoint),
            deadline_ms=self._timeout_ms,
            wait_ms=self._wait_ms,
        )

    def _header_fields(self, headers: Headers | None) -> tuple[str | bytes, ...]:
        """What goes into the entry for these headers and for those that everything gets."""
        return header_fields(headers if self._stamp is None else {**self._stamp(), **(headers or {})})

    def codec(self, stream: str) -> Codec:
        """The codec of a declared stream. Raises UsageError with the nearest name for one that isn't."""
        codec = self._codecs.get(stream)
        return codec if codec is not None else codec_for(declared(self._topology, stream))


def declared(of: Topology, stream: str) -> Stream:
    """The stream of that name. Raises UsageError with the nearest name for one that the topology doesn't declare."""
    if stream not in of.streams:
        close = difflib.get_close_matches(stream, of.streams, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(of.streams) or 'none'}"
        raise errors.UsageError(f"the topology {of.name!r} has no stream {stream!r}; {hint}")
    return of.streams[stream]


def window_of(source: Iterator[Encoded]) -> list[Encoded]:
    window: list[Encoded] = []
    size, until_ms = 0, now_ms() + WINDOW_MS
    for encoded in itertools.islice(source, WINDOW_RECORDS):
        window.append(encoded)
        size += len(encoded.data)
        if size >= WINDOW_BYTES or now_ms() >= until_ms:
            break
    return window


async def windows_of(codec: Codec, records: Any, key: str | None) -> AsyncIterator[list[Encoded]]:
    if not isinstance(records, AsyncIterable):
        source = (codec.encode(record, key) for record in records)
        while window := window_of(source):
            yield window
        return
    window, size, until_ms = list[Encoded](), 0, now_ms() + WINDOW_MS
    async for record in records:
        window.append(codec.encode(record, key))
        size += len(window[-1].data)
        if len(window) == WINDOW_RECORDS or size >= WINDOW_BYTES or now_ms() >= until_ms:
            yield window
            window, size, until_ms = [], 0, now_ms() + WINDOW_MS
    if window:
        yield window


def ids_of(batch: Batch) -> list[str]:
    if batch.error is None:
        return [entry_id for entry_id in batch.ids if entry_id is not None]
    # A copy: other callers whose records were in the same chunk hold the same error.
    error = type(batch.error)(*batch.error.args)
    error.ids = [*batch.ids]
    raise error


def note(error: errors.RunnelctlError, ids: list[str | None]) -> None:
    """Let an error that stops a bulk send say what is stored all the same."""
    error.ids = ids
    if stored := sum(entry_id is not None for entry_id in ids):
        error.args = (f"{error}; {stored:,} records of this call are stored",)


def now_ms() -> float:
    return time.monotonic() * 1000
