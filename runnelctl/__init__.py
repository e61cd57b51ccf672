"""Ordered event processing on Redis Streams: one YAML file, plain Python handlers, one owner per partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runnelctl.client import BlockingClient, Client, connect, connect_sync
    from runnelctl.errors import (
        CapacityError,
        HandlerError,
        RecordError,
        RedisUnfit,
        RedisUnreachable,
        RunnelctlError,
        SendOutcomeUnknown,
        TopologyError,
        UsageError,
    )
    from runnelctl.event import Event, Reject, Skip
    from runnelctl.runtime.context import Context
    from runnelctl.runtime.events import Events

#: public name -> the module that has it, imported on first use: `import runnelctl` must not pay for Redis.
_HOMES = {
    "BlockingClient": "runnelctl.client",
    "CapacityError": "runnelctl.errors",
    "Context": "runnelctl.runtime.context",
    "Event": "runnelctl.event",
    "Events": "runnelctl.runtime.events",
    "Reject": "runnelctl.event",
    "Skip": "runnelctl.event",
    "HandlerError": "runnelctl.errors",
    "Client": "runnelctl.client",
    "RecordError": "runnelctl.errors",
    "RedisUnfit": "runnelctl.errors",
    "RedisUnreachable": "runnelctl.errors",
    "RunnelctlError": "runnelctl.errors",
    "SendOutcomeUnknown": "runnelctl.errors",
    "TopologyError": "runnelctl.errors",
    "UsageError": "runnelctl.errors",
    "connect": "runnelctl.client",
    "connect_sync": "runnelctl.client",
}

__all__ = [
    "BlockingClient",
    "CapacityError",
    "Client",
    "Context",
    "Event",
    "Events",
    "HandlerError",
    "RecordError",
    "RedisUnfit",
    "RedisUnreachable",
    "Reject",
    "RunnelctlError",
    "SendOutcomeUnknown",
    "Skip",
    "TopologyError",
    "UsageError",
    "connect",
    "connect_sync",
]


def __getattr__(name: str) -> Any:
    import importlib

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'runnelctl' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
