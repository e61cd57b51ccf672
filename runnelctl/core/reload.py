"""What a reload of the topology file means for a host that runs: what is refused, what is started anew. Pure."""

from __future__ import annotations

import dataclasses

from runnelctl.core.model import Processor, Stream, Topology

#: Of a topology. What all hosts and all processes must agree on stays as it is as long as one of them runs.
_FIXED = ("name", "redis", "lease_ttl_ms")
#: Of a stream: how its events are laid out in Redis.
_IDENTITY = ("partitions", "partitioner")
#: Of a topology. Nobody needs to be started anew for these: the supervisor follows them by itself.
_FREE = ("file", "streams", "processors", "tasks", "drain_ms", "start")


def refusals(old: Topology, new: Topology) -> list[str]:
    """Why this change needs an `up` of its own, a sentence each; empty if it does not."""
    found = [f"{_key(name)} cannot be reloaded" for name in _FIXED if getattr(old, name) != getattr(new, name)]
    for name, stream in new.streams.items():
        before = old.streams.get(name)
        found += [
            f"{part} of stream {name!r} cannot be reloaded"
            for part in _IDENTITY
            if before is not None and getattr(before, part) != getattr(stream, part)
        ]
    return found


def _key(name: str) -> str:
    return "lease.ttl" if name == "lease_ttl_ms" else name


def changed(old: Topology, new: Topology) -> set[str]:
    """The processors whose processes must be started anew: they, or something that they use, changed. A changed stream
    counts for all, since any handler may emit into it; how many processes there are counts for none."""
    if _reaches_all(old, new):
        return {name for name in new.processors if name in old.processors}
    return {
        name
        for name, each in new.processors.items()
        if (before := old.processors.get(name)) is not None and _but_processes(before) != _but_processes(each)
    }


def tasks_changed(old: Topology, new: Topology) -> bool:
    """Whether the tasks process must be started anew."""
    return old.tasks != new.tasks or (bool(new.tasks) and _reaches_all(old, new))


def _reaches_all(old: Topology, new: Topology) -> bool:
    fields = [field.name for field in dataclasses.fields(Topology) if field.name not in (*_FREE, *_FIXED)]
    return any(getattr(old, name) != getattr(new, name) for name in fields) or any(
        _stream(old.streams[name]) != _stream(stream) for name, stream in new.streams.items() if name in old.streams
    )


def _stream(stream: Stream) -> Stream:
    """What a process knows of a stream: its retention is the keeper's business."""
    return dataclasses.replace(stream, retention=None)


def _but_processes(processor: Processor) -> Processor:
    return dataclasses.replace(processor, processes=1)
