"""When tasks are due, what becomes of missed and overlapping ticks, and what the clock change does to a cron."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnelctl.core import schedule
from runnelctl.core.model import Overlap, Task
from runnelctl.core.schedule import CATCH_UP_MS, Act, Turn

UTC = datetime.UTC
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
EVERY = Task(name="beat", run="m:f", every_ms=10_000)
QUEUED = Task(name="beat", run="m:f", every_ms=10_000, overlap=Overlap.QUEUE)
EVENING = Task(name="report", run="m:f", cron="45 17 * * *")


def ms(text: str, zone: datetime.tzinfo = UTC) -> int:
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def turn(task: Task, last_ms: int, now_ms: int, **changed: Any) -> Turn:
    facts: dict[str, Any] = {"origin_ms": 0, "zone": UTC, "running": False, "queued": False}
    return schedule.turn(task, last_ms=last_ms, now_ms=now_ms, **(facts | changed))


def test_every_counts_from_its_origin_and_waits_an_interval() -> None:
    assert turn(EVERY, 0, 12_000, origin_ms=3_000) == Turn(Act.WAIT, None, 13_000)
    assert turn(EVERY, 0, 13_000, origin_ms=3_000) == Turn(Act.RUN, 13_000, 23_000)
    assert turn(EVERY, 13_000, 13_001, origin_ms=3_000) == Turn(Act.WAIT, None, 23_000)


@given(origin=st.integers(0, 10**6), every=st.integers(1, 10**5), steps=st.lists(st.integers(1, 10**6), max_size=30))
def test_every_tick_is_settled_once_however_the_clock_is_looked_at(origin: int, every: int, steps: list[int]) -> None:
    task, last, now = Task(name="t", run="m:f", every_ms=every), origin, origin
    for step in steps:
        now += step
        found = turn(task, last, now, origin_ms=origin)
        assert found.next_ms is not None and now < found.next_ms <= now + every
        if found.tick is None:
            assert (last - origin) // every == (now - origin) // every
        else:
            assert last < found.tick <= now < found.tick + every
            assert (found.tick - origin) % every == 0
            last = found.tick


def test_of_missed_ticks_the_newest_runs_once_if_it_is_young_enough() -> None:
    assert turn(EVERY, 10_000, 75_000) == Turn(Act.RUN, 70_000, 80_000)
    assert turn(EVERY, 70_000, 75_000).act is Act.WAIT
    due, tomorrow = ms("2026-05-01T17:45"), ms("2026-05-02T17:45")
    last = ms("2026-04-29T17:45")
    assert turn(EVENING, last, due + CATCH_UP_MS) == Turn(Act.RUN, due, tomorrow)
    assert turn(EVENING, last, due + CATCH_UP_MS + 1) == Turn(Act.LAPSE, ms("2026-04-30T17:45"), tomorrow)
    assert turn(EVENING, due, due + CATCH_UP_MS + 1).act is Act.WAIT


def test_a_cron_of_every_second_is_not_walked_through_a_year() -> None:
    now = ms("2026-05-01T00:00")
    found = turn(Task(name="t", run="m:f", cron="* * * * * *"), ms("2020-01-01T00:00"), now)
    assert found == Turn(Act.RUN, now, now + 1_000)


def test_a_tick_while_it_runs_is_skipped_or_queued_once() -> None:
    assert turn(EVERY, 10_000, 20_000, running=True) == Turn(Act.SKIP, 20_000, 30_000)
    assert turn(QUEUED, 10_000, 20_000, running=True) == Turn(Act.QUEUE, 20_000, 30_000)
    assert turn(QUEUED, 20_000, 30_000, running=True, queued=True) == Turn(Act.SKIP, 30_000, 40_000)


def test_on_start_is_never_due_by_the_clock() -> None:
    assert turn(Task(name="warm", run="m:f", on_start=True), 0, 10**12) == Turn(Act.WAIT, None, None)


@pytest.mark.parametrize(
    ("cron", "after", "ticks"),
    [
        # 2026-03-29 in Berlin: 02:00 to 03:00 does not exist. What is due in it runs right after.
        ("30 2 * * *", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
        ("*/30 * * * *", "2026-03-29T01:15", ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00"]),
        # 2026-10-25: 02:00 to 03:00 comes twice. A fixed time runs once, an interval all the time.
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        (
            "*/30 * * * *",
            "2026-10-25T02:15",
            ["2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00", "2026-10-25T02:30+01:00", "2026-10-25T03:00+01:00"],
        ),
    ],
)
def test_the_clock_change(cron: str, after: str, ticks: list[str]) -> None:
    task, at, found = Task(name="t", run="m:f", cron=cron, timezone="Europe/Berlin"), ms(after, BERLIN), []
    for _ in ticks:
        upcoming = schedule.next_tick(task, at, 0, BERLIN)
        assert upcoming is not None
        found.append(at := upcoming)
    assert found == [int(datetime.datetime.fromisoformat(text).timestamp() * 1000) for text in ticks]


def test_words() -> None:
    assert schedule.words(EVERY) == "every 10s"
    assert schedule.words(EVENING) == "cron 45 17 * * * UTC"
    assert schedule.words(Task(name="warm", run="m:f", on_start=True)) == "on start"
