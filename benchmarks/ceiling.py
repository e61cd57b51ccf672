"""What the server alone pays for the stateful case of drain.py: an append per event, and the last value of each state.
No slice is at work: the words are made before the clock starts. Beside it, how fast our slice drains with a handler
that does nothing, and so how much of that a slice that costs nothing could reach.

    python -m benchmarks.ceiling --rounds 6

`commit` is lua/commit.lua with all that it checks; `lean` a script that appends and sets, and checks nothing; `bare`
sends the same commands in a pipeline, without a script: nothing could fence them.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import tempfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hiredis
import psutil

from benchmarks import drain
from benchmarks.records import record
from runnelctl.core import keys
from runnelctl.runtime.effects import Packing
from runnelctl.store import connect
from runnelctl.store import scripts as lua
from runnelctl.store.reach import reach

PARTITIONS, RUN = 16, 256  # so many events a commit has when the slice drains
LEAN = """
local i = 2
while i <= #ARGV do
  local op, key = ARGV[i], KEYS[tonumber(ARGV[i + 1])]
  if op == 'S' then
    redis.call('SET', key, ARGV[i + 2])
    i = i + 3
  else
    local last = i + 3 + 2 * tonumber(ARGV[i + 3])
    for j = i + 4, last, 2 do redis.call('XADD', key, '*', 'data', ARGV[j], 'key', ARGV[j + 1]) end
    i = last + 1
  end
end
redis.call('HSET', KEYS[1], 'cursor', ARGV[1])
return {'OK'}
"""

Commands = list[tuple[Any, ...]]


class Run:
    """What a slice would commit at once: the next events of a partition."""

    def __init__(self, partition: int, ordinal: int, records: list[dict[str, Any]]) -> None:
        self.partition, self.ordinal = partition, ordinal
        self.out = keys.events("ceiling", "out", partition)
        self.own = keys.own("ceiling", "events", partition, "p")
        self.events = keys.events("ceiling", "events", partition)
        state = keys.state("ceiling", "events", partition, "p", "")
        self.did = [
            (json.dumps(each).encode(), each["user"], state + each["user"], b'{"n":%d}' % each["n"]) for each in records
        ]

    def packed(self, head: Callable[[list[Any]], list[Any]]) -> tuple[list[Any], list[Any]]:
        """Keys and words of a script, as the ledger packs them."""
        packing = Packing([self.own, self.events])
        packing.fill(
            deque(
                (0, b"", [("E", self.out, (10**8, data, key)), ("S", state, (text,))])
                for data, key, state, text in self.did
            ),
            0,
        )
        return packing.names, head(packing.words())


def runs(events: int) -> Iterator[Run]:
    """Of so many events in all."""
    waiting: list[list[dict[str, Any]]] = [[] for _ in range(PARTITIONS)]
    passed = [0] * PARTITIONS
    for number in range(events):
        made = record(number)
        partition = zlib.crc32(made["user"].encode()) % PARTITIONS
        waiting[partition].append(made)
        if len(waiting[partition]) == RUN:
            yield Run(partition, passed[partition], waiting[partition])
            passed[partition] += RUN
            waiting[partition] = []


def commits(client: Any, made: list[Run]) -> Iterator[Commands]:
    """Each run as a commit, under a lease, over events that are there."""
    commit, epochs, ids = lua.script("commit"), [], []
    for run in made:
        pipe = client.pipeline(transaction=False)
        for data, key, *_ in run.did:
            pipe.xadd(run.events, {"data": data, "key": key})
        pipe.execute()
    for p in range(PARTITIONS):
        own, events = keys.own("ceiling", "events", p, "p"), keys.events("ceiling", "events", p)
        names, words = (own, events, keys.parked("ceiling", "events", p, "p")), ("1", "me", "", "earliest", "p", "")
        epochs.append(lua.run(client, lua.script("lease_acquire"), names, words)[1])
        ids.append([b"0-0", *(entry[0] for entry in client.xrange(events))])
    client.script_load(commit.text)
    for run in made:
        first, p = run.ordinal, run.partition
        head = [epochs[p], "1", first // RUN + 1, ids[p][first], ids[p][first + RUN], RUN, "p", 0, ""]
        yield [commit.by_digest(*run.packed(head.__add__))]


def lean(client: Any, made: list[Run]) -> Iterator[Commands]:
    """Each run as the script that checks nothing."""
    sha1 = client.script_load(LEAN)
    for run in made:
        names, words = run.packed(["1-1"].__add__)
        yield [("EVALSHA", sha1, len(names), *names, *words)]


def bare(client: Any, made: list[Run]) -> Iterator[Commands]:
    """Each run as single commands."""
    for run in made:
        appends: Commands = [("XADD", run.out, "*", "data", data, "key", key) for data, key, *_ in run.did]
        last = {state: text for *_, state, text in run.did}
        yield [*appends, *(("SET", *each) for each in last.items()), ("HSET", run.own, "cursor", "1-1")]


def spent(client: Any, path: str, sends: list[tuple[bytes, int]]) -> float:
    """CPU time of the server for these, in seconds; two of them are on their way at a time."""
    server = psutil.Process(int(client.info("server")["process_id"]))
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        reader, left, before = hiredis.Reader(), 0, sum(server.cpu_times()[:2])
        for data, replies in [*sends, (b"", 0)]:
            line.sendall(data)
            left += replies
            while left > replies:
                reader.feed(line.recv(1 << 16))
                while (reply := reader.gets()) is not False:
                    assert not isinstance(reply, Exception), reply
                    assert not isinstance(reply, list) or reply[0] == b"OK", reply
                    left -= 1
        return sum(server.cpu_times()[:2]) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="ceiling-"))
    os.environ["RUNNELCTL_DIR"] = str(directory)
    file, ways = directory / "topology.yaml", {"commit": commits, "lean": lean, "bare": bare}
    drain.write(file, "bench", "embedded", PARTITIONS, drain.CASES["stateful"])
    seen: dict[str, list[float]] = {name: [] for name in [*ways, "reach"]}
    with reach("embedded", "bench") as reached, connect.client(reached.endpoint) as client:
        for number in range(options.rounds):
            drain.fill(file, options.events * 4)
            noop = drain.ours(file, client, "bench", PARTITIONS, options.events * 4, "plain")["events_per_s"]
            for name, commands in ways.items():
                client.flushall()
                made = list(runs(options.events))
                sends = [(b"".join(map(hiredis.pack_command, each)), len(each)) for each in commands(client, made)]
                seen[name].append(spent(client, reached.endpoint.path, sends) / (len(sends) * RUN) * 1e6)
            seen["reach"].append(1e6 / seen["commit"][-1] / noop)
            costs = ", ".join(f"{name} {seen[name][-1]:.2f} us" for name in ways)
            print(f"round {number}: no-op {noop:,.0f}/s; {costs}: {seen['reach'][-1]:.2f} of it at most", flush=True)
            client.flushall()
    for name, each in seen.items():
        print(f"{name}: median {statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})")


if __name__ == "__main__":
    main()
