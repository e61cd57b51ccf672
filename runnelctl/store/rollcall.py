"""Who is there, and what they say of themselves."""

from __future__ import annotations

import redis

from runnelctl.core import keys, reading
from runnelctl.core.model import Topology
from runnelctl.core.reading import Report


def read(client: redis.Redis, topology: Topology) -> tuple[dict[str, bytes], dict[str, Report]]:
    """Each member's beat entry, and its report. Raises redis-py's errors."""
    with client.pipeline(transaction=False) as pipe:
        pipe.hgetall(keys.members(topology.name))
        pipe.hgetall(keys.hosts(topology.name))
        members, reports = pipe.execute()
    return (
        {name.decode(): entry for name, entry in members.items()},
        {name.decode(): reading.report(text) for name, text in reports.items()},
    )
