"""Retention on real hosts: what everybody has passed goes, what a processor of another file still needs stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from runnelctl.client import connect_sync
from runnelctl.core import keys
from tests.process import ups
from tests.process.ups import Up
from tests.servers import Server
from tests.waiting import wait_until

pytestmark = pytest.mark.process

TOPOLOGY = """
name: {name}
redis: {url}
pythonpath: [.]
lease: {{ttl: 2s}}
streams:
  orders: {{partitions: 1, key: user, retention: {{events: 5}}}}
processors:
  {processor}: {{stream: orders, handler: "handlers:bill", processes: 1}}
"""
HANDLERS = "async def bill(event):\n    pass\n"


def file(directory: Path, name: str, url: str, processor: str) -> Path:
    return ups.project(directory, TOPOLOGY.format(name=name, url=url, processor=processor), handlers=HANDLERS)


def send(path: Path, count: int) -> None:
    with connect_sync(path) as client:
        client.send_many("orders", [{"user": "u", "n": number} for number in range(count)])


def test_after_so_many_events_and_at_the_next_start(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    path = file(tmp_path, app_name, valkey.url, "bill")
    events = keys.events(app_name, "orders", 0)
    with redis.Redis.from_url(valkey.url) as client:
        up = start_up(tmp_path).wait_ready()
        send(path, 24_000)
        # The first look may come before or amid these: behind the last one there are fewer than 10,000 in any case.
        wait_until(lambda: client.xlen(events) < 10_005, message="a trim after 10,000 events")
        assert up.stop() == 0
        up = start_up(tmp_path).wait_ready()
        wait_until(lambda: client.xlen(events) == 5)
        send(path, 3)
        wait_until(lambda: ups.status(tmp_path)["processors"]["bill"]["partitions"][0]["lag"] == 0)
        assert ups.command(tmp_path, "status", "--check").returncode == 0
        assert up.stop() == 0


def test_a_processor_of_another_file_holds_it_back(
    tmp_path: Path, valkey: Server, app_name: str, start_up: Callable[..., Up]
) -> None:
    old = file(tmp_path / "old", app_name, valkey.url, "audit")
    events = keys.events(app_name, "orders", 0)
    send(old, 20)
    assert ups.command(old.parent, "up", "--drain").returncode == 0
    new = file(tmp_path / "new", app_name, valkey.url, "bill")
    send(new, 100)
    assert ups.command(new.parent, "up", "--drain").returncode == 0
    with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
        behind = client.hget(keys.own(app_name, "orders", 0, "audit"), "cursor")
        start_up(new.parent).wait_ready()
        wait_until(lambda: client.xinfo_stream(events)["first-entry"][0] == behind)
        assert client.xlen(events) == 101, "its cursor's event and all behind it"
