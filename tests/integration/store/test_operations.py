"""What operators do to blocked partitions, on real servers, with books written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from runnelctl.core import keys
from runnelctl.core.model import Processor, Stream, Topology
from runnelctl.store import backlog, connect, operations
from runnelctl.store.operations import Blockage
from tests.servers import Server


@pytest.fixture
def client(redis_server: Server) -> Iterator[redis.Redis]:
    with connect.client(redis_server.endpoint) as client:
        yield client


class Books:
    """A stream of two partitions with five events each, and one processor; the third event of partition 1 failed."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self.client = client
        streams = {
            "orders": Stream(name="orders", partitions=2, key="user"),
            "graves": Stream(name="graves", partitions=1),
        }
        bill = Processor(name="bill", stream="orders", handler="h:f", processes=1)
        self.of = Topology(name=name, file="/t.yaml", redis="", streams=streams, processors={"bill": bill})
        for partition in range(2):
            for number in range(1, 6):
                data = json.dumps({"user": "u", "n": number})
                client.xadd(keys.events(name, "orders", partition), {"data": data, "key": "u"}, id=f"{number}-0")
        self.own = keys.own(name, "orders", 1, "bill")
        client.hset(
            self.own, mapping={"cursor": "2-0", "count": "2", "epoch": "7", "nonce": "", "owner": "", "seq": "1"}
        )
        self.block("3-0")

    def block(self, event: str, **more: Any) -> None:
        record = {"event": event, "key": "u", "type": "ValueError", "state": "quarantined"} | more
        self.client.hset(self.own, "block", json.dumps(record, separators=(",", ":")))

    @property
    def blockages(self) -> list[Blockage]:
        return operations.blockages(self.client, self.of, ["bill"])

    def field(self, name: str) -> str | None:
        value = self.client.hget(self.own, name)
        return value.decode() if isinstance(value, bytes) else None


@pytest.fixture
def books(client: redis.Redis, app_name: str) -> Books:
    return Books(client, app_name)


def test_a_blockage_tells_what_failed_and_what_waits(books: Books) -> None:
    (found,) = books.blockages
    assert (found.name, found.event_id, found.cursor, found.halted) == ("bill:1", "3-0", "2-0", False)
    assert (found.waiting, found.behind, found.lost) == (3, 2, 0)
    assert found.record["type"] == "ValueError"


def test_clear_lets_it_run_again_once(books: Books) -> None:
    books.client.hset(books.own, mapping={"tries": "3", "suspect": "3", "death": "SIGSEGV"})
    (found,) = books.blockages
    assert operations.clear(books.client, books.of, found) == "OK"
    assert books.blockages == []
    assert (books.field("cursor"), books.field("tries"), books.field("death")) == ("2-0", "0", "")
    assert operations.clear(books.client, books.of, found) == "CLEAR"


def test_clear_is_about_the_failure_that_was_seen(books: Books) -> None:
    (found,) = books.blockages
    books.block("4-0")
    assert operations.clear(books.client, books.of, found) == "CHANGED"
    assert [each.event_id for each in books.blockages] == ["4-0"]


def test_clear_and_skip_leave_alone_what_somebody_runs(books: Books) -> None:
    (found,) = books.blockages
    books.client.hset(books.own, mapping={"nonce": "5", "owner": "web-1:1:a/0"})
    assert operations.clear(books.client, books.of, found) == "OWNED"
    assert operations.skip(books.client, books.of, found, "graves", ("data", "x")) == "OWNED"
    assert len(books.blockages) == 1


def test_a_mended_record_is_kept_and_shown(books: Books) -> None:
    (found,) = books.blockages
    assert operations.entry(books.client, books.of, found) == [b"data", b'{"user": "u", "n": 3}', b"key", b"u"]
    assert operations.clear(books.client, books.of, found, b'{"n":30}') == "OK"
    assert (books.field("edit_id"), books.field("edit")) == ("3-0", '{"n":30}')
    books.block("3-0")
    assert operations.entry(books.client, books.of, found) == [b"data", b'{"n":30}', b"key", b"u"]


def test_skip_moves_the_event_and_the_cursor_together(books: Books) -> None:
    books.client.xgroup_create(keys.events(books.of.name, "orders", 1), "bill", "2-0")
    (found,) = books.blockages
    assert operations.skip(books.client, books.of, found, "graves", ("data", "x", "key", "u")) == "OK"
    ((_, dead),) = books.client.xrange(keys.events(books.of.name, "graves", 0))
    assert dead == {b"data": b"x", b"key": b"u"}
    assert (books.field("cursor"), books.field("count"), books.field("block")) == ("3-0", "3", None)
    (group,) = books.client.xinfo_groups(keys.events(books.of.name, "orders", 1))
    assert (group["last-delivered-id"], group["lag"]) == (b"3-0", 2)
    assert operations.skip(books.client, books.of, found, "graves", ("data", "x")) == "CLEAR"


