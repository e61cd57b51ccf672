"""Middleware that comes along. Name it in a topology: `middleware: [runnelctl.middleware:timing]`.

`timing` logs how long each call took. `tracing` makes an OpenTelemetry span of each call, goes on with the trace that
the event's headers carry, and passes it on with what the handler emits; it needs the extra `otel`.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

from runnelctl.errors import HandlerError

if TYPE_CHECKING:
    from runnelctl.middleware.spans import traceparent, tracing

__all__ = ["timing", "traceparent", "tracing"]

_IN_SPANS = ("tracing", "traceparent")


def timing(event: Any, ctx: Any) -> Iterator[None]:
    """Log how long the handler took for each event, or list of events, and what it raised if it did."""
    what = f"{len(event)} events from {event[0].id}" if isinstance(event, list) else event.id
    began = perf_counter()
    try:
        yield
    except BaseException as error:
        ctx.log.info("%s: %s after %.1f ms", what, type(error).__name__, (perf_counter() - began) * 1000)
        raise
    ctx.log.info("%s: %.1f ms", what, (perf_counter() - began) * 1000)


def __getattr__(name: str) -> Any:
    if name not in _IN_SPANS:
        raise AttributeError(f"module 'runnelctl.middleware' has no attribute {name!r}")
    import importlib

    try:
        spans = importlib.import_module("runnelctl.middleware.spans")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise HandlerError(f"{name} needs OpenTelemetry: pip install 'runnelctl[otel]'") from None
    return getattr(spans, name)
