"""The log of a detached host starts anew when it is large enough. In a child, since our own outputs are replaced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import os, selectors, sys
from pathlib import Path
from runnelctl.runtime import output
output.LOG_LIMIT = 1000
log = Path(sys.argv[1])
out = output.Output(selectors.DefaultSelector(), 9, color=False, log=log)
for number in range(100):
    out.say(f"line {number:03}")
out.flush()
"""


def run(log: Path, target: Path) -> None:
    with target.open("ab") as opened:
        subprocess.run([sys.executable, "-c", _PROGRAM, str(log)], stdout=opened, stderr=opened, check=True, timeout=60)


def test_it_is_rotated_and_one_old_one_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    run(log, log)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["up.log", "up.log.1"]
    old, new = (tmp_path / "up.log.1").read_bytes(), log.read_bytes()
    assert 1000 <= len(old) < 1100
    numbers = [int(line.rpartition(b" ")[2]) for line in (old + new).splitlines()]
    assert numbers == list(range(numbers[0], 100)), "no line is lost at the seam, and the last one is there"


def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    run(tmp_path / "up.log", target)
    assert [file.name for file in tmp_path.iterdir()] == ["elsewhere"]
    assert len(target.read_text().splitlines()) == 100
