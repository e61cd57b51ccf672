"""The user's code of a task: loading it, what it gets as `ctx`, and the one call of it."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from runnelctl import handling
from runnelctl.core.model import Task
from runnelctl.errors import HandlerError

Headers = Mapping[str, str | bytes]


class Sends(Protocol):
    """How a task's records leave: as `runnelctl.client.Client.send`."""

    def __call__(
        self, stream: str, record: Any, key: str | None = None, headers: Headers | None = None
    ) -> Awaitable[str]: ...


class TaskContext:
    """Given to tasks as `ctx`. In a coroutine function `send` is awaited; in a plain one it blocks."""

    def __init__(self, name: str, epoch: int, send: Sends, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """`loop`: the one that `send` belongs to, for a task that runs in a thread beside it."""
        self.name = name
        #: With `leader: true` a fencing token: unique for every leadership, and rising. 0 for other tasks.
        self.epoch = epoch
        self.log = logging.getLogger(f"runnelctl.task.{name}")
        self._send, self._loop = send, loop

    def send(self, stream: str, record: Any, key: str | None = None, headers: Headers | None = None) -> Any:
        """Append a record to a stream, at once: its id, or in a coroutine function what to await for it. Raises
        RecordError, UsageError, CapacityError or SendOutcomeUnknown, as a client's `send` does."""
        if self._loop is None:
            return self._send(stream, record, key, headers)
        future: asyncio.Future[Any] | Any = asyncio.run_coroutine_threadsafe(
            _awaited(self._send(stream, record, key, headers)), self._loop
        )
        return future.result()


async def _awaited(what: Awaitable[str]) -> str:
    return await what


@dataclass(frozen=True, slots=True)
class TaskForm:
    """How to call a task: `async` on the event loop, `sync` in a thread; with ctx, or with nothing."""

    kind: Literal["async", "sync"]
    takes_ctx: bool


def describe(target: object) -> TaskForm:
    """How the `run` of a task wants to be called. Raises HandlerError if it can't be one, saying why."""
    if inspect.isclass(target):
        raise HandlerError(f"a task must be a function; {target.__name__} is a class")
    if not callable(target):
        raise HandlerError(f"a task must be callable; this is of type {type(target).__name__}")
    name = getattr(target, "__name__", None) or type(target).__name__
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (ValueError, TypeError):
        raise HandlerError(f"the signature of {name} can't be read: wrap it in a function of () or (ctx)") from None
    none, one = handling.accepts(target, 0), handling.accepts(target, 1)
    if not none and not one:
        raise HandlerError(f"{name} takes ({', '.join(map(str, parameters))}), but a task is called with () or (ctx)")
    layers = list(handling.layers_of(target))
    if any(inspect.isasyncgenfunction(layer) or inspect.isgeneratorfunction(layer) for layer in layers):
        raise HandlerError(f"{name} is a generator function (it has a yield), so calling it would do nothing")
    first = parameters[0].name if parameters else ""
    kind: Literal["async", "sync"] = "async" if any(map(inspect.iscoroutinefunction, layers)) else "sync"
    return TaskForm(kind, one and (not none or first in ("ctx", "context")))


@dataclass(frozen=True, slots=True)
class TaskWork:
    """A loaded task: what to call, and how."""

    task: Task
    function: Callable[..., Any]
    form: TaskForm


def load(task: Task) -> TaskWork:
    """Import what the task runs. Raises HandlerError. The topology's `pythonpath` is in place already."""
    target: Any = handling.resolve(task.run, "task")
    return TaskWork(task, target, describe(target))


async def call(work: TaskWork, epoch: int, send: Sends, threads: Executor | None = None) -> None:
    """Run the task once, to its end: a coroutine function on this loop, a plain function in a thread of `threads`.
    Raises what it raises."""
    loop = asyncio.get_running_loop()
    if work.form.kind == "async":
        given = (TaskContext(work.task.name, epoch, send),) if work.form.takes_ctx else ()
        result = work.function(*given)
        if hasattr(result, "__await__"):
            await result
        return
    given = (TaskContext(work.task.name, epoch, send, loop),) if work.form.takes_ctx else ()
    # As asyncio.to_thread does: what is printed there belongs to this task, too.
    context = contextvars.copy_context()
    await loop.run_in_executor(threads, lambda: context.run(work.function, *given))
