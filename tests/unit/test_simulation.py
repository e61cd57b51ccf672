"""Schedules of the simulation, and proof that it can fail. `python -m tests.simulation` runs as many as you like."""

from __future__ import annotations

import json
import logging

import pytest

from tests.simulation.mutants import DECISIONS, SEEDS, STORES, search
from tests.simulation.truth import Violation
from tests.simulation.world import World

SCHEDULES = 400
#: In how many schedules a missing safeguard must be noticed. `python -m tests.simulation.mutants --write` looks for the
#: seeds anew, so that the tests find them at once.
SEARCHED = 10_000


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)  # senders say what a failover took


def test_every_schedule_keeps_the_promises() -> None:
    for seed in range(SCHEDULES):
        try:
            World(seed).play()
        except Violation as error:
            pytest.fail(f"{error}\npython -m tests.simulation --seed {seed} shows it")


def test_a_seed_replays_exactly() -> None:
    traces = []
    for _ in range(2):
        world = World(41)
        world.trace = []
        world.play()
        traces.append(world.trace)
    assert traces[0] == traces[1]
    assert len(traces[0]) > 10


@pytest.mark.parametrize("name", [*STORES, *DECISIONS])
def test_the_simulation_notices_when(name: str) -> None:
    """Where it was noticed last, and after a change of the simulation from the first schedule on."""
    known = json.loads(SEEDS.read_text()).get(name, 0)
    if search(name, known, 1) is None and search(name, 0, SEARCHED) is None:
        pytest.fail(f"{SEARCHED} schedules, and none noticed")
