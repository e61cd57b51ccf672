"""Handlers that do nothing but look at the record."""

from __future__ import annotations

import asyncio
from typing import Any


async def noop(event: Any) -> None:
    _ = event.value


def noop_sync(event: Any) -> None:
    _ = event.value


async def stateful(event: Any, ctx: Any) -> None:
    ctx.state["n"] = ctx.state.get("n", 0) + 1
    ctx.emit("out", event.value)


async def sleepy(event: Any) -> None:
    _ = event.value
    await asyncio.sleep(0.001)
