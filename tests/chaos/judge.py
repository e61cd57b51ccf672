"""The verdict on a run, from its files alone: python -m tests.chaos.judge DIR"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos import history, points
from tests.chaos.history import History
from tests.chaos.world import CANARY

_SHOWN = 20


def judge(of: History) -> dict[str, list[str]]:
    """point -> what broke it; a point that held is not there."""
    found = {name: list(point(of)) for name, point in points.POINTS.items()}
    return {name: sentences for name, sentences in found.items() if sentences}


def figures(of: History) -> dict[str, Any]:
    """What a run was like."""
    distinct = {(effect.unit, effect.id) for effect in of.effects}
    return {
        "sent": len(of.sent),
        "taken": sum(len(entries) for stream in of.taken.values() for entries in stream.values()),
        "effects": len(of.effects),
        "repeats": len(of.effects) - len(distinct),
        "dead_letters": len(of.dead),
        "unknown_sends": sum(sent.doubtful for sent in of.sent.values()),
        "epochs": len({(effect.unit, effect.epoch) for effect in of.effects}),
        "injections": len(of.actions),
        "by_nemesis": dict(sorted(Counter(action["nemesis"] for action in of.actions).items())),
        "recovery_ms": {name: _spread(times) for name, times in sorted(points.recovered(of).items())},
    }


def _spread(times: list[int]) -> dict[str, float]:
    ordered = sorted(times)
    picked = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "max": len(ordered) - 1}
    return {"n": len(ordered)} | {name: round(ordered[at] / 1e6, 1) for name, at in picked.items()}


def report(directory: Path) -> int:
    """Print and write the verdict; 1 if anything was broken."""
    of = history.read(directory, CANARY)
    verdict = {"violations": judge(of), **figures(of), "directory": str(directory)}
    (directory / "verdict.json").write_text(json.dumps(verdict, indent=1))
    shown = {name: sentences[:_SHOWN] for name, sentences in verdict["violations"].items()}
    print(json.dumps({**verdict, "violations": shown}, indent=1))
    return 1 if verdict["violations"] else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    sys.exit(report(parser.parse_args().directory))
