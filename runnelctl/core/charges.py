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
    """An event that was in a handler: its unit, its ordinal, and whether it was being tried alone under suspicion."""

    unit: int
    ordinal: int
    suspect: bool


def charged(cause: Cause, in_flight: Sequence[InFlight], timed_out_unit: int | None = None) -> dict[int, int]:
    """unit -> ordinal of the events that are charged an attempt.

    After a timeout the culprit is known. After a death it is the suspect, if one was being tried; else any of them may
    have done it, and all are tried alone next time, so that an innocent one is charged once at most.
    """
    if cause is Cause.PUT_DOWN:
        return {}
    if cause is Cause.TIMED_OUT:
        return {event.unit: event.ordinal for event in in_flight if event.unit == timed_out_unit}
    suspects = [event for event in in_flight if event.suspect]
    return {event.unit: event.ordinal for event in suspects or in_flight}
