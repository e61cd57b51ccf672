"""An event loop whose time is virtual: where everything waits for a moment to come, that moment is now."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from typing import Any

LONGEST_S = 10.0  # of real time that a handler may wait for the world outside before the test is given up


class Stuck(AssertionError):
    """A handler waits for something that never comes."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """`asyncio.sleep(3600)` takes no time. Work in threads and sockets takes what it takes: while there is some, the
    clock does not jump."""

    def __init__(self) -> None:
        self.skipped_s = 0.0  # virtual time that never passed
        self.jobs = 0
        self.stuck: Callable[[], None] = lambda: None  # called when nothing can happen any more
        self.jumping: Callable[[], None] = lambda: None  # called before and after time is skipped
        self._jumping = _Jumping(self)
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds, as loops count them; real and skipped ones."""
        return super().time() + self.skipped_s

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """As any loop does; time does not jump before it is done."""
        self.jobs += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._job_done)
        return future

    def _job_done(self, _: object) -> None:
        self.jobs -= 1


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        busy = self._loop.jobs or len(self.get_map()) > 1  # one is the loop's own, to be woken by threads
        if not busy and timeout is not None:
            self._loop.jumping()
            self._loop.skipped_s += timeout
            self._loop.jumping()
            return ready
        if not busy:
            self._loop.stuck()
            return ready
        ready = super().select(LONGEST_S if timeout is None else min(timeout, LONGEST_S))
        if not ready and (timeout is None or timeout > LONGEST_S):
            self._loop.stuck()
        return ready
