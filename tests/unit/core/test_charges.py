"""Who pays for a death."""

from __future__ import annotations

import pytest

from runnelctl.core.charges import Cause, InFlight, charged

A, B, C = InFlight(0, 10, False), InFlight(1, 20, False), InFlight(2, 30, False)
SUSPECT = InFlight(3, 40, True)


@pytest.mark.parametrize(
    ("cause", "in_flight", "timed_out", "expected"),
    [
        (Cause.DIED, [], None, {}),
        (Cause.DIED, [A], None, {0: 10}),
        (Cause.DIED, [A, B, C], None, {0: 10, 1: 20, 2: 30}),
        (Cause.DIED, [A, SUSPECT, B], None, {3: 40}),
        (Cause.DIED, [A, B], 0, {0: 10, 1: 20}),
        (Cause.TIMED_OUT, [A, B, C], 1, {1: 20}),
        (Cause.TIMED_OUT, [A, SUSPECT], 0, {0: 10}),
        (Cause.TIMED_OUT, [A, SUSPECT], 3, {3: 40}),
        (Cause.TIMED_OUT, [A], 7, {}),
        (Cause.TIMED_OUT, [A], -1, {}),
        (Cause.TIMED_OUT, [], 0, {}),
        (Cause.PUT_DOWN, [A, SUSPECT], 0, {}),
    ],
)
def test_charged(cause: Cause, in_flight: list[InFlight], timed_out: int | None, expected: dict[int, int]) -> None:
    assert charged(cause, in_flight, timed_out) == expected
