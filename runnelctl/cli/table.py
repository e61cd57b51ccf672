"""The table of `status`: worst first, as many columns as fit, never a wrapped line.

Laid out by hand: rich's own table wraps or squeezes what does not fit, and takes a second for a thousand rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.text import Text

from runnelctl.cli import figures, tasktable
from runnelctl.core.status import HostStatus, PartitionStatus, Snapshot, State, printable

GAP = "  "
ERROR_LEAST = 20  # cells; with less, an error says nothing
STYLES = {
    State.HALTED: "bold red",
    State.QUARANTINED: "bold yellow",
    State.UNOWNED: "magenta",
    State.STUCK: "yellow",
    State.PAUSED: "cyan",
    State.RUNNING: "green",
}


@dataclass(frozen=True, slots=True)
class Column:
    """`worth`: those of least worth go first when the terminal is narrow; `least`: cells, so that it stays calm."""

    title: str
    worth: int
    cell: Callable[[PartitionStatus], str]
    right: bool = False
    least: int = 0
    wide: bool = False


COLUMNS = (
    Column("PROCESSOR", 99, lambda row: row.processor),
    Column("P", 98, lambda row: str(row.partition), right=True),
    Column("STATE", 97, lambda row: row.state.value),
    Column("HOST", 40, lambda row: row.host or "-"),
    Column("SLICE", 50, lambda row: row.slice or "-"),
    Column("LAG", 95, lambda row: figures.count(row.lag), right=True, least=6),
    Column("BEHIND", 90, lambda row: figures.span(row.lag_ms), right=True, least=6),
    Column("RATE", 80, lambda row: figures.rate(row.rate), right=True, least=7),
    Column("P99", 30, lambda row: "-" if row.p99_ms is None else figures.span(row.p99_ms), right=True, least=6),
    Column("DONE", 45, lambda row: figures.count(row.processed), right=True, least=7),
    Column("FAILED", 60, lambda row: figures.count(row.failed), right=True),
    Column("PARKED", 65, lambda row: figures.count(row.parked_keys), right=True),
    Column("RESTARTS", 20, lambda row: str(row.restarts), right=True),
    Column("EPOCH", 12, lambda row: "-" if row.epoch is None else str(row.epoch), right=True, wide=True),
    Column("CURSOR", 11, lambda row: row.cursor, right=True, wide=True),
    Column("PID", 10, lambda row: "-" if row.pid is None else str(row.pid), right=True, wide=True),
    Column("ERROR", 70, lambda row: row.why),
)


@dataclass(frozen=True, slots=True)
class View:
    """Where and how to show: the terminal's size in cells (height None: as many lines as it takes), what is up, whether
    with `--wide`, and a line that says why the picture is an old one."""

    topology: str
    redis: str
    width: int
    height: int | None = None
    wide: bool = False
    stale: str = ""


def render(snapshot: Snapshot, view: View) -> Group:
    """The whole picture, clipped to the view."""
    rows = sorted(snapshot.partitions, key=_order)
    lines = _header(snapshot, view)
    below = len(snapshot.tasks) + 2 if snapshot.tasks else 0
    room = len(rows) if view.height is None else max(0, view.height - len(lines) - 1 - below)
    shown = rows if len(rows) <= room else rows[: max(0, room - 1)]
    columns = _fitting(rows, view)
    if rows or not snapshot.tasks:
        lines.append(_line([(_fit(column, column.title, cells), "bold") for column, cells in columns]))
    silent = {host.host for host in snapshot.hosts if not host.beating}
    lines += [_row(row, columns, silent) for row in shown]
    if len(shown) < len(rows) and room:
        lines.append(Text(f"… and {_tally(rows[len(shown) :])}", style="dim"))
    if snapshot.tasks:
        lines += [Text(""), *tasktable.lines(snapshot.tasks, snapshot.server_ms, view.width)]
    for line in lines:
        line.truncate(view.width, overflow="ellipsis")
        line.no_wrap = True
        if view.stale and line is not lines[0]:
            line.stylize("dim")
    return Group(*lines[: view.height])


def _order(row: PartitionStatus) -> tuple[float, int]:
    """Worst first. Lag counts by magnitude, so that rows don't dance while they catch up; else the file's order."""
    rank = row.state.rank - 0.5 * bool(row.parked_keys)
    return rank, -(row.lag_ms // 1000).bit_length()


def _tally(rows: Sequence[PartitionStatus]) -> str:
    """`3 more stuck, 12 more running`."""
    counts = Counter(row.state for row in rows)
    return ", ".join(f"{counts[state]:,} more {state.value}" for state in State if counts[state])


# --- the lines above the table ----------------------------------------------------------------------------------


def _header(snapshot: Snapshot, view: View) -> list[Text]:
    """Topology, hosts, totals; as many of them as a low terminal has room for."""
    title = Text.assemble((view.topology, "bold"), GAP, (printable(view.redis), "dim"))
    lines = [title, _hosts(snapshot.hosts), _totals(snapshot)]
    height = 99 if view.height is None else view.height
    lines = lines if height >= 8 else lines[2:]
    if view.stale:
        lines.insert(0, Text(view.stale, style="bold red"))
    return [*lines, Text("")] if height >= 12 else lines


def _hosts(hosts: Sequence[HostStatus]) -> Text:
    if not hosts:
        return Text("no host is up", style="magenta")
    text = Text("1 host: " if len(hosts) == 1 else f"{len(hosts)} hosts: ")
    # Whoever is silent comes first: the line may be cut.
    for index, host in enumerate(sorted(hosts, key=lambda host: host.beating)):
        text.append(", " if index else "")
        age = figures.span(host.beat_age_ms)
        if not host.beating:
            text.append(f"{printable(host.host)} silent for {age}", style="dim")
        else:
            text.append(printable(host.host))
            text.append(f" {'draining, ' if host.stopping else ''}beat {age} ago", style="dim")
    return text


def _totals(snapshot: Snapshot) -> Text:
    rows = snapshot.partitions
    counts = Counter(row.state for row in rows)
    lag, rate = sum(row.lag for row in rows), sum(row.rate for row in rows)
    text = Text()
    for state in State:
        if counts[state]:
            text.append(f"{counts[state]:,} {state.value}", style=STYLES[state])
            text.append(GAP)
    return text.append(f"lag {figures.count(lag)}{GAP}rate {figures.rate(rate)}")


# --- columns ----------------------------------------------------------------------------------------------------


def _fitting(rows: Sequence[PartitionStatus], view: View) -> list[tuple[Column, int]]:
    """The columns that the width has room for, each with its cells; the error takes what is left."""
    chosen = [column for column in COLUMNS if view.wide or not column.wide]
    if not any(row.why for row in rows):
        chosen = [column for column in chosen if column.title != "ERROR"]
    if not any(row.parked_keys for row in rows):
        chosen = [column for column in chosen if column.title != "PARKED"]
    natural = {column.title: _natural(column, rows) for column in chosen}
    least = natural | {"ERROR": min(natural.get("ERROR", 0), ERROR_LEAST)}
    while _width(chosen, least) > view.width and len(chosen) > 3:
        chosen.remove(min(chosen, key=lambda column: column.worth))
    spare = view.width - _width(chosen, least)
    widths = {column.title: least[column.title] for column in chosen}
    if spare < 0:  # a long processor name is cut before anything else is
        widths["PROCESSOR"] = max(1, widths["PROCESSOR"] + spare)
    elif "ERROR" in widths:
        widths["ERROR"] = min(natural["ERROR"], widths["ERROR"] + spare)
    return [(column, widths[column.title]) for column in chosen]


def _natural(column: Column, rows: Sequence[PartitionStatus]) -> int:
    return max([len(column.title), column.least, *(cell_len(column.cell(row)) for row in rows)])


def _width(columns: Sequence[Column], widths: dict[str, int]) -> int:
    return sum(widths[column.title] for column in columns) + len(GAP) * (len(columns) - 1)


def _row(row: PartitionStatus, columns: Sequence[tuple[Column, int]], silent: set[str]) -> Text:
    cells = []
    for column, width in columns:
        style = ""
        if column.title == "STATE":
            style = STYLES[row.state]
        elif column.title in ("HOST", "SLICE", "PID") and row.host in silent:
            style = "dim"
        elif (column.title == "FAILED" and row.failed) or (column.title == "PARKED" and row.parked_keys):
            style = "yellow"
        cells.append((_fit(column, printable(column.cell(row)), width), style))
    return _line(cells)


def _fit(column: Column, text: str, width: int) -> str:
    """`text` in exactly `width` cells."""
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, width - 1) + "…" if width > 1 else set_cell_size(text, width)
    return " " * (width - length) + text if column.right else text + " " * (width - length)


def _line(cells: Sequence[tuple[str, str]]) -> Text:
    text = Text()
    for index, (cell, style) in enumerate(cells):
        text.append(GAP if index else "")
        text.append(cell, style=style or None)
    text.rstrip()
    return text
