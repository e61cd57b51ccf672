"""`runnelctl status`: what runs where, how far, and what is wrong; from any shell that reaches the same Redis."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runnelctl import errors, topology
from runnelctl.cli.options import json_option, topology_argument
from runnelctl.cli.snapshots import document
from runnelctl.cli.watch import Watch, repeat
from runnelctl.core.model import Topology
from runnelctl.core.problems import problems
from runnelctl.core.reading import Reading
from runnelctl.core.status import Snapshot
from runnelctl.store import connect, survey
from runnelctl.store.reach import Reached, reach

if TYPE_CHECKING:
    from rich.console import Console

    from runnelctl.cli.table import View

TIMEOUT_MS = 5_000
LIVE_TIMEOUT_MS = 1_000  # a picture that stands still is worse than one that says it is old
EVERY_S = 1.0  # --watch where there is no terminal


@click.command()
@topology_argument
@click.option("--watch", "-w", is_flag=True, help="Keep it up to date until q or Ctrl-C; the default on a terminal.")
@click.option("--once", is_flag=True, help="Show it once; the default where stdout is no terminal.")
@click.option("--wide", is_flag=True, help="Also epoch, cursor and pid.")
@click.option("--check", is_flag=True, help="Print problems only, and exit 1 if there are any: for health checks.")
@json_option
def command(file: Path, watch: bool, once: bool, wide: bool, check: bool, as_json: bool) -> int:
    """Show every host and every partition of the topology, the worst first.

    --json gives the same as data; with --watch, a line per second. Exits 0; with --check 1 if anything is quarantined,
    halted, unowned or stuck; 69 if Redis cannot be reached.
    """
    if watch and (once or check):
        raise errors.UsageError(f"--watch goes on and {'--once' if once else '--check'} ends: give one of them")
    described = topology.load(file)
    terminal = sys.stdout.isatty() and os.environ.get("TERM") not in (None, "", "dumb")
    live = watch or (terminal and not (once or check or as_json))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without an ellipsis shows a question mark
    with reach(described.redis, described.name) as reached:
        timeout_ms = LIVE_TIMEOUT_MS if live else TIMEOUT_MS
        with connect.line(reached.endpoint, timeout_ms=timeout_ms, client_name="runnelctl:status") as client:
            show = _Show(described, reached, file, wide=wide, as_json=as_json, terminal=terminal)

            def read() -> Reading:
                with connect.translated(reached.endpoint):
                    return survey.survey(client, described)

            looking = Watch(described, read)
            if live:
                show.live(looking)
                return errors.EXIT_OK
            snapshot = looking.look()
    return show.check(snapshot) if check else show.once(snapshot)


class _Show:
    """The forms that a snapshot is shown in."""

    def __init__(
        self, described: Topology, reached: Reached, file: Path, *, wide: bool, as_json: bool, terminal: bool
    ) -> None:
        self._topology, self._reached, self._file = described, reached, file
        self._wide, self._as_json, self._terminal = wide, as_json, terminal

    def once(self, snapshot: Snapshot) -> int:
        if self._as_json:
            self._json(snapshot, 2 if self._terminal else None)
            return errors.EXIT_OK
        self._print(snapshot)
        if not snapshot.is_up:
            click.echo(f"nothing is up: runnelctl up {self._file}", err=True)
        return errors.EXIT_OK

    def check(self, snapshot: Snapshot) -> int:
        found = problems(snapshot)
        if self._as_json:
            self._json(snapshot)
        else:
            for line in found:
                click.echo(line)
        return errors.EXIT_ERROR if found else errors.EXIT_OK

    def live(self, looking: Watch) -> None:
        if self._as_json or not self._terminal:
            repeat(looking, EVERY_S, self._json if self._as_json else self._print)
            return
        from runnelctl.cli import live

        console = self._console()
        live.show(console, looking, lambda: self._view(console))

    def _json(self, snapshot: Snapshot, indent: int | None = None) -> None:
        shown = document(snapshot, self._topology.name, self._reached.endpoint.shown)
        click.echo(json.dumps(shown, indent=indent))

    def _print(self, snapshot: Snapshot) -> None:
        from runnelctl.cli import table

        console = self._console()
        view = self._view(console)
        if view.height is not None:
            view = dataclasses.replace(view, height=view.height - 1)  # the prompt needs a line
        console.print(table.render(snapshot, view))

    def _console(self) -> Console:
        from runnelctl.cli.console import Console

        # Without a terminal nobody's width is known: let the lines be as long as they are, for grep and for a file.
        return Console(highlight=False) if self._terminal else Console(highlight=False, width=1000)

    def _view(self, console: Console) -> View:
        from runnelctl.cli.table import View

        redis = "embedded" if self._reached.embedded is not None else self._reached.endpoint.shown
        height = console.height if self._terminal else None
        return View(self._topology.name, redis, console.width, height, self._wide)
