"""What the committer does when a commit gets no answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from runnelctl.runtime.committer import ROUND_BYTES, Committer
from runnelctl.store.wire import ConnectionLost


def test_a_commit_without_an_answer_makes_the_reader_reconnect() -> None:
    """A read that only waits would notice a dead path after its BLOCK time and three seconds more."""
    done: list[str] = []
    lane = SimpleNamespace(resync=lambda: done.append("lane reads anew"))
    slice_: Any = SimpleNamespace(
        topology=SimpleNamespace(durability=None),
        slot=SimpleNamespace(name="billing.0"),
        outage=SimpleNamespace(began=lambda *_: done.append("said")),
        reader=SimpleNamespace(links=[SimpleNamespace(drop=lambda: done.append("reader's connection closed"))]),
        lanes={0: lane},
    )
    wire: Any = SimpleNamespace(close=lambda: done.append("closed"))
    asyncio.run(Committer(slice_, 1_000)._recover(wire, ConnectionLost("no answer within 1 s")))
    assert done == ["said", "closed", "reader's connection closed", "lane reads anew"]


def test_what_travels_together_is_bounded_and_the_rest_is_next() -> None:
    sent: list[int] = []

    def lane(number: int) -> Any:
        async def reply() -> list[bytes]:
            return [b"OK"]

        class Lane(SimpleNamespace):
            __hash__ = object.__hash__

        commit = SimpleNamespace(start=lambda *_: (sent.append(number), asyncio.ensure_future(reply()))[1])
        ledger = SimpleNamespace(
            next_commit=lambda: commit, in_flight_bytes=ROUND_BYTES // 2, outcome=lambda _: None, unsettled=False
        )
        return Lane(ended=None, unit=SimpleNamespace(processor="billing"), ledger=ledger)

    slice_: Any = SimpleNamespace(
        topology=SimpleNamespace(durability=None), slot=SimpleNamespace(name="billing.0"),
        outage=SimpleNamespace(over=lambda _: None),
    )  # fmt: skip

    async def body() -> None:
        committer = Committer(slice_, 1_000)
        wire: Any = SimpleNamespace(lost=None)
        lanes = [lane(number) for number in range(5)]
        await committer._round(wire, dict.fromkeys(lanes))
        assert sent == [0, 1]
        assert list(committer._dirty) == lanes[2:]

    asyncio.run(body())
