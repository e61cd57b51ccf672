"""A topology run in this process, without Redis: see `Harness`."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import msgspec
import yaml

from runnelctl import errors, handling, topology
from runnelctl.core.plan import Unit, plan
from runnelctl.core.routing import dead_letter_partition
from runnelctl.event import Event
from runnelctl.records import codec_for, header_fields
from runnelctl.runtime import deadletters, mending
from runnelctl.testing.clock import Stuck, VirtualLoop
from runnelctl.testing.memory import Memory
from runnelctl.testing.results import Results
from runnelctl.testing.stage import Stage, host_of

Headers = Mapping[str, str | bytes]
MOST_TURNS = 1_000_000

_numbers = itertools.count(1)


class Harness(Results):
    """A topology run in this process: the real decoding, matching, middleware, policies, states and emits, with a few
    dictionaries for Redis and a virtual clock, so that backoffs and `within` take no time.

        with Harness("topology.yaml") as harness:
            harness.send("orders", {"user_id": "ada", "cents": 5})
            harness.run()
            assert harness.records("receipts") == [...]

    `only`: run just these processors. Not for use inside a running event loop. Raises TopologyError for a file that is
    wrong; HandlerError from `run` for a handler that can't be imported.
    """

    def __init__(
        self, file: str | Path = "topology.yaml", *, only: Collection[str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        loaded = topology.load(file, environ=dict(os.environ if environ is None else environ))
        processors = {name: dataclasses.replace(each, processes=1) for name, each in loaded.processors.items()}
        for name in only or ():
            if name not in processors:
                raise errors.UsageError(f"there is no processor {name!r} (there: {', '.join(processors)})")
        self.topology = dataclasses.replace(loaded, processors=processors)
        handling.put_on_path(loaded.pythonpath)  # record classes are imported when a record is sent
        self._codecs = {name: codec_for(stream) for name, stream in self.topology.streams.items()}
        self._began_ms = time.time() * 1000
        self._loop = VirtualLoop()
        self._memory = Memory(now_ms=lambda: self._began_ms + self.elapsed_s * 1000)
        self._began_s = self._loop.time()
        self._host = host_of(plan(self.topology, only))
        names = self._host.plan.processors
        self._stages = {name: Stage(self._host, name, self._memory, self._wake) for name in names}
        self._waiting: asyncio.Future[None] | None = None
        self._loop.stuck = self._stuck
        self._loop.jumping = self._look_at_timeouts
        self._closed = False
        self.is_stuck = False  # a handler would not end: it is not waited for

    @classmethod
    def of(
        cls, handler: Any, *, stream: Mapping[str, Any] | None = None,
        streams: Mapping[str, Mapping[str, Any]] | None = None, middleware: Iterable[Any] = (), **settings: Any,
    ) -> Self:  # fmt: skip
        """A harness for one handler, as processor `handler` on stream `events`. `stream` holds the keys of that stream
        as in a topology file, `streams` those of others that it emits into, `settings` those of the processor:
        `Harness.of(charge, policy="IGNORE", retry={"attempts": 2}, stream={"key": "user_id"})`."""
        module = ModuleType(f"runnelctl_tested_{next(_numbers)}")
        sys.modules[module.__name__] = module
        module.handler = handler  # type: ignore[attr-defined]
        around = list(middleware)
        for number, each in enumerate(around):
            setattr(module, f"middleware_{number}", each)
        document = {
            "name": "test",
            "streams": {"events": {"partitions": 1, **(stream or {})}, **(streams or {})},
            "processors": {
                "handler": {
                    "stream": "events", "handler": f"{module.__name__}:handler",
                    "middleware": [f"{module.__name__}:middleware_{number}" for number in range(len(around))],
                    **settings,
                }
            },
        }  # fmt: skip
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "topology.yaml"
            file.write_text(yaml.safe_dump(document, sort_keys=False).replace("$", "$$"), encoding="utf-8")
            return cls(file)

    # --- feeding it ----------------------------------------------------------------------------------------------

    def send(self, stream: str, record: Any, key: str | None = None, headers: Headers | None = None) -> str:
        """Append a record as a client would, checks included; returns its id. Raises RecordError, UsageError."""
        encoded = self._codec(stream).encode(record, key)
        fields = [*encoded.stored]
        if encoded.key:
            fields += [b"key", encoded.key.encode()]
        return self._append(stream, encoded.partition, fields, headers)

    def send_many(self, stream: str, records: Iterable[Any]) -> list[str]:
        """As `send`, one after the other."""
        return [self.send(stream, record) for record in records]

    def send_raw(self, stream: str, data: bytes, key: str = "", headers: Headers | None = None) -> str:
        """Append bytes that nobody checked, as a foreign sender may: for handlers that must bear broken records."""
        fields = [b"data", data, *((b"key", key.encode()) if key else ())]
        return self._append(stream, self._codec(stream).partition_of(key, data), fields, headers)

    def _append(self, stream: str, partition: int, fields: list[bytes], headers: Headers | None) -> str:
        more = [word if isinstance(word, bytes) else word.encode() for word in header_fields(headers)]
        return self._memory.append(self._stream_key(stream, partition), [*fields, *more]).decode()

    # --- running it ----------------------------------------------------------------------------------------------

    def run(self) -> Self:
        """Run until every event is passed, but for those of partitions that a policy has stopped. Raises Stuck (an
        AssertionError) if a handler waits for ever or is over its `timeout`, HandlerError if one can't start."""
        self._run(self._until_idle())
        return self

    def advance(self, seconds: float) -> Self:
        """Let so much virtual time pass, at once: for what handlers do by the clock."""
        self._run(asyncio.sleep(seconds))
        return self.run()

    @property
    def elapsed_s(self) -> float:
        """The time that has passed since the harness was made: real and virtual."""
        return self._loop.time() - self._began_s

    def replay(self, processor: str, *, key: str | None = None, skip: bool = False) -> Self:
        """As `runnelctl replay`: what a policy has stopped goes on with the failed event, or behind it with `skip`
        (which moves it to the dead letters). With `key`: the events of a parked key, oldest first. Follow it by `run`.
        Raises UsageError for a key that is not parked."""
        stage = self._stage(processor)
        if key is not None:
            if not stage.replay_key(key):
                raise errors.UsageError(f"{processor}: key {key!r} is not parked")
            return self
        for unit in stage.units:
            own = stage.slice.own(unit)
            if own.block:
                record, own.block = msgspec.json.decode(own.block), ""
                if skip and (event := self._failed(unit)) is not None:
                    self._dead_letter(processor, unit, event, record)
                    own.cursor, own.count = event.id.encode(), own.count + 1
        stage.halted = False
        return self

    def _failed(self, unit: Unit) -> Event | None:
        key = self._stream_key(unit.stream, unit.partition)
        entries = self._memory.after(key, self._stage(unit.processor).slice.own(unit).cursor)
        return self._event(unit.stream, unit.partition, entries[0]) if entries else None

    def _dead_letter(self, processor: str, unit: Unit, event: Event, record: Mapping[str, Any]) -> None:
        target = mending.dead_letter_of(self.topology, processor)
        if target in self.topology.streams:
            fields = [_bytes(word) for word in deadletters.fields(event, record)]
            partition = dead_letter_partition(unit.partition, self.topology.streams[target].partitions)
            self._memory.append(self._stream_key(target, partition), fields)

    def close(self) -> None:
        """Drain: iterator handlers end, `close` of handlers is called. May be called again."""
        if self._closed:
            return
        self._run(self._drain())
        self._closed = True
        self._loop.close()

    async def _drain(self) -> None:
        for stage in self._stages.values():
            await stage.close()
        await self._loop.shutdown_asyncgens()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is not None and issubclass(kind, Stuck):
            self._abandon()
        else:
            self.close()

    def _abandon(self) -> None:
        """Its handlers would not end by themselves."""
        self._closed = True
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=1))
        self._loop.close()

    def _run(self, coroutine: Any) -> None:
        if asyncio._get_running_loop() is not None:
            coroutine.close()
            raise errors.UsageError("a Harness runs its own event loop: use it from a plain function, not a coroutine")
        self._loop.run_until_complete(coroutine)

    async def _until_idle(self) -> None:
        for _ in range(MOST_TURNS):
            self._waiting = self._loop.create_future()
            for stage in self._stages.values():
                await stage.start()
            if all(stage.idle for stage in self._stages.values()):
                return
            await self._waiting
            for stage in self._stages.values():
                if stage.failure is not None:
                    raise stage.failure
        raise Stuck(f"still not done after {MOST_TURNS:,} commits: does a processor emit into its own stream?")

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _stuck(self) -> None:
        busy = "; ".join(text for stage in self._stages.values() if (text := stage.in_handler()))
        self._fail(f"nothing happens any more, and not all is done: in the handler of {busy or 'nobody'}")

    def _look_at_timeouts(self) -> None:
        for stage in self._stages.values():
            if (sentence := stage.late(self._loop.skipped_s)) is not None:
                self._fail(sentence)

    def _fail(self, sentence: str) -> None:
        self.is_stuck = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(Stuck(sentence))


def _bytes(word: str | bytes | int) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogateescape")
