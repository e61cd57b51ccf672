"""`runnelctl up`: start the topology, supervise it until it is stopped, drained or halted."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli import hosting
from runnelctl.cli.options import topology_argument
from runnelctl.core.model import Topology
from runnelctl.runtime import child, homes, launch
from runnelctl.store import admission, connect
from runnelctl.store.preflight import Fitness
from runnelctl.store.reach import Reached, reach

WAIT_LIMIT_S = 120.0
SHOWN_BYTES = 8_000


@click.command()
@topology_argument
@click.option("--only", metavar="P,…", help="Run only these processors and tasks.")
@click.option("-d", "--detach", is_flag=True, help="Run in the background; see `runnelctl logs`, `status` and `down`.")
@click.option("--wait", is_flag=True, help="With --detach: return once every slice is ready.")
@click.option("--drain", is_flag=True, help="Exit 0 once everything that is there now is handled.")
@click.option("--rolling", is_flag=True, help="Run beside hosts of another version of the file, if that is safe.")
@click.option("--start", type=click.Choice(["fork", "spawn"]), help="How processes are started; before the file's.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="As log: {level: …} in the file."
)
@click.option("--log-format", type=click.Choice(["text", "json"]), help="As log: {format: …}: a JSON object per line.")
def command(
    file: Path,
    only: str | None,
    detach: bool,
    wait: bool,
    drain: bool,
    rolling: bool,
    start: str | None,
    log_level: str | None,
    log_format: str | None,
) -> int:
    """Run the topology: one process per slice, restarted by policy, one owner per partition across all hosts.

    The first Ctrl-C drains, a second one forces. Exits 0 done or drained, 3 if a handler cannot start, 4 if halted by
    policy, 69 if Redis cannot be reached, 130 if forced.
    """
    overrides = {"start": start, "log.level": log_level, "log.format": log_format}
    described, warnings = topology.load_with_warnings(file, overrides=overrides)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    chosen = _chosen(described, only)
    base = homes.root()
    homes.sweep(base, described.name)
    with reach(described.redis, described.name) as reached:
        notes = _notes(described, reached, hosting.admitted(described, reached, base, rolling=rolling), chosen)
        if detach:
            return _in_background(described, reached, base, notes, chosen, overrides, drain=drain, wait=wait)
        return hosting.run(described, reached, base, notes, chosen, drain=drain, overrides=overrides)


def _chosen(described: Topology, only: str | None) -> list[str]:
    """The processors and tasks that are to run here: all of them, or those that `--only` names."""
    if not described.processors and not described.tasks:
        raise errors.UsageError(f"{described.file} declares no processors and no tasks: there is nothing to run")
    every = [*described.processors, *described.tasks]
    if only is None:
        return every
    names = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in names if name not in every]
    if unknown or not names:
        listed = ", ".join(map(repr, unknown)) or repr(only)
        what = "processor or task" if described.tasks else "processor"
        raise errors.UsageError(f"--only: no {what} {listed}; there are {', '.join(every)}")
    return names


def _notes(described: Topology, reached: Reached, fitness: Fitness, chosen: list[str]) -> list[str]:
    """Lift halts, since starting again is a retry; returns what is worth saying."""
    with connect.line(reached.endpoint, timeout_ms=5_000, client_name="runnelctl:up") as client:
        lifted = admission.lift_halts(client, reached.endpoint, described, chosen)
    server = f"{'embedded ' if reached.embedded else ''}{fitness.server.capitalize()} {fitness.version}"
    notes = [f"{server}, {fitness.durability}"]
    notes += [f"warning: {warning}" for warning in fitness.warnings if warning != fitness.durability]
    notes += [f"{name} was halted; starting it again retries the event that halted it" for name in lifted]
    return notes


def _in_background(
    described: Topology,
    reached: Reached,
    base: Path,
    notes: list[str],
    chosen: list[str],
    overrides: Mapping[str, str | None],
    *,
    drain: bool,
    wait: bool,
) -> int:
    pid = launch.detach(base, described.name)
    if pid:
        return _watch_start(base, described.name, pid, wait=wait)
    code = errors.EXIT_ERROR
    try:
        code = hosting.run(described, reached, base, notes, chosen, drain=drain, detached=True, overrides=overrides)
    except errors.RunnelctlError as error:
        click.echo(f"runnelctl: {error}", err=True)
        code = error.exit_code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # the command's own ending is the other process's


def _watch_start(base: Path, name: str, pid: int, *, wait: bool) -> int:
    """Return once the detached host lives; with `wait`, once it works. If it ends before that, say what it said."""
    deadline = time.monotonic() + WAIT_LIMIT_S
    while time.monotonic() < deadline:
        mine = next((home for home in homes.found(base, name) if home.pid == pid), None)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if mine is not None and (mine.ready or not (wait or ended)):
            click.echo(f"{name} is up in the background (pid {pid}); `runnelctl logs -f`, `runnelctl down`", err=True)
            return errors.EXIT_OK
        if ended:
            return _explain_end(mine.log if mine else homes.early_log(base, name, pid), name, status)
        time.sleep(0.05)
    raise errors.RunnelctlError(
        f"{name} runs in the background (pid {pid}), but was not ready in {WAIT_LIMIT_S:g} s; see `runnelctl logs`"
    )


def _explain_end(log: Path, name: str, status: int) -> int:
    """A detached host ended before it was up: show its output and end as it did."""
    code = os.waitstatus_to_exitcode(status)
    if log.exists():
        with log.open("rb") as written:
            written.seek(max(0, log.stat().st_size - SHOWN_BYTES))
            click.echo(written.read().decode("utf-8", "replace"), err=True, nl=False)
    click.echo(f"runnelctl: {name} {child.describe(status)} before it was up; its output is above", err=True)
    return code if code > 0 else errors.EXIT_ERROR
