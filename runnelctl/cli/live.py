"""The live view of `status`: on the alternate screen, twice a second, until q or Ctrl-C. It outlives an outage of Redis."""

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
    console.print(table.render(snapshot, view()))


def _pictures(watch: Watch, first: Snapshot, leaving: Callable[[float], bool]) -> Iterator[tuple[Snapshot, str]]:
    """What to draw: the newest snapshot there is, and what to say if it is not of now."""
    snapshot, stale, answered_at = first, "", time.monotonic()
    yield snapshot, stale
    while not leaving(INTERVAL_S):
        try:
            snapshot, stale, answered_at = watch.look(), "", time.monotonic()
        except PASSING as error:
            silence = figures.span((time.monotonic() - answered_at) * 1000)
            stale = f"Redis does not answer since {silence}: {error}"
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
    return bool(ready) and os.read(STDIN, 64)[:1] in (b"q", b"Q", b"")  # nothing to read: the terminal is gone


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _terminated(number: int, _: Any) -> None:
    raise SystemExit(128 + number)
