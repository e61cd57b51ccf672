"""The client for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from typing import Any, Self

from runnelctl import errors
from runnelctl.client import reads
from runnelctl.client.sender import Headers, Sender, declared, ids_of, note, now_ms, windows_of
from runnelctl.core.model import Stream
from runnelctl.records import Encoded
from runnelctl.store import connect as store
from runnelctl.store.carry import exchange_async
from runnelctl.store.lane import Batch
from runnelctl.store.produce import Pause

#: Windows of one `send_many` under way: one travels while the next is being encoded.
_AHEAD = 2
#: Queued and under way of all callers together; with more, a send waits for its turn before it queues anything.
QUEUED_BYTES = 64 * 1024 * 1024
_RECORD_BYTES = 500


class Client(Sender):
    """Made by `connect`. Concurrent sends share chunks: whatever is queued while one travels goes with the next."""

    async def __aenter__(self) -> Self:
        # Starting an embedded server or resolving a name may take seconds; the loop is not held for it.
        await asyncio.to_thread(self._open)
        self._redis = store.client_async(self._reached.endpoint, client_name=f"runnelctl-{self._topology.name}-send")
        self._producer = self._new_producer()
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._queued_bytes = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
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
        if self._waiting or self._queued_bytes >= QUEUED_BYTES:
            await self._turn()
        return (await self._start(codec.stream, [codec.encode(record, key)], self._header_fields(headers)))[0]

    async def send_many(
        self,
        stream: str,
        records: Iterable[Any] | AsyncIterable[Any],
        key: str | None = None,
        headers: Headers | None = None,
    ) -> list[str]:
        """As `BlockingClient.send_many`, also from an async iterable. One window is encoded while another travels, so
        when a record fails its check up to one window before it is still being stored; it is waited for."""
        codec, fields = self.codec(stream), self._header_fields(headers)
        started: list[asyncio.Future[list[str]]] = []
        try:
            async for window in windows_of(codec, records, key):
                if self._waiting or self._queued_bytes >= QUEUED_BYTES:
                    await self._turn()
                started.append(self._start(codec.stream, window, fields))
                await asyncio.sleep(0)  # lets the window leave before the next one is encoded
                if len(started) >= _AHEAD:
                    await started[-_AHEAD]
            return [entry_id for future in started for entry_id in await future]
        except errors.RunnelctlError as error:
            outcomes = await asyncio.gather(*started, return_exceptions=True)
            note(error, [known for outcome in outcomes for known in _known(outcome)])
            raise

    async def states(self, processor: str) -> AsyncIterator[tuple[str, reads.State]]:
        """As `BlockingClient.states`."""
        sweep, cursor = reads.Sweep(self._topology, processor), -1
        while cursor:
            with store.translated(self._reached.endpoint):
                cursor, found = await self._redis.scan(max(cursor, 0), match=sweep.pattern, count=reads.SCAN_COUNT)
                names = sweep.fresh(found)
                texts = await self._redis.mget(names) if names else []
            for pair in sweep.pairs(names, texts):
                yield pair

    async def state(self, processor: str, key: str) -> reads.State:
        """As `BlockingClient.state`."""
        name = reads.state_key(self._topology, processor, key)
        with store.translated(self._reached.endpoint):
            return reads.decoded(await self._redis.get(name))

    async def length(self, stream: str) -> int:
        """As `BlockingClient.length`."""
        of = declared(self._topology, stream)
        with store.translated(self._reached.endpoint):
            async with self._redis.pipeline(transaction=False) as pipe:
                for name in reads.stream_keys(self._topology, of):
                    pipe.xinfo_stream(name)
                return reads.total(await pipe.execute(raise_on_error=False))

    def _start(
        self, stream: Stream, window: list[Encoded], headers: tuple[str | bytes, ...]
    ) -> asyncio.Future[list[str]]:
        if self._pid != os.getpid():
            raise errors.UsageError("this client was made before a fork: connect again in the child process")
        future: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to ask
        size = sum(len(each.data) + _RECORD_BYTES for each in window)

        def settled(batch: Batch) -> None:
            self._queued_bytes -= size
            self._call_next()
            _tell(future, batch)

        self._queued_bytes += size
        self._producer.add(stream, window, headers, Batch(len(window), settled))
        self._more.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._flush(), name="runnelctl-send")
        return future

    async def _turn(self) -> None:
        """Wait until there is room, behind everybody who came before: sends keep their order."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        finally:
            self._waiting.remove(turn)
            asyncio.get_running_loop().call_soon(self._call_next)  # once this one has queued its records

    def _call_next(self) -> None:
        if self._waiting and self._queued_bytes < QUEUED_BYTES and not self._waiting[0].done():
            self._waiting[0].set_result(None)

    async def _flush(self) -> None:
        """The only coroutine that touches the connection, and nobody's to cancel: a caller who is cancelled between a
        command and its reply would leave the reply to the next caller."""
        try:
            while (move := self._producer.next(now_ms())) is not None:
                if isinstance(move, Pause):
                    self._more.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._more.wait(), move.ms / 1000)
                else:
                    answers = await exchange_async(self._redis, move.calls, self._demand)
                    self._producer.took(move, answers, now_ms())
        except BaseException as error:
            self._producer.abandon(errors.SendOutcomeUnknown(f"sending stopped: {error!r}"))
            self._producer = self._new_producer()
            raise


def _tell(future: asyncio.Future[list[str]], batch: Batch) -> None:
    if future.done():
        return
    try:
        future.set_result(ids_of(batch))
    except errors.RunnelctlError as error:
        future.set_exception(error)


def _known(outcome: list[str] | BaseException) -> Sequence[str | None]:
    return outcome if isinstance(outcome, list) else getattr(outcome, "ids", ())
