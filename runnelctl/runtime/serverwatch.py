"""What `up` checked of the server at its start can change under way: it may begin to evict, or its disk may be full.
Looked at every few seconds and said when it changes; the work goes on, since stopping would not mend it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from runnelctl.store.wire import ReplyError, Wire

EVERY_S = 5.0


class ServerWatch:
    """See the module."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._due = 0.0
        self._said: frozenset[str] = frozenset()

    async def look(self, wire: Wire, now: float) -> None:
        """Ask, if it is time to. `now`: seconds of CLOCK_MONOTONIC. Raises ConnectionLost."""
        if now < self._due:
            return
        self._due = now + EVERY_S
        try:
            facts = parsed(await wire.call("INFO", "memory")) | parsed(await wire.call("INFO", "persistence"))
        except ReplyError:
            return  # a user who may not look
        found = frozenset(troubles(facts))
        for sentence in sorted(found - self._said):
            self._log.error("Redis: %s", sentence)
        if self._said and not found:
            self._log.warning("Redis: its settings are in order again")
        self._said = found


def troubles(facts: Mapping[str, str]) -> list[str]:
    """What is wrong, in sentences, by the sections `memory` and `persistence` of INFO."""
    found = []
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(
            f"its maxmemory-policy was changed to {policy}, so that events and cursors may be evicted: run "
            "CONFIG SET maxmemory-policy noeviction"
        )
    if facts.get("aof_enabled") == "1" and facts.get("aof_last_write_status", "ok") != "ok":
        found.append("it cannot write its append-only file, its disk may be full; until it can it takes no writes")
    return found


def parsed(info: bytes) -> dict[str, str]:
    """The lines of INFO as a mapping."""
    lines = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in lines if colon}
