"""How long to wait before the next attempt to reach a server that is away. Pure: the jitter is an argument."""

from __future__ import annotations

SOON = 15  # attempts, about three seconds: who was away for a moment is found within SOON_LONGEST_S
SOON_LONGEST_S = 0.4
LONGEST_S = 1.0


def pause_s(attempt: int, jitter: float, first_s: float = 0.05, longest_s: float = LONGEST_S) -> float:
    """The pause after the `attempt`-th failure in a row (from 1), `jitter` from 0 to 1.

    It doubles from `first_s` to `longest_s`, and all of it is jitter, so that a thousand processes don't come back in
    step.
    """
    longest = min(longest_s, SOON_LONGEST_S) if attempt <= SOON else longest_s
    return min(longest, first_s * 2.0 ** min(attempt, 10)) * jitter
