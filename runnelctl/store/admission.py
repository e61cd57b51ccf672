"""May this host run? What an `up` settles with Redis before it forks anything: fitness, the streams' identity, hosts of
another version of the file, and halts that starting again is meant to lift.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from runnelctl.core import keys
from runnelctl.core.model import Topology
from runnelctl.errors import UsageError
from runnelctl.store import connect, meta, operations, preflight
from runnelctl.store.connect import Asks
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.preflight import Fitness
from runnelctl.store.translation import translated

_RUNNING = "running"


Description = Mapping[str, str]
#: Of two descriptions: what differs, or what of that matters, a phrase each.
Compare = Callable[[Description, Description], list[str]]


def admit(
    client: Asks,
    endpoint: Endpoint,
    topology: Topology,
    digest: str,
    description: Description,
    differences: Compare,
    gone: Callable[[str], bool],
    conflicts: Compare | None = None,
) -> Fitness:
    """Check the server and the topology against what is there. `gone` tells of members that are known to be dead.

    Raises RedisUnfit, RedisUnreachable, and UsageError if live hosts run another version of the file; with `conflicts`,
    only if there are any between the two.
    """
    fitness = preflight.check(client, endpoint, topology.name)
    with translated(endpoint):
        meta.agree(client, topology)
        other = other_version(client, topology, digest, gone)
        if other is not None and conflicts is not None:
            _must_not_conflict(client, topology, description, conflicts)
        elif other is not None:
            listed = "".join(f"\n  {line}" for line in differences(description, _running(client, topology))[:10])
            raise UsageError(
                f"host {other.rsplit(':', 1)[0]} runs another version of this topology: start this one with "
                "the same file, or with --rolling, or stop the other first (`runnelctl down`)" + listed
            )
        _register(client, topology, description)
    return fitness


def _running(client: Asks, topology: Topology) -> dict[str, str]:
    """The description of the file that was started, or reloaded, last."""
    stored: Any = client.hget(keys.meta(topology.name), _RUNNING)
    return dict(json.loads(stored)) if stored else {}


def _register(client: Asks, topology: Topology, description: Description) -> None:
    meta.register(client, topology)
    meta.write_down(client, topology.name, {_RUNNING: json.dumps(dict(description))})


def _must_not_conflict(client: Asks, topology: Topology, description: Description, conflicts: Compare) -> None:
    found = conflicts(description, _running(client, topology))
    if found:
        raise UsageError("hosts of both versions cannot run side by side:" + "".join(f"\n  {each}" for each in found))


def readmit(client: Asks, endpoint: Endpoint, topology: Topology, description: Description, conflicts: Compare) -> None:
    """A host that runs goes over to a new version of its file. Raises RedisUnfit, RedisUnreachable, and UsageError if
    what runs now can't run beside it."""
    with translated(endpoint):
        meta.agree(client, topology)
        _must_not_conflict(client, topology, description, conflicts)
        _register(client, topology, description)


def other_version(client: Asks, topology: Topology, digest: str, gone: Callable[[str], bool]) -> str | None:
    """A live host that runs another version of the file. One that may be dead is watched for a ttl: does it beat?"""
    deadline = time.monotonic() + topology.lease_ttl_ms / 1000 + 0.5
    first = _others(client, topology, digest, gone)
    while first:
        now = _others(client, topology, digest, gone)
        for member, entry in now.items():
            if first.get(member, entry) != entry:
                return member
        if not now or time.monotonic() > deadline:
            return None
        time.sleep(0.1)
    return None


def _others(client: Asks, topology: Topology, digest: str, gone: Callable[[str], bool]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    entries: Any = client.hgetall(keys.members(topology.name))
    for name, entry in entries.items():
        try:
            about = json.loads(entry.split(b"|", 2)[2])
        except (IndexError, ValueError):
            continue
        runs = about.get("capacity") or "tasks" in about
        if about.get("digest") != digest and runs and not gone(name.decode()):
            found[name.decode()] = entry
    return found


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def lift_halts(client: Asks, endpoint: Endpoint, topology: Topology, processors: Collection[str]) -> list[str]:
    """Starting a halted processor again retries it (SPEC section 5). Returns those that were halted."""
    with translated(endpoint):
        halted: Any = client.hkeys(keys.halted(topology.name))
        lifted = [name for each in halted if (name := _text(each)) in processors]
        if lifted:
            with connect.client(endpoint, client_name="runnelctl:up") as able:
                for name in lifted:
                    operations.lift_halt(able, topology, name)
    return lifted
