"""OpenTelemetry: a span per call, as a part of the trace that the event's headers name (W3C Trace Context)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.trace import Link, SpanKind


def tracing(event: Any, ctx: Any) -> Iterator[None]:
    """Run the handler in a span. What it emits carries the trace on, in the headers that the propagator writes
    (`traceparent`, `tracestate`). The span of a list is linked to the traces of its events."""
    events = event if isinstance(event, list) else [event]
    first = events[0]
    parents = [propagate.extract(_texts(each)) for each in events]
    links = [Link(found) for parent in parents if (found := trace.get_current_span(parent).get_span_context()).is_valid]
    attributes = {
        "messaging.system": "redis",
        "messaging.operation.type": "process",
        "messaging.destination.name": first.stream,
        "messaging.destination.partition.id": str(first.partition),
        "messaging.consumer.group.name": ctx.processor,
        "messaging.message.id": first.id,
        "messaging.batch.message_count": len(events),
        "runnelctl.attempt": first.attempt,
    }
    tracer = trace.get_tracer("runnelctl")
    context = parents[0] if len(events) == 1 else None
    with tracer.start_as_current_span(
        f"process {first.stream}", context=context, kind=SpanKind.CONSUMER, attributes=attributes,
        links=links if len(events) > 1 else None,
    ):  # fmt: skip
        before, ctx.stamp = ctx.stamp, traceparent
        try:
            yield
        finally:
            ctx.stamp = before


def traceparent() -> dict[str, str]:
    """The headers that carry the current trace: for `client.send(…, headers=traceparent())`, or for all that a client
    sends, `connect(…, stamp=traceparent)`."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier


def _texts(event: Any) -> dict[str, str]:
    return {name: value.decode("utf-8", "replace") for name, value in event.headers.items()}
