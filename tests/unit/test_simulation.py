"""Schedules of the simulation, and proof that it can fail. `python -m tests.simulation` runs as many as you like."""

from __future__ import annotations

import logging

import pytest

from tests.simulation.mutants import DECISIONS, STORES, mutated
from tests.simulation.truth import Violation
from tests.simulation.world import World

SCHEDULES = 400
#: In how many schedules a missing safeguard must be noticed; the first that does ends the search.
SEARCHED = 3_000


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
    first = SEEDS.get(name, 0)
    with mutated(name) as store:
        for seed in (first, *range(SEARCHED)):
            try:
                World(seed, store).play()
            except (Violation, KeyError):
                return
    pytest.fail(f"{SEARCHED} schedules, and none noticed")


#: Where each was noticed last; after a change of the simulation the search begins at 0.
SEEDS = {
    "commit checks neither epoch nor nonce": 538,
    "commit checks the epoch only, which is a counter": 23,
    "epochs are counted": 23,
    "commit checks neither seq nor cursor": 31,
    "commit does not look for the new cursor's entry": 653,
    "commit does not notice what was trimmed": 275,
    "acquire takes from anybody": 55,
    "a late beat rejoins": 862,
    "expelled after a quarter of the ttl": 862,
    "leases are taken from the living": 23,
    "a partition without an owner is looked at once": 113,
    "leases that the board does not know are kept": 536,
    "every charge is sure, and suspects run beside others": 570,
    "the deadline is a ttl too late": 1866,
    "lanes do not look at the deadline": 1866,
    "no new read session after a broken connection": 68,
}
