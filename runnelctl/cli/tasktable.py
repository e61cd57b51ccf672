"""The tasks of a topology as lines of a table: in `status` below the partitions, and alone in `task list`."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from runnelctl.cli import figures
from runnelctl.core.status import printable
from runnelctl.core.taskstatus import TaskStatus

GAP = "  "


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    worth: int  # those of least worth go first when the terminal is narrow
    cell: Callable[[TaskStatus, int], str]
    right: bool = False


_COLUMNS = (
    _Column("TASK", 99, lambda task, now: task.name),
    _Column("SCHEDULE", 60, lambda task, now: task.schedule + (", leader" if task.leader else "")),
    _Column("STATE", 97, lambda task, now: _state(task, now) or "-"),
    _Column("NEXT", 90, lambda task, now: _when(task.next_ms, now)),
    _Column("LAST RUN", 80, lambda task, now: _when(task.last_run_ms, now)),
    _Column("TOOK", 30, lambda task, now: "-" if task.last_took_ms is None else figures.span(task.last_took_ms), True),
    _Column("HOST", 40, lambda task, now: task.host or "-"),
    _Column("RUNS", 50, lambda task, now: figures.count(task.runs), True),
    _Column("FAILED", 70, lambda task, now: figures.count(task.failures), True),
    _Column("SKIPPED", 20, lambda task, now: figures.count(task.skipped), True),
)


def lines(tasks: Sequence[TaskStatus], now_ms: int, width: int) -> list[Text]:
    """A title and a line per task, in at most `width` cells."""
    rows = [[printable(column.cell(task, now_ms)) for column in _COLUMNS] for task in tasks]
    columns = list(range(len(_COLUMNS)))
    cells = [max(cell_len(text) for text in (_COLUMNS[at].title, *(row[at] for row in rows))) for at in columns]
    while sum(cells[at] for at in columns) + len(GAP) * (len(columns) - 1) > width and len(columns) > 2:
        columns.remove(min(columns, key=lambda at: _COLUMNS[at].worth))
    found = [Text(_joined([_COLUMNS[at].title for at in columns], columns, cells), style="bold")]
    for task, row in zip(tasks, rows, strict=True):
        bad = task.last_outcome not in (None, "ok") and task.running_since_ms is None
        found.append(Text(_joined([row[at] for at in columns], columns, cells), style="yellow" if bad else ""))
    for line in found:
        line.no_wrap = True
        line.truncate(width, overflow="ellipsis")
    return found


def _joined(texts: Sequence[str], columns: Sequence[int], cells: Sequence[int]) -> str:
    padded = []
    for text, at in zip(texts, columns, strict=True):
        space = " " * (cells[at] - cell_len(text))
        padded.append(space + text if _COLUMNS[at].right else text + space)
    return GAP.join(padded).rstrip()


def _state(task: TaskStatus, now_ms: int) -> str:
    if task.running_since_ms is not None:
        return f"running {figures.span(max(0, now_ms - task.running_since_ms))}"
    if task.last_outcome is not None:
        return task.last_outcome
    return "waiting" if task.host or task.next_ms else ""


def _when(ms: int | None, now_ms: int) -> str:
    """`in 4.2s`, `31s ago`; a date where it is over a day."""
    if ms is None:
        return "-"
    away_ms = ms - now_ms
    if abs(away_ms) > 86_400_000:
        return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%MZ")
    return f"in {figures.span(away_ms)}" if away_ms >= 0 else f"{figures.span(-away_ms)} ago"
