"""Handlers that do nothing but look at the record."""

from __future__ import annotations

from typing import Any


async def noop(event: Any) -> None:
    _ = event.value


def noop_sync(event: Any) -> None:
    _ = event.value


async def stateful(event: Any, ctx: Any) -> None:
    ctx.state["n"] = ctx.state.get("n", 0) + 1
    ctx.emit("out", event.value)
