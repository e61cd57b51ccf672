"""block_clear.lua, event_skip.lua, member_beat.lua and member_expel.lua on real servers."""

from __future__ import annotations

import json

import pytest

from runnelctl.core import keys
from tests.partition import Partition, failed


def blocked(part: Partition, at: int = 2, count: int = 5) -> list[str]:
    """A partition that is quarantined at its event number `at` (from 0); the ids."""
    ids = part.add(count)
    epoch = part.acquire(7)[1]
    cursor = ids[at - 1] if at else "0-0"
    assert part.commit(epoch, 7, 1, "0-0", cursor, at, release=True, block=failed(ids[at])) == ["OK"]
    return ids


def test_clear_lets_the_partition_run_from_where_it_stopped(part: Partition) -> None:
    ids = blocked(part)
    part.client.hset(part.own, mapping={"tries": 2, "suspect": 3, "death": "x"})
    assert part.clear(ids[2]) == ["OK"]
    own = part.hash()
    assert "block" not in own
    assert (own["tries"], own["suspect"], own["death"], own["cursor"], own["count"]) == ("0", "0", "", ids[1], "2")
    assert part.acquire(8)[0] == "OK"


def test_clear_of_what_is_not_blocked(part: Partition) -> None:
    assert part.clear("1-1") == ["CLEAR"]
    part.acquire(7)
    before = part.dump()
    assert part.clear("1-1") == ["CLEAR"]
    assert part.dump() == before


def test_clear_is_about_the_failure_that_was_seen(part: Partition) -> None:
    ids = blocked(part)
    before = part.dump()
    status, record = part.clear(ids[3])
    assert (status, json.loads(record)["event"]) == ("CHANGED", ids[2])
    assert part.clear(ids[2][:-1])[0] == "CHANGED", "not a part of an id"
    assert part.dump() == before
    assert part.clear("") == ["OK"], "any"


def test_an_id_inside_the_failed_record_is_not_taken_for_the_events(part: Partition) -> None:
    ids = blocked(part)
    payload = json.dumps({"event": "9-9"})
    record = json.dumps({"event": ids[2], "payload": payload}, separators=(",", ":"))
    part.client.hset(part.own, "block", record)
    assert part.clear("9-9")[0] == "CHANGED"
    assert part.clear(ids[2]) == ["OK"]


def test_clear_and_skip_leave_alone_what_somebody_runs(part: Partition) -> None:
    ids = blocked(part)
    part.client.hset(part.own, mapping={"nonce": "9", "owner": "b/0"})
    before = part.dump()
    assert part.clear(ids[2]) == ["OWNED", "b/0"]
    assert part.skip(ids[2], "data", "x") == ["OWNED", "b/0"]
    assert part.dump() == before


def test_a_mended_record_is_kept_for_its_event(part: Partition) -> None:
    ids = blocked(part)
    assert part.clear(ids[2], '{"n":9007199254740993}') == ["OK"]
    assert (part.hash()["edit_id"], part.hash()["edit"]) == (ids[2], '{"n":9007199254740993}')


@pytest.mark.parametrize(("kept", "count"), [(2, "3"), (1, "4"), (5, "2"), (3, "2")])
def test_an_accepted_loss_is_counted_as_read(part: Partition, kept: int, count: str) -> None:
    ids = blocked(part)
    part.client.xtrim(part.events, maxlen=kept, approximate=False)
    assert part.clear(ids[2], lost=True) == ["OK"]
    assert part.hash()["count"] == count
    status, epoch, cursor, *_, lost = part.acquire(8)
    assert (status, cursor, lost) == ("OK", ids[1], "0")
    n = min(kept, 3)
    assert part.commit(epoch, 8, 1, cursor, ids[4], n) == ["OK"]
    assert part.group()["lag"] == 0


def test_a_loss_is_not_accepted_by_the_way(part: Partition) -> None:
    ids = blocked(part)
    part.client.xtrim(part.events, maxlen=1, approximate=False)
    part.clear(ids[2])
    assert part.acquire(8)[6] == "2"


def test_an_accepted_loss_of_a_whole_stream(part: Partition) -> None:
    ids = blocked(part)
    part.client.delete(part.events)
    assert part.clear(ids[2], lost=True) == ["OK"]
    assert part.acquire(8)[0] == "OK"


# --- event_skip -----------------------------------------------------------------------------------------------------


def test_skip_moves_the_event_to_the_dead_letters_and_goes_on(part: Partition) -> None:
    ids = blocked(part)
    part.client.hset(part.own, mapping={"tries": 2, "suspect": 3, "death": "x", "edit": "e", "edit_id": ids[2]})
    assert part.skip(ids[2], "data", "1", "key", "k", "h:dead-reason", "r") == ["OK"]
    assert part.outputs() == [{"data": "1", "key": "k", "h:dead-reason": "r"}]
    own = part.hash()
    assert not {"block", "edit", "edit_id"} & own.keys()
    assert (own["cursor"], own["count"], own["tries"], own["suspect"], own["death"]) == (ids[2], "3", "0", "0", "")
    assert part.group()["lag"] == 2
    epoch = part.acquire(8)[1]
    assert part.commit(epoch, 8, 1, ids[2], ids[4], 2) == ["OK"]


