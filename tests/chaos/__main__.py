"""Composed, seeded chaos: real hosts under load, injections by the seed, then a verdict from what they left behind.

    python -m tests.chaos --seed 7 --minutes 2
    python -m tests.chaos --seed 7 --minutes 2 --nemesis kill-slice,stop-host,lose-replies --hosts 3 --server redis
    python -m tests.chaos.judge DIR                      the verdict again, from the files

Exits 1 if a promise was broken, 0 otherwise. `--seed` decides what is done when; what it meets is up to the machine.
With root, every host gets a network of its own, which can be cut.

A soak, for a night, every run with another seed, another handler and another number of hosts:

    for seed in $(seq 1000 1099); do python -m tests.chaos --seed $seed --minutes 5 --hosts $((2 + seed % 3)) \\
        --server $([ $((seed % 2)) = 0 ] && echo valkey || echo redis) || echo "seed $seed" >> broken; done
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos import judge, nemeses, network
from tests.chaos.run import perform
from tests.chaos.world import Options


def options_of(arguments: list[str]) -> tuple[Options, Path]:
    """What the command line asks for. Exits with code 2 if that makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--hosts", type=int, choices=(2, 3, 4), default=2)
    parser.add_argument("--server", choices=("valkey", "redis"), default="valkey")
    parser.add_argument("--nemesis", help=f"some of {','.join(nemeses.ALL)}; default: all that can be done here")
    parser.add_argument("--netns", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--handler", choices=("relay", "relay_sync"), help="default: by the seed")
    parser.add_argument("--rate", type=float, default=600.0, help="events per second")
    parser.add_argument("--pace", type=float, default=3.0, help="seconds between injections, on average")
    parser.add_argument("--dir", type=Path)
    given = parser.parse_args(arguments)
    netns = network.possible() if given.netns is None else given.netns
    names = list(nemeses.ALL) if given.nemesis is None else given.nemesis.split(",")
    if unknown := set(names) - nemeses.ALL.keys():
        parser.error(f"no nemesis {', '.join(sorted(unknown))}")
    if not netns:
        if given.nemesis is not None and nemeses.NEED_NETWORK & set(names):
            parser.error(f"{', '.join(nemeses.NEED_NETWORK & set(names))} need --netns")
        names = [name for name in names if name not in nemeses.NEED_NETWORK]
    options = Options(
        seed=given.seed, minutes=given.minutes, hosts=given.hosts, server=given.server, nemeses=tuple(names),
        netns=netns, handler=given.handler or ("relay", "relay_sync")[given.seed % 2], rate=given.rate,
        pace_s=given.pace,
    )  # fmt: skip
    return options, given.dir or Path(tempfile.mkdtemp(prefix=f"chaos-{given.seed}-"))


def main() -> int:
    options, directory = options_of(sys.argv[1:])
    # So that what the run made is removed, too, when somebody ends it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    perform(options, directory)
    return judge.report(directory)


if __name__ == "__main__":
    sys.exit(main())
