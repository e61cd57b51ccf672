"""`runnelctl bench`: figures on this machine, each beside the raw loop in the same run."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from runnelctl import errors, topology
from runnelctl.cli import options
from runnelctl.cli.benching import Bench, Figures
from runnelctl.store.reach import EMBEDDED, reach

#: What is shown: the section, the figure, how it is called, and its unit.
_ROWS = (
    ("send", "events_per_s", "sent, checked", "/s"),
    ("drain", "events_per_s", "handled by one slice", "/s"),
    ("drain", "cpu_us_per_event", "CPU of the slice, per event", "µs"),
    ("drain", "keeper_cpu_us", "CPU of the keeper, per event", "µs"),
    ("drain", "server_cpu_us", "CPU of the server, per event", "µs"),
    ("drain", "start_s", "start of up to first events", "s"),
    ("drain", "slice_mib", "memory of the slice, its own", "MiB"),
    ("drain", "keeper_mib", "memory of the keeper, its own", "MiB"),
    ("drain", "supervisor_mib", "memory of the supervisor, its own", "MiB"),
    ("latency", "p50_ms", "latency, half of the events", "ms"),
    ("latency", "p99_ms", "latency, 99 of 100", "ms"),
)


@click.command()
@click.argument("file_argument", metavar="[FILE]", required=False)
@options.topology_given
@click.option("--events", type=click.IntRange(1_000, 10_000_000), default=300_000, show_default=True, help="How many.")
@click.option(
    "--partitions", type=click.IntRange(1, 4096), default=16, show_default=True, help="Of the bench's stream."
)
@click.option("--rate", type=click.IntRange(1, 100_000), default=500, show_default=True, help="Events/s for latency.")
@click.option("--seconds", type=click.FloatRange(1, 600), default=4.0, show_default=True, help="How long at that rate.")
@options.json_option
def command(
    file_argument: str | None, topology_file: str | None, events: int, partitions: int, rate: int, seconds: float,
    as_json: bool,
) -> int:  # fmt: skip
    """Measure on this machine: sending, handling, latency, memory, start-up, beside a bare loop in the same run.

    On the server of FILE, or without one on an embedded server of its own. It uses a topology of its own under a name
    that nobody has, and leaves nothing behind.
    """
    if file_argument is not None and topology_file is not None:
        raise errors.UsageError(f"give the file once: {file_argument}, or -t {topology_file}")
    found: dict[str, Any] = {"schema_version": 1, "events": events, "partitions": partitions, "rate": rate}
    with _server(file_argument or topology_file) as (reached, url), Bench(reached, url, partitions, _say) as bench:
        measured = {"send": bench.send(events)}
        measured["drain"] = bench.drain(events)
        measured["latency"] = bench.latency(rate, seconds)
    for section, (ours, raw) in measured.items():
        found[section] = {"runnelctl": _rounded(ours), "raw": _rounded(raw)}
    click.echo(json.dumps(found, indent=2) if as_json else table(found))
    return errors.EXIT_OK


@contextlib.contextmanager
def _server(given: str | None) -> Iterator[tuple[Any, str]]:
    """The server to measure on, and its URL."""
    with tempfile.TemporaryDirectory(prefix="runnelctl-bench-") as directory:
        name, redis, root = "bench", EMBEDDED, Path(directory)
        if given is not None:
            loaded = topology.load(topology.find(given, os.environ, Path.cwd()))
            name, redis = loaded.name, loaded.redis
        with reach(redis, name, root if given is None else None) as reached:
            yield reached, redis if reached.embedded is None else f"unix://{reached.endpoint.path}"


def _say(text: str) -> None:
    click.echo(f"{text} …", err=True)


def _rounded(figures: Figures) -> Figures:
    return {name: round(value, 3) for name, value in figures.items()}


def table(found: dict[str, Any]) -> str:
    """The figures as text: ours, the raw loop's, and their ratio."""
    lines = [f"{'':36}{'runnelctl':>14}{'raw loop':>14}{'ratio':>8}"]
    for section, name, label, unit in _ROWS:
        ours, raw = found[section]["runnelctl"].get(name), found[section]["raw"].get(name)
        if ours is None:
            continue
        beside = f"{_figure(raw, unit):>14}{ours / raw:>8.2f}" if raw else ""
        lines.append(f"{label:36}{_figure(ours, unit):>14}{beside}".rstrip())
    return "\n".join(lines)


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.2f} {unit}"
