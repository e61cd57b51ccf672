"""`App` and `Stream`: what a Runnel app declares, written down for `runnelctl init --from-runnel`."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import runnelctl
from runnelctl import topology
from runnelctl.runnel.constants import ExceptionPolicy
from runnelctl.runnel.interfaces import Middleware
from runnelctl.runnel.middleware import DeadLetterMiddleware

_DEFAULTS: dict[str, Any] = {
    "redis_url": "redis://127.0.0.1:6379",
    "default_partition_count": 16,
    "default_partition_size": 50_000,
    "default_exception_policy": ExceptionPolicy.HALT,
}


@dataclass(eq=False, kw_only=True)
class Stream:
    """A stream as the app declares it. `send` goes through the topology that is up from here."""

    app: App
    name: str
    record: type
    partition_by: str | Callable[[Any], Any]
    partition_count: int
    partition_size: int
    serializer: Any = None
    hasher: Any = None

    def clone(self, **changes: Any) -> Stream:
        """The same stream but for `changes`."""
        return self.app.declared(replace(self, **changes))

    async def send(self, *records: Any, stream_ids: Sequence[str] | None = None) -> None:
        """Append records. Entries get their ids from Redis: `stream_ids` is refused, since ids of one's own break the
        promise of order."""
        if stream_ids is not None:
            raise runnelctl.UsageError("send: stream_ids are not supported: Redis gives an entry its id")
        client = await self.app.client()
        await client.send_many(self.name, records)


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A decorated processor."""

    name: str
    stream: Stream
    function: Callable[..., Any]
    policy: ExceptionPolicy
    middleware: tuple[str, ...]  # attributes of the function that hold them
    dead_letter: Stream | None
    settings: dict[str, Any]  # those given, by Runnel's names


@dataclass(frozen=True, kw_only=True)
class DeclaredTask:
    """A decorated background task: on start, or every so many seconds, or by a cron line."""

    function: Callable[..., Any]
    interval_s: float | None = None
    cron: str | None = None
    timezone: Any = None
    on_leader: bool = False


@dataclass(eq=False)
class App:
    """Runnel's app: a name, settings, and what was declared on it. The decorators give functions back as they are."""

    name: str
    settings: dict[str, Any]
    streams: dict[str, Stream] = field(default_factory=dict)
    processors: list[Declared] = field(default_factory=list)
    tasks: list[DeclaredTask] = field(default_factory=list)

    def __init__(self, name: str, **settings: Any) -> None:
        self.name = name
        environment = {
            key.removeprefix("RUNNEL_").lower(): value for key, value in os.environ.items() if key.startswith("RUNNEL_")
        }
        self.settings = environment | settings
        self.streams, self.processors, self.tasks = {}, [], []
        self._clients: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()

    def setting(self, name: str) -> Any:
        """A setting as given or Runnel's default."""
        return self.settings.get(name, _DEFAULTS.get(name))

    def declared(self, stream: Stream) -> Stream:
        """Write a stream down; gives it back."""
        self.streams[stream.name] = stream
        return stream

    def stream(
        self,
        name: str,
        record: type,
        partition_by: str | Callable[[Any], Any],
        serializer: Any = None,
        partition_count: int | None = None,
        partition_size: int | None = None,
        hasher: Any = None,
    ) -> Stream:
        """Declare a stream."""
        return self.declared(
            Stream(
                app=self,
                name=name,
                record=record,
                partition_by=partition_by,
                partition_count=int(partition_count or self.setting("default_partition_count")),
                partition_size=int(partition_size or self.setting("default_partition_size")),
                serializer=serializer,
                hasher=hasher,
            )
        )

    def processor(
        self,
        stream: Stream,
        *,
        name: str | None = None,
        exception_policy: ExceptionPolicy | str | None = None,
        middleware: Iterable[Middleware] | None = None,
        **settings: Any,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare a processor. Its middleware becomes attributes of the function (`middleware_0`, …), so that a
        topology file can name them."""

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            chain = list(middleware or ())
            dead = next((each.sink for each in chain if isinstance(each, DeadLetterMiddleware)), None)
            others = [each for each in chain if not isinstance(each, DeadLetterMiddleware)]
            # The order stays: with Runnel as here, events pass the first one first.
            names = tuple(f"middleware_{number}" for number in range(len(others)))
            for attribute, each in zip(names, others, strict=True):
                setattr(function, attribute, around(each))
            policy = exception_policy or self.setting("default_exception_policy")
            self.processors.append(
                Declared(
                    name=name or function.__name__,
                    stream=stream,
                    function=function,
                    policy=ExceptionPolicy(policy),
                    middleware=names,
                    dead_letter=dead,
                    settings={key: value for key, value in settings.items() if value is not None},
                )
            )
            return function

        return declare

    def task(self, function: Callable[..., Any] | None = None, *, on_leader: bool = False) -> Any:
        """Declare a task that runs at start."""

        def declare(declared: Callable[..., Any]) -> Callable[..., Any]:
            self.tasks.append(DeclaredTask(function=declared, on_leader=on_leader))
            return declared

        return declare if function is None else declare(function)

    def timer(self, *, interval: float, on_leader: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare a task that runs every `interval` seconds."""

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            self.tasks.append(DeclaredTask(function=function, interval_s=float(interval), on_leader=on_leader))
            return function

        return declare

    def crontab(
        self, spec: str, *, timezone: Any = None, on_leader: bool = False
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Declare a task that runs when the cron line says."""

        def declare(function: Callable[..., Any]) -> Callable[..., Any]:
            zone = timezone or self.setting("timezone")
            self.tasks.append(DeclaredTask(function=function, cron=spec, timezone=zone, on_leader=on_leader))
            return function

        return declare

    async def client(self) -> Any:
        """A client of the topology that is up from here (or ./topology.yaml), one per event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            client = runnelctl.connect(topology.find(None, os.environ, Path.cwd()))
            self._clients[loop] = await client.__aenter__()
        return self._clients[loop]


def around(middleware: Middleware) -> Callable[[AsyncIterator[Any]], AsyncIterator[Any]]:
    """A Runnel middleware in the form that a topology file takes: an async generator function around the events. As in
    Runnel, a failure further on reaches its `handler` as GeneratorExit."""

    async def handler(events: AsyncIterator[Any]) -> AsyncIterator[Any]:
        inner: Any = middleware.handler(events, events=events)
        try:
            async for each in inner:
                yield each
        finally:
            await inner.aclose()

    return handler
