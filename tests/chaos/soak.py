"""Many runs, each with another seed, and one table over all of them.

    python -m tests.chaos.soak --report DIR                                  until 1,000 injections and 5 M events
    python -m tests.chaos.soak --report DIR --hours 0.5 --seed 1000          for half an hour; the same again goes on
    python -m tests.chaos.soak --report DIR --merge                          the table of what is there

A run's verdict is DIR/<seed>.json; its files are removed if no promise was broken. A seed that has its verdict is not
run again, so a soak may be cut into pieces, also over machines. The seed decides everything about a run: server,
hosts, handler, order, and which faults. Exits 1 if a promise was broken, 2 if there was less to do than was asked for.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests import servers
from tests.chaos import judge

_SUMMED = (
    "sent", "acknowledged", "taken", "effects", "distinct_effects", "repeats", "dead_letters", "unknown_sends",
    "epochs", "commits", "leases", "cursors", "states", "hosts_ended", "samples", "files", "injections", "cuts",
    "forgotten_by_redis",
)  # fmt: skip
_FAMILIES = ("harmless", "losses", "harmless", "clocks")
_BROKEN_LIMIT = 3


def arguments_of(seed: int) -> list[str]:
    """How the run of a seed is made."""
    server, family = ("valkey", "redis")[seed // 2 % 2], _FAMILIES[seed // 4 % 4]
    by_key = (seed + seed // 4) % 4 == 3
    iterates = not by_key and seed % 4 == 2
    return [
        "--seed", str(seed), "--hosts", str(2 + (seed % 5 == 4)),
        "--server", server if servers.binary(server) is not None else "valkey", "--nemesis", family,
        *(("--order", "key") if by_key else ("--handler", "relay_iterator") if iterates else ()),
        *(("--batch", "10") if seed % 3 == 0 and not iterates else ()),
        *(("--park",) if seed % 4 == 1 and family == "harmless" else ()),
    ]  # fmt: skip


class Soak:
    """Runs one after the other; a run is judged while the next one is under way."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self._judging: tuple[int, Path, subprocess.Popen[bytes]] | None = None

    def go(self) -> None:
        given = self.given
        until = time.monotonic() + given.hours * 3600
        seed = given.seed
        while time.monotonic() + given.minutes * 60 < until:
            found = merged(given.report)
            enough = found["injections"] >= given.injections and found["events"] >= given.events
            if enough or len(found["broken"]) >= _BROKEN_LIMIT:
                break
            if not (given.report / f"{seed}.json").exists():
                self._run(seed)
            seed += 1
        self._wait()

    def _run(self, seed: int) -> None:
        given = self.given
        directory = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
        command = [
            sys.executable, "-m", "tests.chaos", *arguments_of(seed), "--minutes", str(given.minutes),
            "--rate", str(given.rate), "--pace", str(given.pace), "--sleep-ms", str(given.sleep_ms),
            "--dir", str(directory), "--no-judge",
        ]  # fmt: skip
        limit_s = given.minutes * 60 + 400
        try:
            code = subprocess.run(command, check=False, timeout=limit_s).returncode
        except subprocess.TimeoutExpired:
            code = -1
        self._wait()
        if code != 0:
            broken = {"violations": {"leftovers": [f"the run itself ended with {code}: {directory}"]}}
            (given.report / f"{seed}.json").write_text(json.dumps(broken))
            return
        command = [
            "nice",
            sys.executable,
            "-m",
            "tests.chaos.judge",
            str(directory),
            "--json",
            str(given.report / f"{seed}.new"),
        ]
        judging = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._judging = (seed, directory, judging)

    def _wait(self) -> None:
        """The verdict that is being found."""
        if self._judging is None:
            return
        (seed, directory, judging), self._judging = self._judging, None
        judging.wait()
        new = self.given.report / f"{seed}.new"
        if not new.exists():
            raise RuntimeError(f"seed {seed} could not be judged: python -m tests.chaos.judge {directory}")
        new.rename(self.given.report / f"{seed}.json")
        if judging.returncode == 0:
            shutil.rmtree(directory, ignore_errors=True)
        total = merged(self.given.report)
        held = "held" if judging.returncode == 0 else f"BROKEN, see {directory}"
        done = f"{total['runs']} runs, {total['injections']:,} injections, {total['events']:,} events"
        print(f"{time.strftime('%H:%M:%S')} seed {seed} {held}; so far {done}", flush=True)


