"""What a topology file would change against what Redis has: new, changed and gone streams and processors. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runnelctl.core.model import Topology
from runnelctl.core.registry import Reader


@dataclass(frozen=True, slots=True)
class Change:
    """`kind` is new, changed or gone; `what` stream or processor. `lag`: unread events of a gone processor."""

    kind: str
    what: str
    name: str
    detail: str
    lag: int | None = None


def changes(
    topology: Topology,
    streams: Mapping[str, int],
    readers: Mapping[Reader, int],
    here: Mapping[str, str],
    there: Mapping[str, str],
) -> list[Change]:
    """In the order of the file, what is gone last. `streams`: those that Redis knows, with their partitions; `readers`:
    its processors, with their lag; `here`, `there`: the descriptions of this file and of the one that ran last."""
    found = []
    for stream in topology.streams.values():
        if stream.name not in streams:
            how = f"{stream.partitions} partition(s) by {stream.partitioner.value}"
            found.append(Change("new", "stream", stream.name, how))
        else:
            found += _changed("stream", stream.name, here, there)
    for processor in topology.processors.values():
        if (processor.stream, processor.name) not in readers:
            how = f"on {processor.stream}, from the {processor.start.value}"
            found.append(Change("new", "processor", processor.name, how))
        else:
            found += _changed("processor", processor.name, here, there)
    for name in sorted(streams.keys() - topology.streams.keys()):
        found.append(Change("gone", "stream", name, f"{streams[name]} partition(s) stay in Redis as they are"))
    declared = {(each.stream, each.name) for each in topology.processors.values()}
    for (of, name), lag in sorted(readers.items()):
        if (of, name) not in declared:
            how = f"{lag:,} unread event(s) of {of}; its cursors stay, and hold retention and senders back"
            found.append(Change("gone", "processor", name, how, lag))
    return found


#: Of streams and processors: what hosts that run side by side must agree on. It decides where an event is, how it is
#: read, and what a cursor means; the rest is a matter of how a host treats the events that it has.
_SHARED = {
    "streams": ("partitions", "partitioner", "key", "codec", "compression"),
    "processors": ("stream", "order", "scope"),
}


def conflicts(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """What keeps hosts of two versions of a file from running side by side, a phrase each: `lease.ttl_ms: 6000 here,
    2000 there`. Whatever only one of them has is no conflict: the other has no share in it."""
    return [
        f"{path}: {here[path]} here, {there[path]} there"
        for path in sorted(here.keys() & there.keys())
        if here[path] != there[path] and _is_shared(path)
    ]


def _is_shared(path: str) -> bool:
    kind, _, rest = path.partition(".")
    return kind == "lease" or rest.rpartition(".")[2] in _SHARED.get(kind, ())


def _changed(what: str, name: str, here: Mapping[str, str], there: Mapping[str, str]) -> list[Change]:
    prefix = f"{what}s.{name}."
    if not any(path.startswith(prefix) for path in there):
        return []  # it never ran: a sender made the stream
    return [
        Change("changed", what, name, f"{path.removeprefix(prefix)}: {there.get(path, '-')} → {here.get(path, '-')}")
        for path in sorted({*here, *there})
        if path.startswith(prefix) and here.get(path) != there.get(path)
    ]
