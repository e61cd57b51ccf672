"""Were unread events removed from a partition? Retention keeps its books in the own hashes (`gone`), so anything else
that somebody trims or deletes shows as a difference, and is then counted: entries behind the cursor against what the
books say must be there.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from runnelctl.core.plan import Unit
from runnelctl.store.leases import unit_keys
from runnelctl.store.scripts import script
from runnelctl.store.wire import Wire

PAGE = 2_000
TRIES = 10  # while somebody goes on removing


@dataclass(frozen=True, slots=True)
class Reckoning:
    """`lost` unread events are not there. `replaced`: the stream has had fewer entries than the cursor passed, so it is
    another one, and how many unread events went with the old one cannot be known."""

    lost: int
    replaced: bool


async def reckon(wire: Wire, topology: str, unit: Unit) -> Reckoning:
    """Count what is behind the unit's cursor; if nothing is missing, note that (removal_note.lua). Costs a page of ids
    per 2,000 unread events. Raises what the wire raises."""
    own, events = unit_keys(topology, unit)
    found = Reckoning(0, False)
    for _ in range(TRIES):
        books, info = await asyncio.gather(
            wire.send("HMGET", own, "nonce", "cursor", "count"), wire.send("XINFO", "STREAM", events)
        )
        if isinstance(books, Exception):
            raise books
        nonce, cursor, count = books[0] or b"", books[1] or b"0-0", int(books[2] or 0)
        added, removed, last = _facts(info)
        unread = await between(wire, events, cursor, last)
        found = Reckoning(max(0, added - count - unread), added < count)
        if found.lost or found.replaced:
            if _facts(await wire.send("XINFO", "STREAM", events))[1] == removed:
                return found
        elif await wire.run(script("removal_note"), (own, events), (nonce, cursor, removed)):
            return found
    return found


async def between(wire: Wire, events: str, after: bytes, last: bytes) -> int:
    """How many entries there are behind `after`, up to and with `last`."""
    total, start = 0, b"(" + after
    while True:
        found, end = await wire.run(script("entries_count"), (events,), (start, last, PAGE))
        total += int(found)
        if int(found) < PAGE:
            return total
        start = b"(" + end


def _facts(info: Any) -> tuple[int, int, bytes]:
    """Entries ever added, entries removed, the last id; of a stream that is not there: nothing."""
    if isinstance(info, Exception):
        return 0, 0, b"0-0"
    facts = dict(zip(info[::2], info[1::2], strict=True))
    return facts[b"entries-added"], facts[b"entries-added"] - facts[b"length"], facts[b"last-generated-id"]
