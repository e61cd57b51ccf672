"""`python -m tests.fuzz payloads|topologies --count N`: junk by the million; the seed is printed."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time

from tests.fuzz import payloads, topologies


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("what", choices=["payloads", "topologies"])
    parser.add_argument("--count", type=int, default=10_000, help="how many (default 10,000)")
    parser.add_argument(
        "--through-up", type=int, help="of the payloads, how many through a real `up` (default a fifth)"
    )
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = random.randrange(10**6) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    logging.disable(logging.WARNING)
    began = time.monotonic()
    if asked.what == "topologies":
        print(f"{asked.count:,} topologies: {topologies.load(asked.count, seed)}")
    else:
        real = asked.count // 5 if asked.through_up is None else asked.through_up
        if asked.count > real:
            print(f"{asked.count - real:,} payloads in this process: {payloads.in_process(asked.count - real, seed)}")
        if real:
            print(f"{real:,} payloads through a real up: {payloads.through_up(real, seed)}")
    print(f"{time.monotonic() - began:.0f} s, at most {payloads.memory_mib():.0f} MiB in memory here")
    return 0


if __name__ == "__main__":
    sys.exit(main())
