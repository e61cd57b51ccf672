"""`runnelctl task`: the tasks of a topology, and running one of them now."""

from __future__ import annotations

import difflib
import json
import logging
import sys
import time
from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli import options
from runnelctl.cli.snapshots import document
from runnelctl.core import membership, status
from runnelctl.core.model import Task, Topology
from runnelctl.runtime import homes, presence, taskhere, tracebacks
from runnelctl.store import connect, rollcall, survey, taskrequests
from runnelctl.store.reach import Reached, reach

PAUSE_S = 0.1


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """List the tasks of the topology, or run one now."""


@command.command("list")
@options.topology_option
@options.json_option
def list_(file: Path, as_json: bool) -> int:
    """List the tasks: when each is due, how its last run ended, and where."""
    of = topology.load(file)
    with reach(of.redis, of.name) as reached:
        with connect.client(reached.endpoint) as client, connect.translated(reached.endpoint):
            snapshot = status.judge(of, survey.survey(client, of))
        if as_json:
            shown = document(snapshot, of.name, reached.endpoint.shown)
            click.echo(json.dumps({key: shown[key] for key in ("schema_version", "topology", "at", "tasks")}))
            return errors.EXIT_OK
    if not of.tasks:
        click.echo(f"{of.name} declares no tasks", err=True)
        return errors.EXIT_OK
    from runnelctl.cli import tasktable
    from runnelctl.cli.console import Console

    terminal = sys.stdout.isatty()
    console = Console(highlight=False) if terminal else Console(highlight=False, width=1000)
    for line in tasktable.lines(snapshot.tasks, snapshot.server_ms, console.width):
        console.print(line)
    return errors.EXIT_OK


@command.command("run")
@click.argument("name")
@options.topology_option
def run(file: Path, name: str) -> int:
    """Run the task NAME now and wait for its end: on a host that is up, its leader if it has one; here, in the
    foreground, if none is.

    Exits 0 if it went well, 1 if it failed, was refused, or its host is gone.
    """
    of = topology.load(file)
    task = declared_task(of, name)
    with reach(of.redis, of.name) as reached:
        with connect.client(reached.endpoint) as client, connect.translated(reached.endpoint):
            member = _where(client, of, task)
            if member is not None:
                return _ask(client, of, task, member)
        click.echo(f"no host runs {name}: running it here", err=True)
        return _here(of, reached, task)


def declared_task(of: Topology, name: str) -> Task:
    """The task of that name. Raises UsageError with the nearest name for one that the topology doesn't have."""
    if name not in of.tasks:
        close = difflib.get_close_matches(name, of.tasks, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(of.tasks) or 'none'}"
        raise errors.UsageError(f"the topology {of.name!r} has no task {name!r}; {hint}")
    return of.tasks[name]


def _where(client: connect.Client, of: Topology, task: Task) -> str | None:
    """The member that is to run it: its leader, else the first that has it and lives. None if there is none."""
    ttl_s = of.lease_ttl_ms / 1000
    until = time.monotonic() + ttl_s
    while True:
        alive = presence.alive(lambda: rollcall.read(client, of)[0], homes.root(), of.name, ttl_s)
        reports = rollcall.read(client, of)[1]
        having = [
            (member, each)
            for member in sorted(alive)
            if member in reports and not reports[member].stopping
            for each in reports[member].tasks
            if each.task == task.name
        ]
        chosen = [member for member, each in having if each.leads or not task.leader]
        if chosen or not having:
            return chosen[0] if chosen else None
        if time.monotonic() > until:
            raise errors.RunnelctlError(f"no host leads {task.name} at the moment; try again")
        time.sleep(PAUSE_S)


def _ask(client: connect.Client, of: Topology, task: Task, member: str) -> int:
    where, began, ttl_s = status.host_of(member), time.monotonic(), of.lease_ttl_ms / 1000
    click.echo(f"{task.name}: asked {where}", err=True)
    watch: membership.Watch | None = None
    try:
        for answer in taskrequests.ask(client, of, member, task.name):
            if answer is not None:
                return _tell(task, where, answer, time.monotonic() - began)
            members, now = rollcall.read(client, of)[0], time.monotonic()
            watch = membership.look(watch, members, now, ttl_s)
            if member not in members or member in dict(membership.expired(watch, "", now, 2 * ttl_s)):
                raise errors.RunnelctlError(f"{where} is gone; whether {task.name} ran to its end is not known")
    except KeyboardInterrupt:
        click.echo("not waiting any longer; it goes on there", err=True)
        raise
    raise AssertionError("asking ends with an answer")


def _here(of: Topology, reached: Reached, task: Task) -> int:
    """Run it in this process; what it prints goes where it goes."""
    began = time.monotonic()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        taskhere.run(of, reached.endpoint, task)
    except (errors.RunnelctlError, KeyboardInterrupt):
        raise
    except TimeoutError as error:
        limit = "" if task.timeout_ms is None else f"; its timeout is {task.timeout_ms / 1000:g} s"
        click.echo(f"{task.name}: {error or 'timed out'}{limit}", err=True)
        return errors.EXIT_ERROR
    except BaseException as error:  # the task's own
        click.echo(tracebacks.text(error).rstrip(), err=True)
        click.echo(f"{task.name}: failed", err=True)
        return errors.EXIT_ERROR
    click.echo(f"{task.name}: ok, {time.monotonic() - began:.1f} s", err=True)
    return errors.EXIT_OK


def _tell(task: Task, where: str, answer: taskrequests.Answer, took_s: float) -> int:
    if answer.outcome == "ok":
        click.echo(f"{task.name}: ok on {where}, {took_s:.1f} s", err=True)
        return errors.EXIT_OK
    if answer.error:
        click.echo(answer.error.rstrip(), err=True)
    click.echo(f"{task.name}: {answer.outcome} on {where}", err=True)
    return errors.EXIT_ERROR
