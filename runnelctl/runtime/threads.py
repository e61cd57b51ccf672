"""Plain functions, in the thread of their partition."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane


def thread_of(lane: Lane) -> ThreadPoolExecutor:
    """The lane's one thread, made when it is needed first."""
    if lane.thread is None:
        lane.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=lane.name)
    return lane.thread


def failure_of(handler: Callable[..., object], arguments: tuple[object, ...]) -> BaseException | None:
    """Call it; the exception as a value: a future can't carry every kind (StopIteration would leave it open for
    ever)."""
    try:
        handler(*arguments)
    except BaseException as error:
        return error
    return None
