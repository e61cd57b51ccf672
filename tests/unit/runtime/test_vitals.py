"""What the supervisor reads off the board."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from runnelctl.core.lifecycle import Health
from runnelctl.runtime import board as cells
from runnelctl.runtime import processes, progress, vitals
from tests.bench import Bench, session
from tests.waiting import wait_until

MakeBench = Callable[..., Bench]
NOW = 1_000.0


async def handler(event: Any) -> None:
    """Not called here."""


@pytest.fixture
def desk(bench: MakeBench) -> Bench:
    """Slot 0, incarnation 1, ready and beating, holds units 0 and 1; ttl 6 s, timeout 30 s."""
    made = bench(handler, at=session())
    q, d = made.board.q, made.board.d
    slot = made.board.slot(0)
    q[slot + cells.S_INCARNATION] = q[slot + cells.S_READY] = 1
    d[slot + cells.S_BEAT] = NOW - 0.1
    for unit in (0, 1):
        base = made.board.unit(unit)
        q[base + cells.U_SLOT], q[base + cells.U_FOR], q[base + cells.U_HELD] = 0, 1, 1
    return made


def judged(desk: Bench, incarnation: int = 1, pid: int = 0) -> Health:
    return vitals.judge(desk.host, desk.host.plan.slots[0], incarnation, NOW - 100, NOW, pid or os.getpid())


def since(desk: Bench, unit: int, seconds: float) -> None:
    desk.board.d[desk.board.unit(unit) + cells.U_SINCE] = NOW - seconds


def test_the_longest_call_of_any_unit_counts(desk: Bench) -> None:
    assert judged(desk) is Health.WELL
    since(desk, 0, 29.0)
    since(desk, 1, 1.0)
    assert judged(desk) is Health.WELL
    since(desk, 1, 30.5)
    assert judged(desk) is Health.TIMED_OUT


@pytest.mark.parametrize("cell", [cells.U_HELD, cells.U_FOR])
def test_calls_of_a_lease_that_is_gone_or_of_an_earlier_process_do_not_count(desk: Bench, cell: int) -> None:
    since(desk, 1, 999.0)
    desk.board.q[desk.board.unit(1) + cell] = 0
    assert judged(desk) is Health.WELL


def test_a_successor_that_is_not_ready_is_not_judged_by_its_forerunner(desk: Bench) -> None:
    since(desk, 0, 999.0)
    assert judged(desk, incarnation=2) is Health.NEVER_READY
    desk.board.q[desk.board.slot(0) + cells.S_READY] = 2
    assert judged(desk, incarnation=2) is Health.WELL


def test_silence(desk: Bench) -> None:
    desk.board.d[desk.board.slot(0) + cells.S_BEAT] = NOW - 12.5
    assert judged(desk) is Health.STUCK
    since(desk, 0, 1.0)
    assert judged(desk) is Health.WELL


def test_a_stopped_process_is_seen_as_such(desk: Bench) -> None:
    desk.board.d[desk.board.slot(0) + cells.S_BEAT] = NOW - 6.5
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process:
        try:
            assert judged(desk, pid=process.pid) is Health.WELL
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: processes.is_stopped(process.pid))
            assert judged(desk, pid=process.pid) is Health.STOPPED
        finally:
            process.kill()
    assert not processes.is_stopped(process.pid), "nobody is not stopped"


def test_in_flight_is_about_held_units_of_the_slot(desk: Bench) -> None:
    slot = desk.host.plan.slots[0]
    assert not vitals.in_flight(desk.host, slot)
    since(desk, 1, 0.1)
    assert vitals.in_flight(desk.host, slot)
    desk.board.q[desk.board.unit(1) + cells.U_HELD] = 0
    assert not vitals.in_flight(desk.host, slot)


def test_how_often_to_look(bench: MakeBench) -> None:
    assert vitals.check_interval_s(bench(handler).host.plan) == 1.5, "a quarter of the ttl"
    assert vitals.check_interval_s(bench(handler, timeout_ms=500).host.plan) == 0.1
    assert vitals.check_interval_s(bench(handler, timeout_ms=1).host.plan) == vitals.SHORTEST_CHECK_S


def test_a_death_in_words(desk: Bench) -> None:
    slot, plan = desk.host.plan.slots[0], desk.host.plan

    def text(cause: int, *tail: str) -> str:
        return vitals.death_text(slot, 7, int(signal.SIGKILL), cause, tail, plan)

    assert text(cells.CAUSE_NONE) == "slice billing.0 (pid 7) was killed by SIGKILL"
    assert text(cells.CAUSE_TIMEOUT).endswith("its handler ran longer than its timeout of 30 s")
    assert text(cells.CAUSE_STOPPED).endswith("did not run any more")
    assert text(cells.CAUSE_NONE, "a", "b").splitlines() == [
        "slice billing.0 (pid 7) was killed by SIGKILL", "last output:", "  a", "  b",
    ]  # fmt: skip


def test_the_last_words_survive_a_death_text_that_is_cut(desk: Bench) -> None:
    """The board has room for 8 KiB: of a long traceback, what matters is its end."""
    tail = [f"{number} " + "x" * 2_000 for number in range(20)] + ["MemoryError: the culprit"]
    text = vitals.death_text(desk.host.plan.slots[0], 7, int(signal.SIGKILL), cells.CAUSE_NONE, tail, desk.host.plan)
    desk.board.write_text(0, text)
    kept = desk.board.read_text(0)
    assert kept.startswith("slice billing.0 (pid 7) was killed by SIGKILL\n")
    assert kept.endswith("MemoryError: the culprit")


@pytest.mark.parametrize("done", [0, 1, 50, 99, 100, 250])
def test_the_progress_bar_is_as_long_as_it_is(done: int) -> None:
    bar = progress.bar(done, 100)
    assert bar.count("━") + bar.count("╌") == progress.BAR_CELLS
    assert f"{done:,} of 100 events" in bar
    assert progress.bar(0, 0).endswith("0 of 0 events (100%)")


def test_all_ready(desk: Bench) -> None:
    assert vitals.all_ready(desk.host)
    desk.board.q[desk.board.slot(0) + cells.S_INCARNATION] = 2
    assert not vitals.all_ready(desk.host)


def test_killed_by_others_is_sigkill_that_was_not_ours() -> None:
    assert vitals.killed(signal.SIGKILL, cells.CAUSE_NONE)
    assert not vitals.killed(signal.SIGKILL, cells.CAUSE_STOPPED)
    assert not vitals.killed(signal.SIGSEGV | 0x80, cells.CAUSE_NONE)
    assert not vitals.killed(3 << 8, cells.CAUSE_NONE)
