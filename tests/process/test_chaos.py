"""Short composed runs of tests/chaos, judged from their files, and the checker on defects made on purpose. Long runs:
see tests/chaos/soak.py and tests/chaos/mutants.py."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.chaos import history, judge, mutants, mutation, nemeses, network
from tests.chaos.backend import CANARY
from tests.chaos.run import perform
from tests.chaos.world import Options

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

#: Every family once, both servers, both kinds of handler.
SHORT: list[dict[str, Any]] = [
    {"seed": 11, "server": "valkey", "handler": "relay", "family": "harmless", "minutes": 0.6},
    {"seed": 12, "server": "redis", "handler": "relay_sync", "family": "losses", "minutes": 0.6},
    {"seed": 13, "server": "valkey", "handler": "relay", "family": "clocks", "minutes": 0.35},
]


def _broken(directory: Path, *, server: str, family: str, **options: Any) -> dict[str, list[str]]:
    if servers.binary(server) is None:
        pytest.skip(f"no {server} server is installed")
    netns = network.possible()
    names, _ = nemeses.chosen(family, netns=netns, server=server)
    perform(Options(server=server, nemeses=tuple(names), netns=netns, **options), directory)
    of = history.read(directory, CANARY)
    assert len(of.actions) >= 5
    assert len(of.effects) > 3_000
    assert sum(change.kind == "c" for change in of.changes) > 500, "the observer has seen commits"
    return judge.judge(of)


@pytest.mark.parametrize("options", SHORT, ids=lambda options: options["family"])
def test_a_short_run_breaks_no_promise(tmp_path: Path, options: dict[str, Any]) -> None:
    found = _broken(tmp_path, rate=400.0, **options)
    assert not found, f"judge again: python -m tests.chaos.judge {tmp_path}\n{found}"


def test_twenty_joins_and_leaves_in_ten_seconds_move_no_more_than_they_must(tmp_path: Path) -> None:
    if servers.binary("valkey") is None:
        pytest.skip("no valkey server is installed")
    options = Options(seed=31, minutes=0.04, pace_s=1.0, rate=400.0, slices=1, nemeses=("storm",), netns=False)
    perform(options, tmp_path)
    of = history.read(tmp_path, CANARY)
    assert [action["nemesis"] for action in of.actions] == ["storm"]
    assert not (found := judge.judge(of)), f"judge again: python -m tests.chaos.judge {tmp_path}\n{found}"
    pids = {f":{host['pid']}:": host["host"] for host in of.hosts if host["what"] == "up"}
    assert len(pids) == 2 + 10
    leases = [
        (change.unit, next(name for pid, name in pids.items() if pid in change.owner))
        for change in of.changes
        if change.kind == "a"
    ]
    units = options.partitions + options.echo_partitions
    settled = max(at for at, (_, name) in enumerate(leases) if name.startswith("s"))
    print(len(leases), Counter(name for _, name in leases), settled, leases, units)


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
