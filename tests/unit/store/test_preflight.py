"""The preflight's judgement, from replies as values."""

from __future__ import annotations

from typing import Any

import pytest

from runnelctl.store.preflight import judge

GOOD_INFO: dict[str, Any] = {"redis_version": "7.0.15", "redis_mode": "standalone", "role": "master", "aof_enabled": 1}
GOOD_CONFIG = {
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "aof-load-truncated": "yes",
    "min-replicas-to-write": "0",
}


def test_a_good_server_has_no_fault() -> None:
    fitness = judge(GOOD_INFO, GOOD_CONFIG)
    assert (fitness.refusals, fitness.warnings) == ([], [])
    assert (fitness.server, fitness.version) == ("redis", "7.0.15")


@pytest.mark.parametrize(
    ("info", "fit"),
    [
        ({"redis_version": "6.2.14"}, False),
        ({"redis_version": "6.3.4"}, False),
        ({"redis_version": "7.0.0"}, True),
        ({"redis_version": "8.4.0"}, True),
        ({"redis_version": "10.0.0"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "7.2.5"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.9"}, False),
        ({"redis_version": "255.255.255"}, True),
        ({"redis_version": "unknown"}, False),
        ({"redis_version": 7.2}, True),
    ],
)
def test_versions(info: dict[str, Any], fit: bool) -> None:
    refusals = judge(GOOD_INFO | info, GOOD_CONFIG).refusals
    assert (refusals == []) is fit
    assert all("too old" in refusal for refusal in refusals)


@pytest.mark.parametrize(
    ("info", "config", "said"),
    [
        ({}, {"maxmemory-policy": "allkeys-lfu"}, "allkeys-lfu may evict"),
        ({"maxmemory": 0}, {"maxmemory-policy": "volatile-lru"}, "volatile-lru may evict"),
        ({"role": "slave", "master_host": "db", "master_port": 7000}, {}, "a replica of db:7000"),
        ({"cluster_enabled": 1}, {}, "cluster mode"),
        ({"redis_mode": "cluster"}, {}, "cluster mode"),
        ({"redis_mode": "sentinel"}, {}, "a Sentinel"),
    ],
)
def test_refusals(info: dict[str, Any], config: dict[str, str], said: str) -> None:
    (refusal,) = judge(GOOD_INFO | info, GOOD_CONFIG | config).refusals
    assert said in refusal


def test_all_refusals_are_told_at_once() -> None:
    fitness = judge(GOOD_INFO | {"redis_version": "6.0", "role": "slave"}, GOOD_CONFIG | {"maxmemory-policy": "x"})
    assert len(fitness.refusals) == 3


def test_info_stands_in_where_config_is_forbidden() -> None:
    fitness = judge(GOOD_INFO | {"maxmemory_policy": "allkeys-lru"}, {})
    assert "allkeys-lru may evict" in fitness.refusals[0]
    assert "CONFIG GET is not allowed" in fitness.durability
    assert judge(GOOD_INFO, {}).refusals == []
    assert "since the last snapshot" in judge(GOOD_INFO | {"aof_enabled": 0}, {}).durability


@pytest.mark.parametrize(
    ("config", "durability", "warned"),
    [
        ({"appendfsync": "always"}, "costs nothing that was acknowledged", False),
        ({"appendfsync": "everysec"}, "about one second", False),
        ({"appendfsync": "no"}, "about half a minute", True),
        ({"appendonly": "no", "save": "3600 1"}, "since the last snapshot", True),
        ({"appendonly": "no", "save": ""}, "no snapshots either", True),
    ],
)
def test_durability(config: dict[str, str], durability: str, warned: bool) -> None:
    fitness = judge(GOOD_INFO, GOOD_CONFIG | config)
    assert durability in fitness.durability
    assert (fitness.durability in fitness.warnings) is warned


@pytest.mark.parametrize(
    ("info", "config", "said"),
    [
        ({"connected_slaves": 1}, {}, "min-replicas-to-write 0"),
        ({"maxmemory": 1000, "used_memory": 950}, {}, "950 of 1000 bytes"),
        ({}, {"aof-load-truncated": "no"}, "mended by hand"),
    ],
)
def test_warnings(info: dict[str, Any], config: dict[str, str], said: str) -> None:
    (warning,) = judge(GOOD_INFO | info, GOOD_CONFIG | config).warnings
    assert said in warning
    assert judge(GOOD_INFO | info, GOOD_CONFIG | config).refusals == []
