"""store/leases.py and store/members.py as the runtime uses them: pipelined, over a wire, in values."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from runnelctl.core.charges import Charge
from runnelctl.core.plan import Unit
from runnelctl.store import connect, leases, members
from runnelctl.store.leases import Blocked, Busy, Commit, Granted
from runnelctl.store.wire import Argument, ReplyError, Wire
from tests.partition import PROCESSOR, STREAM, Partition, failed
from tests.servers import Server

T = TypeVar("T")


class Desk:
    """A server, a topology, and a partition to look behind the scenes."""

    def __init__(self, server: Server, topology: str) -> None:
        self.server, self.topology = server, topology
        self.client = connect.client(server.endpoint)
        self.units = [Unit(number, PROCESSOR, STREAM, number) for number in range(4)]

    def part(self, number: int = 0) -> Partition:
        return Partition(self.client, self.topology, number)

    def run(self, body: Callable[[Wire], Awaitable[T]]) -> T:
        async def opened() -> T:
            wire = await Wire.open(self.server.endpoint, name="test", timeout_ms=10_000)
            try:
                return await body(wire)
            finally:
                wire.close()

        return asyncio.run(opened())

    def acquire(self, nonce: int, unit: int = 0, dead: str = "") -> Granted | Busy | Blocked:
        wanted = [(self.units[unit], str(nonce), "a/0", dead, "earliest")]
        return self.run(lambda wire: leases.acquire(wire, self.topology, wanted))[0]


@pytest.fixture
def desk(redis_server: Server, app_name: str) -> Desk:
    return Desk(redis_server, app_name)


def test_acquire_answers_each_wish_in_its_place(desk: Desk) -> None:
    desk.part(0).add(3)
    desk.part(1).acquire(5, "b/1")
    desk.part(2).client.hset(desk.part(2).own, "block", failed("1-1"))
    wanted = [(unit, str(unit.index + 10), f"a/{unit.index}", "", "earliest") for unit in desk.units]
    got = desk.run(lambda wire: leases.acquire(wire, desk.topology, wanted))
    assert isinstance(got[0], Granted)
    assert (got[0].cursor, got[0].count, got[0].tries, got[0].suspect, got[0].lost) == (b"0-0", 0, 0, 0, 0)
    assert got[1:3] == [Busy("b/1"), Blocked(failed("1-1"))]
    assert isinstance(got[3], Granted)
    found = desk.run(lambda wire: leases.holdings(wire, desk.topology, desk.units))
    assert [(each.owner, each.nonce, each.record) for each in found] == [
        ("a/0", "10", None), ("b/1", "5", None), ("", "", failed("1-1")), ("a/3", "13", None),
    ]  # fmt: skip
    assert found[0].epoch == got[0].epoch


def test_acquire_outlives_a_flushed_script_cache(desk: Desk) -> None:
    async def body(wire: Wire) -> list[Granted | Busy | Blocked]:
        await leases.acquire(wire, desk.topology, [(desk.units[0], "1", "a/0", "", "earliest")])
        await wire.call("SCRIPT", "FLUSH")
        wanted = [(unit, str(unit.index + 10), "a/0", "", "earliest") for unit in desk.units]
        return await leases.acquire(wire, desk.topology, wanted)

    got = desk.run(body)
    assert [type(each) for each in got] == [Busy, Granted, Granted, Granted]


def test_a_session_is_what_the_own_hash_says(desk: Desk) -> None:
    part = desk.part()
    ids = part.add(6)
    granted = desk.acquire(2**62 + 1)
    assert isinstance(granted, Granted)
    part.commit(granted.epoch, 2**62 + 1, 1, "0-0", ids[1], 2)
    part.client.hset(part.own, mapping={"tries": 2, "suspect": 3, "alone": 4, "sure": 1, "death": "x",
                                        "edit_id": ids[2], "edit": "{}"})  # fmt: skip
    part.client.xtrim(part.events, maxlen=3, approximate=False)
    got = desk.run(lambda wire: leases.session(wire, desk.topology, desk.units[0]))
    assert got == leases.Session(
        epoch=granted.epoch, nonce=str(2**62 + 1), cursor=ids[1].encode(), count=2, seq=1, tries=2, suspect=3,
        alone_until=4, sure=True, death="x", edit_id=ids[2].encode(), edit=b"{}", lost=1,
        added=6,
    )  # fmt: skip


def test_a_session_of_what_never_was(desk: Desk) -> None:
    got = desk.run(lambda wire: leases.session(wire, desk.topology, desk.units[0]))
    assert (got.epoch, got.nonce, got.cursor, got.count, got.seq, got.lost) == (0, "", b"0-0", 0, 0, 0)


def test_release_with_and_without_a_charge(desk: Desk) -> None:
    part = desk.part()
    part.add(3)
    granted = desk.acquire(1)
    assert isinstance(granted, Granted)
    unit = desk.units[0]
    assert not desk.run(lambda wire: leases.release(wire, desk.topology, unit, granted.epoch, 2))
    charge = Charge(1, 2, sure=True)
    assert desk.run(lambda wire: leases.release(wire, desk.topology, unit, granted.epoch, 1, charge, "boom"))
    got = desk.run(lambda wire: leases.session(wire, desk.topology, unit))
    assert (got.tries, got.suspect, got.alone_until, got.sure, got.death) == (1, 1, 2, True, "boom")
    again = desk.acquire(3)
    assert isinstance(again, Granted)
    assert (again.tries, again.suspect) == (1, 1)
    assert desk.run(lambda wire: leases.release(wire, desk.topology, unit, again.epoch, 3))
    assert part.hash()["tries"] == "1"


def test_a_commit_goes_out_unchanged_as_often_as_it_is_started(desk: Desk) -> None:
    part = desk.part()
    ids = part.add(3)
    granted = desk.acquire(7)
    assert isinstance(granted, Granted)
    names: list[Argument] = [part.own, part.events, part.out]
    effects: list[Argument] = ["X", 3, 0, 2, "data", b"\x00\xff"]
    commit = Commit(granted.epoch, 7, 1, b"0-0", ids[1].encode(), 2, False, "", names, effects)

    async def body(wire: Wire) -> list[object]:
        return [await commit.start(wire, PROCESSOR) for _ in range(3)]

    assert desk.run(body) == [[b"OK"], [b"ALREADY"], [b"ALREADY"]]
    assert desk.client.xlen(part.out) == 1


def test_a_broken_own_hash_is_an_error_and_no_session(desk: Desk) -> None:
    desk.client.set(desk.part().own, "a text")
    with pytest.raises(ReplyError, match="WRONGTYPE"):
        desk.run(lambda wire: leases.session(wire, desk.topology, desk.units[0]))
    with pytest.raises(ReplyError, match="WRONGTYPE"):
        desk.run(lambda wire: leases.holdings(wire, desk.topology, desk.units))
    with pytest.raises(ReplyError, match="WRONGTYPE"):
        desk.acquire(1)


def test_members_beat_expel_and_tell(desk: Desk) -> None:
    async def body(wire: Wire) -> None:
        first = await members.beat(wire, desk.topology, "a:1", "1|{}", b"{}", join=True)
        assert first.member
        assert first.members.keys() == {"a:1"}
        assert first.server_ms > 1_600_000_000_000
        assert not (await members.beat(wire, desk.topology, "b:2", "1|{}", b"{}")).member
        second = await members.beat(wire, desk.topology, "b:2", "1|{}", b"{}", join=True)
        assert second.members.keys() == {"a:1", "b:2"}
        assert not await members.expel(wire, desk.topology, "a:1", b"another entry")
        assert await members.expel(wire, desk.topology, "a:1", second.members["a:1"])
        assert not (await members.beat(wire, desk.topology, "a:1", "2|{}", b"{}")).member
        assert await members.expel(wire, desk.topology, "b:2", b"")
        await members.tell(wire, desk.topology, "replay", processor="x")

    desk.run(body)
    control = f"{{{desk.topology}}}:control"
    assert desk.part().outputs(control) == [
        {"what": "left", "member": "a:1"}, {"what": "left", "member": "b:2"}, {"what": "replay", "processor": "x"},
    ]  # fmt: skip
