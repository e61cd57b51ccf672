"""Finds the middleware that a topology names, and reads from its signature which of the two forms it has.

    async def mw(events):           around the events: an async generator over them, one per partition
        async for event in events:
            yield event

    def mw(event, ctx):             around one call: a generator with one yield, where the handler runs
        ...
        yield
        ...

Used by `check`, in a child process, and by every slice before it says that it is ready, so both judge alike.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from types import AsyncGeneratorType, TracebackType
from typing import Any, Literal

from runnelctl import handling
from runnelctl.errors import HandlerError

_FORMS = "`async def mw(events)` with a yield in a loop over them, or `def mw(event, ctx)` with one yield"


@dataclass(frozen=True, slots=True)
class Layer:
    """One middleware, ready to be used. `events`: an async generator function; `call`: a generator function."""

    name: str
    kind: Literal["events", "call"]
    takes_ctx: bool
    function: Callable[..., Any]

    def enter(self, given: Any, ctx: Any) -> Around:
        """Around one call: a context manager in which the handler runs."""
        return Around(self.name, self.function(given, ctx) if self.takes_ctx else self.function(given))

    def over(self, events: AsyncIterator[Any], ctx: Any) -> AsyncGeneratorType[Any, None]:
        """Around the events of one partition. Raises HandlerError if that is no async generator."""
        generator: object = self.function(events, ctx) if self.takes_ctx else self.function(events)
        if not isinstance(generator, AsyncGeneratorType):
            raise HandlerError(f"middleware {self.name} returned {type(generator).__name__}, not an async generator")
        return generator


class Around:
    """A generator with one yield as a context manager, which says what is wrong with one that has none or two."""

    __slots__ = ("_generator", "_name")

    def __init__(self, name: str, generator: Generator[Any, Any, Any]) -> None:
        self._name, self._generator = name, generator

    def __enter__(self) -> None:
        for _ in self._generator:
            return
        raise HandlerError(f"middleware {self._name} did not yield; to pass over an event, it raises runnelctl.Skip")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None:
            for _ in self._generator:
                self._twice()
            return False
        try:
            self._generator.throw(error)
        except StopIteration as ended:
            return ended is not error
        except BaseException as raised:
            if raised is error or (isinstance(error, StopIteration) and raised.__cause__ is error):
                return False
            raise
        self._twice(error)
        return False

    def _twice(self, error: BaseException | None = None) -> None:
        self._generator.close()
        raise HandlerError(f"middleware {self._name} yielded twice for one event") from error


def find(spec: str) -> Layer:
    """The middleware that `module:attribute` names. Raises HandlerError."""
    return of(handling.resolve(spec, "middleware"), spec)


def of(target: Any, name: str) -> Layer:
    """The middleware that an object is; of a class, an instance is made. Raises HandlerError if it is none."""
    if inspect.isclass(target):
        if inspect.isabstract(target) or not handling.accepts(target, 0):
            raise HandlerError(f"class {target.__name__} can't be made without arguments, as a middleware class is")
        try:
            target = target()
        except BaseException as error:
            raise HandlerError(f"{name}() raised {type(error).__name__}: {error}") from error
    method = getattr(target, "handler", None)
    if callable(method) and not inspect.isroutine(target):  # a class with `handler(self, parent)`
        target = method
    return Layer(name, _kind(target, name), _takes_ctx(target, name), target)


def _kind(target: object, spec: str) -> Literal["events", "call"]:
    if not callable(target):
        raise HandlerError(f"a middleware must be callable; {spec} is of type {type(target).__name__}")
    for layer in handling.layers_of(target):
        if inspect.isasyncgenfunction(layer):
            return "events"
        if inspect.isgeneratorfunction(layer):
            return "call"
    raise HandlerError(f"it yields nothing: a middleware is {_FORMS}")


def _takes_ctx(target: Any, spec: str) -> bool:
    one, two = handling.accepts(target, 1), handling.accepts(target, 2)
    if not one and not two:
        raise HandlerError(f"{spec} takes {inspect.signature(target)}, but a middleware is {_FORMS}")
    return two and (not one or handling.second_is_context(target))


def around_each(handler: Callable[..., Any], form: handling.HandlerForm, layers: tuple[Layer, ...]) -> Any:
    """The handler as a function of (event, ctx) with the layers around it, the first outermost; all of kind `call`."""
    for layer in reversed(layers):
        wrapped: Any = _wrapped(handler, form, layer)
        wrapped.__wrapped__ = handler
        handler, form = wrapped, handling.HandlerForm(form.kind, True, False)
    return handler


def _wrapped(handler: Callable[..., Any], form: handling.HandlerForm, layer: Layer) -> Callable[..., Any]:
    takes_ctx, enter = form.takes_ctx, layer.enter
    if form.kind == "sync":

        def around(given: Any, ctx: Any) -> Any:
            with enter(given, ctx):
                return handler(given, ctx) if takes_ctx else handler(given)

        return around

    async def around_async(given: Any, ctx: Any) -> None:
        with enter(given, ctx):
            await (handler(given, ctx) if takes_ctx else handler(given))

    return around_async
