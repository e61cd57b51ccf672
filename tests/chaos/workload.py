"""The handlers of the chaos topologies. Every call leaves a line in an append-only file, outside Redis, so that what
was done can be judged without asking the thing under test."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

_LOG = os.open(os.environ.get("CHAOS_LOG", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_MENDED = os.environ.get("CHAOS_MENDED", "")  # once this file exists, nothing misbehaves any more
_SLEEP_S = float(os.environ.get("CHAOS_SLEEP_S", "0"))


def _write(event: Any, ctx: Any) -> dict[str, Any]:
    value: dict[str, Any] = event.value
    line = f"{os.getpid()} {ctx.epoch} {ctx.partition} {value['key']} {value['seq']} {time.monotonic_ns()}\n"
    os.write(_LOG, line.encode())
    return value


def _misbehave(value: dict[str, Any]) -> None:
    """What the record asks for, as long as nobody has mended it."""
    if "do" not in value or os.path.exists(_MENDED):  # noqa: PTH110
        return
    match value["do"]:
        case "raise":
            raise ValueError(f"asked to fail at {value['key']}/{value['seq']}")
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(3600)


async def effect(event: Any, ctx: Any) -> None:
    value = event.value
    _misbehave(value)
    if _SLEEP_S:
        await asyncio.sleep(_SLEEP_S)
    _write(event, ctx)
    ctx.state["n"] = ctx.state.get("n", 0) + 1


def effect_sync(event: Any, ctx: Any) -> None:
    value = event.value
    _misbehave(value)
    if _SLEEP_S:
        time.sleep(_SLEEP_S)
    _write(event, ctx)
    ctx.state["n"] = ctx.state.get("n", 0) + 1


async def effect_iterator(events: Any, ctx: Any) -> None:
    async for event in events:
        await effect(event, ctx)


async def effect_taken(events: Any, ctx: Any) -> None:
    async for taken in events.take(20, within=0.01):
        await effect_batch(taken, ctx)


async def effect_batch(events: list[Any], ctx: Any) -> None:
    for event in events:
        _misbehave(event.value)
    for event in events:
        _write(event, ctx)
        state = ctx.state_of(event.key)
        state["n"] = state.get("n", 0) + 1