def test_skip_into_a_stream_that_nobody_declared_keeps_the_partition(books: Books) -> None:
    (found,) = books.blockages
    assert operations.skip(books.client, books.of, found, "orders.dead", ("data", "x")) == "OK"
    assert books.client.xlen(keys.events(books.of.name, "orders.dead", 1)) == 1


def test_skip_of_another_failure_or_a_deleted_event_changes_nothing(books: Books) -> None:
    (found,) = books.blockages
    books.client.xdel(keys.events(books.of.name, "orders", 1), "3-0")
    assert operations.entry(books.client, books.of, found) is None
    assert operations.skip(books.client, books.of, found, "graves", ("data", "x")) == "GONE"
    books.block("4-0")
    assert operations.skip(books.client, books.of, found, "graves", ("data", "x")) == "CHANGED"
    assert books.field("cursor") == "2-0"
    assert not books.client.exists(keys.events(books.of.name, "graves", 0))


def test_clear_of_a_trimmed_partition_accepts_the_loss(books: Books) -> None:
    events = keys.events(books.of.name, "orders", 1)
    books.client.xtrim(events, minid="5-0", approximate=False)
    books.block("", kind="trimmed", lost=2)
    (found,) = books.blockages
    assert (found.lost, found.behind) == (2, 1)
    assert operations.clear(books.client, books.of, found) == "OK"
    assert (books.field("count"), books.field("cursor")) == ("4", "2-0")


def test_a_halt_ends_when_its_last_partition_is_free(books: Books) -> None:
    halted = keys.halted(books.of.name)
    books.block("3-0", state="halted")
    other = keys.own(books.of.name, "orders", 0, "bill")
    books.client.hset(other, mapping={"cursor": "0-0", "count": "0", "nonce": ""})
    books.client.hset(other, "block", '{"event":"1-0","state":"halted"}')
    books.client.hset(halted, "bill", "{}")
    zero, one = books.blockages
    assert (zero.halted, one.halted) == (True, True)
    operations.clear(books.client, books.of, one)
    assert operations.unhalt(books.client, books.of, "bill") == [zero]
    assert books.client.hexists(halted, "bill")
    operations.clear(books.client, books.of, zero)
    assert operations.unhalt(books.client, books.of, "bill") == []
    assert not books.client.hexists(halted, "bill")


def test_a_processor_that_halted_as_a_whole(books: Books) -> None:
    books.client.hset(keys.halted(books.of.name), "bill", '{"event":"","type":"CrashLoop"}')
    one, whole = books.blockages
    assert (whole.name, whole.partition, whole.halted, whole.waiting) == ("bill", None, True, 8)
    assert operations.clear(books.client, books.of, whole) == "OK"
    assert operations.clear(books.client, books.of, whole) == "CLEAR"
    assert books.blockages == [one]


def test_a_record_that_cannot_be_read_is_shown_as_it_is(books: Books) -> None:
    books.client.hset(books.own, "block", "not json")
    (found,) = books.blockages
    assert (found.event_id, found.record) == ("", {"message": "not json"})


def test_audit_and_announcements_work_on_a_full_server(start_server: Any, app_name: str) -> None:
    server = start_server("valkey", "--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
    with connect.client(server.endpoint) as client:
        books = Books(client, app_name)
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            for number in range(100_000):
                client.set(f"filler:{number}", "x" * 10_000)
        (found,) = books.blockages
        assert operations.clear(client, books.of, found) == "OK"
        operations.audit(client, books.of, who="me", what="retry")
        operations.announce(client, books.of, "replay")
        ((_, line),) = client.xrange(keys.audit(app_name))
        ((_, message),) = client.xrange(keys.control(app_name))
    assert (line, message) == ({b"who": b"me", b"what": b"retry"}, {b"what": b"replay"})


def test_positions_and_ends(books: Books) -> None:
    places = [("bill", 0), ("bill", 1)]
    seen = backlog.look(books.client, books.of, places)
    assert seen.positions[("bill", 0)] == backlog.Position((0, 0), 0, blocked=False)
    assert seen.positions[("bill", 1)] == backlog.Position((2, 0), 2, blocked=True)
    assert (seen.halted, seen.members) == (frozenset(), {})
    books.client.xdel(keys.events(books.of.name, "orders", 0), "5-0")
    books.client.delete(keys.events(books.of.name, "orders", 1))
    ends = backlog.ends(books.client, books.of, places)
    assert ends == {("bill", 0): backlog.End((4, 0), 5), ("bill", 1): backlog.End((0, 0), 0)}
