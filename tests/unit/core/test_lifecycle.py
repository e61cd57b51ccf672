"""Restarts, crash loops and the health of a live slice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnelctl.core import lifecycle
from runnelctl.core.lifecycle import CRASH_BUDGET, Fate, Health, History, Next, after_death, health

NEW = History()


def died(history: History = NEW, **changed: Any) -> Next:
    facts: dict[str, Any] = {
        "now": 100.0, "ran_s": 1.0, "ready": True, "asked": False, "in_flight": True, "jitter": 1.0,
    }  # fmt: skip
    return after_death(history, **(facts | changed))


def test_who_was_asked_to_leave_is_gone_however_it_went() -> None:
    assert died(asked=True, ready=False, in_flight=False).fate is Fate.GONE
    assert died(asked=True, history=History(9, (99.0,) * 9)).history == History(9, (99.0,) * 9)


def test_who_never_got_ready_is_not_restarted() -> None:
    assert died(ready=False).fate is Fate.UNSTARTABLE


def test_who_was_killed_by_others_before_it_was_ready_may_try_again_within_the_budget() -> None:
    """The kernel was out of memory, say: that must not cost the host. Unless it goes on like that."""
    history, fates = History(), []
    for _ in range(CRASH_BUDGET + 1):
        after = died(history, ready=False, killed=True, in_flight=False)
        fates.append(after.fate)
        history = after.history
    assert fates == [Fate.RESTART] * CRASH_BUDGET + [Fate.UNSTARTABLE]


def test_the_first_death_restarts_at_once_and_a_streak_backs_off() -> None:
    history, pauses = History(), []
    for _ in range(10):
        after = died(replace(history, idle_deaths=()), in_flight=False)
        assert after.fate is Fate.RESTART
        history = after.history
        pauses.append(after.pause_s)
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert history.streak == 10


def test_a_death_with_an_event_to_blame_makes_the_other_partitions_wait_half_a_second_at_most() -> None:
    pauses = [died(History(streak=streak), in_flight=True).pause_s for streak in range(6)]
    assert pauses == [0.0, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_others_take_over_where_somebody_was_charged_or_nobody_here_did_it() -> None:
    assert died(in_flight=True, others_well=True).spared
    assert not died(in_flight=False, others_well=True).spared, "the killer may be any event"
    assert not died(in_flight=True, others_well=False).spared, "one slice after the other"
    assert not died(ready=False, others_well=True).spared


def test_who_is_killed_from_outside_is_believed_within_the_budget() -> None:
    """Its slot may be in a pause of seconds; nobody's partitions should be."""
    history, spared = History(), []
    for _ in range(CRASH_BUDGET + 1):
        after = died(history, killed=True, in_flight=False, others_well=True)
        history = after.history
        spared.append(after.spared)
    assert spared == [True] * CRASH_BUDGET + [False]


def test_a_stable_run_ends_the_streak() -> None:
    after = died(History(streak=8), ran_s=lifecycle.STABLE_RUN_S)
    assert (after.pause_s, after.history.streak) == (0.0, 1)
    assert died(History(streak=8), ran_s=lifecycle.STABLE_RUN_S - 0.1).history.streak == 9


@given(st.integers(1, 10_000), st.floats(0, 1), st.booleans())
def test_pauses_are_spread_over_their_upper_half(streak: int, jitter: float, in_flight: bool) -> None:
    ceiling = died(History(streak=streak), jitter=1.0, in_flight=in_flight).pause_s
    assert ceiling <= (lifecycle.LONGEST_PAUSE_BLAMED_S if in_flight else lifecycle.LONGEST_PAUSE_S)
    assert ceiling / 2 <= died(History(streak=streak), jitter=jitter, in_flight=in_flight).pause_s <= ceiling


def test_five_idle_deaths_in_a_minute_are_pardoned_and_the_sixth_is_a_crash_loop() -> None:
    history, fates = History(), []
    for number in range(CRASH_BUDGET + 1):
        after = died(history, now=100.0 + number, in_flight=False)
        history = after.history
        fates.append(after.fate)
    assert fates == [Fate.RESTART] * 5 + [Fate.CRASH_LOOP]


def test_idle_deaths_outside_the_window_are_forgotten() -> None:
    history = History()
    for number in range(50):
        after = died(history, now=100.0 + number * lifecycle.CRASH_WINDOW_S / CRASH_BUDGET, in_flight=False)
        assert after.fate is Fate.RESTART
        history = after.history
    assert len(history.idle_deaths) == CRASH_BUDGET


def test_deaths_with_an_event_to_blame_never_make_a_crash_loop() -> None:
    history = History()
    for _ in range(100):
        after = died(history)
        assert after.fate is Fate.RESTART
        history = after.history
    assert history.idle_deaths == ()


@given(st.lists(st.tuples(st.floats(0, 40), st.booleans(), st.floats(0, 60)), max_size=40))
def test_a_crash_loop_needs_more_than_the_budget_within_the_window(deaths: list[tuple[float, bool, float]]) -> None:
    history, now, idle = History(), 0.0, []
    for gap, in_flight, ran_s in deaths:
        now += gap
        after = died(history, now=now, in_flight=in_flight, ran_s=ran_s)
        history = after.history
        if not in_flight:
            idle.append(now)
        recent = [at for at in idle if now - at < lifecycle.CRASH_WINDOW_S]
        assert (after.fate is Fate.CRASH_LOOP) == (len(recent) > CRASH_BUDGET)


WELL: dict[str, Any] = {
    "ready": True, "age_s": 100.0, "silent_s": 0.1, "stopped": False,
    "in_flight_s": 0.0, "timeout_s": 30.0, "ttl_s": 6.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, Health.WELL),
        ({"ready": False, "age_s": 60.0}, Health.WELL),
        ({"ready": False, "age_s": 60.1}, Health.NEVER_READY),
        ({"ready": False, "age_s": 5.0, "silent_s": 99.0, "stopped": True, "in_flight_s": 99.0}, Health.WELL),
        ({"stopped": True, "silent_s": 6.0}, Health.WELL),
        ({"stopped": True, "silent_s": 6.1}, Health.STOPPED),
        ({"stopped": True, "silent_s": 6.1, "in_flight_s": 31.0}, Health.STOPPED),
        ({"in_flight_s": 30.0}, Health.WELL),
        ({"in_flight_s": 30.1}, Health.TIMED_OUT),
        ({"in_flight_s": 29.0, "silent_s": 99.0}, Health.WELL),
        ({"silent_s": 12.0}, Health.WELL),
        ({"silent_s": 12.1}, Health.STUCK),
    ],
)
def test_health(changed: dict[str, Any], expected: Health) -> None:
    assert health(**(WELL | changed)) is expected
