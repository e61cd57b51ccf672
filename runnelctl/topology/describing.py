"""What two hosts must agree on to run one topology together: described flat, digested, compared. Pure."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
from collections.abc import Mapping as Dict
from typing import Any

from runnelctl.core import model

#: Each host decides these for itself, or they follow from others.
_OWN_BUSINESS = {"name", "schema_source", "pythonpath", "processes", "max_memory_bytes", "max_events"}


def describe(topology: model.Topology) -> dict[str, str]:
    """Path -> value as text, e.g. `streams.orders.partitions` -> `8`: streams, processors, tasks and the lease, but
    neither the Redis URL nor paths nor what a host decides for itself. A schema counts by a digest of its contents."""
    described = {"lease.ttl_ms": str(topology.lease_ttl_ms)}
    parts = (("streams", topology.streams), ("processors", topology.processors), ("tasks", topology.tasks))
    if topology.durability is not None:
        described |= {f"durability.{key}": value for key, value in _fields(topology.durability)}
    for kind, items in parts:
        for name, item in items.items():
            for key, value in _fields(item):
                described[f"{kind}.{name}.{key}"] = value
    return dict(sorted(described.items()))


def _fields(item: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for each in dataclasses.fields(item):
        value = getattr(item, each.name)
        if each.name in _OWN_BUSINESS:
            continue
        if each.name == "schema":
            found.append(("schema", "none" if value is None else _digest(value)))
        elif dataclasses.is_dataclass(value):
            found.extend((f"{each.name}.{key}", text) for key, text in _fields(value))
        else:
            found.append(
                (each.name, "none" if value is None else str(value.value if isinstance(value, enum.Enum) else value))
            )
    return found


def _digest(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:32]


def digest(topology: model.Topology) -> str:
    """32 hexadecimal digits that are the same for two topologies exactly if `describe` is."""
    return _digest(describe(topology))


def differences(here: Dict[str, str], there: Dict[str, str]) -> list[str]:
    """What differs between two descriptions, a phrase each: `streams.orders.partitions: 8 here, 4 there`."""
    return [
        f"{path}: {here.get(path, 'absent')} here, {there.get(path, 'absent')} there"
        for path in sorted({*here, *there})
        if here.get(path) != there.get(path)
    ]
