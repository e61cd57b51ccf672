"""Watching other hosts work off what was replayed, until it is done, blocked again, or nobody works any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runnelctl.runtime.presence import Pulse
from runnelctl.store.backlog import End, Look, Place, Position

PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Goal:
    """What there was to do at the start: each partition's position and end, and how many parked events are replayed."""

    start: Mapping[Place, Position]
    ends: Mapping[Place, End]
    replayed: Mapping[Place, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Events to pass or to replay."""
        ahead = sum(max(0, self.ends[place].added - at.passed) for place, at in self.start.items())
        return ahead + sum(self.replayed.values())

    def done(self, positions: Mapping[Place, Position]) -> int:
        """How many of them are passed or replayed."""
        passed = sum(
            max(0, min(at.passed, self.ends[place].added) - self.start[place].passed) for place, at in positions.items()
        )
        return passed + sum(self._replayed(place, at) for place, at in positions.items())

    def _replayed(self, place: Place, at: Position) -> int:
        wanted = self.replayed.get(place, 0)
        return wanted if not at.asked else min(wanted, max(0, self.start[place].parked - at.parked))

    def reached(self, positions: Mapping[Place, Position]) -> set[Place]:
        """The partitions whose cursor is at the end that there was, or beyond, and where nothing is being replayed."""
        return {place for place, at in positions.items() if at.cursor >= self.ends[place].last and not at.asked}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it ended: what is drained, what is blocked again, what nobody runs any more."""

    drained: set[Place] = field(default_factory=set)
    blocked: set[Place] = field(default_factory=set)
    abandoned: set[Place] = field(default_factory=set)


def judge(goal: Goal, seen: Look) -> Outcome:
    """The state of things at one look, nobody's absence considered. What is in neither set is under way."""
    drained = goal.reached(seen.positions)
    blocked = {
        place
        for place, at in seen.positions.items()
        if place not in drained and (at.blocked or place[0] in seen.halted)
    }
    return Outcome(drained, blocked)


def follow(goal: Goal, read: Callable[[], Look], ttl_s: float, show: Callable[[int, int], None]) -> Outcome:
    """Look until every partition is drained, blocked or abandoned; `show` gets what is done and the total at each
    look."""
    pulse = Pulse(ttl_s)
    while True:
        seen = read()
        found = judge(goal, seen)
        show(goal.done(seen.positions), goal.total)
        under_way = seen.positions.keys() - found.drained - found.blocked
        gone = pulse.missing(seen.members, {processor for processor, _ in under_way}, time.monotonic())
        abandoned = {place for place in under_way if place[0] in gone}
        if under_way == abandoned:
            return Outcome(found.drained, found.blocked, abandoned)
        time.sleep(PAUSE_S)
