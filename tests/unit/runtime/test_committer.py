"""When commits go out, and what the committer does when one gets no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from runnelctl.runtime.committer import SENT_BYTES, Committer
from runnelctl.store.wire import ConnectionLost, ReplyError


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
    committer = Committer(slice_, 1_000)
    for _ in range(2):  # two rounds were under way on it
        committer._recover(wire, ConnectionLost("no answer within 1 s"))
    assert done == ["said", "closed", "reader's connection closed", "lane reads anew"]


class Site:
    """A committer over lanes that have something to commit as long as `left` says so; answers come when they are told
    to."""

    def __init__(self) -> None:
        self.sent: list[str] = []  # the lanes' names, in the order of their commits
        self.settled: list[str] = []
        self.answers: dict[str, asyncio.Future[Any]] = {}
        self.began: list[str] = []
        self.more = asyncio.Event()  # set by every commit that goes out
        slice_: Any = SimpleNamespace(
            topology=SimpleNamespace(durability=None), slot=SimpleNamespace(name="billing.0"), lanes={},
            outage=SimpleNamespace(over=lambda _: None, began=lambda what, _: self.began.append(what)),
            start=self._start, reader=SimpleNamespace(links=()),
        )  # fmt: skip
        self.committer = Committer(slice_, 1_000)
        self.tasks: list[asyncio.Task[None]] = []
        self.wire: Any = SimpleNamespace(lost=None, flush=lambda: None, close=lambda: None)
        self.committer.link = SimpleNamespace(get=self._wire, lost=lambda _: None)  # type: ignore[assignment]

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    async def _wire(self) -> Any:
        return self.wire

    def lane(self, name: str, size: int = 0, left: int = 1, *, laden: bool = False) -> Any:
        """A lane with so many commits to make, each of `size` bytes."""

        class Lane(SimpleNamespace):
            __hash__ = object.__hash__

        def start(*_: Any) -> asyncio.Future[Any]:
            self.sent.append(name)
            self.more.set()
            self.answers[name] = asyncio.get_running_loop().create_future()
            return self.answers[name]

        def next_commit() -> Any:
            if lane.ledger.in_flight is None and lane.left:
                lane.ledger.in_flight = SimpleNamespace(start=start)
            return lane.ledger.in_flight

        def outcome(_: Any) -> None:
            assert lane.ledger.in_flight is not None
            self.settled.append(name)
            lane.ledger.in_flight = None
            lane.left -= 1

        ledger = SimpleNamespace(
            next_commit=next_commit, in_flight=None, in_flight_bytes=size, outcome=outcome, unsettled=False,
            laden=laden, resolve_ended=lambda: None,
        )  # fmt: skip
        lane = Lane(ended=None, unit=SimpleNamespace(processor="billing"), ledger=ledger, left=left)
        return lane

    async def turn(self) -> None:
        """Let everything that can go on do so."""
        for _ in range(10):
            await asyncio.sleep(0)

    def play(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(30):
                main = asyncio.ensure_future(self.committer.main())
                await body()
                assert not main.done(), main.exception()
                main.cancel()
                await asyncio.gather(*(task for task in self.tasks if task.done()))  # raises what went wrong there

        asyncio.run(bounded())

    async def answer(self, *names: str, reply: Any = None) -> None:
        for name in names:
            self.answers.pop(name).set_result(reply or [b"OK"])
        await self.turn()


def test_commits_of_many_lanes_travel_together_and_the_next_ones_wait_for_their_answers() -> None:
    site = Site()

    async def body() -> None:
        for name in "ab":
            site.committer.wake(site.lane(name))
        await site.turn()
        assert site.sent == ["a", "b"]
        for name in "cd":
            site.committer.wake(site.lane(name))
        await site.turn()
        await site.answer("b")
        assert site.sent == ["a", "b"]
        await site.answer("a")
        assert site.sent == ["a", "b", "c", "d"]

    site.play(body)


def test_who_has_much_to_commit_does_not_wait_for_the_answers_of_others() -> None:
    site = Site()

    async def body() -> None:
        site.committer.wake(site.lane("a"))
        await site.turn()
        site.committer.wake(light := site.lane("b"))
        site.committer.wake(site.lane("c", laden=True))
        await site.turn()
        assert site.sent == ["a", "c"]
        light.ledger.laden = True
        site.committer.wake(light)
        await site.turn()
        assert site.sent == ["a", "c", "b"]
        await site.answer("b", "c", "a")
        assert sorted(site.settled) == ["a", "b", "c"] and site.sent == ["a", "c", "b"], "each once"

    site.play(body)


def test_the_answer_of_who_has_much_does_not_begin_the_next_round() -> None:
    site = Site()

    async def body() -> None:
        site.committer.wake(site.lane("a"))
        site.committer.wake(site.lane("b", laden=True))
        await site.turn()
        site.committer.wake(site.lane("c"))
        await site.answer("b")
        assert sorted(site.sent) == ["a", "b"]
        await site.answer("a")
        assert sorted(site.sent) == ["a", "b", "c"]

    site.play(body)


@pytest.mark.parametrize("laden", [False, True])
def test_a_lane_that_is_woken_while_its_commit_is_under_way_gets_the_next_after_the_answer(laden: bool) -> None:
    site = Site()

    async def body() -> None:
        lane = site.lane("a", left=2, laden=laden)
        for _ in range(3):
            site.committer.wake(lane)
            await site.turn()
        assert site.sent == ["a"]
        await site.answer("a")
        assert site.sent == ["a", "a"]
        await site.answer("a")
        assert site.settled == ["a", "a"] and lane.left == 0

    site.play(body)


def test_a_round_that_waits_for_who_has_much_does_not_hold_up_other_rounds() -> None:
    site = Site()

    async def body() -> None:
        site.committer.wake(site.lane("a", laden=True))
        await site.turn()
        for name in "bc":
            site.committer.wake(site.lane(name))
            await site.turn()
            await site.answer(name)
        assert site.settled == ["b", "c"]
        await site.answer("a")

    site.play(body)


@pytest.mark.parametrize("laden", [False, True])
def test_what_is_under_way_at_once_is_bounded_and_the_rest_is_next(laden: bool) -> None:
    site = Site()

    async def body() -> None:
        for name in "abcde":
            site.committer.wake(site.lane(name, SENT_BYTES // 2, laden=laden))
        await site.turn()
        assert site.sent == ["a", "b"]
        await site.answer("a", "b")
        assert site.sent == ["a", "b", "c", "d"]
        await site.answer("c", "d")
        assert site.sent == ["a", "b", "c", "d", "e"]
        await site.answer("e")
        assert site.committer._sent_bytes == 0

    site.play(body)


def test_an_answer_that_comes_after_the_lane_is_over_is_nobodys() -> None:
    site = Site()

    async def body() -> None:
        site.committer.wake(lane := site.lane("a"))
        await site.turn()
        lane.ended, lane.ledger.in_flight = 1, None  # as resolve_ended leaves it
        await site.answer("a")
        assert site.settled == []

    site.play(body)


def test_after_a_refusal_the_same_commit_goes_out_again_later() -> None:
    site = Site()

    async def body() -> None:
        site.committer.wake(site.lane("a"))
        await site.turn()
        refusal = site.answers.pop("a")
        site.wire, refused = SimpleNamespace(lost=None, flush=lambda: None, close=lambda: None), site.wire
        assert refused is not site.wire
        refusal.set_result(ReplyError("READONLY You can't write against a read only replica."))
        await site.turn()
        assert site.sent == ["a"] and site.began == ["commits"]
        site.more = asyncio.Event()
        await site.more.wait()
        await site.turn()
        await site.answer("a")
        assert site.settled == ["a"]

    site.play(body)
