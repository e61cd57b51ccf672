"""Peers in their best documented configurations, beside the raw loop and runnelctl, in alternating rounds.

    python -m benchmarks.peers --rounds 5 --only runnel --json FILE     measures, and adds each round to FILE
    python -m benchmarks.peers --rounds 0 --json FILE                   prints the table of all rounds in FILE

On first use each peer is installed, with the pinned versions beside this file, into an environment of its own under
~/.cache/runnelctl-peers. Runnel needs Python 3.7 or 3.8, NATS its server on the PATH. One Valkey, over TCP and with its
append-only file on, serves all but NATS; every server is started here and ended here.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import redis

from benchmarks import drain
from benchmarks.peers.peer import Peer, drained, environment, nats_server
from benchmarks.window import cpu_s
from runnelctl.store import connect
from tests import servers
from tests.servers import Server

PARTITIONS = 16
#: What runnelctl and the raw loop do beside the peers: a case of benchmarks/drain.py, and the size of its backlog.
CASES = {"noop": 1_200_000, "keyed": 150_000}

_RUNNEL = ("-m", "runnel", "worker", "benchmarks.peers.runnel_app:app")
_DRAMATIQ = ("-m", "dramatiq", "benchmarks.peers.dramatiq_app", "--processes", "1", "--threads", "8")
_TASKIQ = (
    *("-m", "taskiq", "worker", "benchmarks.peers.taskiq_app:broker", "--workers", "1", "--log-level", "WARNING"),
    *("--max-async-tasks", "500", "--no-parse"),
)
_CELERY = (
    *("-m", "celery", "-A", "benchmarks.peers.celery_app", "worker", "--loglevel", "WARNING"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
)
_FASTSTREAM, _NATS = ("-m", "benchmarks.peers.faststream_app"), ("-m", "benchmarks.peers.nats_app")
PEERS = {
    "runnel": Peer("runnel", "default", 20_000, _RUNNEL, "as it comes"),
    "runnel-tuned": Peer("runnel", "tuned", 35_000, _RUNNEL, "`take(100, within=0.1)`, `prefetch_count=1000`"),
    "faststream": Peer("faststream", "batch", 250_000, _FASTSTREAM, "batches of 500"),
    "faststream-single": Peer("faststream", "single", 20_000, _FASTSTREAM, "one message per call"),
    "nats": Peer("nats", "batch", 120_000, _NATS, "fetches of 500, file storage"),
    "taskiq": Peer("taskiq", "default", 15_000, _TASKIQ, "streams, 500 tasks at once, orjson, no parsing"),
    "dramatiq": Peer("dramatiq", "default", 30_000, _DRAMATIQ, "8 threads, prefetch 1,000"),
    "celery": Peer("celery", "default", 4_000, (*_CELERY, "--concurrency", "1"), "prefork, prefetch 256, `acks_late`"),
    "celery-solo": Peer("celery", "default", 5_000, (*_CELERY, "--pool", "solo"), "solo pool, `acks_late`"),
    "runnel-1ms": Peer("runnel", "sleepy", 15_000, _RUNNEL, "as it comes", "keyed"),
    "runnel-1ms-tuned": Peer("runnel", "sleepy-tuned", 20_000, _RUNNEL, "`prefetch_count=1000`", "keyed"),
}
Figures = dict[str, dict[str, float]]


class Bench:
    """The server and our own backlogs of these cases, filled once; what it starts and writes is gone after `close`."""

    def __init__(self, cases: Sequence[str], scale: float) -> None:
        binary = servers.binary("valkey") or servers.binary("redis")
        assert binary is not None, "no server is installed"
        self._scale = scale
        self._directory = tempfile.TemporaryDirectory(prefix="peers-")
        os.environ["RUNNELCTL_DIR"] = self._directory.name
        # A rewrite of its file in the middle of a round would be that round's bad luck.
        self._server = Server(binary, "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
        self._server.start()
        self._client: Any = connect.client(self._server.tcp_endpoint)
        for case in cases:
            drain.write(self._file(case), case, self._server.tcp_url, PARTITIONS, drain.CASES[case])
            drain.fill(self._file(case), self._events(case))

    def close(self) -> None:
        self._client.close()
        self._server.close()
        self._directory.cleanup()

    def round(self, case: str, peers: Sequence[str]) -> Iterator[tuple[str, dict[str, float]]]:
        """The raw loop, runnelctl and these peers, one after the other: what each is called, and its figures."""
        yield "raw", self._raw(case)
        yield "ours", drain.ours(self._file(case), self._client, case, PARTITIONS, self._events(case))
        for name in peers:
            yield name, self._peer(PEERS[name])

    def _raw(self, case: str) -> dict[str, float]:
        process, events = psutil.Process(self._server.pid), self._events(case)
        before, address = cpu_s([process]), f"127.0.0.1:{self._server.port}"
        found = drain.raw(drain.CASES[case].against, address, case, PARTITIONS, events)
        server_us = (cpu_s([process]) - before) / (events * 0.9) * 1e6
        return found | {"worker_us_per_event": found["cpu_us_per_event"], "server_us_per_event": server_us}

    def _peer(self, peer: Peer) -> dict[str, float]:
        events = int(peer.events * self._scale)
        if peer.package == "nats":
            with nats_server() as (url, pid):
                return drained(peer, url, pid, events)
        url = f"redis://127.0.0.1:{self._server.port}/1"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return drained(peer, url, self._server.pid, events)

    def _events(self, case: str) -> int:
        return int(CASES[case] * self._scale)

    def _file(self, case: str) -> Path:
        return Path(self._directory.name) / f"{case}.yaml"


def measure(names: Sequence[str], rounds: int, scale: float, keep: Callable[[str, Figures], None]) -> None:
    """So many rounds of each case that these peers belong to; each is given to `keep` when it is complete."""
    for name in names:
        environment(PEERS[name].package)
    cases = [case for case in CASES if any(PEERS[name].case == case for name in names)]
    bench = Bench(cases, scale)
    try:
        for number in range(rounds):
            for case in cases:
                figures: Figures = {}
                for name, found in bench.round(case, [name for name in names if PEERS[name].case == case]):
                    figures[name] = found
                    print(f"round {number}: {case:6}{name:18}{found['events_per_s']:12,.0f}/s", file=sys.stderr)
                keep(case, figures)
    finally:
        bench.close()


def table(rounds: Sequence[tuple[str, Figures]], case: str) -> Iterator[str]:
    """Lines of a Markdown table: medians and, in brackets, the spread. Ours against a peer is taken round by round."""
    yield "| | events/s | runnelctl is faster | CPU per event, µs: worker | server | rounds |"
    yield "|---|---|---|---|---|---|"
    for name in ("raw", "ours", *PEERS):
        found = [figures for of, figures in rounds if of == case and name in figures]
        if not found:
            continue
        ratios = [figures["ours"]["events_per_s"] / figures[name]["events_per_s"] for figures in found]
        cells = [
            _spread([figures[name]["events_per_s"] for figures in found], ",.0f"),
            "" if name == "ours" else _spread(ratios, ".2f" if name == "raw" else ".1f") + " ×",
            *(
                _spread([figures[name][f"{part}_us_per_event"] for figures in found], "")
                for part in ("worker", "server")
            ),
            str(len(found)),
        ]
        yield f"| {_title(name)} | {' | '.join(cells)} |"


def _title(name: str) -> str:
    if name in PEERS:
        return f"{PEERS[name].package} {PEERS[name].version}: {PEERS[name].says}"
    return {"raw": "the raw loop", "ours": "**runnelctl**, one slice"}[name]


def _spread(values: Sequence[float], form: str) -> str:
    """`median (least to most)`; without a format, with two or three figures."""

    def text(value: float) -> str:
        return f"{value:{form or ('.2f' if value < 10 else ',.0f')}}"

    return f"{text(statistics.median(values))} ({text(min(values))}–{text(max(values))})"


def main() -> None:
    """Measure what is asked for, and print all that the file holds."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=PEERS, metavar="PEER", help=f"one of {', '.join(PEERS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="a file of one JSON object a round, which is added to")
    parser.add_argument("--scale", type=float, default=1.0, help="sizes of the backlogs; 0.02 for a quick look")
    given = parser.parse_args()
    rounds: list[tuple[str, Figures]] = []
    if given.json and given.json.exists():
        lines = map(json.loads, given.json.read_text().splitlines())
        rounds += [(line["case"], line["figures"]) for line in lines]

    def keep(case: str, figures: Figures) -> None:
        rounds.append((case, figures))
        if given.json:
            with given.json.open("a") as file:
                at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                file.write(json.dumps({"at": at, "case": case, "figures": figures}) + "\n")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))  # with all that was started
    if given.rounds:
        measure(given.only or list(PEERS), given.rounds, given.scale, keep)
    for case, heading in (("noop", "A handler that does nothing"), ("keyed", "A handler that awaits for 1 ms")):
        if any(of == case for of, _ in rounds):
            print(f"\n{heading}\n\n" + "\n".join(table(rounds, case)))


if __name__ == "__main__":
    main()
