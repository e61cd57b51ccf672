"""What `status` reads from a real server, oldest and newest, with books written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import pytest
import redis

from runnelctl.core import keys
from runnelctl.core.model import Processor, Stream, Topology
from runnelctl.core.reading import Own, Report, SlotReport
from runnelctl.store import connect, survey
from runnelctl.store.scripts import Script, Word, is_noscript
from tests.servers import Server


@pytest.fixture
def client(redis_server: Server) -> Iterator[redis.Redis]:
    with connect.client(redis_server.endpoint) as client:
        yield client


def topology(name: str, partitions: int = 3) -> Topology:
    streams = {"orders": Stream(name="orders", partitions=partitions), "quiet": Stream(name="quiet", partitions=1)}
    processors = {
        each: Processor(name=each, stream="orders", handler="h:f", processes=1) for each in ("billing", "audit")
    }
    return Topology(name=name, file="/t.yaml", redis="", streams=streams, processors=processors)


def test_an_empty_server(client: redis.Redis, app_name: str) -> None:
    found = survey.survey(client, topology(app_name))
    assert (found.beats, found.reports, found.halted) == ({}, {}, {})
    assert found.units == {(name, partition): Own() for name in ("billing", "audit") for partition in range(3)}
    seconds, _ = client.time()
    assert abs(found.server_ms - seconds * 1000) < 60_000
    assert not client.keys(f"*{app_name}*"), "looking must not leave anything"


def test_members_reports_and_halts(client: redis.Redis, app_name: str) -> None:
    client.hset(keys.members(app_name), "web-1:4711:a", '1700|5|{"capacity": {}}')
    client.hset(keys.hosts(app_name), "web-1:4711:a", json.dumps({"pid": 4711, "slots": [{"slice": "billing.0"}]}))
    client.hset(keys.halted(app_name), "audit", '{"message": "dies"}')
    found = survey.survey(client, topology(app_name))
    assert found.beats == {"web-1:4711:a": 1700}
    assert found.reports == {"web-1:4711:a": Report(pid=4711, slots=[SlotReport("billing.0")])}
    assert found.halted == {"audit": {"message": "dies"}}


def test_every_processor_has_its_own_position_in_a_partition(client: redis.Redis, app_name: str) -> None:
    events = keys.events(app_name, "orders", 1)
    for number in range(1, 6):
        client.xadd(events, {"data": "x" * 1_000_000}, id=f"{1000 + number}-7")
    client.xtrim(events, maxlen=4, approximate=False)
    own = keys.own(app_name, "orders", 1, "billing")
    about = {"epoch": "77", "owner": "web-1:4711:a/0", "cursor": "1002-7", "count": "2", "block": '{"event": "1003-7"}'}
    client.hset(own, mapping=about)
    found = survey.survey(client, topology(app_name)).units
    assert found["billing", 1] == Own(
        epoch=77, owner="web-1:4711:a/0", cursor="1002-7", count=2, block={"event": "1003-7"},
        added=5, length=4, last="1005-7", unread_ms=1003,
    )  # fmt: skip
    assert found["audit", 1] == Own(added=5, length=4, last="1005-7", unread_ms=1002)
    assert found["audit", 0] == Own()
    client.hset(own, mapping={"cursor": "1005-7", "count": "5", "owner": ""})
    assert survey.survey(client, topology(app_name)).units["billing", 1].unread_ms is None


def test_more_partitions_than_one_round_trip_asks_for(
    client: redis.Redis, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "PARTITIONS_PER_TRIP", 4)
    client.hset(keys.own(app_name, "orders", 8, "audit"), "epoch", "9")
    found = survey.survey(client, topology(app_name, partitions=9)).units
    assert len(found) == 18
    assert [unit for unit, own in found.items() if own.epoch == 9] == [("audit", 8)]


def test_a_script_cache_flushed_in_the_middle_costs_nothing(
    valkey_own: Server, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_text = Script.by_text

    def forgotten(called: Script, names: Sequence[Word], args: Sequence[Word]) -> tuple[Word, ...]:
        monkeypatch.setattr(Script, "by_text", by_text)
        return ("SCRIPT", "FLUSH")  # in place of the first call, so that all the others miss

    with connect.client(valkey_own.endpoint) as client:
        client.hset(keys.own(app_name, "orders", 1, "audit"), "epoch", "9")
        monkeypatch.setattr(Script, "by_text", forgotten)
        monkeypatch.setattr(survey, "is_noscript", lambda reply: reply in (True, b"OK") or is_noscript(reply))
        found = survey.survey(client, topology(app_name))
    assert len(found.units) == 6
    assert found.units["audit", 1].epoch == 9


def test_something_else_under_our_names_is_an_error_and_not_a_guess(client: redis.Redis, app_name: str) -> None:
    client.set(keys.own(app_name, "orders", 2, "audit"), "x", ex=60)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        survey.survey(client, topology(app_name))


def test_it_works_on_a_server_that_takes_no_writes(valkey_own: Server, app_name: str) -> None:
    with connect.client(valkey_own.endpoint) as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(redis.ResponseError):
            client.set("x", "y")
        assert survey.survey(client, topology(app_name)).units
