"""The figures that are promised, each from a run with that one fault on a quiet machine.

    python -m tests.chaos.figures [--only slice,host,redis]

Prints a line per figure and exits 1 if one is beyond its bound, or if a promise was broken.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos import history, judge, network, points
from tests.chaos.backend import CANARY
from tests.chaos.run import perform
from tests.chaos.world import Options


@dataclass(frozen=True, slots=True)
class Figure:
    """`quantile` of the times after `nemesis` must be within `bound_ms`."""

    what: str
    nemesis: str
    quantile: str
    bound_ms: float
    options: dict[str, Any]


FIGURES: dict[str, Figure] = {
    "slice": Figure(
        "slice kill -9 to the next effect of its partitions", "kill-slice", "p99", 1_000,
        {"seed": 21, "minutes": 1.2, "pace_s": 2.0, "rate": 1_600.0, "aftermath_ttls": 0.5},
    ),
    "host": Figure(
        "host lost to the next effect of its partitions, ttl 6 s", "power", "p99", 8_500,
        {"seed": 22, "minutes": 1.4, "pace_s": 14.0, "rate": 1_600.0, "hosts": 3, "ttl_ms": 6_000,
         "aftermath_ttls": 0.2},
    ),
    "redis": Figure(
        "Redis killed, back after 1 s, to the next effect", "redis-1s", "max", 2_000,
        {"seed": 23, "minutes": 1.0, "pace_s": 5.0, "rate": 1_600.0, "aftermath_ttls": 0.5},
    ),
}  # fmt: skip


def measured(name: str) -> bool:
    """Do the run, print its line; whether the bound was kept and nothing broken."""
    figure = FIGURES[name]
    netns = network.possible()
    nemesis = figure.nemesis if netns or figure.nemesis != "power" else "kill-host"
    directory = Path(tempfile.mkdtemp(prefix=f"figure-{name}-"))
    perform(Options(nemeses=(nemesis,), netns=netns, **figure.options), directory)
    of = history.read(directory, CANARY)
    times = judge.spread(points.recovered(of)[nemesis])
    broken = judge.judge(of)
    # The supervisors and keepers of hosts that were left alone, which is all of them but for a lost host.
    exits = sum(host["what"] == "end" and not host["asked"] for host in of.hosts)
    kept = times[figure.quantile] <= figure.bound_ms and not broken and exits == 0
    shown = " ".join(f"{word} {value:,.0f} ms" for word, value in times.items() if word != "n")
    print(
        f"{figure.what}: {shown} (n {times['n']}, {len(of.actions)} injections); bound {figure.quantile} "
        f"{figure.bound_ms:,.0f} ms {'kept' if kept else 'NOT KEPT'}; hosts that ended unasked: {exits}"
    )
    if broken:
        print(f"  broken: {broken}; see {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.figures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help=",".join(FIGURES))
    given = parser.parse_args()
    kept = [measured(name) for name in (given.only.split(",") if given.only else FIGURES)]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
