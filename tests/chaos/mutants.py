"""The checker is checked: every deliberate defect of mutation.py in the run that must bring it out.

    python -m tests.chaos.mutants                    all of them, a quarter of an hour
    python -m tests.chaos.mutants --only no-fence
    python -m tests.chaos.mutants --sound            the same runs without the defects: nothing may be found

Prints a table; exits 1 if a defect was not found, or, with --sound, if anything was.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.chaos import history, judge, mutation, network, run
from tests.chaos.backend import CANARY, ROOT
from tests.chaos.mutation import MUTANTS
from tests.chaos.world import Options

_SETTLE_S = 15.0


def tried(name: str, directory: Path, *, sound: bool) -> dict[str, list[str]]:
    """What the checker says of a mutant (or, if `sound`, of the same run without its defect)."""
    mutant = MUTANTS[name]
    directory.mkdir(parents=True, exist_ok=True)
    if mutant.duel:
        package = ROOT if sound else mutation.made(name, directory / "mutant")
        subprocess.run(
            [sys.executable, "-m", "tests.chaos.duels", mutant.duel, str(directory)], cwd=directory, check=True,
            timeout=60,
            env=os.environ | {"PYTHONPATH": f"{package}:{ROOT}"},
        )  # fmt: skip
        found = history.read(directory, CANARY)
        return {point: said for point, said in judge.judge(found).items() if point == "fence"}
    options: dict[str, Any] = {
        "netns": network.possible(), "settle_s": _SETTLE_S, "mutant": "" if sound else name, **mutant.run
    }  # fmt: skip
    run.perform(Options(**options), directory)
    return judge.judge(history.read(directory, CANARY))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help=f"some of {','.join(MUTANTS)}")
    parser.add_argument("--sound", action="store_true", help="without the defects")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else list(MUTANTS)
    rows, wrong = [], 0
    for name in names:
        directory = Path(tempfile.mkdtemp(prefix=f"mutant-{name}-"))
        began = time.monotonic()
        found = tried(name, directory, sound=given.sound)
        seconds = time.monotonic() - began
        good = not found if given.sound else bool(found.keys() & MUTANTS[name].points)
        wrong += not good
        first = next((said[0] for point, said in found.items() if point in MUTANTS[name].points), "")
        rows.append(
            f"{name:18}{MUTANTS[name].what:62}{'' if good else 'WRONG: '}{','.join(found) or 'nothing found':32}"
            f"{seconds:6.0f} s  {first[:110]}"
        )
        print(rows[-1], flush=True)
        if good:
            shutil.rmtree(directory, ignore_errors=True)
        else:
            print(f"  see {directory}", flush=True)
    print(f"\n{len(names) - wrong} of {len(names)} {'held' if given.sound else 'found'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
