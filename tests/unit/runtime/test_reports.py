"""The rate that a host reports."""

from __future__ import annotations

from runnelctl.runtime.reports import Pace


def test_a_rate_needs_a_window() -> None:
    pace = Pace()
    pace.step({0: 500, 1: 0}, 100.0)  # from before this keeper
    assert pace.rate(0) == 0.0
    pace.step({0: 600, 1: 0}, 100.5)
    assert pace.rate(0) == 0.0
    pace.step({0: 700, 1: 5}, 102.0)
    assert (pace.rate(0), pace.rate(1), pace.rate(2)) == (100.0, 2.5, 0.0)


def test_it_stays_until_the_next_window_is_over_and_falls_to_nothing_when_nothing_happens() -> None:
    pace = Pace()
    for now, count in ((10.0, 0), (11.0, 10), (11.2, 20)):
        pace.step({0: count}, now)
        assert pace.rate(0) == (10.0 if count else 0.0)
    pace.step({0: 20}, 12.0)
    assert pace.rate(0) == 10.0
    pace.step({0: 20}, 13.0)
    assert pace.rate(0) == 0.0
