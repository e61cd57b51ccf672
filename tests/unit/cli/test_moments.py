"""Points in a stream: ids, times, durations, and what is none of them."""

from __future__ import annotations

import datetime

import pytest

from runnelctl import errors
from runnelctl.cli import moments

NOW_MS = 1_763_791_234_567


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("10m", (NOW_MS - 600_000, 0)),
        ("-10m", (NOW_MS - 600_000, 0)),
        ("0s", (NOW_MS, 0)),
        ("3650d", (NOW_MS - 3650 * 86_400_000, 0)),
        ("1763791234567-3", (1_763_791_234_567, 3)),
        ("0-0", (0, 0)),
        ("1763791234567", (1_763_791_234_567, 0)),
        ("2025-11-22T06:00:34.567Z", (1_763_791_234_567, 0)),
        ("2025-11-22 07:00:34.567+01:00", (1_763_791_234_567, 0)),
    ],
)
def test_every_form(text: str, first: tuple[int, int]) -> None:
    assert moments.parse(text, "--since").first(NOW_MS) == first


def test_a_time_without_an_offset_is_local() -> None:
    at = datetime.datetime(2026, 1, 31, 12, 0)
    assert moments.parse("2026-01-31T12:00", "--since").first(NOW_MS) == (int(at.timestamp() * 1000), 0)


@pytest.mark.parametrize("text", ["", "now", "10", "2026", "20260131", "1-", "-1", "99999999999999999999-0", "10 m"])
def test_anything_else_is_said_to_be_none(text: str) -> None:
    with pytest.raises(errors.UsageError, match="--since"):
        moments.parse(text, "--since")