def test_skip_happens_once(part: Partition) -> None:
    ids = blocked(part)
    part.skip(ids[2], "data", "1")
    before = part.dump()
    assert part.skip(ids[2], "data", "1") == ["CLEAR"]
    assert part.dump() == before


def test_skip_is_about_the_failure_that_was_seen(part: Partition) -> None:
    ids = blocked(part)
    before = part.dump()
    assert part.skip(ids[3], "data", "1")[0] == "CHANGED"
    assert part.dump() == before


def test_skip_of_an_event_that_is_gone_or_not_the_next(part: Partition) -> None:
    ids = blocked(part)
    part.client.hset(part.own, "block", failed(ids[3]))
    before = part.dump()
    assert part.skip(ids[3], "data", "1") == ["GONE"]
    assert part.dump() == before
    part.client.hset(part.own, "block", failed(ids[2]))
    part.client.xdel(part.events, ids[2])
    assert part.skip(ids[2], "data", "1") == ["GONE"]
    part.client.delete(part.events)
    assert part.skip(ids[2], "data", "1") == ["GONE"]


def test_skip_into_a_key_of_another_type_changes_nothing(part: Partition) -> None:
    ids = blocked(part)
    part.client.set(part.out, "a text")
    before = part.dump()
    with pytest.raises(Exception, match="is not a stream"):
        part.skip(ids[2], "data", "1")
    assert part.dump() == before


def test_skip_with_more_fields_than_lua_unpacks_changes_nothing(part: Partition) -> None:
    ids = blocked(part)
    before = part.dump()
    with pytest.raises(Exception, match=r"unpack|fields"):
        part.skip(ids[2], *map(str, range(20_000)))
    assert part.dump() == before


# --- members --------------------------------------------------------------------------------------------------------


class Hosts:
    """The two member scripts as a host calls them."""

    def __init__(self, part: Partition) -> None:
        self.part = part
        self.members, self.hosts = keys.members(part.topology), keys.hosts(part.topology)
        self.control = keys.control(part.topology)

    def beat(
        self, member: str, entry: str, *, join: bool = False, until_ms: int | None = None
    ) -> tuple[str, int, dict[str, str]]:
        limit = [] if until_ms is None else [until_ms]
        reply = self.part.run("member_beat", [self.members, self.hosts], [member, entry, "report", int(join), *limit])
        return reply[0], int(reply[1]), dict(zip(reply[2::2], reply[3::2], strict=True))

    def expel(self, member: str, entry: str = "") -> int:
        reply: int = self.part.run("member_expel", [self.members, self.hosts, self.control], [member, entry])
        return reply


@pytest.fixture
def hosts(part: Partition) -> Hosts:
    return Hosts(part)


def test_a_beat_tells_who_is_there(hosts: Hosts) -> None:
    assert hosts.beat("a", "1|x", join=True)[0] == "OK"
    status, server_ms, found = hosts.beat("b", "1|y", join=True)
    assert status == "OK"
    assert abs(server_ms - int(hosts.part.client.time()[0]) * 1000) < 10_000
    assert {member: entry.partition("|")[2] for member, entry in found.items()} == {"a": "1|x", "b": "1|y"}
    assert hosts.part.client.hgetall(hosts.hosts) == {b"a": b"report", b"b": b"report"}


def test_who_was_expelled_does_not_come_back_by_a_late_beat(hosts: Hosts) -> None:
    hosts.beat("a", "1", join=True)
    entry = hosts.beat("b", "1", join=True)[2]["a"]
    assert hosts.expel("a", entry) == 1
    before = hosts.part.dump()
    status, _, found = hosts.beat("a", "2")
    assert (status, list(found)) == ("EXPELLED", ["b"])
    assert hosts.part.dump() == before
    assert hosts.beat("a", "3", join=True)[0] == "OK"


def test_who_was_expelled_does_not_come_back_by_a_late_join(hosts: Hosts) -> None:
    """It would not know of it, and go on with what others have by now."""
    now_ms = hosts.beat("b", "1", join=True)[1]
    assert hosts.beat("a", "1", join=True, until_ms=now_ms + 60_000)[0] == "OK"
    assert hosts.expel("a") == 1
    before = hosts.part.dump()
    assert hosts.beat("a", "1", join=True, until_ms=now_ms - 1)[0] == "EXPELLED"
    assert hosts.part.dump() == before
    assert hosts.beat("a", "2")[0] == "EXPELLED"


def test_a_stranger_is_told_that_it_is_none(hosts: Hosts) -> None:
    assert hosts.beat("a", "1")[::2] == ("EXPELLED", {})
    assert hosts.part.dump() == {}


def test_one_late_beat_saves_a_slow_host(hosts: Hosts) -> None:
    seen = hosts.beat("a", "1", join=True)[2]["a"]
    hosts.beat("a", "2")
    before = hosts.part.dump()
    assert hosts.expel("a", seen) == 0
    assert hosts.part.dump() == before


def test_who_leaves_is_gone_and_said_so(hosts: Hosts) -> None:
    hosts.beat("a", "1", join=True)
    assert hosts.expel("a") == 1
    assert not hosts.part.client.exists(hosts.members, hosts.hosts)
    assert hosts.part.outputs(hosts.control) == [{"what": "left", "member": "a"}]
    assert hosts.expel("a") == 0
    assert len(hosts.part.outputs(hosts.control)) == 1
