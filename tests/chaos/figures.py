"""The figures that are promised, each from a run with that one fault on a quiet machine.

    python -m tests.chaos.figures [--only slice,host,redis,backlog]
    python -m tests.chaos.figures --only host --keep DIR --seed 31 --minutes 1

Prints a line per figure and exits 1 if one is beyond its bound, or if a promise was broken. With --keep, the figure is
that of all runs of its kind in DIR, so that one can be measured in several short runs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runnelctl.core.lifecycle import STABLE_RUN_S
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
        # Many slots, each killed about once a minute: deaths in a row are answered by pauses, and six by a halt.
        {"seed": 21, "minutes": 1.3, "pace_s": 3.0, "rate": 2_400.0, "partitions": 48, "slices": 4,
         "aftermath_ttls": 0.5, "sleep_ms": 0.0},
    ),
    "host": Figure(
        "host lost to the next effect of its partitions, ttl 6 s", "power", "p99", 8_500,
        {"seed": 22, "minutes": 1.4, "pace_s": 14.0, "rate": 1_600.0, "hosts": 3, "ttl_ms": 6_000, "partitions": 48,
         "aftermath_ttls": 0.2},
    ),
    "redis": Figure(
        "Redis killed, back after 1 s, to the next effect", "redis-1s", "max", 2_000,
        {"seed": 23, "minutes": 1.0, "pace_s": 5.0, "rate": 1_600.0, "aftermath_ttls": 0.5},
    ),
    "backlog": Figure(
        "the same with a backlog, so that nothing waits for the senders' return", "redis-1s", "max", 2_000,
        # Each partition gets more than the 50 events a second that it handles.
        {"seed": 24, "minutes": 0.5, "pace_s": 4.0, "rate": 480.0, "aftermath_ttls": 0.5, "partitions": 8,
         "sleep_ms": 20.0},
    ),
}  # fmt: skip


def measured(name: str, seed: int | None, minutes: float | None, keep: Path | None) -> bool:
    """Do a run, print the figure; whether the bound was kept and nothing broken."""
    figure = FIGURES[name]
    netns = network.possible()
    nemesis = figure.nemesis if netns or figure.nemesis != "power" else "kill-host"
    given = {"seed": seed, "minutes": minutes}
    options = figure.options | {word: value for word, value in given.items() if value is not None}
    temporary = Path(tempfile.mkdtemp(prefix=f"figure-{name}-")) if keep is None else None
    directory = temporary or (keep or Path()) / f"{name}-{options['seed']}"
    directory.mkdir(parents=True, exist_ok=temporary is not None)  # two runs in one directory would judge each other
    perform(Options(nemeses=(nemesis,), netns=netns, **options), directory)
    runs = sorted(directory.parent.glob(f"{name}-*")) if keep is not None else [directory]
    found = [history.read(run, CANARY) for run in runs]
    times = judge.spread([time for of in found for time in points.recovered(of)[nemesis]])
    broken = {str(run): wrong for run, of in zip(runs, found, strict=True) if (wrong := _broken(of))}
    # The supervisors and keepers of hosts that were left alone, which is all of them but for a lost host.
    exits = sum(host["what"] == "end" and not host["asked"] for of in found for host in of.hosts)
    kept = times[figure.quantile] <= figure.bound_ms and not broken and exits == 0
    print(
        f"{figure.what}: {_shown(times)}, {sum(len(of.actions) for of in found)} injections in {len(runs)} run(s); "
        f"bound {figure.quantile} {figure.bound_ms:,.0f} ms {'kept' if kept else 'NOT KEPT'}; hosts that ended "
        f"unasked: {exits}"
    )
    parts: dict[str, list[int]] = defaultdict(list)
    for of in found:
        for word, part in points.recovered(of, _again(of)).items():
            parts[word] += part
    for word, part in sorted(parts.items()) if len(parts) > 1 else ():
        print(f"  of these, {word}: {_shown(judge.spread(part))}")
    if broken:
        print(f"  broken: {broken}")
    elif temporary is not None:
        shutil.rmtree(temporary, ignore_errors=True)
    return kept


def _broken(of: history.History) -> dict[str, list[str]]:
    """point -> the first sentences of what broke it."""
    return {point: sentences[:3] for point, sentences in judge.judge(of).items()}


def _shown(times: dict[str, float]) -> str:
    quantiles = " ".join(f"{word} {value:,.0f} ms" for word, value in times.items() if word != "n")
    return f"{quantiles} (n {times['n']})"


def _again(of: history.History) -> Callable[[dict[str, Any]], str]:
    """Tells first deaths of a slot from those within 30 s of another, after which its next process waits."""
    again: set[int] = set()
    last: dict[tuple[str, str], int] = {}
    for action in sorted(of.actions, key=lambda each: each["at"]):
        for slot in action.get("slots", ()):
            place = action["host"], slot
            if action["at"] - last.get(place, -(1 << 62)) < STABLE_RUN_S * 1e9:
                again.add(action["at"])
            last[place] = action["at"]
    return lambda action: "a slot's next death within 30 s" if action["at"] in again else "first deaths"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.figures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help=",".join(FIGURES))
    parser.add_argument("--seed", type=int, help="instead of the figure's own")
    parser.add_argument("--minutes", type=float, help="instead of the figure's own")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the run there, and pool it with those there")
    given = parser.parse_args()
    names = given.only.split(",") if given.only else FIGURES
    kept = [measured(name, given.seed, given.minutes, given.keep) for name in names]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
