"""A sender process that writes down what it meant to send and what became of it, apart from Redis.

python -m tests.chaos.producer TOPOLOGY OUT --number N --of M --keys K --rate R --seed S
Reads from stdin: `do WHAT` makes the next record misbehave, `stop` ends it. Lines of OUT, each event of a key by seq:

i key seq at [do]   about to be sent      a key seq id at   acknowledged
u key seq at        outcome unknown       r key seq at      refused, so not stored
An event that was not acknowledged is sent again, before anything later of its key.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import os
import random
import selectors
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import runnelctl
from runnelctl import errors

_ROUND_S = 0.02
_TIMEOUT_MS = 3_000
Record = dict[str, Any]


class Keys:
    """Zipf-distributed keys of one producer, numbered per key; no two producers share one."""

    def __init__(self, number: int, of: int, keys: int, seed: int) -> None:
        self._random = random.Random(seed * 1_000 + number)
        self._ranks = range(number, keys, of)
        self._weights = list(itertools.accumulate(1 / (rank + 1) for rank in self._ranks))
        self._next: dict[str, int] = {}

    def record(self) -> Record:
        at = bisect.bisect(self._weights, self._random.random() * self._weights[-1])
        key = f"k{self._ranks[min(at, len(self._ranks) - 1)]}"
        seq = self._next.get(key, 0)
        self._next[key] = seq + 1
        return {"key": key, "seq": seq}


class Orders:
    """What the run asks for on stdin."""

    def __init__(self) -> None:
        os.set_blocking(0, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ)
        self._text = b""
        self.stop = False
        self.do: deque[str] = deque()

    def look(self, wait_s: float) -> None:
        if not self._selector.select(wait_s):
            return
        data = os.read(0, 65_536)
        if not data:
            self.stop = True
            self._selector.unregister(0)
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            word, _, what = line.decode().partition(" ")
            if word == "do":
                self.do.append(what)
            self.stop = self.stop or word == "stop"


def send(client: Any, records: list[Record], out: Any) -> list[Record]:
    """One attempt at these; returns those that have to be sent again."""
    at = time.monotonic_ns()
    out.writelines(f"i {r['key']} {r['seq']} {at} {r.get('do', '')}\n" for r in records)
    out.flush()  # before anything is sent: a line may be too many, never too few
    unknown, failure = False, ""
    try:
        ids = list(client.send_many("events", records))
    except errors.RunnelctlError as error:
        ids = [*error.ids, *[None] * (len(records) - len(error.ids))]
        unknown, failure = isinstance(error, errors.SendOutcomeUnknown), f"{type(error).__name__} {error}"
    at, left = time.monotonic_ns(), []
    for record, event_id in zip(records, ids, strict=True):
        if event_id is not None:
            out.write(f"a {record['key']} {record['seq']} {event_id} {at}\n")
        else:
            out.write(f"{'u' if unknown else 'r'} {record['key']} {record['seq']} {at}\n")
            left.append(record)
    if failure:
        print(f"{at} {len(left)} left: {failure[:300]}", flush=True)
    out.flush()
    return left


def produce(client: Any, keys: Keys, orders: Orders, rate: float, out: Any) -> None:
    """Send at a pace until told to stop, then until everything is acknowledged."""
    left: list[Record] = []
    due, budget = time.monotonic(), 0.0
    while True:
        orders.look(max(0.0, due - time.monotonic()))
        if orders.stop and not left:
            return
        now = time.monotonic()
        budget = min(budget + rate * (now - due + _ROUND_S), rate)  # after an outage at most a second's worth at once
        due = now + _ROUND_S
        records = left
        if not left and not orders.stop:
            records = [keys.record() for _ in range(int(budget))]
            budget -= len(records)
            for record in records:
                if orders.do:
                    record["do"] = orders.do.popleft()
        if records:
            left = send(client, records, out)
            if left:
                time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topology", type=Path)
    parser.add_argument("out", type=Path)
    for name in ("number", "of", "keys", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    options = parser.parse_args()
    orders = Orders()
    keys = Keys(options.number, options.of, options.keys, options.seed)
    with options.out.open("a") as out:
        while True:
            try:
                with runnelctl.connect_sync(options.topology, timeout_ms=_TIMEOUT_MS) as client:
                    produce(client, keys, orders, options.rate, out)
                return 0
            except errors.RedisUnreachable:
                orders.look(0.2)
                if orders.stop:
                    return 1


if __name__ == "__main__":
    sys.exit(main())
