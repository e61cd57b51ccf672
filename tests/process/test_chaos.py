"""Short composed runs of tests/chaos, judged from their files, and the checker on defects made on purpose. Long runs:
see tests/chaos/soak.py and tests/chaos/mutants.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.chaos import history, judge, moves, mutants, mutation, nemeses, network
from tests.chaos.backend import CANARY
from tests.chaos.run import perform
from tests.chaos.world import Options

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

PARKING = "handlers,kill-slice,kill-keeper,kill-host,stop-slice,lose-replies,rolling"
#: Every family once, both servers, every kind of handler, every order, parked keys.
SHORT: list[dict[str, Any]] = [
    {"seed": 11, "server": "valkey", "handler": "relay", "family": "harmless", "minutes": 0.6},
    {"seed": 12, "server": "redis", "handler": "relay_sync", "family": "losses", "minutes": 0.6, "order": "key"},
    {"seed": 13, "server": "valkey", "handler": "relay_iterator", "family": "clocks", "minutes": 0.35},
    {"seed": 14, "server": "valkey", "handler": "relay_sync", "family": PARKING, "minutes": 0.3, "park": True},
]


def _broken(
    directory: Path, *, server: str, family: str, order: str = "partition", park: bool = False, **options: Any
) -> dict[str, list[str]]:
    if servers.binary(server) is None:
        pytest.skip(f"no {server} server is installed")
    netns = network.possible()
    names, _ = nemeses.chosen(family, netns=netns, server=server, order=order, park=park)
    perform(Options(server=server, nemeses=tuple(names), netns=netns, order=order, park=park, **options), directory)
    of = history.read(directory, CANARY)
    assert len(of.actions) >= 5
    assert len(of.effects) > 3_000
    assert sum(change.kind == "c" for change in of.changes) > 500, "the observer has seen commits"
    return judge.judge(of)


@pytest.mark.parametrize("options", SHORT, ids=lambda options: options["family"].split(",")[0])
def test_a_short_run_breaks_no_promise(tmp_path: Path, options: dict[str, Any]) -> None:
    found = _broken(tmp_path, rate=400.0, **options)
    assert not found, f"judge again: python -m tests.chaos.judge {tmp_path}\n{found}"


def test_twenty_joins_and_leaves_in_ten_seconds_move_no_more_than_they_must(tmp_path: Path) -> None:
    if servers.binary("valkey") is None:
        pytest.skip("no valkey server is installed")
    options = Options(
        seed=31, minutes=0.04, pace_s=1.0, rate=400.0, slices=1, nemeses=("storm",), ttl_ms=6_000, settle_s=120.0
    )
    perform(options, tmp_path)
    of = history.read(tmp_path, CANARY)
    (storm,) = of.actions
    assert sum(host["what"] == "up" for host in of.hosts) == options.hosts + 10
    assert not (found := judge.judge(of)), f"judge again: python -m tests.chaos.judge {tmp_path}\n{found}"
    all_of_them, in_storm = moves.leases(of), moves.leases(of, storm["at"])
    before = {unit: host for unit, host in all_of_them[: len(all_of_them) - len(in_storm)] if host}
    assert len(before) == options.partitions + options.echo_partitions
    assert not moves.needless(in_storm, before, options.hosts)


@pytest.mark.parametrize("name", mutation.MUTANTS)
def test_a_mutant_follows_the_code(name: str) -> None:
    for edit in mutation.MUTANTS[name].edits:
        text = (mutation.ROOT / "runnelctl" / edit.file).read_text()
        changed = mutation.edited(text, edit)
        if edit.file.endswith(".py"):
            compile(changed, edit.file, "exec")


@pytest.mark.parametrize("name", [name for name, mutant in mutation.MUTANTS.items() if mutant.duel])
def test_the_checker_finds_a_defect_and_nothing_where_there_is_none(tmp_path: Path, name: str) -> None:
    assert mutants.tried(name, tmp_path / "mutant", sound=False)
    assert not mutants.tried(name, tmp_path / "sound", sound=True)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", mutation.MUTANTS)
def test_the_checker_finds_every_defect(tmp_path: Path, name: str) -> None:
    assert mutants.tried(name, tmp_path, sound=False).keys() & mutation.MUTANTS[name].points


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 106))
def test_a_longer_run(tmp_path: Path, seed: int) -> None:
    found = _broken(
        tmp_path, seed=seed, server="valkey", minutes=5, hosts=2 + seed % 3,
        family=("harmless", "losses", "clocks")[seed % 3],
    )  # fmt: skip
    assert not found, f"judge again: python -m tests.chaos.judge {tmp_path}\n{found}"
