"""From a checked tree to a Topology. The only place where defaults are filled in, and where names must fit together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Mapping as Dict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from runnelctl.core import model
from runnelctl.topology import deadletters, discovering, matches, ordering, redis_url, tasks
from runnelctl.topology import streams as building_streams
from runnelctl.topology.nodes import (
    Findings,
    Mapping,
    Node,
    Place,
    Scalar,
    Sequence,
    beside,
)
from runnelctl.topology.section import Section
from runnelctl.topology.wording import did_you_mean

_RETRY, _BATCH, _COMMIT = model.Retry(), model.Batch(), model.CommitBounds()
_SHORT_TTL_MS = 1_000


@dataclass(frozen=True, slots=True)
class CodePlace:
    """Where the file names code, `module:attribute`, and as what, so that `check` can say what is wrong with it."""

    spec: str
    what: Literal["handler", "batch", "middleware", "task"]
    place: Place
    side_by_side: bool = False  # the processor has `order: key`


def topology(root: Mapping, file: str, findings: Findings) -> tuple[model.Topology, list[CodePlace]]:
    """The Topology of a tree that passed the shape check; worth something only if `findings` holds no problem."""
    section = Section(findings, root)
    pythonpath = _pythonpath(section, findings)
    streams = {
        name: building_streams.stream(name, Section(findings, node), pythonpath, findings)
        for name, node in _named(section, "streams")
    }
    needed = section.node("tasks") is None or section.node("processors") is not None
    if needed and not streams and section.node("streams") is None and not _is_wrong(root, "streams"):
        findings.problem(root.place, "no stream is declared: streams is missing")
    nodes = [(name, Section(findings, node, section.node("defaults"))) for name, node in _named(section, "processors")]
    streams |= deadletters.added_streams(nodes, streams)
    processors = {name: _processor(name, node, streams, findings) for name, node in nodes}
    built = model.Topology(
        name=section.text("name") or "",
        file=beside(file, Path(file).name),
        redis=_redis(section, findings),
        streams=streams,
        processors=processors,
        pythonpath=pythonpath,
        discover=tuple(each.name for each in discovering.modules(section, pythonpath, file, findings)),
        durability=_durability(section, findings),
        lease_ttl_ms=_lease_ttl_ms(section.section("lease"), findings),
        drain_ms=section.duration_ms("drain", 30_000),
        tasks=tasks.tasks(section, processors, findings),
        start=section.choice("start", model.Launching, model.Launching.FORK),
        log=_log(section.section("log")),
    )
    code = [found for _, node in nodes for found in _code_places(node)]
    return built, [*code, *(CodePlace(run.text, "task", run.place) for run in tasks.runs(section))]


def import_places(root: Mapping, file: str, pythonpath: tuple[str, ...]) -> list[building_streams.ImportPlace]:
    """What else the file names that is imported, so that `check` can say what is wrong with it."""
    section = Section(Findings(), root)
    return [
        *building_streams.import_places(_named(section, "streams")),
        *discovering.modules(section, pythonpath, file, Findings()),
    ]


def _named(section: Section, key: str) -> list[tuple[str, Node]]:
    node = section.node(key)
    return list(node.entries.items()) if isinstance(node, Mapping) else []


def _is_wrong(root: Mapping, key: str) -> bool:
    return key in root.entries and root.entries[key].wrong


def _redis(section: Section, findings: Findings) -> str:
    scalar = section.scalar("redis")
    if scalar is None:
        return redis_url.EMBEDDED
    mistake = redis_url.mistake(scalar.text)
    if mistake:
        findings.wrong(scalar, mistake)
    return scalar.text


def _durability(section: Section, findings: Findings) -> model.Durability | None:
    if section.text("durability") == "disk":
        return model.Durability(disk=True)
    if not section.has("durability") or section.node("durability") is None:
        return None
    wanted = section.section("durability")
    flag = wanted.text("disk")
    built = model.Durability(replicas=wanted.integer("replicas") or 0, disk=(flag or "").lower() == "true")
    if built == model.Durability() and wanted.mappings and not findings.problems:
        findings.problem(wanted.mappings[0].place, "durability asks for nothing: it needs replicas, disk: true or both")
    return built if built != model.Durability() else None


def _pythonpath(section: Section, findings: Findings) -> tuple[str, ...]:
    node = section.node("pythonpath")
    entries = []
    for item in node.items if isinstance(node, Sequence) else ():
        if isinstance(item, Scalar) and not item.wrong:
            entries.append(beside(item.place.file, item.text))
            if not _exists(entries[-1]):
                findings.warning(item.place, f"pythonpath: there is no {entries[-1]}")
    return tuple(entries)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _lease_ttl_ms(section: Section, findings: Findings) -> int:
    ttl_ms = section.duration_ms("ttl", 6_000)
    scalar = section.scalar("ttl")
    if scalar is not None and ttl_ms < _SHORT_TTL_MS:
        findings.warning(
            scalar.place, f"a ttl of {scalar.text} takes partitions from hosts that are only busy; 6s is usual"
        )
    return ttl_ms


def _log(section: Section) -> model.Log:
    return model.Log(level=section.text("level") or "info", format=section.text("format") or "text")


def _processor(name: str, section: Section, streams: dict[str, model.Stream], findings: Findings) -> model.Processor:
    stream = section.scalar("stream")
    if stream is not None and stream.text not in streams:
        near = did_you_mean(stream.text, streams) or deadletters.listed(streams)
        findings.wrong(stream, f"stream {stream.text!r} is not declared{near}")
    batch = section.section("batch")
    return model.Processor(
        name=name,
        stream=stream.text if stream is not None else "",
        handler=section.text("handler") or "",
        match=matches.read(section, streams.get(stream.text if stream is not None else ""), findings),
        processes=_processes(section, streams, findings),
        policy=section.choice("policy", model.Policy, model.Policy.HALT),
        scope=_scope(section, findings),
        order=ordering.order(section, findings),
        concurrency=ordering.concurrency(section, findings),
        max_parked=_max_parked(section.section("max_parked")),
        state_ttl_ms=section.section("state").duration_ms("ttl", 0) or None,
        retry=_retry(section.section("retry"), findings),
        timeout_ms=section.duration_ms("timeout", 30_000),
        batch=_batch(batch) if section.has("batch") else None,
        commit=_commit(section.section("commit")),
        middleware=tuple(item.text for item in _middleware(section)),
        dead_letter=deadletters.named(section, streams, findings),
        start=section.choice("start", model.Start, model.Start.EARLIEST),
        max_memory_bytes=section.size_bytes("max_memory"),
        max_events=section.integer("max_events"),
    )


def _scope(section: Section, findings: Findings) -> model.Scope:
    scope = section.choice("scope", model.Scope, model.Scope.PARTITION)
    policy = section.choice("policy", model.Policy, model.Policy.HALT)
    scalar = section.scalar("scope")
    if scope is model.Scope.KEY and policy is not model.Policy.QUARANTINE and scalar is not None:
        findings.warning(scalar.place, f"scope: key says what QUARANTINE stops, but the policy is {policy.value}")
    return scope


def _max_parked(section: Section) -> model.ParkingBounds:
    bounds = model.ParkingBounds()
    return replace(
        bounds,
        events=section.integer("events") or bounds.events,
        size_bytes=section.size_bytes("size") or bounds.size_bytes,
    )


def _processes(section: Section, streams: Dict[str, model.Stream], findings: Findings) -> int:
    """As asked for, else as many as there are cores; a slice without a partition would do nothing, so never more."""
    stream = streams.get(section.text("stream") or "")
    asked = section.integer("processes")
    if stream is None:
        return asked or 1
    scalar = section.scalar("processes")
    own = bool(section.mappings) and "processes" in section.mappings[0].entries
    if asked and asked > stream.partitions and own and scalar is not None:
        message = f"{asked} processes, but {stream.name!r} has {stream.partitions} partition(s): no more are started"
        findings.warning(scalar.place, message)
    return min(asked or os.cpu_count() or 1, stream.partitions)


def _retry(section: Section, findings: Findings) -> model.Retry:
    backoff_ms = section.duration_ms("backoff", _RETRY.backoff_ms)
    longest = section.scalar("max_backoff")
    max_backoff_ms = section.duration_ms("max_backoff", max(_RETRY.max_backoff_ms, backoff_ms))
    if longest is not None and max_backoff_ms < backoff_ms:
        findings.wrong(
            longest, f"max_backoff ({longest.text}) is shorter than backoff ({section.text('backoff') or '100ms'})"
        )
    return model.Retry(
        attempts=section.integer("attempts") or _RETRY.attempts, backoff_ms=backoff_ms, max_backoff_ms=max_backoff_ms
    )


def _batch(section: Section) -> model.Batch:
    return replace(
        _BATCH, size=section.integer("size") or _BATCH.size, within_ms=section.duration_ms("within", _BATCH.within_ms)
    )


def _commit(section: Section) -> model.CommitBounds:
    return replace(
        _COMMIT,
        every_ms=section.duration_ms("every", _COMMIT.every_ms),
        events=section.integer("events") or _COMMIT.events,
    )


def _middleware(section: Section) -> list[Scalar]:
    node = section.node("middleware")
    items = node.items if isinstance(node, Sequence) else ()
    return [item for item in items if isinstance(item, Scalar) and not item.wrong]


def _code_places(section: Section) -> Iterator[CodePlace]:
    scalar, keyed = section.scalar("handler"), section.text("order") == "key"
    if scalar is not None:
        yield CodePlace(scalar.text, "batch" if section.has("batch") else "handler", scalar.place, keyed)
    for item in _middleware(section):
        yield CodePlace(item.text, "middleware", item.place, keyed)
