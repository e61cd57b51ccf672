"""A progress bar for whatever takes longer than a second, on stderr and only on a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PATIENCE_S = 1.0


class Bar:
    """`update` it as often as you like; nothing is drawn in the first second, and rich isn't even imported."""

    def __init__(self) -> None:
        self.draws = sys.stderr.isatty()
        self._from = time.monotonic() + _PATIENCE_S
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, label: str, done: float, total: float | None) -> None:
        """Show that `done` of `total` (any unit; None if unknown) is behind us."""
        if not self.draws or time.monotonic() < self._from:
            return
        if self._progress is None:
            from rich.console import Console
            from rich.progress import Progress

            self._progress = Progress(console=Console(stderr=True), transient=True)
            self._progress.start()
            self._task = self._progress.add_task(label, total=total)
        assert self._task is not None
        self._progress.update(self._task, description=label, completed=done, total=total)
