"""The middleware that comes along."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from runnelctl import HandlerError, handling
from runnelctl.middleware import timing
from runnelctl.testing import Harness

ONE = {"partitions": 1}


def test_timing_says_how_long_and_what_was_raised(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(event: Any) -> None:
        if event.value["n"] == 2:
            raise ValueError("two")

    caplog.set_level(logging.INFO)
    with Harness.of(handler, middleware=[timing], policy="IGNORE", retry={"attempts": 1}) as harness:
        first, second = harness.send_many("events", [{"n": 1}, {"n": 2}])
        harness.run()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("runnelctl.handler")]
    assert lines[0].startswith(f"{first}: ") and lines[0].endswith(" ms")
    assert lines[1].startswith(f"{second}: ValueError after ")


def test_without_opentelemetry_tracing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "runnelctl.middleware.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(HandlerError, match=r"tracing needs OpenTelemetry: pip install 'runnelctl\[otel\]'"):
        handling.resolve("runnelctl.middleware:tracing")


@pytest.fixture
def spans() -> Any:
    """Spans that ended, with a provider of the test's own."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())
    provider: Any = trace.get_tracer_provider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter
    exporter.shutdown()


TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("form", ["plain", "concurrent", "iterator"])
def test_a_trace_goes_through(spans: Any, form: str) -> None:
    from runnelctl.middleware import tracing

    def plain(event: Any, ctx: Any) -> None:
        ctx.emit("out", {"n": 1}, headers={"mine": "kept"})
        if event.value["n"] == 2:
            raise ValueError("two")

    async def concurrent(event: Any, ctx: Any) -> None:
        plain(event, ctx)

    async def iterator(events: Any, ctx: Any) -> None:
        async for event in events:
            plain(event, ctx)

    handler = {"plain": plain, "concurrent": concurrent, "iterator": iterator}[form]
    settings: dict[str, Any] = {"policy": "IGNORE", "retry": {"attempts": 1}, "streams": {"out": ONE}}
    with Harness.of(handler, middleware=[tracing], **settings) as harness:
        harness.send("events", {"n": 1}, headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
        harness.send("events", {"n": 2})
        harness.run()
        (out,) = harness.events("out")
    first, second = spans.get_finished_spans()
    assert f"{first.context.trace_id:032x}" == TRACE
    assert first.name == "process events" and first.attributes["messaging.consumer.group.name"] == "handler"
    assert out.headers["mine"] == b"kept"
    assert out.headers["traceparent"].decode() == f"00-{TRACE}-{first.context.span_id:016x}-01"
    assert [event.name for event in second.events] == ["exception"]
    assert second.parent is None


def test_the_span_of_a_list_is_linked_to_its_events(spans: Any) -> None:
    from runnelctl.middleware import tracing

    async def handler(events: Any) -> None: ...

    with Harness.of(handler, middleware=[tracing], batch={"size": 5}) as harness:
        for number in (1, 2):
            harness.send("events", {}, headers={"traceparent": f"00-{TRACE[:-1]}{number}-b7ad6b7169203331-01"})
        harness.run()
    (span,) = spans.get_finished_spans()
    assert [f"{link.context.trace_id:032x}"[-1] for link in span.links] == ["1", "2"]
