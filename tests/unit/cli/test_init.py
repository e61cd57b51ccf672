"""A new project."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from runnelctl import records, topology
from runnelctl.cli import init
from tests.unit.cli.conftest import Outcome


def test_a_project_that_passes_its_own_check(run: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = run("init", "my shop")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [f"wrote {Path('my shop') / file}" for file in init.FILES]
    assert "cd my shop && runnelctl up" in outcome.err
    project = tmp_path / "my shop"
    checked = run("check", str(project / "topology.yaml"))
    assert (checked.code, checked.err) == (0, "")
    loaded = topology.load(project / "topology.yaml")
    assert loaded.name == "my-shop"
    codec = records.codec_for(loaded.streams["orders"])
    for line in (project / "orders.jsonl").read_text().splitlines():
        assert codec.encode(json.loads(line)).key


def test_nothing_is_written_over(run: Callable[..., Outcome], write: Callable[[str, str], Path]) -> None:
    mine = write("handlers.py", "mine\n")
    outcome = run("init")
    assert outcome.code == 2
    assert "handlers.py already: nothing was written" in outcome.err
    assert mine.read_text() == "mine\n"
    assert [path.name for path in mine.parent.iterdir()] == ["handlers.py"]


def test_a_name_that_cannot_be_one(run: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = run("init", "there", "--name", "a/b")
    assert outcome.code == 2
    assert "'a/b' cannot be a topology's name" in outcome.err
    assert not (tmp_path / "there").exists()


def test_a_directory_whose_name_says_nothing(run: Callable[..., Outcome], tmp_path: Path) -> None:
    assert run("init", "___").code == 0
    assert topology.load(tmp_path / "___" / "topology.yaml").name == "orders"
