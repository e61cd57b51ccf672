"""Pauses between attempts to reach a server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runnelctl.core import backoff


def test_a_server_that_was_away_for_a_moment_is_found_soon() -> None:
    """However long each pause is drawn: whoever tries at the longest still tries every 0.4 s for seconds."""
    assert [backoff.pause_s(attempt, 1.0) for attempt in range(1, 6)] == [0.1, 0.2, 0.4, 0.4, 0.4]
    assert sum(backoff.pause_s(attempt, 0.5) for attempt in range(1, backoff.SOON + 1)) > 2.0
    assert backoff.pause_s(backoff.SOON + 1, 1.0) == backoff.LONGEST_S


@given(st.integers(1, 1_000_000), st.floats(0, 1))
def test_all_of_a_pause_is_jitter_and_none_is_too_long(attempt: int, jitter: float) -> None:
    assert backoff.pause_s(attempt, jitter) == backoff.pause_s(attempt, 1.0) * jitter
    assert backoff.pause_s(attempt, 1.0) <= backoff.LONGEST_S
