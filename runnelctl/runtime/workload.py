"""The user's code in a slice: loading it, opening and closing it, wrapping it where a stream is validated on read."""

from __future__ import annotations

import inspect
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from runnelctl import handling, layering
from runnelctl.core import matching
from runnelctl.core.model import Order, Processor, Topology
from runnelctl.core.plan import Unit
from runnelctl.errors import HandlerError, RecordError, RedisUnreachable
from runnelctl.event import Event, FlatEvent, FlatSource, Source
from runnelctl.handling import HandlerForm
from runnelctl.layering import Layer
from runnelctl.records import Codec
from runnelctl.runtime import iterating, tracebacks
from runnelctl.runtime.context import Context, StateUnavailable
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.wire import encoded


@dataclass(frozen=True, slots=True)
class Work:
    """A loaded handler: what to call and how, and the instance behind it if it is a class. `layers`: middleware that
    goes around the events of a partition; what goes around single calls is part of `handler`. `checked`: whether the
    loop that hands out events has to hold them against the schema; elsewhere, that is part of `handler`, too, and so
    it is with `matches`, which tells what the handler is for."""

    handler: Callable[..., Any]
    form: HandlerForm
    instance: Any
    layers: tuple[Layer, ...] = ()
    checked: bool = False
    matches: matching.Test | None = None

    async def open(self, context: Context) -> None:
        """The handler's own `open`, once per process. Raises HandlerError if it fails."""
        await self._hook("open", context)

    async def close(self) -> None:
        """The handler's own `close`; a failure is shown and changes nothing, everything is committed by now."""
        try:
            await self._hook("close")
        except HandlerError as error:
            explain(error)

    async def _hook(self, name: str, *arguments: Any) -> None:
        hook = getattr(self.instance, name, None) if self.instance is not None else None
        if hook is None:
            return
        try:
            result = hook(*arguments)
            if inspect.isawaitable(result):
                await result
        except BaseException as error:
            raise HandlerError(f"{name} of the handler failed: {type(error).__name__}: {error}") from error


def load(topology: Topology, processor: Processor, codecs: Mapping[str, Codec]) -> Work:
    """Import the handler and what the records need, here in the slice, so that a restart sees new code. Raises
    HandlerError. The codecs are those of all streams: a handler must not find out when it emits that one is missing."""
    handling.put_on_path(topology.pythonpath)
    random.seed()
    for name in topology.discover:
        handling.module(name)
    for codec in codecs.values():
        codec.prepare()
    target = handling.resolve(processor.handler)
    form = handling.describe(target, processor.batch is not None)
    instance = None
    handler: Any = target
    if form.is_class:
        try:
            handler = instance = handler()
        except BaseException as error:
            raise HandlerError(f"{processor.handler}() raised {type(error).__name__}: {error}") from error
    stream = topology.streams[processor.stream]
    checked = stream.validate.on_read and (stream.schema is not None or stream.record is not None)
    work = surrounded(handler, form, instance, tuple(_layer(spec) for spec in processor.middleware), checked)
    if processor.order is Order.KEY and work.form.kind == "events":
        raise HandlerError(f"{processor.handler}: {handling.NEEDS_ORDER}")
    return only(work, matching.compiled(processor.match)) if processor.match else work


def _layer(spec: str) -> Layer:
    try:
        return layering.find(spec)
    except HandlerError as error:
        raise HandlerError(f"middleware {spec}: {error}") from error.__cause__


def surrounded(handler: Any, form: HandlerForm, instance: Any, layers: tuple[Layer, ...], checked: bool) -> Work:
    """With its middleware. Where that is a wrapper around calls, the handler stays of its form; if some goes around
    the events, or the handler iterates by itself, all of it stands between the lane and the handler's loop."""
    if form.kind != "events" and all(layer.kind == "call" for layer in layers):
        wrapped = layering.around_each(handler, form, layers)
        form = replace(form, takes_ctx=form.takes_ctx or bool(layers))
        return Work(_checked_first(wrapped, form) if checked else wrapped, form, instance)
    if form.kind != "events":
        handler, form = iterating.loop_over(handler, form), replace(form, kind="events", takes_ctx=True)
    return Work(handler, form, instance, layers, checked)


