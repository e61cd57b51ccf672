"""A short composed run of tests/chaos, judged from its files. Long ones: see tests/chaos/__main__.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import servers
from tests.chaos import history, judge, nemeses, network
from tests.chaos.run import perform
from tests.chaos.world import CANARY, Options

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]


def _broken(directory: Path, **options: object) -> dict[str, list[str]]:
    perform(Options(**options), directory)  # type: ignore[arg-type]
    of = history.read(directory, CANARY)
    assert len(of.actions) >= 10
    assert len(of.effects) > 5_000
    return judge.judge(of)


@pytest.mark.parametrize(("server", "handler", "seed"), [("valkey", "relay", 11), ("redis", "relay_sync", 12)])
def test_a_short_run_of_everything_breaks_no_promise(tmp_path: Path, server: str, handler: str, seed: int) -> None:
    if servers.binary(server) is None:
        pytest.skip(f"no {server} server is installed")
    netns = network.possible()
    names = tuple(name for name in nemeses.ALL if netns or name not in nemeses.NEED_NETWORK)
    found = _broken(
        tmp_path, seed=seed, minutes=0.75, server=server, handler=handler, nemeses=names, netns=netns, rate=400.0
    )
    assert not found, f"judge again: python -m tests.chaos.judge {tmp_path}\n{found}"


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 106))
def test_a_longer_run_of_everything(tmp_path: Path, seed: int) -> None:
    netns = network.possible()
    names = tuple(name for name in nemeses.ALL if netns or name not in nemeses.NEED_NETWORK)
    found = _broken(
        tmp_path, seed=seed, minutes=5, hosts=2 + seed % 3, handler=("relay", "relay_sync")[seed % 2], nemeses=names,
        netns=netns,
    )  # fmt: skip
    assert not found, f"judge again: python -m tests.chaos.judge {tmp_path}\n{found}"
