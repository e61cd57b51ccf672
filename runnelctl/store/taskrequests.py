"""Asking a host to run a task now, over the control stream, and hearing what came of it. On a blocking client."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis

from runnelctl.core import keys
from runnelctl.core.model import Topology
from runnelctl.store import operations

BLOCK_MS = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """How a run ended: `outcome` is ok, failed, `timed out` or refused; `error` a traceback or a sentence."""

    outcome: str
    error: str


def ask(client: redis.Redis, topology: Topology, member: str, task: str) -> Iterator[Answer | None]:
    """Ask `member` to run the task, then give None at least every BLOCK_MS until its answer comes, and end with that.
    Raises redis-py's errors."""
    name, asker = keys.control(topology.name), secrets.token_hex(8)
    newest: Any = client.xrevrange(name, count=1)
    after = newest[0][0] if newest else b"0-0"
    operations.announce(client, topology, "task", host=member, task=task, id=asker)
    while True:
        reply: Any = client.xread({name: after}, count=100, block=BLOCK_MS)
        for _, entries in reply or ():
            for entry, fields in entries:
                after = entry
                if fields.get(b"what") == b"ran" and fields.get(b"id") == asker.encode():
                    yield Answer(fields[b"outcome"].decode(), fields[b"error"].decode("utf-8", "replace"))
                    return
        yield None
