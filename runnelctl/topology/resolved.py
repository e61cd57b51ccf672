"""A Topology written out as a topology file again: every default filled in, secrets hidden, `load` reads it back."""

from __future__ import annotations

from typing import Any

import yaml

from runnelctl.core import model
from runnelctl.topology import redis_url
from runnelctl.topology.nodes import plain_value
from runnelctl.topology.units import duration_text, size_text


def document(topology: model.Topology) -> dict[str, Any]:
    """The topology as the plain document that `runnelctl config` prints; passwords are ***."""
    document = {
        "name": topology.name,
        "redis": redis_url.redacted(topology.redis),
        "pythonpath": list(topology.pythonpath),
        "streams": {name: _stream(stream) for name, stream in topology.streams.items()},
        "processors": {name: _processor(processor) for name, processor in topology.processors.items()},
        "tasks": {name: _task(task) for name, task in topology.tasks.items()},
        "durability": topology.durability and _durability(topology.durability),
        "lease": {"ttl": duration_text(topology.lease_ttl_ms)},
        "drain": duration_text(topology.drain_ms),
        "start": topology.start.value,
        "log": {"level": topology.log.level, "format": topology.log.format},
    }
    return {key: value for key, value in document.items() if value not in ({}, [], None)}


def _durability(durability: model.Durability) -> Any:
    if not durability.replicas:
        return "disk"
    return {"replicas": durability.replicas} | ({"disk": True} if durability.disk else {})


def _stream(stream: model.Stream) -> dict[str, Any]:
    written = {
        "partitions": stream.partitions,
        "key": stream.key,
        "schema": stream.schema if stream.schema_source is None else stream.schema_source,
        "record": stream.record,
        "codec": stream.codec,
        "compression": stream.compression,
        "partitioner": _partitioner(stream.partitioner),
        "capacity": stream.capacity,
        "validate": stream.validate.value,
        "retention": stream.retention and _retention(stream.retention),
    }
    return {key: value for key, value in written.items() if value is not None}


def _partitioner(partitioner: model.Partitioner | model.Ring | model.Imported) -> Any:
    if not isinstance(partitioner, model.Ring):
        return partitioner.value
    nodes = {} if partitioner.nodes is None else {"nodes": list(partitioner.nodes)}
    return {"ring": {"vnodes": partitioner.vnodes, **nodes}}


def _retention(retention: model.Retention) -> dict[str, Any]:
    age_ms = retention.age_ms
    written = {"events": retention.events, "age": None if age_ms is None else duration_text(age_ms)}
    return {key: value for key, value in written.items() if value is not None}


def _processor(processor: model.Processor) -> dict[str, Any]:
    retry, batch, commit, parked = processor.retry, processor.batch, processor.commit, processor.max_parked
    written = {
        "stream": processor.stream,
        "handler": processor.handler,
        "match": {name: list(values) for name, values in processor.match} or None,
        "processes": processor.processes,
        "policy": processor.policy.value,
        "scope": processor.scope.value,
        "max_parked": {"events": parked.events, "size": size_text(parked.size_bytes)},
        "state": processor.state_ttl_ms and {"ttl": duration_text(processor.state_ttl_ms)},
        "retry": {
            "attempts": retry.attempts,
            "backoff": duration_text(retry.backoff_ms),
            "max_backoff": duration_text(retry.max_backoff_ms),
        },
        "timeout": duration_text(processor.timeout_ms),
        "batch": batch and {"size": batch.size, "within": duration_text(batch.within_ms)},
        "commit": {"every": duration_text(commit.every_ms), "events": commit.events},
        "middleware": list(processor.middleware) or None,
        "dead_letter": processor.dead_letter,
        "start": processor.start.value,
        "max_memory": processor.max_memory_bytes and size_text(processor.max_memory_bytes),
        "max_events": processor.max_events,
    }
    return {key: value for key, value in written.items() if value is not None}


def _task(task: model.Task) -> dict[str, Any]:
    written = {
        "run": task.run,
        "on": "start" if task.on_start else None,
        "every": task.every_ms and duration_text(task.every_ms),
        "cron": task.cron,
        "timezone": task.timezone if task.cron else None,
        "leader": task.leader,
        "overlap": task.overlap.value,
        "timeout": task.timeout_ms and duration_text(task.timeout_ms),
    }
    return {key: value for key, value in written.items() if value is not None}


def text(topology: model.Topology) -> str:
    """The document as YAML that `load` reads back, so with the dollars in values doubled."""
    written: str = yaml.dump(_escaped(document(topology)), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return written


class _Dumper(yaml.SafeDumper):
    """Without aliases, and with quotes around text that `load` would otherwise take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, data: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, None if isinstance(plain_value(data), str) else "'")


_Dumper.add_representer(str, _represent_text)


def _escaped(value: Any) -> Any:
    """Dollars doubled in every text, except inside inline schemas, where `load` replaces nothing."""
    if isinstance(value, dict):
        return {
            key: item if key == "schema" and isinstance(item, dict) else _escaped(item) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value
