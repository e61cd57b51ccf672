"""`python -m tests.simulation`: run many schedules, or one with its trace."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
import traceback

from tests.simulation.truth import Violation
from tests.simulation.world import World

CHUNK = 500


def chunk(first: int) -> tuple[int, list[tuple[int, str]]]:
    """Schedules `first`.. of one chunk: steps taken, and what went wrong."""
    logging.disable(logging.WARNING)  # senders say what a failover took
    steps, wrong = 0, []
    for seed in range(first, first + CHUNK):
        world = World(seed)
        try:
            world.play()
        except Violation as error:
            wrong.append((seed, str(error)))
        except Exception:
            wrong.append((seed, traceback.format_exc(limit=-1)))
        steps += world.scheduler.steps
    return steps, wrong


def replay(seed: int) -> int:
    """One schedule with everything that happens; exit code."""
    world = World(seed)
    world.trace = []
    try:
        world.play()
        ending = "nothing is wrong"
    except Violation as error:
        ending = f"VIOLATION: {error}"
    print("\n".join(world.trace))
    print(f"{world.now:9.4f}  {ending}")
    return int(ending.startswith("VIOLATION"))


def run(first: int, schedules: int, jobs: int) -> int:
    """Many schedules; exit code."""
    began, steps, wrong, done = time.monotonic(), 0, list[tuple[int, str]](), 0
    with multiprocessing.Pool(jobs) as pool:
        for made, found in pool.imap_unordered(chunk, range(first, first + schedules, CHUNK)):
            steps += made
            wrong += found
            done += CHUNK
            for seed, message in found:
                print(f"seed {seed}: {message}", flush=True)
            if sys.stderr.isatty():
                print(f"\r{done:,} of {schedules:,}", end="", file=sys.stderr)
    took = time.monotonic() - began
    print(
        f"{done:,} schedules (seeds {first} to {first + done - 1}), {steps:,} steps, {took:.0f} s with {jobs} job(s): "
        f"{len(wrong)} violation(s)"
    )
    return int(bool(wrong))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this schedule and print what happens")
    parser.add_argument("--schedules", type=int, default=10_000, help="how many to run (default 10,000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    asked = parser.parse_args()
    if asked.seed is not None:
        return replay(asked.seed)
    return run(asked.first, asked.schedules, asked.jobs)


if __name__ == "__main__":
    sys.exit(main())
