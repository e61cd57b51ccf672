"""Sending from an application: `connect` for asyncio, `connect_sync` for everybody else.

Both check and encode records here, queue them in the same `Producer`, and carry what it decides; neither decides
anything of its own. A record is stored once however often its reply is lost, and the records of one key are stored in
the order in which they were given.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import itertools
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from runnelctl import errors
from runnelctl.core.model import Stream, Topology
from runnelctl.records import Codec, Encoded, codec_for, header_fields
from runnelctl.store import connect as store
from runnelctl.store import meta
from runnelctl.store.carry import Flight, begin, exchange, exchange_async, finish
from runnelctl.store.lane import Batch
from runnelctl.store.produce import Call, Pause, Producer

Headers = Mapping[str, str | bytes]
#: Records that are checked, queued and sent together by `send_many`; bounds memory and how long the loop is held.
WINDOW_RECORDS = 2_000
WINDOW_BYTES = 4 * 1024 * 1024
#: A slow source's records don't wait for the window to fill.
WINDOW_MS = 200
#: Windows of one `send_many` under way: one travels while the next is being encoded.
_AHEAD = 2


def connect(topology: str | Path | Topology, *, timeout_ms: int = 30_000, wait_ms: float = 0) -> Client:
    """A client for asyncio: `async with connect("topology.yaml") as client: await client.send("orders", record)`.

    `timeout_ms` bounds how long a send is retried while Redis is away; `wait_ms` how long it waits for room in a
    partition at its capacity (`math.inf`: as long as it takes). Entering raises TopologyError, RedisUnreachable, or
    RedisUnfit if Redis holds the streams with another partition count or partitioner.
    """
    return Client(topology, timeout_ms=timeout_ms, wait_ms=wait_ms)


def connect_sync(topology: str | Path | Topology, *, timeout_ms: int = 30_000, wait_ms: float = 0) -> BlockingClient:
    """The blocking form of `connect`: `with connect_sync("topology.yaml") as client: client.send("orders", record)`.
    Several threads may share it."""
    return BlockingClient(topology, timeout_ms=timeout_ms, wait_ms=wait_ms)


class _Sender:
    """What both clients are made of: the topology, a codec per stream, the producer and the way to Redis."""

    def __init__(self, topology: str | Path | Topology, *, timeout_ms: int, wait_ms: float) -> None:
        self._given, self._timeout_ms, self._wait_ms = topology, timeout_ms, wait_ms
        self._codecs: dict[str, Codec] = {}
        self._reached: Any = None
        self._pid = os.getpid()

    def _open(self) -> Topology:
        """Load the topology, reach its Redis and agree on the streams. Blocks."""
        topology = self._given if isinstance(self._given, Topology) else _load(self._given)
        self._reached = store.reach(topology.redis, topology.name)
        client = store.client(self._reached.endpoint, client_name=f"runnelctl-{topology.name}-send")
        try:
            with store.translated(self._reached.endpoint):
                meta.agree(client, topology)
        except BaseException:
            self._reached.close()
            raise
        finally:
            client.close()
        self._codecs = {name: codec_for(stream) for name, stream in topology.streams.items()}
        self._topology = topology
        return topology

    def _new_producer(self) -> Producer:
        endpoint = self._reached.endpoint
        return Producer(
            self._topology.name,
            translate=lambda error: store.translate(error, endpoint),
            deadline_ms=self._timeout_ms,
            wait_ms=self._wait_ms,
        )

    def codec(self, stream: str) -> Codec:
        """The codec of a declared stream. Raises UsageError with the nearest name for one that isn't."""
        codec = self._codecs.get(stream)
        if codec is None:
            close = difflib.get_close_matches(stream, self._codecs, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(self._codecs) or 'none'}"
            raise errors.UsageError(f"the topology has no stream {stream!r}; {hint}")
        return codec


class _Underway(NamedTuple):
    call: Call
    flight: Flight


