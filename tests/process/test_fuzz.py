"""A little of `python -m tests.fuzz payloads`: a real `up` passes over whatever is in its streams."""

from __future__ import annotations

import pytest

from tests.fuzz import payloads

pytestmark = pytest.mark.process


def test_up_lives_through_junk_and_passes_all_of_it() -> None:
    assert payloads.through_up(2_000, seed=3)["passed"] == 2_000
