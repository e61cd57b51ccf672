"""Who pays for a death."""

from __future__ import annotations

import pytest

from runnelctl.core.charges import Cause, Charge, InFlight, charged

OLD, HALF, YOUNG = InFlight(0, 10, 10, 30.5), InFlight(1, 20, 20, 15.0), InFlight(2, 30, 30, 14.9)
BATCH = InFlight(3, 40, 44, 31.0)


@pytest.mark.parametrize(
    ("cause", "in_flight", "expected"),
    [
        (Cause.DIED, [], {}),
        (Cause.DIED, [YOUNG], {2: Charge(30, 30, sure=True)}),
        (Cause.DIED, [OLD, YOUNG], {0: Charge(10, 10, sure=False), 2: Charge(30, 30, sure=False)}),
        (Cause.DIED, [BATCH], {3: Charge(40, 44, sure=False)}),
        (Cause.DIED, [BATCH, YOUNG], {3: Charge(40, 44, sure=False), 2: Charge(30, 30, sure=False)}),
        (Cause.TIMED_OUT, [OLD], {0: Charge(10, 10, sure=True)}),
        (Cause.TIMED_OUT, [OLD, YOUNG], {0: Charge(10, 10, sure=True)}),
        (Cause.TIMED_OUT, [OLD, HALF, YOUNG], {0: Charge(10, 10, sure=False), 1: Charge(20, 20, sure=False)}),
        (Cause.TIMED_OUT, [BATCH, YOUNG], {3: Charge(40, 44, sure=False)}),
        (Cause.TIMED_OUT, [YOUNG], {}),
        (Cause.TIMED_OUT, [], {}),
        (Cause.PUT_DOWN, [OLD, BATCH], {}),
    ],
)
def test_charged(cause: Cause, in_flight: list[InFlight], expected: dict[int, Charge]) -> None:
    assert charged(cause, in_flight, timeout_s=30.0) == expected