class BlockingClient(_Sender):
    """Made by `connect_sync`. Usable after a fork: the child sends under a name of its own."""

    def __enter__(self) -> Self:
        self._open()
        self._renew()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. Every send has returned, so nothing is under way."""
        self._redis.close()
        self._reached.close()

    def send(self, stream: str, record: Any, key: str | None = None, headers: Headers | None = None) -> str:
        """Send one record and return its id ("ms-seq") once it is stored.

        `key` overrides the stream's key field. Raises RecordError before anything is sent; CapacityError,
        RedisUnfit or RedisUnreachable if it is not stored; SendOutcomeUnknown if that can't be known.
        """
        codec = self.codec(stream)
        encoded, fields, batch = codec.encode(record, key), header_fields(headers), Batch(1)
        with self._borrowed() as producer:
            producer.add(codec.stream, (encoded,), fields, batch)
            self._finish(producer, self._begin(producer))
        return _ids_of(batch)[0]

    def send_many(
        self, stream: str, records: Iterable[Any], key: str | None = None, headers: Headers | None = None
    ) -> list[str]:
        """Send records from any iterable, in bounded windows, and return their ids in order.

        Every record of a window is checked before the window is sent. When one fails, the windows before it are stored
        (the error's `ids`). Raises as `send`.
        """
        codec, ids = self.codec(stream), list[str]()
        try:
            for chunk in self.send_encoded(stream, (codec.encode(record, key) for record in records), headers):
                ids += chunk
        except errors.RunnelctlError as error:
            _note(error, [*ids, *error.ids])
            raise
        return ids

    def send_encoded(
        self, stream: str, records: Iterable[Encoded], headers: Headers | None = None
    ) -> Iterator[list[str]]:
        """Send what `codec(stream)` has encoded; yields the ids of each window once it is stored. Raises as `send`.

        The next window is taken from `records` while Redis works on the last one.
        """
        fields, of = header_fields(headers), self.codec(stream).stream
        source = iter(records)
        with self._borrowed() as producer:
            window = _window(source)
            while window:
                batch, failure = Batch(len(window)), None
                producer.add(of, window, fields, batch)
                underway = self._begin(producer)
                try:
                    window = _window(source)
                except Exception as error:
                    window, failure = [], error
                except BaseException:
                    underway.flight.abandon()
                    raise
                self._finish(producer, underway)
                yield _ids_of(batch)
                if failure:
                    raise failure

    def _begin(self, producer: Producer) -> _Underway:
        call = producer.next(_now_ms())
        assert isinstance(call, Call), "records that were just queued can be sent at once"
        return _Underway(call, begin(self._redis, call.calls))

    def _finish(self, producer: Producer, underway: _Underway) -> None:
        producer.took(underway.call, finish(underway.flight), _now_ms())
        while (move := producer.next(_now_ms())) is not None:
            if isinstance(move, Pause):
                time.sleep(move.ms / 1000)
            else:
                producer.took(move, exchange(self._redis, move.calls), _now_ms())

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Producer]:
        """A producer of one's own, so that threads and nested sends don't wait for each other. One that was
        interrupted is not used again: what is queued in it must not go out with somebody else's records."""
        if self._pid != os.getpid():
            self._renew()
        idle = self._idle
        producer = idle.pop() if idle else self._new_producer()
        try:
            yield producer
        finally:
            if not producer.busy:
                idle.append(producer)

    def _renew(self) -> None:
        """Connections and numbers of this process's own: those from before a fork are the parent's."""
        self._pid = os.getpid()
        self._idle: list[Producer] = []
        self._redis = store.client(self._reached.endpoint, client_name=f"runnelctl-{self._topology.name}-send")


class Client(_Sender):
    """Made by `connect`. Concurrent sends share chunks: whatever is queued while one travels goes with the next."""

    async def __aenter__(self) -> Self:
        # Starting an embedded server or resolving a name may take seconds; the loop is not held for it.
        await asyncio.to_thread(self._open)
        self._redis = store.client_async(self._reached.endpoint, client_name=f"runnelctl-{self._topology.name}-send")
        self._producer = self._new_producer()
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for what is under way (at most the client's timeout) and close the connection."""
        if self._task:
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._task, self._timeout_ms / 1000)
        self._producer.abandon(errors.SendOutcomeUnknown("the client was closed while records were under way"))
        await self._redis.aclose()
        await asyncio.to_thread(self._reached.close)

    async def send(self, stream: str, record: Any, key: str | None = None, headers: Headers | None = None) -> str:
        """As `BlockingClient.send`. Cancelling the caller does not take back a record that is already queued."""
        codec = self.codec(stream)
        return (await self._start(codec.stream, [codec.encode(record, key)], header_fields(headers)))[0]

    async def send_many(
        self,
        stream: str,
        records: Iterable[Any] | AsyncIterable[Any],
        key: str | None = None,
        headers: Headers | None = None,
    ) -> list[str]:
        """As `BlockingClient.send_many`, also from an async iterable. One window is encoded while another travels, so
        when a record fails its check up to one window before it is still being stored; it is waited for."""
        codec, fields = self.codec(stream), header_fields(headers)
        started: list[asyncio.Future[list[str]]] = []
        try:
            async for window in _windows(codec, records, key):
                started.append(self._start(codec.stream, window, fields))
                await asyncio.sleep(0)  # lets the window leave before the next one is encoded
                if len(started) >= _AHEAD:
                    await started[-_AHEAD]
            return [entry_id for future in started for entry_id in await future]
        except errors.RunnelctlError as error:
            outcomes = await asyncio.gather(*started, return_exceptions=True)
            _note(error, [known for outcome in outcomes for known in _known(outcome)])
            raise

    def _start(
        self, stream: Stream, window: list[Encoded], headers: tuple[str | bytes, ...]
    ) -> asyncio.Future[list[str]]:
        if self._pid != os.getpid():
            raise errors.UsageError("this client was made before a fork: connect again in the child process")
        future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to ask
        self._producer.add(stream, window, headers, Batch(len(window), lambda batch: _tell(future, batch)))
        self._more.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._flush(), name="runnelctl-send")
        return future

    async def _flush(self) -> None:
        """The only coroutine that touches the connection, and nobody's to cancel: a caller who is cancelled between a
        command and its reply would leave the reply to the next caller."""
        try:
            while (move := self._producer.next(_now_ms())) is not None:
                if isinstance(move, Pause):
                    self._more.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._more.wait(), move.ms / 1000)
                else:
                    self._producer.took(move, await exchange_async(self._redis, move.calls), _now_ms())
        except BaseException as error:
            self._producer.abandon(errors.SendOutcomeUnknown(f"sending stopped: {error!r}"))
            self._producer = self._new_producer()
            raise


