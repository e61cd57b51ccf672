"""The demo, from the outside: what is sent, drained and reported is what the recording says it must be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process import ups

pytestmark = pytest.mark.process


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    for folder in ("topologies", "schemas"):
        shutil.copytree(ups.REPOSITORY / folder, tmp_path / folder)
    return tmp_path


def test_a_week_of_flights_adds_up(demo: Path) -> None:
    file = "topologies/flights.yaml"
    week = "topologies/flights/week.jsonl"
    sent = ups.command(
        demo, "send", "-t", file, "flights", "-f", week, "--on-invalid", "skip", "--rejected", "rejected.jsonl"
    )
    assert sent.returncode == 0, sent.stderr
    drained = ups.command(demo, "up", file, "--drain")
    assert drained.returncode == 0, drained.stderr
    report = subprocess.run(
        [sys.executable, "topologies/flights/report.py", "--check", "--json"],
        cwd=demo, env=ups.environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert report.returncode == 0, report.stderr
    expected = json.loads((demo / "topologies/flights/expected.json").read_text())
    assert json.loads(report.stdout)["checksum"] == expected["checksum"]