def merged(report: Path) -> dict[str, Any]:
    """Sums over the verdicts in a directory. `events`: those that handlers finished, of both stages."""
    total: dict[str, Any] = dict.fromkeys(_SUMMED, 0)
    by_nemesis: Counter[str] = Counter()
    recovered: dict[str, list[int]] = {}
    violations: dict[str, list[str]] = {}
    broken, seconds, servers_seen, runs = [], 0.0, Counter[str](), 0
    for file in sorted(report.glob("*.json")):
        one = json.loads(file.read_text())
        runs += 1
        for name, sentences in one["violations"].items():
            violations.setdefault(name, []).extend(f"seed {file.stem}: {sentence}" for sentence in sentences)
        if one["violations"]:
            broken.append(file.stem)
        for name in _SUMMED:
            total[name] += one.get(name, 0)
        by_nemesis.update(one.get("by_nemesis", {}))
        for name, times in one.get("recovery_ns", {}).items():
            recovered.setdefault(name, []).extend(times)
        seconds += one.get("options", {}).get("minutes", 0) * 60
        servers_seen[one.get("options", {}).get("server", "?")] += 1
    return total | {
        "runs": runs, "broken": broken, "seconds": seconds, "servers": dict(servers_seen), "violations": violations,
        "events": total["distinct_effects"], "by_nemesis": dict(sorted(by_nemesis.items())),
        "recovery_ms": {name: judge.spread(times) for name, times in sorted(recovered.items())},
    }  # fmt: skip


def table(total: dict[str, Any]) -> str:
    """The sums for a reader."""
    broken = total["violations"]
    return "\n".join(
        [
            f"{total['runs']} runs ({', '.join(f'{n} x {s}' for s, n in total['servers'].items())}), "
            f"{total['seconds'] / 60:.0f} minutes of faults; Python {platform.python_version()}",
            f"injections {total['injections']:,}, events {total['events']:,} ({total['acknowledged']:,} sent by "
            "clients, the others emitted by handlers)",
            f"lost {len(broken.get('loss', ()))}, out of order {len(broken.get('order', ()))}, "
            f"repeated inside Redis {len(broken.get('inside', ()))}",
            f"{total['cuts']} failovers and torn files may have cost Redis {total['forgotten_by_redis']:,} events "
            "that it had acknowledged; nothing else may be gone",
            "",
            judge.table(total),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--injections", type=int, default=1_000)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--hours", type=float, default=2.0, help="begin no run that would end later")
    parser.add_argument("--seed", type=int, default=1_000, help="of the first run")
    parser.add_argument("--minutes", type=float, default=4.0, help="of faults, each run")
    parser.add_argument("--rate", type=float, default=2_000.0, help="events per second that clients send")
    parser.add_argument("--pace", type=float, default=2.5, help="seconds between injections, on average")
    parser.add_argument("--sleep-ms", type=float, default=0.0, help="how long the first stage's handler takes")
    parser.add_argument("--merge", action="store_true", help="run nothing")
    given = parser.parse_args()
    given.report.mkdir(parents=True, exist_ok=True)
    if not given.merge:
        Soak(given).go()
    total = merged(given.report)
    print(table(total))
    (given.report / "total.txt").write_text(table(total) + "\n")
    if total["broken"]:
        return 1
    return 0 if total["injections"] >= given.injections and total["events"] >= given.events else 2


if __name__ == "__main__":
    sys.exit(main())
