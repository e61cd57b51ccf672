"""A slice on a bench: the real Slice, Lane, Ledger, Context and Board, with a Redis that is a few lines of Python."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from runnelctl import handling, layering
from runnelctl.core import matching
from runnelctl.core.model import Batch, CommitBounds, Match, Policy, Processor, Retry, Stream, Topology
from runnelctl.core.plan import plan
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from runnelctl.runtime import signals, workload
from runnelctl.runtime.board import Board, Shape
from runnelctl.runtime.context import States
from runnelctl.runtime.host import Host
from runnelctl.runtime.lane import Lane
from runnelctl.runtime.slice import Slice
from runnelctl.store import endpoint
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.leases import Commit, Session

T = TypeVar("T")
NONCE = 77


def topology(name: str = "shop", **changed: Any) -> Topology:
    """Stream `orders` of two partitions keyed by `k`, stream `out`, processor `billing` with the given settings."""
    settings: dict[str, Any] = {
        "retry": Retry(attempts=2, backoff_ms=0), "policy": Policy.QUARANTINE, "commit": CommitBounds(),
    }  # fmt: skip
    return Topology(
        name=name,
        file="/shop.yaml",
        redis="unix:///nowhere",
        streams={
            "orders": Stream(name="orders", partitions=2, key="k"),
            "out": Stream(name="out", partitions=1, key="k"),
            "dead": Stream(name="dead", partitions=1),
        },
        processors={
            "billing": Processor(name="billing", stream="orders", handler="x:y", processes=1, **(settings | changed))
        },
    )


def session(**changed: Any) -> Session:
    """A session at the beginning of a partition."""
    facts: dict[str, Any] = {
        "epoch": 1000, "nonce": str(NONCE), "cursor": b"0-0", "count": 0, "seq": 0, "tries": 0, "suspect": 0,
        "alone_until": 0, "sure": False, "death": "", "edit_id": b"", "edit": b"", "lost": 0,
        "added": 1_000_000,
    }  # fmt: skip
    return Session(**(facts | changed))


def entry(number: int, data: bytes | None = None, key: bytes = b"k") -> list[Any]:
    """An entry as XREAD gives it; its id is `<number>-0`."""
    return [b"%d-0" % number, [b"data", data if data is not None else b'{"k":"k","n":%d}' % number, b"key", key]]


@dataclass
class Store:
    """What commits leave behind: the last reply wins if `replies` holds some."""

    states: dict[str, bytes] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    appended: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)  # stream, fields
    replies: list[list[Any]] = field(default_factory=list)

    def take(self, commit: Commit) -> list[Any]:
        if self.replies:
            return self.replies.pop(0)
        self.commits.append(commit)
        arguments, words = list(commit.effects), iter(range(10**9))
        at = next(words)
        while at < len(arguments):
            op, key = arguments[at], str(commit.keys[int(arguments[at + 1]) - 1])
            if op == "S":
                self.states[key] = bytes(arguments[at + 2])  # type: ignore[arg-type]
                at += 3
            elif op == "A":
                at += 4
            elif op == "D":
                self.states.pop(key, None)
                at += 2
            else:
                plain, first = op == "E", at + 4
                at = first + int(arguments[at + 3]) * (2 if plain else 1)
                if plain:
                    pairs = zip(arguments[first:at:2], arguments[first + 1 : at : 2], strict=True)
                    self.appended += [(key, (b"data", data, b"key", event_key)) for data, event_key in pairs]
                else:
                    self.appended.append((key, tuple(arguments[first:at])))
        return [b"OK"]


def event(lane: Lane, number: int) -> Event:
    """Event `<number>-0` of a lane's partition."""
    event_id, fields = entry(number)
    return Event(event_id, fields, lane.source)


class Bench:
    """One lane of partition 0, at work on `handler`."""

    def __init__(
        self, handler: Any, *, at: Session | None = None, batch: Batch | None = None, at_redis: Endpoint | None = None,
        name: str = "shop", directory: str = "", middleware: tuple[Any, ...] = (), match: Match = (), **changed: Any,
    ) -> None:  # fmt: skip
        self.store = Store()
        made = plan(topology(name, batch=batch, **changed))
        self.board = Board(Shape(len(made.slots), len(made.units)))
        self.wakes = {at: signals.pipe() for at in (0, -2, -1)}
        self.host = Host(
            plan=made, endpoint=at_redis or endpoint.unix("/nowhere"), member="h:1:x", board=self.board,
            directory=directory, wakes=self.wakes, drain=False, digest="", embedded_root=None,
        )  # fmt: skip
        self.slice = Slice(self.host, 0, 1)
        layers = tuple(layering.of(each, each.__name__) for each in middleware)
        form = handling.describe(handler, batch is not None)
        work = workload.surrounded(handler, form, None, layers, False)
        self.slice.use(workload.only(work, matching.compiled(match)) if match else work)
        if at_redis is None:
            self.slice.states_for = lambda unit: States(lambda key: f"state:{key}", self.store.states.get)  # type: ignore[method-assign]
        self.board.d[cells.H_DEADLINE] = math.inf
        base = self.board.unit(0)
        self.board.q[base + cells.U_GRANT] = self.board.q[base + cells.U_WANTED] = 1
        at = at or session()
        self.lane = self.slice.lane_type(at)(self.slice, 0, 1, at)
        self.slice.lanes[0] = self.lane

    def close(self) -> None:
        for pair in self.wakes.values():
            for fd in pair:
                os.close(fd)

    def cell(self, cell: int) -> int:
        return self.board.q[self.board.unit(0) + cell]

    @property
    def since(self) -> float:
        return self.board.d[self.board.unit(0) + cells.U_SINCE]

    # --- driving

    def commit_once(self) -> float | None:
        """What one round of the committer does with this lane."""
        commit = self.lane.ledger.next_commit()
        assert commit is not None
        return self.lane.ledger.outcome(self.store.take(commit))

    def drive(self, *entries: list[Any], until: Callable[[], bool] | None = None, lag: int = 0) -> None:
        """Feed the entries, run the lane, and stop it when `until` holds or all is committed; to its end. A commit
        takes `lag` more turns of the loop."""
        last = self.lane.ledger.done + len(entries)
        enough = until or (lambda: self.lane.ledger.committed >= last)

        async def body() -> None:
            if entries:
                self.lane.feed(list(entries), 100.0)
            driving, turns = asyncio.ensure_future(self.lane.drive()), 0
            while not driving.done():
                committer = self.slice.committer
                turns = turns + 1 if committer._dirty or committer._laden else 0
                if turns > lag:
                    committer._dirty.clear()
                    committer._laden.clear()
                    if self.lane.ended is None and self.lane.ledger.next_commit() is not None:
                        self.commit_once()
                    elif self.lane.ended is not None:
                        self.lane.ledger.resolve_ended()
                if self.slice._woken is not None and not self.slice._woken.done():
                    self.slice._woken.set_result(None)  # as a byte on the slice's pipe does
                if enough() and not self.lane.stopping:
                    self.lane.stop()
                await asyncio.sleep(0)
            await driving

        run(body())


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """A loop that must come to an end."""

    async def bounded() -> T:
        async with asyncio.timeout(30):
            return await coroutine

    return asyncio.run(bounded())