def _load(file: str | Path) -> Topology:
    from runnelctl import topology

    return topology.load(str(file))


def _window(source: Iterator[Encoded]) -> list[Encoded]:
    window: list[Encoded] = []
    size, until_ms = 0, _now_ms() + WINDOW_MS
    for encoded in itertools.islice(source, WINDOW_RECORDS):
        window.append(encoded)
        size += len(encoded.data)
        if size >= WINDOW_BYTES or _now_ms() >= until_ms:
            break
    return window


async def _windows(codec: Codec, records: Any, key: str | None) -> AsyncIterator[list[Encoded]]:
    if not isinstance(records, AsyncIterable):
        source = (codec.encode(record, key) for record in records)
        while window := _window(source):
            yield window
        return
    window, size, until_ms = list[Encoded](), 0, _now_ms() + WINDOW_MS
    async for record in records:
        window.append(codec.encode(record, key))
        size += len(window[-1].data)
        if len(window) == WINDOW_RECORDS or size >= WINDOW_BYTES or _now_ms() >= until_ms:
            yield window
            window, size, until_ms = [], 0, _now_ms() + WINDOW_MS
    if window:
        yield window


def _ids_of(batch: Batch) -> list[str]:
    if batch.error is None:
        return [entry_id for entry_id in batch.ids if entry_id is not None]
    # A copy: other callers whose records were in the same chunk hold the same error.
    error = type(batch.error)(*batch.error.args)
    error.ids = [*batch.ids]
    raise error


def _tell(future: asyncio.Future[list[str]], batch: Batch) -> None:
    if future.done():
        return
    try:
        future.set_result(_ids_of(batch))
    except errors.RunnelctlError as error:
        future.set_exception(error)


def _known(outcome: list[str] | BaseException) -> Sequence[str | None]:
    return outcome if isinstance(outcome, list) else getattr(outcome, "ids", ())


def _note(error: errors.RunnelctlError, ids: list[str | None]) -> None:
    """Let an error that stops a bulk send say what is stored all the same."""
    error.ids = ids
    if stored := sum(entry_id is not None for entry_id in ids):
        error.args = (f"{error}; {stored:,} records of this call are stored",)


def _now_ms() -> float:
    return time.monotonic() * 1000
