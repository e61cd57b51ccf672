"""What is drained, blocked again and abandoned, from positions alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runnelctl.runtime import following
from runnelctl.runtime.following import Goal, Outcome, judge
from runnelctl.runtime.presence import Pulse
from runnelctl.store.backlog import End, Look, Position

A, B = ("bill", 0), ("bill", 1)
GOAL = Goal({A: Position((2, 0), 2, True), B: Position((0, 0), 0, True)}, {A: End((5, 0), 5), B: End((0, 0), 0)})
ENTRY = b'9|1|{"capacity": {"bill": 2}}'


def seen(a: Position, *, halted: bool = False, members: dict[str, bytes] | None = None) -> Look:
    return Look(
        {A: a, B: Position((0, 0), 0, False)}, frozenset({"bill"} if halted else ()), members or {"web:1:x": ENTRY}
    )


def test_the_goal_counts_what_there_was() -> None:
    assert GOAL.total == 3
    assert GOAL.done({A: Position((4, 0), 4, False)}) == 2
    assert GOAL.done({A: Position((9, 0), 9, False)}) == 3


def test_under_way_drained_and_blocked() -> None:
    assert judge(GOAL, seen(Position((4, 0), 4, False))) == Outcome({B}, set())
    assert judge(GOAL, seen(Position((5, 0), 5, False))) == Outcome({A, B}, set())
    assert judge(GOAL, seen(Position((4, 0), 4, True))) == Outcome({B}, {A})
    assert judge(GOAL, seen(Position((4, 0), 4, False), halted=True)) == Outcome({B}, {A})
    assert judge(GOAL, seen(Position((5, 0), 5, True))) == Outcome({A, B}, set()), "blocked behind what was asked for"


def test_follow_ends_when_all_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAUSE_S", 0)
    looks: Iterator[Look] = iter([seen(Position((3, 0), 3, False)), seen(Position((4, 0), 4, True))])
    shown: list[tuple[int, int]] = []
    outcome = following.follow(GOAL, lambda: next(looks), 2.0, lambda done, total: shown.append((done, total)))
    assert (outcome, shown) == (Outcome({B}, {A}), [(1, 3), (2, 3)])


def test_a_processor_is_missed_after_a_ttl_without_anybody() -> None:
    pulse = Pulse(2.0)
    assert pulse.missing({"web:1:x": ENTRY}, {"bill"}, 0.0) == set()
    assert pulse.missing({}, {"bill"}, 0.9) == set(), "it may be restarting"
    assert pulse.missing({}, {"bill"}, 1.9) == set()
    assert pulse.missing({"web:2:y": ENTRY}, {"bill"}, 2.5) == set()
    assert pulse.missing({}, {"bill"}, 4.5) == {"bill"}


def test_a_member_that_stands_still_does_not_count() -> None:
    pulse = Pulse(2.0)
    for tenth in range(39):
        assert pulse.missing({"web:1:x": ENTRY}, {"bill"}, tenth / 10) == set()
    assert pulse.missing({"web:1:x": ENTRY}, {"bill"}, 4.0) == {"bill"}
