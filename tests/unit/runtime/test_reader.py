"""Whom a read is for, and who gets what of its reply."""

from __future__ import annotations

import asyncio
import functools
import math
from types import SimpleNamespace
from typing import Any

import pytest

from runnelctl.event import Event
from runnelctl.runtime import reader
from runnelctl.runtime.intake import (
    LANE_EVENTS_LEAST,
    LANE_EVENTS_MOST,
    READ_EVENTS,
    REPLY_BYTES,
    REPLY_MOST_BYTES,
    Held,
    Intake,
)
from runnelctl.runtime.reader import AHEAD_BYTES, GROUP, Reader
from runnelctl.store.wire import ConnectionLost, ReplyTooLong
from tests.bench import Bench, entry, run


class Site:
    """A reader over lanes that are hungry as long as there is room, and a server that has `backlog` entries of each."""

    def __init__(self, lanes: int, backlog: dict[int, int]) -> None:
        self.backlog = backlog
        self.reads: list[tuple[bool, list[int]]] = []  # whether it blocked, and for which lanes
        self.lanes: dict[int, Any] = {}
        self.held = Held()
        self.interrupted = 0  # so often a read that waits was
        link: Any = SimpleNamespace(up=SimpleNamespace(call=self._unblocked))
        slice_: Any = SimpleNamespace(
            slot=SimpleNamespace(name="p.0"), lanes=self.lanes, outage=SimpleNamespace(over=lambda _: None),
            committer=SimpleNamespace(side=link), held=self.held,
        )  # fmt: skip
        self.reader = Reader(slice_)
        self.lanes.update({number: self._lane(number) for number in range(lanes)})
        self.wire: Any = SimpleNamespace(bytes_received=0, call_now=self._answer, lost=None, client_id=1)
        self.during: Any = None
        self.sizes: dict[int, int] = {}  # of a lane's entries, where they are not small
        for line in (self.reader.first, self.reader.second):
            line.link = SimpleNamespace(lost=lambda _: None)  # type: ignore[assignment]

    @classmethod
    def all_behind(cls, lanes: int, level: int = 0) -> Site:
        """Lanes that have read events before, all small: so many that are known to have more, and others."""
        site = cls(lanes + level, dict.fromkeys(range(lanes), 10**6))
        site.reader._event_bytes = 500.0
        for number, lane in site.lanes.items():
            lane.intake.event_bytes = 500.0
            lane.intake.behind = number < lanes
            site.reader.room_made(lane)
        return site

    def _lane(self, number: int) -> Any:
        class Lane(SimpleNamespace):
            __hash__ = object.__hash__

            @property
            def hungry(self) -> bool:
                return bool(self.intake.has_room)

        intake = Intake(b"0-0", self.held)
        loop = SimpleNamespace(call_soon=lambda call: call())
        return Lane(ahead=0, intake=intake, events_key=b"%d" % number, feed=intake.add, nudge=lambda: None, loop=loop)

    async def _unblocked(self, *_: Any) -> int:
        self.interrupted += 1
        return 1

    async def _answer(self, *words: Any) -> list[Any] | None:
        count, streams = words[2], words[words.index("STREAMS") + 1 :]
        names = [int(name) for name in streams[: len(streams) // 2]]
        self.reads.append(("BLOCK" in words, names))
        if self.during:
            self.during()
        reply = []
        for name in names:
            found = min(count, self.backlog.get(name, 0))
            if found:
                self.backlog[name] -= found
                size = self.sizes.get(name, 100)
                data = b"x" * size if size > 100 else b"{}"
                reply.append([b"%d" % name, [entry(number, data=data) for number in range(1, found + 1)]])
                self.wire.bytes_received += size * found
        return reply or None

    def read(self, times: int = 1) -> None:
        async def body() -> None:
            for _ in range(times):
                await self.reader._read(self.reader.first, self.wire, *self.reader._next_lanes())

        run(body())


def test_with_a_backlog_everywhere_lanes_take_turns_a_few_at_a_time() -> None:
    site = Site(100, dict.fromkeys(range(100), 10**6))
    for lane in site.lanes.values():
        site.reader.room_made(lane)
    site.read(35)
    few = READ_EVENTS // LANE_EVENTS_MOST
    assert [len(lanes) for _, lanes in site.reads] == [GROUP, *[few] * 34], "a guess, then so that each gets many"
    assert {name for _, lanes in site.reads for name in lanes} == set(range(100))
    assert not any(blocked for blocked, _ in site.reads)


def test_while_much_waits_for_handlers_only_lanes_that_have_nothing_get_more() -> None:
    site = Site.all_behind(5)
    site.read(3)
    assert [lanes for _, lanes in site.reads] == [[0, 1], [2, 3], [4, 0]]
    assert not site.reader._more
    assert list(site.reader._behind) == [site.lanes[number] for number in (1, 2, 3, 4)], "they would take more"
    for number in (3, 2):
        site.lanes[number].intake.take(LANE_EVENTS_MOST, gather=False)
        site.reader.room_made(site.lanes[number])
    site.read()
    assert site.reads[-1] == (False, [3, 2])
    assert not site.reader._more
    for number in (0, 0, 1, 2):
        site.lanes[number].intake.take(LANE_EVENTS_MOST, gather=False)
    site.reader.room_made(site.lanes[2])
    site.read(2)
    assert site.reads[-2:] == [(False, [2, 1]), (False, [4, 3])], "who has nothing left is first"


def test_while_enough_waits_those_that_were_fed_begin_before_anybody_gets_more() -> None:
    """A slice that is busy would hold ever more, and get no more done: with a thousand partitions, all their events."""
    site = Site.all_behind(12)
    site.read(2)
    assert site.reader._more, "there is not enough yet"
    waking: list[Any] = []
    for lane in site.lanes.values():
        lane.loop = SimpleNamespace(call_soon=waking.append)
    site.read()
    assert len(site.reader._fed) == 1 and site.lanes[4].intake.count == LANE_EVENTS_MOST
    assert not site.reader._more
    called: list[None] = []
    site.reader._spare = SimpleNamespace(done=lambda: bool(called), set_result=called.append)  # type: ignore[assignment]
    waking.pop()()
    assert called and site.reader._more


def test_a_handler_that_waits_for_more_gets_it_however_much_waits_elsewhere() -> None:
    site = Site.all_behind(5)
    site.read(3)
    assert not site.reader._more
    filling = site.lanes[3]
    filling.intake.want(2_500)  # a batch
    site.reader.room_made(filling)
    site.read(2)
    assert [lanes for _, lanes in site.reads[3:]] == [[3], [3]]
    assert filling.intake.count == 3_000 and not site.reader._more


def test_who_still_has_some_does_not_end_a_read_that_waits_but_who_has_nothing_does() -> None:
    site = Site.all_behind(6, level=1)
    site.read(3)
    ended: list[bool] = []

    def look() -> None:
        if site.reads[-1][0]:  # it waits
            lane = site.lanes[3]
            lane.intake.take(10, gather=False)
            site.reader.room_made(lane)
            ended.append(site.reader._interrupting is not None)
            lane.intake.take(LANE_EVENTS_MOST, gather=False)
            site.reader.room_made(lane)
            ended.append(site.reader._interrupting is not None)

    site.during = look
    site.reader.room_made(site.lanes[6])
    site.read()
    assert site.reads[-1] == (True, [6])
    assert ended == [False, True]


def test_one_lane_with_a_backlog_does_not_make_a_read_name_all_and_the_others_get_their_turn() -> None:
    site = Site(100, {7: 10**6, 99: 1})
    for lane in site.lanes.values():
        lane.intake.behind = lane is site.lanes[7]
        site.reader.room_made(lane)
    for _ in range(4):
        site.lanes[7].intake.count = 0  # its events are handled
        site.read()
    assert all(len(lanes) <= GROUP + 1 for _, lanes in site.reads)
    assert site.lanes[99].intake.count == 1, "within a few reads"


class Two:
    """Both lines of a reader, at work on a site whose replies come when they are told to."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.asked: list[tuple[str, bool, list[int], int]] = []  # line, whether it blocks, lanes, count
        self.open: dict[str, tuple[asyncio.Future[Any], tuple[Any, ...]]] = {}
        for line, name in ((site.reader.first, "first"), (site.reader.second, "second")):
            wire: Any = SimpleNamespace(bytes_received=0, lost=None, client_id=1, call_now=self._asker(name))
            line.link = SimpleNamespace(up=wire, lost=lambda _: None)  # type: ignore[assignment]

    def _asker(self, line: str) -> Any:
        async def call_now(*words: Any) -> Any:
            streams = words[words.index("STREAMS") + 1 :]
            lanes = [int(name) for name in streams[: len(streams) // 2]]
            self.asked.append((line, "BLOCK" in words, lanes, words[2]))
            self.open[line] = asyncio.get_running_loop().create_future(), words
            return await self.open[line][0]

        return call_now

    async def turn(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def answer(self, line: str) -> None:
        """The server answers what that line asks for, with what there is."""
        future, words = self.open.pop(line)
        future.set_result(await self.site._answer(*words))
        await self.turn()

    def play(self, body: Any) -> None:
        async def both() -> None:
            lines = [asyncio.ensure_future(each) for each in (self.site.reader.main(), self.site.reader.ahead())]
            await self.turn()
            await body()
            for each in lines:
                assert not each.done(), each.exception()
                each.cancel()

        run(both())


def test_while_the_first_line_waits_for_a_reply_the_second_reads_for_the_next_lanes() -> None:
    site = Site.all_behind(6, level=1)
    two = Two(site)

    async def body() -> None:
        assert [each[:3] for each in two.asked] == [("first", False, [0, 1, 6]), ("second", False, [2, 3])]
        await two.answer("second")
        assert two.asked[-1][:3] == ("second", False, [4, 5])
        assert site.lanes[2].intake.count == LANE_EVENTS_MOST
        await two.answer("first")
        assert site.lanes[0].intake.count == LANE_EVENTS_MOST

    two.play(body)


def test_what_a_reply_leaves_to_be_read_the_second_line_asks_for_before_the_reply_is_handled() -> None:
    site = Site.all_behind(0, level=6)
    site.backlog = dict.fromkeys(range(6), 10**6)
    waking: list[Any] = []
    for lane in site.lanes.values():
        lane.loop = SimpleNamespace(call_soon=waking.append)
    two = Two(site)

    async def body() -> None:
        assert [each[:3] for each in two.asked] == [("first", True, [0, 1, 2, 3, 4, 5])]
        await two.answer("first")
        assert waking, "five of them have yet to begin"
        assert [each[:3] for each in two.asked[1:]] == [("first", False, [0, 1]), ("second", False, [2, 3])]

    two.play(body)


def test_who_has_more_does_not_end_a_wait_while_the_second_line_is_free_but_who_has_read_all_does() -> None:
    site = Site.all_behind(0, level=3)
    two = Two(site)

    async def body() -> None:
        assert [each[:3] for each in two.asked] == [("first", True, [0, 1, 2])]
        one = site.lanes[0]
        one.intake.restart(b"0-0")  # a new read session, so it is not known what there is
        site.reader.room_made(one)
        await two.turn()
        assert two.asked[-1][:3] == ("second", False, [0])
        assert site.interrupted == 0
        await two.answer("second")  # brings nothing: from now on it belongs into the read that waits
        assert site.interrupted == 1
        await two.answer("first")
        assert two.asked[-1] == ("first", True, [0, 1, 2], two.asked[-1][3])

    two.play(body)


def test_what_an_old_read_session_asked_for_is_not_taken_although_a_new_one_asks_for_the_same() -> None:
    """The old reply may be of a server that is no primary any more."""
    site = Site.all_behind(2)
    two = Two(site)

    async def body() -> None:
        assert [each[:3] for each in two.asked] == [("first", False, [0, 1])]
        site.lanes[0].intake.restart(b"0-0")
        site.reader.room_made(site.lanes[0])
        await two.turn()
        assert two.asked[-1][:3] == ("second", False, [0])
        await two.answer("first")
        assert (site.lanes[0].intake.count, site.lanes[1].intake.count) == (0, LANE_EVENTS_MOST)
        await two.answer("second")
        assert site.lanes[0].intake.count == LANE_EVENTS_MOST

    two.play(body)


def test_the_second_line_asks_for_no_more_than_it_may_bring() -> None:
    site = Site.all_behind(8)
    for lane in site.lanes.values():
        lane.intake.event_bytes = AHEAD_BYTES / 10
    two = Two(site)

    async def body() -> None:
        second = next(each for each in two.asked if each[0] == "second")
        assert len(second[2]) * second[3] <= 10

    two.play(body)


def test_a_break_of_either_line_makes_every_lane_read_anew() -> None:
    for broken in ("first", "second"):
        site = Site.all_behind(4)
        anew: list[int] = []
        for number, lane in site.lanes.items():
            lane.resync = functools.partial(anew.append, number)
        two = Two(site)

        async def body(broken: str = broken, site: Site = site, anew: list[int] = anew, two: Two = two) -> None:
            line = getattr(site.reader, broken)
            up, line.link.up = line.link.up, None

            async def get() -> None:
                line.link.up = up

            line.link.get = get
            two.open.pop(broken)[0].set_exception(ConnectionLost("cut"))
            await two.turn()
            assert anew == [0, 1, 2, 3]

        two.play(body)


def test_when_nobody_is_behind_one_read_waits_for_all() -> None:
    site = Site(100, {})
    for lane in site.lanes.values():
        lane.intake.behind = False
        site.reader.room_made(lane)
    site.read()
    assert site.reads == [(True, list(range(100)))]


def test_a_lane_that_is_full_keeps_the_others_from_blocking_and_comes_back() -> None:
    site = Site(2, {})
    for lane in site.lanes.values():
        lane.intake.behind = False
    site.lanes[0].intake.add([entry(n) for n in range(LANE_EVENTS_LEAST + 1)], 100.0)
    for lane in site.lanes.values():
        site.reader.room_made(lane)
    site.read()
    assert site.reads == [(False, [1]), (True, [1])]
    site.lanes[0].intake.take(LANE_EVENTS_LEAST, gather=False)
    site.reader.room_made(site.lanes[0])
    site.read()
    assert {name for _, lanes in site.reads[2:] for name in lanes} == {0, 1}


def test_what_an_old_read_session_asked_for_is_not_taken() -> None:
    site = Site(2, {0: 5, 1: 5})
    for lane in site.lanes.values():
        site.reader.room_made(lane)
    site.during = lambda: site.lanes[0].intake.restart(b"0-0")
    site.read()
    assert (site.lanes[0].intake.count, site.lanes[1].intake.count) == (0, 5)


def test_a_lane_with_large_events_is_told_from_its_neighbours() -> None:
    site = Site(4, {0: 10**6, 1: 10**6, 2: 10**6, 3: 10**6})
    site.sizes[2] = 50_000
    for lane in site.lanes.values():
        lane.intake.event_bytes = 500.0
        site.reader.room_made(lane)
    site.read()
    assert site.lanes[2].intake.event_bytes > 50_000
    assert site.lanes[1].intake.event_bytes < 1_000


def test_lanes_that_may_each_bring_a_giant_are_read_few_at_a_time() -> None:
    site = Site(10, dict.fromkeys(range(10), 5))
    for lane in site.lanes.values():
        lane.intake.event_bytes = REPLY_BYTES / 2
        site.reader.room_made(lane)
    site.read()
    assert site.reads == [(False, [0, 1])]


def test_a_lane_whose_events_once_were_large_is_forgiven_while_it_brings_nothing() -> None:
    site = Site(2, {1: 1_000})
    for lane in site.lanes.values():
        lane.intake.event_bytes = 500.0
        site.reader.room_made(lane)
    site.lanes[0].intake.event_bytes = REPLY_BYTES
    site.read(20)
    assert site.lanes[0].intake.event_bytes <= REPLY_BYTES / 1_000


def test_an_event_that_ends_a_wait_is_handled_before_the_next_read_is_asked_for() -> None:
    seen: list[Any] = []

    async def handler(event: Event) -> None:
        seen.append(event.value["n"])

    made = Bench(handler)

    async def body() -> None:
        over = asyncio.Event()

        async def answer(*words: Any) -> Any:
            if "BLOCK" not in words:
                return None
            seen.append("read")
            await asyncio.sleep(0.001)  # until the lane waits, too
            if seen[-2:] == [3, "read"]:
                over.set()
                await asyncio.Future()
            return [[made.lane.events_key, [entry(seen.count("read"))]]]

        reader: Any = made.slice.reader
        reader.first.link = SimpleNamespace(up=SimpleNamespace(call_now=answer, bytes_received=0))
        tasks = [asyncio.ensure_future(each) for each in (made.lane.drive(), reader.main())]
        reader.room_made(made.lane)
        await over.wait()
        for task in tasks:
            task.cancel()

    run(body())
    made.close()
    assert seen == ["read", 1, "read", 2, "read", 3, "read"]


def test_what_made_a_reply_too_long_is_read_in_ever_shorter_ones_down_to_two_events() -> None:
    site = Site(4, dict.fromkeys(range(4), 1_000))
    for lane in site.lanes.values():
        lane.intake.event_bytes = 500.0
    limits = []

    def too_long() -> None:
        limits.append(site.wire.received_most)
        raise ReplyTooLong("too long")

    site.during = too_long
    for _ in range(10):
        for lane in site.lanes.values():
            site.reader.room_made(lane)
        site.read()
        site.wire.received_most = 0.0
        for lane in site.lanes.values():
            lane.intake.restart(b"0-0")  # as a new read session does
        if limits[-1] == math.inf:
            break
    assert limits[0] == REPLY_MOST_BYTES
    assert len(site.reads[-1][1]) <= 2, "these have to come, however long they are"
    assert len(limits) <= 5


@pytest.mark.parametrize("error", [ConnectionLost("cut"), ReplyTooLong("too long")])
def test_a_connection_that_breaks_under_two_reads_in_a_row_may_be_cut_since_the_reply_is_too_long(
    error: ConnectionLost,
) -> None:
    site = Site(1, {0: 1_000})
    lane = site.lanes[0]
    lane.intake.event_bytes = 500.0
    expected = []

    def broken() -> None:
        raise error

    site.during = broken
    for _ in range(2):
        site.reader.room_made(lane)
        site.read()
        lane.intake.restart(b"0-0")
        expected.append(lane.intake.event_bytes)
    assert (expected[0] == 500.0) is (type(error) is ConnectionLost), "one break is nothing special"
    assert expected[1] > 100_000


def test_events_that_grew_in_some_lanes_are_expected_to_have_grown_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "REPLY_BYTES", 1_000_000)
    site = Site(40, {0: 100})
    site.sizes[0] = 20_000
    for lane in site.lanes.values():
        lane.intake.event_bytes = 500.0
    site.reader.room_made(site.lanes[0])
    site.read()
    assert site.lanes[39].intake.event_bytes > 20_000
