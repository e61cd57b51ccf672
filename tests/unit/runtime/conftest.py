"""A bench that is cleared after each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.bench import Bench


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Call it as `bench(handler, policy=Policy.HALT)`."""
    made: list[Bench] = []

    def make(handler: Any, **settings: Any) -> Bench:
        made.append(Bench(handler, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
