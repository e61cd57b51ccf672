"""Histories of two owners that no run of processes meets within seconds, driven script by script against a real server.

python -m tests.chaos.duels NAME DIR
Leaves the observer's file in DIR, to be judged like that of a run. In each, a correct fence refuses the last commit.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runnelctl.store import connect
from tests import partition
from tests.chaos.backend import Backend
from tests.chaos.world import Options
from tests.partition import Partition

#: A lease that was granted while the server's clock was far ahead: epochs then count on from there one by one.
_AHEAD = 9_000_000_000_000


class Scene(Partition):
    """The partition as the observer knows it."""

    def __init__(self, client: Any) -> None:
        super().__init__(client, "chaos")
        self.own = f"{{chaos:{partition.STREAM}:0}}:own:sink"

    def fail_over(self, before: bytes) -> None:
        """A replica that has not heard of the latest writes to the lease is promoted."""
        self.client.restore(self.own, 0, before, replace=True)


def same_epoch(scene: Scene) -> None:
    """A takes the partition; a failover forgets it; B takes it under the same epoch; A commits."""
    ids = scene.add(2)
    scene.acquire(5)
    scene.client.hset(scene.own, mapping={"epoch": _AHEAD, "nonce": "", "owner": ""})
    before = scene.client.dump(scene.own)
    epoch = scene.acquire(7, "a/0")[1]
    scene.fail_over(before)
    assert scene.acquire(8, "b/0")[1] == epoch
    scene.commit(epoch, 7, 1, "0-0", ids[0], 1)


def stale_cursor(scene: Scene) -> None:
    """A takes the partition and reads its cursor; a failover takes both back; A takes it again, as its first answer is
    in doubt, and commits from the cursor that it had read."""
    ids = scene.add(4)
    scene.acquire(4)
    scene.client.hset(scene.own, mapping={"epoch": _AHEAD, "nonce": "", "owner": ""})
    first = scene.acquire(5)[1]
    before = scene.client.dump(scene.own)
    scene.commit(first, 5, 1, "0-0", ids[1], 2, release=True)
    epoch = scene.acquire(7, "a/0")[1]
    scene.fail_over(before)
    assert scene.acquire(7, "a/0", dead="5")[1] == epoch
    scene.commit(epoch, 7, 1, ids[1], ids[2], 1)


DUELS: dict[str, Callable[[Scene], None]] = {"same-epoch": same_epoch, "stale-cursor": stale_cursor}


def perform(name: str, directory: Path) -> None:
    """Do it; what a judge needs is in the directory afterwards."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "options.json").write_text(json.dumps(asdict(Options(seed=0, minutes=0))))
    now = time.monotonic_ns()
    # What the failover takes back is declared, and that clocks were off.
    action = {"nemesis": name, "at": now, "cut": now, "end": now + 10**12, "jump_s": 30}
    (directory / "actions.jsonl").write_text(json.dumps(action) + "\n")
    with ExitStack() as ends:
        backend = Backend(directory, "valkey", frozenset(), "127.0.0.1", ends, observed=True)
        with closing(connect.client(backend.endpoint)) as client:
            DUELS[name](Scene(client))
        backend.stop_observing()


if __name__ == "__main__":
    perform(sys.argv[1], Path(sys.argv[2]))
