"""The client for threads and scripts."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Self

from runnelctl import errors
from runnelctl.client import reads
from runnelctl.client.sender import Headers, Sender, declared, ids_of, note, now_ms, window_of
from runnelctl.records import Encoded
from runnelctl.store import connect as store
from runnelctl.store.carry import Flight, begin, exchange, finish
from runnelctl.store.lane import Batch
from runnelctl.store.produce import Call, Pause, Producer


class _Underway(NamedTuple):
    call: Call
    flight: Flight


class BlockingClient(Sender):
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
        encoded, fields, batch = codec.encode(record, key), self._header_fields(headers), Batch(1)
        with self._borrowed() as producer:
            producer.add(codec.stream, (encoded,), fields, batch)
            self._finish(producer, self._begin(producer))
        return ids_of(batch)[0]

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
            note(error, [*ids, *error.ids])
            raise
        return ids

    def send_encoded(
        self, stream: str, records: Iterable[Encoded], headers: Headers | None = None
    ) -> Iterator[list[str]]:
        """Send what `codec(stream)` has encoded; yields the ids of each window once it is stored. Raises as `send`.

        The next window is taken from `records` while Redis works on the last one.
        """
        fields, of = self._header_fields(headers), self.codec(stream).stream
        source = iter(records)
        with self._borrowed() as producer:
            window = window_of(source)
            while window:
                batch, failure = Batch(len(window)), None
                producer.add(of, window, fields, batch)
                underway = self._begin(producer)
                try:
                    window = window_of(source)
                except Exception as error:
                    window, failure = [], error
                except BaseException:
                    underway.flight.abandon()
                    raise
                self._finish(producer, underway)
                yield ids_of(batch)
                if failure:
                    raise failure

    def states(self, processor: str) -> Iterator[tuple[str, reads.State]]:
        """(event key, its state) for all that `processor` keeps, in no order. Raises UsageError, RedisUnreachable."""
        sweep, cursor = reads.Sweep(self._topology, processor), -1
        while cursor:
            with store.translated(self._reached.endpoint):
                cursor, found = self._redis.scan(max(cursor, 0), match=sweep.pattern, count=reads.SCAN_COUNT)
                names = sweep.fresh(found)
                texts = self._redis.mget(names) if names else []
            yield from sweep.pairs(names, texts)

    def state(self, processor: str, key: str) -> reads.State:
        """The state that `processor` keeps of an event key; {} if it has none. Raises as `states`."""
        name = reads.state_key(self._topology, processor, key)
        with store.translated(self._reached.endpoint):
            return reads.decoded(self._redis.get(name))

    def length(self, stream: str) -> int:
        """How many records were ever sent to a stream; trimmed ones count. Raises UsageError or RedisUnreachable."""
        of = declared(self._topology, stream)
        with store.translated(self._reached.endpoint), self._redis.pipeline(transaction=False) as pipe:
            for name in reads.stream_keys(self._topology, of):
                pipe.xinfo_stream(name)
            return reads.total(pipe.execute(raise_on_error=False))

    def _begin(self, producer: Producer) -> _Underway:
        call = producer.next(now_ms())
        assert isinstance(call, Call), "records that were just queued can be sent at once"
        return _Underway(call, begin(self._redis, call.calls, self._demand))

    def _finish(self, producer: Producer, underway: _Underway) -> None:
        producer.took(underway.call, finish(underway.flight), now_ms())
        while (move := producer.next(now_ms())) is not None:
            if isinstance(move, Pause):
                time.sleep(move.ms / 1000)
            else:
                producer.took(move, exchange(self._redis, move.calls, self._demand), now_ms())

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
