"""May events be trusted to this server? What INFO and CONFIG say, judged by a pure function, and one real write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runnelctl.core import keys
from runnelctl.core.model import Durability
from runnelctl.errors import RedisUnfit, RedisUnreachable
from runnelctl.store.connect import Asks, Client
from runnelctl.store.durability import Demand
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.translation import is_refusal, translated

_OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
_WAITAOF = (7, 2)
_SETTINGS = (
    "maxmemory-policy",
    "appendonly",
    "appendfsync",
    "save",
    "aof-load-truncated",
    "min-replicas-to-write",
)
_SCRATCH_TTL_MS = 10_000
_NEARLY_FULL = 0.9
_WRITE_THOUGH_FULL = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], '1', 'PX', '10000')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitness:
    """`refusals` say why the server must not be used, `warnings` what its operator should know; both are sentences.
    `durability` says what a power cut may cost."""

    server: str  # "redis" or "valkey"
    version: str
    durability: str
    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check(client: Asks, endpoint: Endpoint, name: str, wanted: Durability | None = None) -> Fitness:
    """Ask the server at `endpoint`, try a write in the slot of topology `name`, and return what it is worth.
    `wanted` is the topology's `durability`.

    Raises RedisUnfit with every refusal, RedisUnreachable when it does not answer. A full server is fit for a topology
    that it knows already.
    """
    with translated(endpoint):
        info = client.info()
    if not isinstance(info, dict) or "redis_version" not in info:
        raise RedisUnreachable(f"what answers at {endpoint.shown} is not Redis; check host and port")
    with translated(endpoint):
        fitness = judge(info, _config(client), wanted)
    if fitness.refusals:
        raise RedisUnfit(f"Redis at {endpoint.shown} cannot be used: {'; '.join(fitness.refusals)}")
    with translated(endpoint):
        key = keys.scratch(name)
        try:
            client.set(key, b"1", px=_SCRATCH_TTL_MS)
        except Exception as error:
            if not is_refusal(error, "OOM") or not client.hgetall(keys.meta(name)):
                raise
            # A host that starts again must be able to drain what fills the server: all that it needs may go beyond.
            client.eval(_WRITE_THOUGH_FULL, 1, key)
        # By script, since a user who may write but not run scripts is of no use either.
        client.eval("return redis.call('DEL', KEYS[1])", 1, key)
    return fitness


def demand(client: Client, endpoint: Endpoint, wanted: Durability | None) -> Demand | None:
    """What a sender has to ask of Redis after each write; None without a `durability`. Raises RedisUnfit if it would be
    asked in vain. A user who may not look sends all the same, and is told when it is short."""
    if wanted is None:
        return None
    try:
        info: Any = client.info()
    except Exception as error:
        if not is_refusal(error, "NOPERM"):
            raise
        return Demand(wanted)
    refusals = _durable(info, _config(client), wanted)
    if refusals:
        raise RedisUnfit(f"Redis at {endpoint.shown} cannot be used: {'; '.join(refusals)}")
    return Demand(wanted)


def judge(info: Mapping[str, Any], config: Mapping[str, str], wanted: Durability | None = None) -> Fitness:
    """What the replies of INFO (as redis-py parses it) and CONFIG GET (empty where it is forbidden) mean."""
    server, version = _identity(info)
    durability, at_risk = _durability(info, config)
    return Fitness(
        server=server,
        version=version,
        durability=durability,
        refusals=[*_version(server, version), *_mode(info), *_eviction(info, config), *_durable(info, config, wanted)],
        warnings=[*at_risk, *_replication(info, config), *_memory(info)],
    )


def _identity(info: Mapping[str, Any]) -> tuple[str, str]:
    # Valkey reports the Redis version that it is compatible with as redis_version, and its own beside it.
    if "valkey_version" in info:
        return "valkey", str(info["valkey_version"])
    return "redis", str(info.get("redis_version", "0"))


def _version(server: str, version: str) -> list[str]:
    oldest = _OLDEST[server]
    if _numbers(version) >= oldest:
        return []
    return [f"{server.capitalize()} {version} is too old; Redis 7.0 or Valkey 7.2 is the oldest that will do"]


def _mode(info: Mapping[str, Any]) -> list[str]:
    if info.get("redis_mode") == "sentinel":
        return ["it is a Sentinel, which holds no data; write redis+sentinel://host:26379/NAME, by its primary's name"]
    refusals = []
    if info.get("cluster_enabled") or info.get("redis_mode") == "cluster":
        refusals.append("it runs in cluster mode, which is not supported by this version; use a single server")
    if info.get("role") == "slave":
        primary = f"{info.get('master_host', '?')}:{info.get('master_port', '?')}"
        refusals.append(f"it is a replica of {primary}; name the primary")
    return refusals


def _eviction(info: Mapping[str, Any], config: Mapping[str, str]) -> list[str]:
    policy = config.get("maxmemory-policy") or info.get("maxmemory_policy")
    if policy is None or policy == "noeviction":
        return []
    # Also with maxmemory 0: the day somebody sets it, events would vanish without a word.
    return [f"its maxmemory-policy {policy} may evict events; run CONFIG SET maxmemory-policy noeviction"]


def _durability(info: Mapping[str, Any], config: Mapping[str, str]) -> tuple[str, list[str]]:
    """What a power cut costs, and the warnings: losing a second is the usual bargain, losing more is worth a word."""
    appendonly = config.get("appendonly") or ("yes" if info.get("aof_enabled") else "no")
    if appendonly != "yes":
        snapshots = config.get("save", "unknown")
        lost = "everything since the last snapshot" if snapshots else "everything, as there are no snapshots either"
        sentence = f"appendonly no: a restart of Redis loses {lost}"
        return sentence, [sentence]
    warnings = []
    if config.get("aof-load-truncated") == "no":
        warnings.append("aof-load-truncated no: after a power cut Redis may not start until its file is mended by hand")
    fsync = config.get("appendfsync")
    if fsync == "always":
        return "appendfsync always: a power cut costs nothing that was acknowledged", warnings
    if fsync == "no":
        sentence = "appendfsync no: a power cut may cost about half a minute; kill -9 of the server costs nothing"
        return sentence, [sentence, *warnings]
    if fsync == "everysec":
        sentence = "appendfsync everysec: a power cut may cost about one second; kill -9 of the server costs nothing"
        return sentence, warnings
    return "appendonly yes: how often it reaches the disk cannot be told, as CONFIG GET is not allowed", warnings


def _durable(info: Mapping[str, Any], config: Mapping[str, str], wanted: Durability | None) -> list[str]:
    """Why the server can't give what the topology's `durability` asks for."""
    if wanted is None:
        return []
    refusals = []
    replicas = int(info.get("connected_slaves") or 0)
    if replicas < wanted.replicas:
        refusals.append(f"durability asks for {wanted.replicas} replica(s) and it has {replicas}")
    if wanted.disk:
        server, version = _identity(info)
        appends = config.get("appendonly") or ("yes" if info.get("aof_enabled") else "no")
        if appends != "yes":
            refusals.append("durability asks for the disk and it keeps no append-only file; set appendonly yes")
        elif server == "redis" and _numbers(version) < _WAITAOF and config.get("appendfsync") != "always":
            refusals.append(
                f"durability asks for the disk and Redis {version} has no WAITAOF; set appendfsync always, or use "
                "Redis 7.2 or Valkey"
            )
    return refusals


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _replication(info: Mapping[str, Any], config: Mapping[str, str]) -> list[str]:
    if info.get("connected_slaves") and config.get("min-replicas-to-write") == "0":
        return ["min-replicas-to-write 0: a failover may lose events that were acknowledged last"]
    return []


def _memory(info: Mapping[str, Any]) -> list[str]:
    limit, used = info.get("maxmemory") or 0, info.get("used_memory") or 0
    if limit and used > limit * _NEARLY_FULL:
        return [f"memory is nearly full: {used} of {limit} bytes (maxmemory); senders will be refused"]
    return []


def _config(client: Asks) -> dict[str, str]:
    """The settings that matter, or none where CONFIG is forbidden, as on most rented servers."""
    try:
        reply = client.config_get(*_SETTINGS)
    except Exception as error:
        if not is_refusal(error):
            raise
        return {}
    return {_text(name): _text(value) for name, value in reply.items()} if isinstance(reply, dict) else {}


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
