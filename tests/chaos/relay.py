"""The handlers of `python -m tests.chaos`: two stages, each leaving a line per event in an append-only file outside
Redis, and inside Redis a state and an emitted record from which exactly-once can be judged afterwards."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import select
import signal
import time
import zlib
from typing import Any

import psutil

_EFFECTS = os.open(os.environ.get("CHAOS_EFFECTS", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_HOST = os.environ.get("CHAOS_HOST", "-")
_SLEEP_S = float(os.environ.get("CHAOS_SLEEP_S", "0.001"))
_SLOW_S = 0.3
_HOARD: list[bytes] = []
_HOARD_BYTES = 220 << 20  # over the topology's max_memory at once
_FLOOD_LINES = 5_000
_FREE_BYTES = 256 << 20
_MENDED = os.environ.get("CHAOS_MENDED", "")  # a file: partition -> the last event whose misdeed is mended by now


def chain(before: int, event_id: str) -> int:
    """A number that only the same ids in the same order lead to; the checker computes it from Redis' own order."""
    return zlib.crc32(event_id.encode(), before)


def _write(event: Any, ctx: Any, start: int) -> None:
    value = event.value
    line = (
        f"{ctx.processor} {_HOST} {os.getpid()} {ctx.epoch} {ctx.partition} {event.id} "
        f"{value['key']} {value['seq']} {start} {time.monotonic_ns()}\n"
    )
    os.write(_EFFECTS, line.encode())


def _mended(event: Any) -> bool:
    try:
        with open(_MENDED, encoding="utf-8") as file:  # noqa: PTH123
            upto = json.load(file)[str(event.partition)]
    except FileNotFoundError:
        return False
    return bool(_id(event.id) <= _id(upto))


def _id(text: str) -> list[int]:
    return [int(part) for part in text.split("-")]


def _misbehave(event: Any) -> float:
    """What the record asks for, unless that is mended; returns how long to sleep on top."""
    do = event.value["do"]
    if _mended(event):
        return 0.0
    if do == "raise":
        raise ValueError(f"asked to fail at {event.id}")
    if do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif do == "block":
        time.sleep(3_600)
    elif do == "hang":
        return 3_600
    elif do == "spin":
        while True:
            pass
    elif do == "segfault":
        ctypes.string_at(0)
    elif do == "eat":
        _eat()
    elif do == "slow":
        return _SLOW_S
    elif do == "flood":
        for number in range(_FLOOD_LINES):
            print(number, "x" * 200)
    elif do == "hoard":
        _HOARD.append(b"x" * _HOARD_BYTES)
    return 0.0


def _eat() -> None:
    """More memory than there is, within a limit that is this process's own."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + _FREE_BYTES, limits[1]))
    try:
        bytearray(4 * _FREE_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _pass_on(event: Any, ctx: Any, state: dict[str, Any]) -> None:
    value = event.value
    state["n"] = state.get("n", 0) + 1
    state["chain"] = chain(state.get("chain", 0), event.id)
    ctx.emit("echoes", {"key": value["key"], "seq": value["seq"], "of": event.id})


async def relay(event: Any, ctx: Any) -> None:
    """First stage, as a coroutine."""
    start = time.monotonic_ns()
    more = _misbehave(event) if "do" in event.value else 0.0
    await asyncio.sleep(_SLEEP_S + more)  # with nothing to wait for it still gives the others a turn
    state = ctx.state  # before the effect: if it can't be had, nothing is done
    _write(event, ctx, start)
    _pass_on(event, ctx, state)


def relay_sync(event: Any, ctx: Any) -> None:
    """First stage, as a plain function in the partition's thread."""
    start = time.monotonic_ns()
    more = _misbehave(event) if "do" in event.value else 0.0
    if _SLEEP_S + more:
        select.select([], [], [], _SLEEP_S + more)  # time.sleep fails under libfaketime (EINVAL)
    state = ctx.state  # before the effect: if it can't be had, nothing is done
    _write(event, ctx, start)
    _pass_on(event, ctx, state)


async def relay_iterator(events: Any, ctx: Any) -> None:
    """First stage, as a handler that keeps running."""
    async for event in events:
        await relay(event, ctx)


async def relay_batch(events: list[Any], ctx: Any) -> None:
    """First stage, as a coroutine that takes lists: all of one or nothing."""
    start = time.monotonic_ns()
    more = sum(_misbehave(event) for event in events if "do" in event.value)
    await asyncio.sleep(_SLEEP_S + more)
    _pass_all_on(events, ctx, start)


def relay_batch_sync(events: list[Any], ctx: Any) -> None:
    """First stage, as a plain function that takes lists."""
    start = time.monotonic_ns()
    more = sum(_misbehave(event) for event in events if "do" in event.value)
    if _SLEEP_S + more:
        select.select([], [], [], _SLEEP_S + more)
    _pass_all_on(events, ctx, start)


def _pass_all_on(events: list[Any], ctx: Any, start: int) -> None:
    states = [ctx.state_of(event.key) for event in events]  # before any effect, as above
    _look(events)
    for event, state in zip(events, states, strict=True):
        _write(event, ctx, start)
        _pass_on(event, ctx, state)


def _look(events: list[Any]) -> None:
    """One that is broken fails all, and must do so before any effect."""
    for event in events:
        _ = event.value["key"], event.value["seq"]


async def echo(event: Any, ctx: Any) -> None:
    """Second stage: what the first emitted."""
    _write(event, ctx, time.monotonic_ns())


async def echo_batch(events: list[Any], ctx: Any) -> None:
    """Second stage, in lists."""
    start = time.monotonic_ns()
    _look(events)
    for event in events:
        _write(event, ctx, start)
