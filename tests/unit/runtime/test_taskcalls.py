"""What can be a task, and how it is called."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest

from runnelctl.core.model import Task
from runnelctl.errors import HandlerError
from runnelctl.runtime import taskcalls
from runnelctl.runtime.taskcalls import TaskForm, TaskWork


def plain() -> None: ...
def with_ctx(ctx: Any) -> None: ...
def with_own_default(limit: int = 3) -> None: ...
def with_default_ctx(ctx: Any = None) -> None: ...
async def coroutine(context: Any) -> None: ...
def two(a: Any, b: Any) -> None: ...
def generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("target", "form"),
    [
        (plain, TaskForm("sync", False)),
        (with_ctx, TaskForm("sync", True)),
        (with_own_default, TaskForm("sync", False)),
        (with_default_ctx, TaskForm("sync", True)),
        (coroutine, TaskForm("async", True)),
        (functools.partial(two, 1), TaskForm("sync", True)),
        (functools.partial(coroutine, None), TaskForm("async", False)),
    ],
)
def test_what_a_task_takes(target: Any, form: TaskForm) -> None:
    assert taskcalls.describe(target) == form


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (two, "two takes (a: 'Any', b: 'Any'), but a task is called with () or (ctx)"),
        (generator, "generator is a generator function"),
        (3, "a task must be callable; this is of type int"),
        (Task, "a task must be a function; Task is a class"),
    ],
)
def test_what_can_be_no_task(target: Any, message: str) -> None:
    with pytest.raises(HandlerError) as caught:
        taskcalls.describe(target)
    assert message in str(caught.value)


def test_both_kinds_send_each_in_its_way() -> None:
    sent: list[tuple[str, Any]] = []

    async def send(stream: str, record: Any, key: str | None = None, headers: Any = None) -> str:
        sent.append((stream, record))
        return f"{len(sent)}-0"

    def in_a_thread(ctx: Any) -> None:
        assert ctx.send("orders", {"n": ctx.epoch}) == "1-0"

    async def in_the_loop(ctx: Any) -> None:
        assert await ctx.send("orders", {"n": ctx.name}) == "2-0"

    async def both() -> None:
        for function in (in_a_thread, in_the_loop):
            work = TaskWork(Task(name="t", run="m:f"), function, taskcalls.describe(function))
            await taskcalls.call(work, 7, send)

    asyncio.run(both())
    assert sent == [("orders", {"n": 7}), ("orders", {"n": "t"})]
