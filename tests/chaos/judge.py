"""The verdict on a run, from its files alone: python -m tests.chaos.judge DIR [--json FILE]"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.chaos import history, points
from tests.chaos.backend import CANARY
from tests.chaos.history import History

_SHOWN = 20
#: What a point of the code is called in the report; the numbers are those of the promises' list there.
TITLES = {
    "loss": "1 nothing lost, nothing made up",
    "order": "2 order per key",
    "repeats": "3 repeats outside Redis, bounded",
    "inside": "3 exactly once inside Redis",
    "epochs": "4 one process per epoch, by effects",
    "fence": "4 one nonce per epoch, cursor never back, by Redis",
    "counts": "5 cursors and counts are true",
    "overlap": "6 no two owners at a time",
    "recovery": "7 recovery",
    "leftovers": "8 nobody left over, sizes flat",
    "secrets": "9 no secret in any output",
}


def judge(of: History) -> dict[str, list[str]]:
    """point -> what broke it; a point that held is not there."""
    found = {name: list(point(of)) for name, point in points.POINTS.items()}
    return {name: sentences for name, sentences in found.items() if sentences}


def figures(of: History) -> dict[str, Any]:
    """What a run was like."""
    distinct = {(effect.unit, effect.id) for effect in of.effects}
    acked = sum(len(sent.acked) for sent in of.sent.values())
    recovered = {name: sorted(times) for name, times in sorted(points.recovered(of).items())}
    return {
        "sent": len(of.sent),
        "acknowledged": acked,
        "taken": sum(len(entries) for stream in of.taken.values() for entries in stream.values()),
        "effects": len(of.effects),
        "distinct_effects": len(distinct),
        "repeats": len(of.effects) - len(distinct),
        "dead_letters": len(of.dead),
        "unknown_sends": sum(sent.doubtful for sent in of.sent.values()),
        "epochs": len({(effect.unit, effect.epoch) for effect in of.effects}),
        "commits": sum(change.kind == "c" for change in of.changes),
        "leases": sum(change.kind == "a" for change in of.changes),
        "cursors": len(of.own),
        "states": len(of.states),
        "hosts_ended": sum(host["what"] == "end" for host in of.hosts),
        "samples": len(of.samples),
        "files": of.files,
        "injections": len(of.actions),
        "by_nemesis": dict(sorted(Counter(action["nemesis"] for action in of.actions).items())),
        "cuts": len(of.cuts),
        "forgotten_by_redis": sum(
            of.forgotten(at) for sent in of.sent.values() for at in sent.acked_at
        ) if of.cuts else 0,
        "recovery_ns": recovered,
        "recovery_ms": {name: spread(times) for name, times in recovered.items()},
    }  # fmt: skip


def spread(times: list[int]) -> dict[str, float]:
    """How many, and quantiles in ms, of times in ns."""
    ordered = sorted(times)
    picked = {"p50": len(ordered) // 2, "p99": len(ordered) * 99 // 100, "max": len(ordered) - 1}
    return {"n": len(ordered)} | {name: round(ordered[at] / 1e6, 1) for name, at in picked.items()}


def checked(of: dict[str, Any]) -> dict[str, str]:
    """What each point had to look at, in words; from figures, or from sums of them."""
    return {
        "loss": f"{of['acknowledged']:,} acknowledged, {of['taken']:,} in Redis, {of['dead_letters']:,} dead letters",
        "order": f"{of['distinct_effects']:,} first effects",
        "repeats": f"{of['repeats']:,} repeats in {of['epochs']:,} epochs",
        "inside": f"{of['states']:,} states, {of['taken']:,} entries",
        "epochs": f"{of['effects']:,} effects under {of['epochs']:,} epochs",
        "fence": f"{of['leases']:,} leases, {of['commits']:,} commits",
        "counts": f"{of['cursors']:,} cursors",
        "overlap": f"{of['effects']:,} calls",
        "recovery": f"{sum(row['n'] for row in of['recovery_ms'].values()):,} times a partition had to recover",
        "leftovers": f"{of['hosts_ended']:,} hosts ended, {of['samples']:,} samples of size",
        "secrets": f"{of['files']:,} files, all arguments",
    }


def table(of: dict[str, Any]) -> str:
    """The verdict for a reader."""
    broken, seen = of["violations"], checked(of)
    lines = [f"{'':9}{'point':52}looked at"]
    for name, title in TITLES.items():
        count = len(broken.get(name, ()))
        lines.append(f"{f'BROKEN {count}' if count else 'held':9}{title:52}{seen[name]}")
    lines += ["", f"{of['injections']:,} injections: " + ", ".join(f"{n} {c:,}" for n, c in of["by_nemesis"].items())]
    lines += ["", f"{'next effect after':20}{'n':>7}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}"]
    lines += [
        f"{name:20}{row['n']:7,}{row['p50']:10,.1f}{row['p99']:10,.1f}{row['max']:10,.1f}"
        for name, row in of["recovery_ms"].items()
    ]
    lines += ["", *(f"{name}: {sentence}" for name, found in broken.items() for sentence in found[:_SHOWN])]
    return "\n".join(lines).rstrip()


def verdict(directory: Path) -> dict[str, Any]:
    """Everything about a run; its `violations` are empty for a good one."""
    of = history.read(directory, CANARY)
    return {
        "options": json.loads((directory / "options.json").read_text()),
        "violations": judge(of), **figures(of), "directory": str(directory),
    }  # fmt: skip


def report(directory: Path, file: Path | None = None) -> int:
    """Print the verdict and write it as JSON; 1 if anything was broken."""
    found = verdict(directory)
    (file or directory / "verdict.json").write_text(json.dumps(found, indent=1))
    print(table(found))
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--json", type=Path, help="where to write it, instead of verdict.json in the directory")
    given = parser.parse_args()
    sys.exit(report(given.directory, given.json))
