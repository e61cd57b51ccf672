"""Fixtures of tests that start real hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.ups import Up


@pytest.fixture
def start_up() -> Iterator[Callable[..., Up]]:
    """Call it as `start_up(directory, "--drain", env={"REDIS_URL": url})`; every host is gone after the test."""
    started: list[Up] = []

    def start(directory: Path, *arguments: str, env: dict[str, str] | None = None) -> Up:
        up = Up(directory, *arguments, env=env)
        started.append(up)
        return up

    yield start
    for up in started:
        up.close()
