"""What Redis lost, or had taken from it, is noticed, counted and said: a replica that was cut off and is promoted, an
unread event deleted from the midst of a stream, a stream that is deleted as a whole."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
import redis

from runnelctl.core import keys
from tests import servers
from tests.process.ups import Up, command, project, status
from tests.servers import Server
from tests.waiting import wait_until
from tests.watched import Watched

TOPOLOGY = """
name: {name}
redis: {url}
pythonpath: [.]
lease: {{ttl: 2s}}
streams:
  orders: {{partitions: 2, key: who}}
processors:
  count: {{stream: orders, handler: shop:count, processes: 1, policy: QUARANTINE, retry: {{attempts: 1}}}}
"""
HANDLER = """
import asyncio, pathlib

async def count(event, ctx):
    ctx.state["seen"] = ctx.state.get("seen", []) + [event.value["n"]]
    while pathlib.Path("hold").exists() and event.value["n"] == 3:
        await asyncio.sleep(0.01)
"""
A = zlib.crc32(b"a") % 2


def records(*numbers: int) -> list[str]:
    return [json.dumps({"who": "a", "n": number}) for number in numbers]


def seen(port: int, name: str) -> list[int]:
    with redis.Redis(port=port) as client:
        text: Any = client.get(keys.state(name, "orders", A, "count", "a"))
    return list(json.loads(text)["seen"]) if text else []


def row(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = status(directory)["processors"]["count"]["partitions"][A]
    return found


def test_a_replica_that_was_cut_off_is_promoted(tmp_path: Path, app_name: str) -> None:
    if servers.binary("valkey") is None:
        pytest.skip("no valkey server is installed")
    watched = Watched()
    up = None
    try:
        project(tmp_path, TOPOLOGY.format(name=app_name, url=watched.url), shop=HANDLER)
        up = Up(tmp_path).wait_ready()
        assert command(tmp_path, "send", "orders", *records(1, 2)).returncode == 0
        wait_until(lambda: seen(watched.replica.port, app_name) == [1, 2], message="the replica to have it all")
        watched.replica.pause()
        with redis.Redis(port=watched.primary.port) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")  # nothing may wait for it in a socket
        # What comes now is acknowledged, handled and committed, and lost.
        assert command(tmp_path, "send", "orders", *records(10, 11, 12)).returncode == 0
        wait_until(
            lambda: seen(watched.primary.port, app_name) == [1, 2, 10, 11, 12], message="the events to be handled"
        )
        watched.primary.kill()
        watched.replica.resume()
        wait_until(lambda: watched.named() == watched.replica.port, 30, "the replica to be promoted")
        wait_until(lambda: "3 event(s) that it had are gone" in up.output, 30, "the loss to be noticed")
        assert f"count:{A}: Redis went back in time" in up.output
        assert "3 event(s) that were committed come again" in up.output
        assert command(tmp_path, "send", "orders", *records(4)).returncode == 0
        wait_until(lambda: seen(watched.replica.port, app_name) == [1, 2, 4], 30, "work to go on")
        wait_until(lambda: row(tmp_path).get("lost") == 3, message="status to say so")
        assert row(tmp_path)["undone"] == 3
        with redis.Redis(port=watched.replica.port, decode_responses=True) as client:
            told = [fields for _, fields in client.xrange(keys.audit(app_name)) if fields["what"] == "lost"]
        assert [(each["partition"], each["lost"], each["undone"]) for each in told] == [(str(A), "3", "3")]
        assert up.stop() == 0
    finally:
        if up is not None:
            up.close()
        watched.close()


def test_a_stranger_deletes_unread_events_and_a_whole_stream(valkey: Server, tmp_path: Path, app_name: str) -> None:
    project(tmp_path, TOPOLOGY.format(name=app_name, url=valkey.url), shop=HANDLER)
    hold = tmp_path / "hold"
    events = keys.events(app_name, "orders", A)
    up = Up(tmp_path).wait_ready()
    try:
        assert command(tmp_path, "send", "orders", *records(1, 2)).returncode == 0
        wait_until(lambda: seen(valkey.port, app_name) == [1, 2], message="the first events")
        # Nothing has been trimmed, so that only a count can tell that one of the unread is missing.
        assert command(tmp_path, "pause", "count").returncode == 0
        wait_until(lambda: row(tmp_path)["host"] is None, message="the partition to be let go")
        assert command(tmp_path, "send", "orders", *records(4, 5, 6)).returncode == 0
        with redis.Redis(port=valkey.port) as client:
            client.xdel(events, client.xrange(events)[3][0])  # the 5
        assert command(tmp_path, "resume", "count").returncode == 0
        wait_until(lambda: row(tmp_path)["state"] == "quarantined", message="the partition to stop")
        error = row(tmp_path)["error"]
        assert (error["type"], error["kind"], error["lost"]) == ("EventsTrimmed", "trimmed", 1)
        assert command(tmp_path, "replay", "count", "--yes").returncode == 0
        wait_until(lambda: seen(valkey.port, app_name) == [1, 2, 4, 6], message="what is left")
        assert row(tmp_path)["lag"] == 0
        # While a handler is at work: the next commit notices.
        hold.touch()
        assert command(tmp_path, "send", "orders", *records(3, 7, 8)).returncode == 0
        wait_until(lambda: row(tmp_path)["lag"] == 3, message="the events to be there")
        with redis.Redis(port=valkey.port) as client:
            client.xdel(events, client.xrange(events)[-1][0])  # the 8
        hold.unlink()
        wait_until(lambda: row(tmp_path)["state"] == "quarantined", message="the partition to stop again")
        assert row(tmp_path)["error"]["lost"] == 1
        assert command(tmp_path, "replay", "count", "--yes").returncode == 0
        wait_until(lambda: row(tmp_path)["state"] == "running", message="the partition to run")
        # The whole stream: how much that was can't be known, but it is said.
        with redis.Redis(port=valkey.port) as client:
            client.delete(events)
        assert command(tmp_path, "send", "orders", *records(20)).returncode == 0
        wait_until(lambda: row(tmp_path)["state"] == "quarantined", message="the partition to stop once more")
        assert "the stream was deleted or replaced" in row(tmp_path)["error"]["message"]
        assert command(tmp_path, "replay", "count", "--yes").returncode == 0
        wait_until(lambda: 20 in seen(valkey.port, app_name), message="the new stream's event")
        wait_until(lambda: row(tmp_path)["lag"] == 0, message="right books")
        assert up.stop() == 0
    finally:
        up.close()


def test_a_processor_whose_position_is_deleted_stops_and_says_where_it_was(
    valkey: Server, tmp_path: Path, app_name: str
) -> None:
    """Were it taken for a new one, it would handle everything again, or pass over what is unread."""
    topology = TOPOLOGY.replace("policy:", "start: latest, policy:").format(name=app_name, url=valkey.url)
    project(tmp_path, topology, shop=HANDLER)
    up = Up(tmp_path).wait_ready()
    try:
        assert command(tmp_path, "send", "orders", *records(1, 2)).returncode == 0
        wait_until(lambda: seen(valkey.port, app_name) == [1, 2], message="the first events")
        with redis.Redis(port=valkey.port, decode_responses=True) as client:
            cursor = client.xrange(keys.events(app_name, "orders", A))[-1][0]
            wait_until(lambda: row(tmp_path)["lag"] == 0, message="them to be committed")
            client.delete(keys.own(app_name, "orders", A, "count"))
            client.execute_command("CLIENT", "KILL", "TYPE", "normal")  # so that everybody looks anew
        assert command(tmp_path, "send", "orders", *records(4, 5)).returncode == 0
        wait_until(lambda: row(tmp_path)["state"] == "quarantined", message="the partition to stop")
        error = row(tmp_path)["error"]
        assert (error["type"], error["kind"]) == ("PositionLost", "position lost")
        assert f"2 event(s) were passed, up to {cursor}" in error["message"]
        assert f"count:{A}: the record of where count:{A} is has gone from Redis" in up.output
        assert "went back in time" not in up.output, "it did not; only this is gone"
        replayed = command(tmp_path, "replay", "count", "--yes")
        assert replayed.returncode == 0, replayed.stderr
        wait_until(lambda: seen(valkey.port, app_name) == [1, 2, 4, 5], message="what was unread, once")
        wait_until(lambda: row(tmp_path)["lag"] == 0, message="right books")
        assert up.stop() == 0
    finally:
        up.close()
