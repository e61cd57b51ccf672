"""Fixtures for pytest, which knows them as soon as runnelctl is installed:

    def test_billing(runnelctl_harness):            in memory, on a virtual clock
        harness = runnelctl_harness("topology.yaml")

    def test_all_of_it(runnelctl_up):               real processes and a real embedded server of the test's own
        up = runnelctl_up("topology.yaml")

Imports nothing of runnelctl before a fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from runnelctl.testing.embedded import Running
    from runnelctl.testing.harness import Harness


@pytest.fixture
def runnelctl_harness() -> Iterator[Callable[..., Harness]]:
    """Call it with a topology file, or with a handler and what `Harness.of` takes; closed after the test."""
    from runnelctl.testing.clock import Stuck
    from runnelctl.testing.harness import Harness

    made: list[Harness] = []

    def make(what: Any = "topology.yaml", **options: Any) -> Harness:
        harness = Harness(what, **options) if isinstance(what, str | Path) else Harness.of(what, **options)
        made.append(harness)
        return harness

    yield make
    for harness in made:
        harness.__exit__(Stuck if harness.is_stuck else None, None, None)


@pytest.fixture
def runnelctl_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Running]]:
    """Call it with a topology file: it is up, on an embedded server in the test's own directory; down after the test.
    `runnelctl.connect` of the same file reaches that server in the test, too."""
    from runnelctl.testing.embedded import Running

    made: list[Running] = []
    monkeypatch.setenv("RUNNELCTL_DIR", str(tmp_path))
    monkeypatch.setenv("RUNNELCTL_REDIS", "embedded")

    def start(file: str | Path = "topology.yaml", *arguments: str) -> Running:
        made.append(Running(Path(file).absolute(), tmp_path))
        return made[-1].start(*arguments)

    yield start
    for running in made:
        running.stop()
