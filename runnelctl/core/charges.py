"""Which event pays when a slice process died with several in flight."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Cause(enum.Enum):
    """How the supervisor saw a slice end."""

    DIED = "died"  # by a signal or by itself
    TIMED_OUT = "timed out"  # put down since a handler ran too long
    PUT_DOWN = "put down"  # stopped, stuck, or over the drain's time: nobody's event is to blame


@dataclass(frozen=True, slots=True)
class InFlight:
    """A handler call: its unit, the ordinals of its first and last event (one but for batches), and how long it had
    been going on when the process was judged or died."""

    unit: int
    first: int
    last: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Charge:
    """An attempt charged to a call. `sure`: it was alone and of one event, so nothing else can have done it."""

    first: int
    last: int
    sure: bool


def charged(cause: Cause, in_flight: Sequence[InFlight], timeout_s: float) -> dict[int, Charge]:
    """unit -> charge. Whoever is charged is tried alone in its slice next time, and only a sure charge can convict, so
    that an innocent event which was merely near is never punished.

    A handler that blocks its loop makes its neighbours look old as well; events that began long after the timeout was
    running can't have used it up.
    """
    if cause is Cause.PUT_DOWN:
        return {}
    accused = in_flight
    if cause is Cause.TIMED_OUT:
        accused = [event for event in in_flight if event.age_s >= timeout_s / 2]
    alone = len(accused) == 1
    return {call.unit: Charge(call.first, call.last, sure=alone and call.first == call.last) for call in accused}
