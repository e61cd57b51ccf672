"""Middleware around the events of one partition: a chain of async generators between the lane and the handler."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from runnelctl.errors import HandlerError
from runnelctl.event import Event, Skip
from runnelctl.layering import Layer
from runnelctl.runtime.context import Context


class Chain:
    """The layers of one start of a handler, the first outermost. The handler asks `head` for its events."""

    def __init__(self, layers: Sequence[Layer], source: AsyncGenerator[Any, None], ctx: Context) -> None:
        self.head: Any = source
        self._links: list[_Link] = []
        for layer in layers:
            self.head = _Link(layer, self.head, ctx)
            self._links.append(self.head)

    async def failed(self, error: BaseException) -> None:
        """What the handler raised, raised at the yield of each layer in turn, the innermost first. Raises what comes
        out of the outermost; returns if one of them has caught it, as if the handler had."""
        for link in reversed(self._links):
            if not link.waits:
                continue
            try:
                await link.generator.athrow(error)
            except StopAsyncIteration:
                await self.returned()
                return
            except BaseException as raised:
                error = raised
            else:
                raise HandlerError(f"middleware {link.name} yielded twice for one event") from error
        raise error

    async def returned(self) -> None:
        """The handler went well and asks for no more: each layer goes on behind its yield, the innermost first."""
        for link in reversed(self._links):
            if link.waits:
                async for _ in link.generator:
                    raise HandlerError(f"middleware {link.name} yielded twice for one event")


class _Link:
    """One layer: what comes out of its generator, which gets its events from a `_Feed`."""

    def __init__(self, layer: Layer, parent: Any, ctx: Context) -> None:
        self.name = layer.name
        self.taken = self.given = 0  # how many the layer has asked for, and at which of them it yielded last
        self.ended = False  # there is nothing more to ask for
        feed = _Feed(self, parent)
        self.generator: Any = layer.over(feed, ctx) if layer.kind == "events" else _each(layer, feed, ctx)

    @property
    def waits(self) -> bool:
        """Whether it stands at a yield."""
        generator = self.generator
        return self.given > 0 and generator.ag_frame is not None and not generator.ag_running

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await self.generator.__anext__()
        except StopAsyncIteration:
            if self.ended:
                raise
            raise HandlerError(
                f"middleware {self.name} ended while there were more events: "
                "it loops, as in `async for event in events: yield event`"
            ) from None
        if self.given == self.taken:
            raise HandlerError(f"middleware {self.name} yielded twice for one event, or without having taken one")
        self.given = self.taken
        if not isinstance(item, Event) and not (
            isinstance(item, list) and item and all(isinstance(e, Event) for e in item)
        ):
            raise HandlerError(f"middleware {self.name} yielded {_shown(item)}, which is no event")
        return item


class _Feed:
    """What a layer iterates over."""

    def __init__(self, link: _Link, parent: Any) -> None:
        self._link, self._parent = link, parent

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            item = await self._parent.__anext__()
        except StopAsyncIteration:
            self._link.ended = True
            raise
        self._link.taken += 1
        return item


async def _each(layer: Layer, feed: _Feed, ctx: Context) -> AsyncGenerator[Any, None]:
    """A layer around one call, as one around the events."""
    async for given in feed:
        around = layer.enter(given, ctx)
        try:
            around.__enter__()
        except Skip:
            ctx.abandon()
            continue
        try:
            yield given
        except BaseException as error:
            if not around.__exit__(type(error), error, error.__traceback__):
                raise
        else:
            around.__exit__(None, None, None)


def _shown(item: object) -> str:
    return "an empty list" if item == [] else f"a value of type {type(item).__name__}"
