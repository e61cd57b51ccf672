"""Composed, seeded chaos: real hosts under load, injections by the seed, then a verdict from what they left behind.

    python -m tests.chaos --seed 7 --minutes 2
    python -m tests.chaos --seed 7 --minutes 2 --nemesis kill-slice,stop-host,lose-replies --hosts 3 --server redis
    python -m tests.chaos.judge DIR                      the verdict again, from the files

Exits 1 if a promise was broken, 0 otherwise. `--seed` decides what is done when; what it meets is up to the machine.
With root, every host gets a network of its own, which can be cut.

Many runs and one table over all of them: `python -m tests.chaos.soak --help`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos import judge, nemeses, network, soak
from tests.chaos.run import perform
from tests.chaos.world import Options


def options_of(arguments: list[str]) -> tuple[Options, Path, bool]:
    """What the command line asks for. Exits with code 2 if that makes no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--hosts", type=int, choices=(2, 3, 4), default=2)
    parser.add_argument("--server", choices=("valkey", "redis"), default="valkey")
    parser.add_argument(
        "--nemesis", default="harmless", help=f"some of {','.join(nemeses.ALL)}, or {', '.join(nemeses.FAMILIES)}"
    )
    parser.add_argument("--netns", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument(
        "--handler",
        choices=("relay", "relay_sync", "relay_iterator", "relay_batch", "relay_batch_sync"),
        help="default: by the seed",
    )
    parser.add_argument("--rate", type=float, default=600.0, help="events per second")
    parser.add_argument("--pace", type=float, default=3.0, help="seconds between injections, on average")
    parser.add_argument("--order", choices=("partition", "key"), default="partition")
    parser.add_argument("--batch", type=int, default=0, help="so many events in a call, at most")
    parser.add_argument("--park", action="store_true", help="scope: key; what is parked is mended and replayed")
    parser.add_argument("--sleep-ms", type=float, default=1.0, help="how long the first stage's handler takes")
    parser.add_argument("--ttl-ms", type=int, default=2_000)
    parser.add_argument("--mutant", default="", help="with this deliberate defect, see tests/chaos/mutation.py")
    parser.add_argument("--dir", type=Path)
    parser.add_argument("--judge", action=argparse.BooleanOptionalAction, default=True)
    given = parser.parse_args(arguments)
    netns = network.possible() if given.netns is None else given.netns
    try:
        names, said = nemeses.chosen(
            given.nemesis, netns=netns, server=given.server, order=given.order, park=given.park
        )  # fmt: skip
    except KeyError as error:
        parser.error(f"no nemesis {error}")
    print(*said, sep="\n", end="\n" if said else "", file=sys.stderr)
    # Threads under libfaketime are put off by 50 ms whenever one waits for another.
    by_seed = "relay_batch" if given.batch else "relay"
    by_seed += "_sync" if given.seed % 2 and "clock-host" not in names else ""
    options = Options(
        seed=given.seed, minutes=given.minutes, hosts=given.hosts, server=given.server, nemeses=tuple(names),
        netns=netns, handler=given.handler or by_seed, rate=given.rate,
        pace_s=given.pace, order=given.order, park=given.park, sleep_ms=given.sleep_ms, mutant=given.mutant,
        ttl_ms=given.ttl_ms, batch=given.batch,
    )  # fmt: skip
    return options, given.dir or Path(tempfile.mkdtemp(prefix=f"chaos-{given.seed}-")), given.judge


def main() -> int:
    if "--soak" in sys.argv[1:]:
        sys.argv.remove("--soak")
        return soak.main()
    options, directory, judged = options_of(sys.argv[1:])
    # So that what the run made is removed, too, when somebody ends it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    perform(options, directory)
    return judge.report(directory) if judged else 0


if __name__ == "__main__":
    sys.exit(main())
