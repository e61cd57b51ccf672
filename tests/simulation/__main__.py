"""`python -m tests.simulation`: run many schedules, or one with its trace."""

from __future__ import annotations

import argparse
import gc
import hashlib
import itertools
import json
import logging
import multiprocessing
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.simulation import compiled
from tests.simulation.truth import Violation
from tests.simulation.world import World

CHUNK = 500


@dataclass(frozen=True, slots=True)
class Chunk:
    """What CHUNK schedules from a first seed came to. `fingerprint` is of the steps and the time of each."""

    first: int
    code: str
    steps: int = 0
    stood_in: int = 0
    cpu_s: float = 0.0
    fingerprint: str = ""
    wrong: list[tuple[int, str]] = field(default_factory=list)


def play(first: int, code: str = "") -> Chunk:
    """The schedules of one chunk."""
    logging.disable(logging.WARNING)  # senders say what a failover took
    steps, stood_in, wrong, seen, began = 0, 0, list[tuple[int, str]](), hashlib.sha256(), time.process_time()
    gc.disable()  # a world is full of cycles, and none of it is worth looking at while it is played
    gc.freeze()
    for seed in range(first, first + CHUNK):
        if seed % 20 == 0:
            gc.collect()
        world = World(seed)
        try:
            world.play()
        except Violation as error:
            wrong.append((seed, str(error)))
        except Exception:
            wrong.append((seed, traceback.format_exc(limit=-1)))
        steps += world.scheduler.steps
        stood_in += world.stood_in
        seen.update(f"{seed} {world.scheduler.steps} {world.now}\n".encode())
    cpu_s = round(time.process_time() - began, 3)
    return Chunk(first, code, steps, stood_in, cpu_s, seen.hexdigest()[:16], wrong)


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


def recorded(record: Path | None, code: str) -> list[Chunk]:
    """What was run before, on the same code."""
    if record is None or not record.exists():
        return []
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    return [Chunk(**line) for line in lines if line["code"] == code]


def run(asked: argparse.Namespace) -> int:
    """Many schedules; exit code."""
    began, code = time.monotonic(), compiled.digest()
    done = recorded(asked.record, code)
    known = {chunk.first for chunk in done}
    due = (at for at in range(asked.first, asked.first + asked.schedules, CHUNK) if at not in known)
    timely = (at for at in due if asked.seconds is None or time.monotonic() - began < asked.seconds)
    # A process takes longer with each chunk: what is left of a world when the collector is frozen stays for ever.
    with multiprocessing.Pool(asked.jobs, maxtasksperchild=1) as pool:
        # One after the other per process, so that the time is looked at before each.
        while firsts := list(itertools.islice(timely, asked.jobs)):
            for chunk in pool.starmap(play, [(first, code) for first in firsts], chunksize=1):
                done.append(chunk)
                for seed, message in chunk.wrong:
                    print(f"seed {seed}: {message}", flush=True)
                if asked.record is not None:
                    with asked.record.open("a") as file:
                        file.write(json.dumps(asdict(chunk)) + "\n")
            if sys.stderr.isatty():
                print(f"\r{len(done) * CHUNK:,}", end="", file=sys.stderr)
    tell(done, code, time.monotonic() - began)
    return int(any(chunk.wrong for chunk in done))


def tell(done: list[Chunk], code: str, took_s: float) -> None:
    """What all of them came to."""
    if not done:
        print("no schedules")
        return
    violations, cpu_s = sum(len(chunk.wrong) for chunk in done), sum(chunk.cpu_s for chunk in done)
    first, last = min(chunk.first for chunk in done), max(chunk.first for chunk in done) + CHUNK - 1
    print(
        f"{len(done) * CHUNK:,} schedules (seeds {first} to {last}) of code {code}, "
        f"{sum(chunk.steps for chunk in done):,} steps, {sum(chunk.stood_in for chunk in done):,} stand-ins, "
        f"{cpu_s:,.0f} s of CPU{' compiled' if compiled.running() else ''}, {took_s:.0f} s now: "
        f"{violations} violation(s)"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this schedule and print what happens")
    parser.add_argument("--schedules", type=int, default=10_000, help="how many to run (default 10,000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--compiled", action="store_true", help="as machine code; needs mypy, setuptools and gcc")
    parser.add_argument("--record", type=Path, help="a file of what was run on this code, which is not run again")
    parser.add_argument("--seconds", type=float, help="begin nothing more after so long; the record goes on next time")
    parser.add_argument("--fingerprint", action="store_true", help="what the first schedules come to, step by step")
    asked = parser.parse_args()
    if asked.compiled and not compiled.running():
        compiled.become(sys.argv[1:])
    if asked.fingerprint:
        print(play(0).fingerprint)
        return 0
    return replay(asked.seed) if asked.seed is not None else run(asked)


if __name__ == "__main__":
    sys.exit(main())
