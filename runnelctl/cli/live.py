"""The live view of `status`: on the alternate screen, twice a second, until q or Ctrl-C.

When Redis goes away the last picture stays, dimmed, with a line that says how old it is; it goes on when Redis is back.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.live import Live

from runnelctl import errors
from runnelctl.cli import figures, table
from runnelctl.cli.table import View
from runnelctl.cli.watch import PASSING, Watch
from runnelctl.core.status import Snapshot

INTERVAL_S = 0.5
STDIN = 0


def show(console: Console, watch: Watch, view: Callable[[], View]) -> None:
    """Redraw until the user leaves, and leave the last picture on the normal screen. The first look may raise."""
    snapshot = watch.look()
    live = Live(console=console, screen=True, auto_refresh=False)
    with contextlib.suppress(KeyboardInterrupt), _keys() as leaving, live:
        for picture, stale in _pictures(watch, snapshot, leaving):
            snapshot = picture
            live.update(table.render(snapshot, replace(view(), stale=stale)), refresh=True)
    console.print(table.render(snapshot, replace(view(), height=console.height - 1)))  # the prompt needs a line


def _pictures(watch: Watch, first: Snapshot, leaving: Callable[[float], bool]) -> Iterator[tuple[Snapshot, str]]:
    """What to draw: the newest snapshot there is, and what to say if it is not of now."""
    snapshot, stale, answered_at, began = first, "", time.monotonic(), time.monotonic()
    yield snapshot, stale
    # Thousands of partitions take their time to read and draw: never use more than a quarter of a core for it.
    while not leaving(min(2.0, max(INTERVAL_S, 3 * (time.monotonic() - began)))):
        began = time.monotonic()
        try:
            snapshot, stale, answered_at = watch.look(), "", time.monotonic()
        except PASSING as error:
            age = figures.span((time.monotonic() - answered_at) * 1000)
            away = isinstance(error, errors.RedisUnreachable)
            stale = f"Redis does not answer since {age}" if away else f"{age} old: {error}"
        yield snapshot, stale


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Gives a function that waits so many seconds and says whether the user wants to leave. The terminal gets its
    settings back afterwards, also after Ctrl-C and SIGTERM."""
    before = _settings()
    handler = signal.signal(signal.SIGTERM, _terminated)
    try:
        if before is not None:
            tty.setcbreak(STDIN)
        yield _pressed if before is not None else _slept
    finally:
        signal.signal(signal.SIGTERM, handler)
        if before is not None:
            termios.tcsetattr(STDIN, termios.TCSADRAIN, before)


def _settings() -> list[Any] | None:
    """Of the terminal on stdin; None where there is none, or we are in its background and may not touch it."""
    try:
        return termios.tcgetattr(STDIN) if os.tcgetpgrp(STDIN) == os.getpgrp() else None
    except (OSError, termios.error):
        return None


def _pressed(seconds: float) -> bool:
    ready, _, _ = select.select([STDIN], [], [], seconds)
    try:
        return bool(ready) and os.read(STDIN, 64)[:1] in (b"q", b"Q", b"")
    except OSError:
        return True  # the terminal is gone


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _terminated(number: int, _: Any) -> None:
    raise SystemExit(128 + number)
