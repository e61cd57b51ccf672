"""The table at every size: nothing wraps, nothing breaks, the worst is seen."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from runnelctl.cli import table
from runnelctl.cli.table import View
from runnelctl.core.model import Policy
from runnelctl.core.status import HostStatus, PartitionStatus, ProcessorStatus, Snapshot, State

LONG = "event 1763-0: ValueError: " + "a long story " * 40
ROW = PartitionStatus(
    processor="billing", partition=0, state=State.RUNNING, host="web-1:4711", pid=4720, slice="billing.0",
    epoch=1763791234567, cursor="1763791234567-0", lag=0, lag_ms=0, processed=1200, failed=0, rate=210.5, p99_ms=1.2,
    restarts=0, parked_keys=0, parked_events=0, error=None, why="",
)  # fmt: skip
WEB_1 = HostStatus("web-1:4711", 4711, 120, 4, beating=True, stopping=False)
WEB_2 = HostStatus("web-2:99", 99, 9_000, 4, beating=False, stopping=False)
ALL = [
    replace(ROW, partition=number, state=state, why="" if state is State.RUNNING else LONG)
    for number, state in enumerate(reversed(State))
]


def snapshot(*rows: PartitionStatus, hosts: tuple[HostStatus, ...] = (WEB_1, WEB_2)) -> Snapshot:
    worst = min((row.state for row in rows), key=lambda state: state.rank, default=State.RUNNING)
    return Snapshot(1_700_000_000_000, hosts, (ProcessorStatus("billing", Policy.HALT, worst, rows),))


def drawn(shown: Snapshot, width: int = 80, height: int | None = None, *, colours: bool = False, **about: str) -> str:
    view = View("shop", "redis://:***@db:6379/0", width, height, bool(about.pop("wide", "")), **about)
    out = io.StringIO()
    Console(file=out, width=width, height=height or 100, force_terminal=colours, highlight=False).print(
        table.render(shown, view)
    )
    return out.getvalue()


@pytest.mark.parametrize("height", [None, 1, 2, 3, 5, 8, 12, 24])
@pytest.mark.parametrize("width", [1, 2, 5, 10, 20, 33, 40, 79, 80, 120, 200, 400])
def test_it_fits_any_terminal(width: int, height: int | None) -> None:
    for rows in ([], ALL, ALL * 20):
        for wide in ("", "yes"):
            for stale in ("", "Redis does not answer since 12s"):
                lines = drawn(snapshot(*rows), width, height, wide=wide, stale=stale).splitlines()
                assert all(cell_len(line) <= width for line in lines)
                assert height is None or len(lines) <= height


def test_the_worst_comes_first_then_what_is_behind() -> None:
    behind = [replace(ROW, partition=10 + n, lag=9, lag_ms=ms) for n, ms in enumerate((0, 500, 90_000, 2_000))]
    lines = drawn(snapshot(*behind, *ALL), 200).splitlines()[5:]
    assert [line.split()[2] for line in lines[:6]] == [*[state.value for state in State][:5], "running"]
    assert [line.split()[1] for line in lines[5:]] == ["12", "13", "10", "11", "0"]


def test_what_does_not_fit_the_height_is_counted() -> None:
    lines = drawn(snapshot(*ALL, *[ROW] * 20), 100, 14).splitlines()
    assert len(lines) == 14
    assert lines[-1] == "… and 18 more running"
    lines = drawn(snapshot(*ALL), 100, 9).splitlines()
    assert lines[-1] == "… and 1 more paused, 1 more running"
    assert len(drawn(snapshot(*ALL), 100, 11).splitlines()) == 10  # all six fit below three lines and the titles


def test_a_line_that_is_cut_says_so() -> None:
    assert drawn(snapshot(*ALL), 20).splitlines()[:3] == [
        "shop  redis://:***@…",
        "2 hosts: web-2:99 s…",
        "1 halted  1 quarant…",
    ]


def test_columns_go_by_worth() -> None:
    titles = {width: drawn(snapshot(*ALL), width).splitlines()[4].split() for width in (20, 80, 200)}
    assert titles[20][-2:] == ["P", "STATE"]
    assert titles[80] == ["PROCESSOR", "P", "STATE", "LAG", "BEHIND", "RATE", "FAILED", "ERROR"]
    every = [
        "PROCESSOR",
        "P",
        "STATE",
        "HOST",
        "SLICE",
        "LAG",
        "BEHIND",
        "RATE",
        "P99",
        "DONE",
        "FAILED",
        "RESTARTS",
        "ERROR",
    ]
    assert titles[200] == every
    wide = drawn(snapshot(*ALL), 200, wide="yes").splitlines()[4].split()
    assert wide == [*every[:-1], "EPOCH", "CURSOR", "PID", "ERROR"]


def test_there_is_no_error_column_without_an_error() -> None:
    assert "ERROR" not in drawn(snapshot(ROW), 200)


def test_a_line() -> None:
    row = replace(ROW, lag=12_345, lag_ms=3_240, failed=2)
    lines = drawn(snapshot(row, hosts=(WEB_1,)), 200).splitlines()
    assert lines[0] == "shop  redis://:***@db:6379/0"
    assert lines[1] == "1 host: web-1:4711 beat 120ms ago"
    assert lines[2] == "1 running  lag 12,345  rate 210/s"
    assert lines[5].split() == [
        "billing", "0", "running", "web-1:4711", "billing.0", "12,345", "3.2s", "210/s", "1.2ms", "1,200", "2", "0",
    ]  # fmt: skip


def test_columns_are_aligned() -> None:
    lines = drawn(snapshot(ROW, replace(ROW, partition=1023, processor="p", lag=9_000_000)), 200).splitlines()[4:]
    ends = [lines[0].index(title) + len(title) for title in ("LAG", "BEHIND", "RATE", "DONE", "RESTARTS")]
    for line in lines[1:]:
        assert all(line[end - 1] != " " and line[end : end + 1] in (" ", "") for end in ends)


def test_a_silent_host_is_dimmed_and_comes_first() -> None:
    dead = replace(ROW, host="web-2:99", state=State.UNOWNED, why="web-2:99 is silent for 9 s")
    text = drawn(snapshot(ROW, dead), 200, colours=True)
    assert "2 hosts: \x1b[2mweb-2:99 silent for 9.0s\x1b[0m, web-1:4711" in text
    assert "\x1b[2mweb-2:99  \x1b[0m" in text
    assert "\x1b[2mweb-1:4711" not in text
    assert "silent" not in drawn(snapshot(ROW, hosts=()), 200)
    assert "no host is up" in drawn(snapshot(ROW, hosts=()), 200)


def test_an_old_picture_is_dimmed_and_says_so() -> None:
    text = drawn(snapshot(ROW), 80, colours=True, stale="Redis does not answer since 12s")
    first, *rest = text.splitlines()
    assert "Redis does not answer since 12s" in first
    assert all("2m" in line for line in rest if line.strip())


def test_no_color_means_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[1;31mhalted" in drawn(snapshot(*ALL), colours=True)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = drawn(snapshot(*ALL), colours=True)
    assert "halted" in plain
    assert not any(f"3{colour}m" in plain for colour in range(1, 8))


def test_names_from_redis_cannot_reach_into_the_terminal() -> None:
    odd = replace(ROW, host="\x1b[2Jhost", slice="a\nb")
    text = drawn(snapshot(odd, hosts=(replace(WEB_1, host="\x1b[2Jhost"),)), 200)
    assert "\x1b" not in text
    assert len(text.splitlines()) == 6


def test_wide_characters_keep_the_columns() -> None:
    lines = drawn(snapshot(ROW, replace(ROW, why="値が不正です" * 30, state=State.QUARANTINED)), 80).splitlines()
    assert all(cell_len(line) <= 80 for line in lines)
    assert lines[5].endswith("…")
