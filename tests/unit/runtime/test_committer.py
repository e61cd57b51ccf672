"""What the committer does when a commit gets no answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from runnelctl.runtime.committer import Committer
from runnelctl.store.wire import ConnectionLost


def test_a_commit_without_an_answer_makes_the_reader_reconnect() -> None:
    """A read that only waits would notice a dead path after its BLOCK time and three seconds more."""
    done: list[str] = []
    lane = SimpleNamespace(resync=lambda: done.append("lane reads anew"))
    slice_: Any = SimpleNamespace(
        topology=SimpleNamespace(durability=None),
        slot=SimpleNamespace(name="billing.0"),
        outage=SimpleNamespace(began=lambda *_: done.append("said")),
        reader=SimpleNamespace(link=SimpleNamespace(drop=lambda: done.append("reader's connection closed"))),
        lanes={0: lane},
    )
    wire: Any = SimpleNamespace(close=lambda: done.append("closed"))
    asyncio.run(Committer(slice_, 1_000)._recover(wire, ConnectionLost("no answer within 1 s")))
    assert done == ["said", "closed", "reader's connection closed", "lane reads anew"]
