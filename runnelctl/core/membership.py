"""Which hosts are alive, judged without anybody's wall clock.

A host beats by changing its entry in the members hash. Another host that saw the *same* entry for a whole ttl of its
own monotonic clock, while Redis kept answering it, may expel it (KCL's lease counters work so). Whoever could not
reach Redis in between starts its watch anew: an outage must not look like everybody's death.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

_AFTER_S = 0.001  # so that who looks then finds it over, whatever the arithmetic of clocks


@dataclass(frozen=True, slots=True)
class Sighting:
    """An entry as seen, and the moment from which it has been seen unchanged."""

    entry: bytes
    since: float


@dataclass(frozen=True, slots=True)
class Watch:
    """What one host has seen of all members, and when it last got an answer."""

    seen: Mapping[str, Sighting]
    answered_at: float


def look(watch: Watch | None, members: Mapping[str, bytes], now: float, ttl_s: float) -> Watch:
    """The watch after an answer from Redis at `now` that listed `members` (member -> entry)."""
    broken = watch is None or now - watch.answered_at > ttl_s / 2
    seen: dict[str, Sighting] = {}
    for member, entry in members.items():
        before = None if broken or watch is None else watch.seen.get(member)
        seen[member] = before if before is not None and before.entry == entry else Sighting(entry, now)
    return Watch(seen, now)


def expired(watch: Watch, me: str, now: float, ttl_s: float) -> list[tuple[str, bytes]]:
    """The members to expel, each with the very entry that stood still (the compare-and-set of the expulsion)."""
    return [
        (member, sighting.entry)
        for member, sighting in sorted(watch.seen.items())
        if member != me and now - sighting.since >= ttl_s
    ]


def next_look(watch: Watch, me: str, now: float, ttl_s: float) -> float:
    """When the first of those that stand still and are not expired yet will be, if it does not move; inf for none."""
    due = (sighting.since + ttl_s + _AFTER_S for member, sighting in watch.seen.items() if member != me)
    return min((at for at in due if at > now), default=math.inf)
