"""Handlers that take or make much."""

from __future__ import annotations

import asyncio
import sys
from typing import Any


async def look(event: Any) -> None:
    _ = event.value


async def slow(event: Any) -> None:
    _ = event.value
    await asyncio.sleep(1.0)


async def nap(event: Any) -> None:
    _ = event.value
    await asyncio.sleep(0.1)


def flood(event: Any) -> None:
    sys.stdout.write("a line that somebody forgot\n" * 10_000 + "x" * 1_000_000)
    sys.stdout.flush()


async def hoard(event: Any, ctx: Any) -> None:
    ctx.state_of(event.id)["pad"] = event.id * 60_000


async def pour(event: Any, ctx: Any) -> None:
    ctx.emit("out", {"k": event.id, "pad": event.id * 60_000})


async def refuse(event: Any) -> None:
    if "pad" in event.value:
        raise ValueError("too large for us")
