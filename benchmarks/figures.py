"""The figures that docs/performance.md shows with their marks, each beside what it is held against in the same run.

python -m benchmarks.figures [--only NAME]... [--json FILE]

Rates are medians of alternating rounds. With --json, what is in FILE stays, so that a run can be made in pieces.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.coordination import coordinate
from benchmarks.ground import ROOT, Ground, command, cpu_s, record
from runnelctl.cli.benching import Bench
from runnelctl.store.reach import Reached

ROUNDS = 5
Found = dict[str, Any]


def latency() -> list[Found]:
    """From just before the send to the handler, at 500 events/s, beside the raw loop."""
    rounds = []
    with Ground() as ground, Bench(Reached(ground.server.endpoint), ground.server.url, 16, _quiet) as bench:
        for _ in range(ROUNDS):
            rounds.append(bench.latency(500, 4.0))
    return [
        _ratio(f"latency {name}", [(ours[name], raw[name]) for ours, raw in rounds], "ms", most=most)
        for name, most in (("p50_ms", 1.3), ("p99_ms", 1.5))
    ]


def send_file(events: int = 100_000) -> list[Found]:
    """`send --file`, each record checked against a schema, beside bare pipelined XADD by redis-py; whole processes."""
    with Ground() as ground:
        schema = {"type": "object", "required": ["k", "n"], "properties": {
            "k": {"type": "string"}, "n": {"type": "integer"}, "amount": {"type": "number"}, "note": {"type": "string"},
        }}  # fmt: skip
        (ground.directory / "schema.json").write_text(json.dumps(schema))
        lines = ground.directory / "records.jsonl"
        with lines.open("w") as out:
            out.writelines(json.dumps(record(number), separators=(",", ":")) + "\n" for number in range(events))
        ground.topology("s: {partitions: 16, key: k, capacity: 100000000, schema: schema.json}", "")
        rounds = []
        for _ in range(ROUNDS):
            bare = [sys.executable, "-m", "benchmarks.bare_send", str(ground.server.socket), ground.name, "raw", "16"]
            took = []
            for words in (command("send", "s", "--file", str(lines)), [*bare, str(lines)]):
                began = time.perf_counter()
                subprocess.run(words, cwd=ROOT if words[1:3] == bare[1:3] else ground.directory, env=ground.environ,
                               check=True, capture_output=True)  # fmt: skip
                took.append(events / (time.perf_counter() - began))
                ground.client.flushall()
            rounds.append((took[0], took[1]))
        return [_ratio("send --file", rounds, "events/s", least=0.6)]


def start() -> list[Found]:
    """From the start of `up` to the first event in a handler, 8 slices, the server running; a slice's own memory."""
    firsts, memory, bare = [], [], []
    with Ground() as ground:
        ground.topology("s: {partitions: 16, key: k}", 'p: {stream: s, handler: "handlers:Marks", processes: 8}')
        marks = ground.directory / "marks"
        for _ in range(ROUNDS):
            ground.send([record(number) for number in range(100)])
            marks.write_bytes(b"")
            bare.append(_bare_python())
            began = time.monotonic_ns()
            with ground.up(until="") as up:
                ground.wait(lambda: len(marks.read_bytes().splitlines()) >= 100, up)
                firsts.append((min(map(int, marks.read_bytes().splitlines())) - began) / 1e9)
                slices = [each for each in ground.processes(up) if each.name().startswith("p.")]
                memory += [each.memory_full_info().uss / 2**20 for each in slices]
    return [
        _plain("start to the first event, 8 slices", firsts, "s", most=0.8, beside=("python -c pass", bare)),
        _plain("private memory of a slice", memory, "MiB", most=15),
    ]


def idle(seconds: float = 30.0) -> list[Found]:
    """CPU of `up` and the server, 64 partitions for each of 4 processors, nothing sent."""
    with Ground() as ground:
        processors = ", ".join(f'p{n}: {{stream: s, handler: "handlers:noop", processes: 1}}' for n in range(4))
        ground.topology("s: {partitions: 64, key: k}", processors)
        with ground.up() as up:
            time.sleep(3)
            every = [*ground.processes(up), ground.server_process()]
            shares = []
            for _ in range(ROUNDS):
                began, before = time.perf_counter(), cpu_s(*every)
                time.sleep(seconds / ROUNDS)
                shares.append((cpu_s(*every) - before) / (time.perf_counter() - began) * 100)
    return [_plain("idle, 64 partitions x 4 processors, all processes", shares, "% of a core", most=2)]


