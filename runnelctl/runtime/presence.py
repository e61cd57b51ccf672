"""Which processors some live host runs, as a command finds out that is no host itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from runnelctl.core import membership
from runnelctl.runtime import homes
from runnelctl.runtime.places import capacity

#: Of the ttl. A host beats four times in a ttl, so silence of half a ttl is a host that is gone, or as good as.
PATIENCE = 0.5
_PAUSE_S = 0.05


def processors(members: Mapping[str, bytes]) -> set[str]:
    """The processors that these members have slices for."""
    return {name for entry in members.values() for name, slots in capacity(entry).items() if slots}


def running(read: Callable[[], Mapping[str, bytes]], base: Path, name: str, ttl_s: float) -> set[str]:
    """The processors that live hosts of the topology `name` run; see `alive`."""
    return processors(alive(read, base, name, ttl_s))


def alive(read: Callable[[], Mapping[str, bytes]], base: Path, name: str, ttl_s: float) -> dict[str, bytes]:
    """The live hosts of the topology `name`, each with an entry. `read` gives each member's beat entry now.

    A host that lives below `base` shows it by its lock; of any other we wait to see it beat, at most half a ttl.
    """
    here = {home.member: home.alive for home in homes.found(base, name)}
    first = {member: entry for member, entry in read().items() if here.get(member, True)}
    found = {member: entry for member, entry in first.items() if here.get(member, False)}
    until = time.monotonic() + ttl_s * PATIENCE
    while len(found) < len(first) and time.monotonic() < until:
        time.sleep(_PAUSE_S)
        found |= {member: entry for member, entry in read().items() if first.get(member, entry) != entry}
        first |= found
    return found


class Pulse:
    """Watches beats while a command waits for work that others do."""

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._watch: membership.Watch | None = None
        self._last_run: dict[str, float] = {}

    def missing(self, members: Mapping[str, bytes], wanted: Collection[str], now: float) -> set[str]:
        """Those processors of `wanted` that nobody has run for a whole ttl: a host that restarts is not missed."""
        self._watch = membership.look(self._watch, members, now, self._ttl_s)
        silent = {member for member, _ in membership.expired(self._watch, "", now, self._ttl_s)}
        run = processors({member: entry for member, entry in members.items() if member not in silent})
        for name in wanted:
            if name in run or name not in self._last_run:
                self._last_run[name] = now
        return {name for name in wanted if now - self._last_run[name] >= self._ttl_s}
