"""What `runnelctl init` writes passes `pytest` and `runnelctl test`; the fixture with a real server works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.ups import command, environment

pytestmark = pytest.mark.process

UP = """\

def test_all_of_it(runnelctl_up):
    up = runnelctl_up("topology.yaml")
    up.send("orders", {"user": "ada", "cents": 300}, {"user": "ada", "cents": 20})
    up.wait_passed()
    assert up.state("billing", "ada") == {"cents": 320}
    assert len(up.records("orders")) == 2
"""


def test_a_new_project_s_tests_pass(tmp_path: Path) -> None:
    assert command(tmp_path, "init").returncode == 0
    tested = command(tmp_path, "test")
    assert (tested.returncode, tested.stdout.splitlines()[-1]) == (0, "2 cases, 0 failed"), tested.stdout
    with (tmp_path / "test_handlers.py").open("a") as file:
        file.write(UP)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "runnelctl.testing.plugin"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout


def test_the_plugin_imports_nothing_before_it_is_used() -> None:
    code = (
        "import runnelctl.testing.plugin, sys; print(*[m for m in sys.modules if m.startswith(('runnelctl', 'redis'))])"
    )
    shown = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["runnelctl", "runnelctl.testing", "runnelctl.testing.plugin"]
