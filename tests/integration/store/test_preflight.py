"""The preflight against real servers, good ones and such as must be refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runnelctl.core import keys
from runnelctl.core.model import Processor, Stream, Topology
from runnelctl.errors import RedisUnfit, RedisUnreachable
from runnelctl.store import admission, preflight
from runnelctl.store.connect import client, line
from runnelctl.store.endpoint import Endpoint, parse
from runnelctl.store.preflight import Fitness
from tests.servers import Server, free_port


def check(endpoint: Endpoint, name: str = "shop") -> Fitness:
    with client(endpoint) as connection:
        return preflight.check(connection, endpoint, name)


def test_a_good_server_passes_and_keeps_nothing_of_the_test(redis_server: Server, app_name: str) -> None:
    fitness = check(redis_server.tcp_endpoint, app_name)
    assert fitness.refusals == []
    assert fitness.warnings == []
    assert fitness.server in ("redis", "valkey")
    assert fitness.version.count(".") == 2
    assert fitness.durability.startswith("appendfsync everysec")
    with client(redis_server.endpoint) as connection:
        assert not connection.exists(keys.scratch(app_name))


def test_the_newest_valkey_is_not_taken_for_an_old_redis(valkey: Server, app_name: str) -> None:
    fitness = check(valkey.endpoint, app_name)
    assert (fitness.server, fitness.version.partition(".")[0] >= "8") == ("valkey", True)


def test_eviction_is_refused_even_without_a_limit(start_server: Callable[..., Server], server_kind: str) -> None:
    server = start_server(server_kind, "--maxmemory-policy", "allkeys-lru")
    with pytest.raises(RedisUnfit, match="allkeys-lru may evict") as caught:
        check(server.endpoint)
    assert caught.value.exit_code == 1


def test_a_replica_is_refused(start_server: Callable[..., Server], server_kind: str) -> None:
    primary = start_server(server_kind)
    replica = start_server(server_kind, "--replicaof", f"127.0.0.1 {primary.port}")
    with pytest.raises(RedisUnfit, match=f"replica of 127.0.0.1:{primary.port}; name the primary"):
        check(replica.endpoint)


def test_cluster_mode_is_refused(start_server: Callable[..., Server], server_kind: str) -> None:
    server = start_server(server_kind, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with pytest.raises(RedisUnfit, match="cluster mode"):
        check(server.endpoint)


def test_a_server_without_persistence_is_warned_about(start_server: Callable[..., Server]) -> None:
    fitness = check(start_server("valkey", appendonly=False).endpoint)
    assert fitness.warnings == [fitness.durability]
    assert "loses everything, as there are no snapshots either" in fitness.durability


def test_a_server_without_config_is_judged_by_what_info_says(valkey_own: Server) -> None:
    with client(valkey_own.endpoint) as connection:
        connection.config_set("maxmemory-policy", "volatile-ttl")
        connection.execute_command("ACL", "SETUSER", "rented", "on", ">pw", "~*", "+@all", "-config")
    endpoint = parse(f"redis://rented:pw@127.0.0.1:{valkey_own.port}")
    with pytest.raises(RedisUnfit, match="volatile-ttl may evict"):
        check(endpoint)
    with client(valkey_own.endpoint) as connection:
        connection.config_set("maxmemory-policy", "noeviction")
    assert "CONFIG GET is not allowed" in check(endpoint).durability


def test_a_full_server_is_refused_by_the_write(start_server: Callable[..., Server]) -> None:
    with pytest.raises(RedisUnfit, match="is full"):
        check(start_server("valkey", "--maxmemory", "1").endpoint)


def test_a_user_who_may_not_run_scripts_is_refused(valkey_own: Server) -> None:
    with client(valkey_own.endpoint) as connection:
        connection.execute_command("ACL", "SETUSER", "weak", "on", ">pw", "~*", "+@all", "-@scripting")
    with pytest.raises(RedisUnfit, match="does not let this user"):
        check(parse(f"redis://weak:pw@127.0.0.1:{valkey_own.port}"))


def test_a_server_that_is_down_is_unreachable(valkey_own: Server) -> None:
    valkey_own.stop()
    with pytest.raises(RedisUnreachable) as caught:
        check(valkey_own.tcp_endpoint)
    assert caught.value.exit_code == 69


def test_a_full_server_takes_a_topology_that_it_knows_and_no_other(
    start_server: Callable[..., Server], server_kind: str
) -> None:
    server = start_server(server_kind)
    topology = model("shop", server)

    def admit(of: Topology) -> Fitness:
        with line(server.endpoint, timeout_ms=5_000) as connection:
            return admission.admit(
                connection, server.endpoint, of, "digest", {"file": of.name}, lambda *_: [], lambda _: False
            )

    admit(topology)
    with client(server.endpoint) as connection:
        connection.config_set("maxmemory", "1")
    assert any("senders will be refused" in warning for warning in admit(topology).warnings)
    with pytest.raises(RedisUnfit, match="is full: used memory is above maxmemory"):
        admit(model("other", server))


def model(name: str, server: Server) -> Topology:
    return Topology(
        name=name, file="/t.yaml", redis=server.url, streams={"orders": Stream(name="orders", partitions=2, key="k")},
        processors={"p": Processor(name="p", stream="orders", handler="x:y", processes=1)},
    )  # fmt: skip
