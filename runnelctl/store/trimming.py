"""Retention of a partition as one script, and who must have passed an entry before it may go."""

from __future__ import annotations

from runnelctl.core import keys, registry
from runnelctl.core.model import Start, Stream, Topology
from runnelctl.store.scripts import script
from runnelctl.store.wire import Wire

MOST_AT_ONCE = 20_000  # entries; a script holds the server up

#: processor -> whether it begins at the first entry where it never ran.
Readers = dict[str, bool]


async def readers(wire: Wire, topology: Topology, stream: Stream) -> Readers:
    """Every processor of the stream: those of the topology, and those that Redis has heard of."""
    fields = await wire.call("HGETALL", keys.meta(topology.name))
    known = registry.processors(dict(zip(fields[::2], fields[1::2], strict=True)))
    found = {name: about.get("start") != "latest" for (of, name), about in known.items() if of == stream.name}
    declared = (each for each in topology.processors.values() if each.stream == stream.name)
    return found | {each.name: each.start is Start.EARLIEST for each in declared}


async def trim(wire: Wire, topology: Topology, stream: Stream, partition: int, behind: Readers) -> tuple[int, bool]:
    """Trim one partition to the stream's retention; returns how many entries went, and whether more could go now."""
    wishes = stream.retention
    assert wishes is not None
    names = [keys.events(topology.name, stream.name, partition)]
    names += [keys.own(topology.name, stream.name, partition, name) for name in behind]
    head = [
        "" if wishes.events is None else str(wishes.events),
        "" if wishes.age_ms is None else str(wishes.age_ms),
        str(MOST_AT_ONCE),
    ]
    flags = ["1" if first else "0" for first in behind.values()]
    removed, more = await wire.run(script("stream_trim"), names, head + flags)
    return int(removed), more == b"1"
