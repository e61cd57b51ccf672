"""`durability`: a send is acknowledged once enough replicas have it, or the disk; a short count is not, and sending
again makes no second copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

import runnelctl
from runnelctl import errors
from runnelctl import topology as loaded
from runnelctl.core import keys
from runnelctl.core.model import Durability
from runnelctl.store import preflight
from runnelctl.store.carry import ScriptCall, Short, exchange
from runnelctl.store.durability import Demand
from runnelctl.store.scripts import script
from tests import servers
from tests.servers import Server
from tests.watched import AT_ONCE, Watched

Start = Callable[..., Server]


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Server, Server]]:
    """A primary and its replica."""
    program = servers.binary("valkey")
    if program is None:
        pytest.skip("no valkey server is installed")
    primary, replica = Server(program, *AT_ONCE), Server(program, *AT_ONCE)
    primary.start()
    replica.start()
    Watched.follow(replica, primary)
    yield primary, replica
    for server in (primary, replica):
        server.close()


def written(directory: Path, name: str, url: str, durability: str) -> Path:
    file = directory / "topology.yaml"
    file.write_text(f"name: {name}\nredis: {url}\ndurability: {durability}\nstreams: {{s: {{partitions: 1}}}}\n")
    return file


def test_a_send_waits_for_the_replica(pair: tuple[Server, Server], tmp_path: Path, app_name: str) -> None:
    primary, replica = pair
    file = written(tmp_path, app_name, primary.url, "{replicas: 1}")
    with runnelctl.connect_sync(file, timeout_ms=500) as client, redis.Redis(port=primary.port) as server:
        first = client.send("s", {"n": 1}, key="k")
        replica.pause()
        try:
            with pytest.raises(errors.SendOutcomeUnknown, match=r"may be lost in a failover.*0 of 1 replica"):
                client.send("s", {"n": 2}, key="k")
        finally:
            replica.resume()
        assert client.send("s", {"n": 3}, key="k") > first
        assert server.xlen(keys.events(app_name, "s", 0)) == 3  # the second one is there, and was not promised


def test_asking_again_over_another_connection_is_vouched_for_by_what_is_there(
    pair: tuple[Server, Server], app_name: str
) -> None:
    primary, replica = pair
    wanted = Demand(Durability(replicas=1))
    call = ScriptCall(
        script("produce"), (keys.events(app_name, "s", 0), keys.producer(app_name, "s", 0, "p")),
        (1, 100, 60_000, 1, b"{}", b"k", b"0"),
    )  # fmt: skip
    replica.pause()
    try:
        for _ in range(2):
            with redis.Redis(port=primary.port) as fresh:  # a connection that has written nothing yet
                (answer,) = exchange(fresh, [call], wanted)
                assert isinstance(answer, Short)
    finally:
        replica.resume()
    with redis.Redis(port=primary.port) as fresh:
        (answer,) = exchange(fresh, [call], wanted)
        assert isinstance(answer, list)
        assert answer[:1] == [b"OK"]
        assert fresh.xlen(keys.events(app_name, "s", 0)) == 1


def test_the_disk(server_kind: str, start_server: Start, tmp_path: Path, app_name: str) -> None:
    server = start_server(server_kind, "--appendfsync", "always")
    with runnelctl.connect_sync(written(tmp_path, app_name, server.url, "disk")) as client:
        assert client.send("s", {"n": 1}, key="k")


@pytest.mark.parametrize(
    ("kind", "durability", "appendonly", "told"),
    [
        ("valkey", "disk", False, "it keeps no append-only file; set appendonly yes"),
        ("redis", "disk", True, "Redis 7.0.15 has no WAITAOF; set appendfsync always"),
        ("valkey", "{replicas: 2, disk: true}", True, "durability asks for 2 replica(s) and it has 0"),
    ],
)
def test_what_a_server_cannot_give_is_refused(
    kind: str, durability: str, appendonly: bool, told: str, start_server: Start, tmp_path: Path, app_name: str
) -> None:
    server = start_server(kind, appendonly=appendonly)
    file = written(tmp_path, app_name, server.url, durability)
    with pytest.raises(errors.RedisUnfit) as caught, runnelctl.connect_sync(file):
        pass
    assert told in str(caught.value) or "Redis 7.2" in str(caught.value)
    of = loaded.load(file)
    with redis.Redis(unix_socket_path=str(server.socket)) as client, pytest.raises(errors.RedisUnfit):
        preflight.check(client, server.endpoint, app_name, of.durability)