def only(work: Work, matches: matching.Test) -> Work:
    """With `match`: the other events are done without a call of the handler or its middleware."""
    if work.form.kind == "events":
        return replace(work, matches=matches)
    handler = work.handler

    def chosen(given: Event | list[Event], *rest: Any) -> Any:
        if isinstance(given, list):
            given = [event for event in given if matches(event)]
            return handler(given, *rest) if given else _PASSED
        return handler(given, *rest) if matches(given) else _PASSED

    chosen.__wrapped__ = handler  # type: ignore[attr-defined]
    return replace(work, handler=chosen)


class _Passed:
    """What a coroutine handler returns for an event that it never saw: something to await that is done at once."""

    def __await__(self) -> Iterator[None]:
        return iter(())


_PASSED = _Passed()


def _checked_first(handler: Callable[..., Any], form: HandlerForm) -> Callable[..., Any]:
    """With `validate: read`, a record that does not fit never reaches the handler, even one that ignores its value."""

    def look(given: Event | list[Event]) -> None:
        for event in given if isinstance(given, list) else (given,):
            _ = event.value

    if form.kind == "sync":

        def checked(given: Any, *rest: Any) -> Any:
            look(given)
            return handler(given, *rest)

        return checked

    async def checked_async(given: Any, *rest: Any) -> Any:
        look(given)
        return await handler(given, *rest)

    return checked_async


def source(unit: Unit, codec: Codec) -> Source:
    """Where the events of a partition come from; decoded plainly where nothing but their form is to be checked."""
    decode = codec.reader
    plain, plain_below = codec.shortcut(decode)
    made = FlatSource if codec.event is FlatEvent else Source
    return made(unit.stream, unit.partition, decode, codec.key_of, plain, plain_below)


def key_or_none(event: Event) -> str | None:
    """The event's key; None where the record is too broken to have one."""
    try:
        return event.key
    except (RecordError, UnicodeError):
        return None


def stored_key(event: Event) -> bytes | str | None:
    """The event's key in bytes, as an entry has it, also where this one has none of its own: to be compared. None where
    the record is too broken to have one."""
    key = key_or_none(event)
    try:
        return None if key is None else key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return key  # half of a surrogate pair, from JSON: no entry's bytes are that


def read_key(stored: bytes | str) -> str:
    """What events with that stored key have as their `key`."""
    return stored if isinstance(stored, str) else stored.decode("utf-8", "surrogateescape")


def mentions_state(handler: Any) -> bool:
    """Whether the handler's code names `state`: then states are read ahead from its first event on.

    A guess that only saves time: a handler that reaches its state some other way has it read on the spot, once.
    """
    function = inspect.unwrap(handler if inspect.isroutine(handler) else type(handler).__call__)
    code = getattr(function, "__code__", None)
    return code is not None and bool({"state", "state_of"} & {*code.co_names})


def fetch_now(endpoint: Endpoint, key: str) -> bytes | None:
    """Read one state at once, blocking: for the first event whose handler turns out to use `ctx.state`.

    Raises StateUnavailable if Redis is out of reach.
    """
    from runnelctl.store import connect

    with connect.line(endpoint, timeout_ms=5_000, client_name="runnelctl:state") as client:
        try:
            with connect.translated(endpoint):
                value = client.get(encoded(key))
        except RedisUnreachable as error:
            raise StateUnavailable(str(error)) from error
    assert value is None or isinstance(value, bytes)
    return value


def explain(error: HandlerError) -> None:
    """Say why a handler can't start: one sentence, and the traceback of the user's own code."""
    print(f"cannot start: {error}", file=sys.stderr)
    if error.__cause__ is not None:
        print(tracebacks.text(error.__cause__), end="", file=sys.stderr)