def partitions(events: int = 500_000) -> list[Found]:
    """CPU per event of slice and server at 1,024 partitions, beside 16."""
    rounds = []
    with Ground() as ground:
        ground.topology(
            "few: {partitions: 16, key: k, capacity: 100000000}, many: {partitions: 1024, key: k, capacity: 100000000}",
            'f: {stream: few, handler: "handlers:noop", processes: 1}, '
            'm: {stream: many, handler: "handlers:noop", processes: 1}',
        )
        for stream in ("few", "many"):
            # As many keys as it takes to fill 1,024 partitions evenly.
            ground.send((record(number) | {"k": f"user-{number * 7919 % 50_021}"} for number in range(events)), stream)
        for _ in range(3 * ROUNDS):  # each is short, and machines differ from one second to the next
            few = ground.drain(16, events, "f", "few", look_s=0.1)
            many = ground.drain(1024, events, "m", "many", look_s=0.1)
            rounds.append((many["slice_us"] + many["server_us"], few["slice_us"] + few["server_us"]))
    return [_ratio("CPU per event, 1,024 partitions against 16", rounds, "µs", most=1.5)]


def coordination() -> list[Found]:
    """50 hosts, 4,096 partitions, keepers alone: the server when nothing happens, when a host comes or goes."""
    with Ground() as ground:
        found = coordinate(ground, 50, 4096, 15.0)
    named = "coordination, 50 hosts x 4,096 partitions"
    return [
        _plain(f"{named}: server", [found["idle_server_pct"]], "% of a core", most=3),
        _plain(f"{named}: one keeper", [found["idle_keeper_pct"]], "% of a core"),
        *(
            _plain(f"{named}, a host {what}s: {label}", [found[f"{what}_{field}"]], "s")
            for what in ("join", "leave")
            for field, label in (("s", "until all is even"), ("server_s", "CPU of the server"))
        ),
    ]


def commands() -> list[Found]:
    """`status --once` of 1,024 partitions, and `--help`, beside a Python that does nothing."""
    with Ground() as ground:
        ground.topology("s: {partitions: 1024, key: k}", 'p: {stream: s, handler: "handlers:noop", processes: 1}')
        with ground.up():
            time.sleep(2)
            took = [(_bare_python(), ground.run("status", "--once")[0], ground.run("--help")[0]) for _ in range(9)]
    bare, status, help_ = ([each[column] for each in took] for column in range(3))
    return [
        _plain("status --once, 1,024 partitions", status, "s", most=1, beside=("python -c pass", bare)),
        _plain("--help", help_, "s", most=0.15, beside=("python -c pass", bare)),
    ]


FIGURES: dict[str, Callable[[], list[Found]]] = {
    each.__name__: each for each in (latency, send_file, start, idle, partitions, coordination, commands)
}


def _ratio(
    name: str, rounds: list[tuple[float, float]], unit: str, *, least: float | None = None, most: float | None = None
) -> Found:
    """Of rounds of ours and the baseline's."""
    ratios = [ours / base for ours, base in rounds]
    return {
        "figure": name, "unit": unit, "rounds": rounds,
        "ours": statistics.median(ours for ours, _ in rounds),
        "baseline": statistics.median(base for _, base in rounds),
        "ratio": statistics.median(ratios), "spread": [min(ratios), max(ratios)], "least": least, "most": most,
    }  # fmt: skip


def _plain(
    name: str, values: list[float], unit: str, *, most: float | None = None,
    beside: tuple[str, list[float]] | None = None,
) -> Found:  # fmt: skip
    found: Found = {
        "figure": name, "unit": unit, "values": values, "ours": statistics.median(values),
        "spread": [min(values), max(values)], "most": most,
    }  # fmt: skip
    if beside is not None:
        found |= {"beside": beside[0], "baseline": statistics.median(beside[1])}
    return found


def shown(found: Found) -> str:
    """One line of the table."""
    value, (low, high) = found.get("ratio", found["ours"]), found["spread"]
    least, most = found.get("least"), found.get("most")
    unit = " x" if "ratio" in found else f" {found['unit']}"
    line = f"{found['figure']:56} {value:8.3g}{unit} ({low:.3g} to {high:.3g})"
    if least is not None:
        line += f", wanted at least {least}{'' if value >= least else ': MISSED'}"
    elif most is not None:
        line += f", wanted at most {most}{'' if value <= most else ': MISSED'}"
    if "baseline" in found:
        beside = f" of {found['beside']}" if "beside" in found else ""
        line += f"; {found['ours']:.3g} against {found['baseline']:.3g} {found['unit']}{beside}"
    return line


def _bare_python() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - began


def _quiet(text: str) -> None:
    """What the bench says of its progress is not wanted here."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=FIGURES, help="Only this one; may be given again.")
    parser.add_argument("--json", type=Path, help="Keep what was found in this file.")
    given = parser.parse_args()
    kept: dict[str, list[Found]] = {}
    if given.json is not None and given.json.exists():
        kept = json.loads(given.json.read_text())
    for name in given.only or FIGURES:
        kept[name] = FIGURES[name]()
        for found in kept[name]:
            print(shown(found), flush=True)
        if given.json is not None:
            given.json.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
