"""Seeing a replay through: where an `up` runs the processors, by watching; where none does, by running them here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click

from runnelctl import errors
from runnelctl.cli import blocked, hosting
from runnelctl.cli.progress import Bar
from runnelctl.core.model import Topology
from runnelctl.core.pauses import is_paused
from runnelctl.runtime import following, homes, presence
from runnelctl.runtime.following import Goal
from runnelctl.store import backlog, connect, operations, pausing
from runnelctl.store.backlog import End, Place, Position
from runnelctl.store.connect import Client
from runnelctl.store.operations import Blockage
from runnelctl.store.reach import Reached

_LINE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Scene:
    """How things were before anything was done: which processors run somewhere, and where every partition stood."""

    there: frozenset[str]
    positions: dict[Place, Position]
    ends: dict[Place, End]


def survey(of: Topology, reached: Reached, processors: Sequence[str]) -> Scene:
    """Look around. Raises what `up` would raise where nobody runs a processor and it has to run here."""
    with connect.client(reached.endpoint) as client, connect.translated(reached.endpoint):
        there = presence.running(
            lambda: backlog.look(client, of, ()).members, homes.root(), of.name, of.lease_ttl_ms / 1000
        )
        every = [(name, number) for name in processors for number in _partitions(of, name)]
        positions, ends = backlog.look(client, of, every).positions, backlog.ends(client, of, every)
    if not there.issuperset(processors):
        hosting.admitted(of, reached, homes.root())
    return Scene(frozenset(there), positions, ends)


def places(of: Topology, scene: Scene, resumed: Sequence[Blockage], one: bool) -> list[Place]:
    """The partitions that go on: those that were blocked, and all of a processor that was halted, unless the user
    meant `one` partition only."""
    own = {(each.processor, each.partition) for each in resumed if each.partition is not None}
    whole = {each.processor for each in resumed if each.partition is None or (each.halted and not one)}
    return [place for place, at in scene.positions.items() if place in own or (place[0] in whole and not at.blocked)]


def resume(of: Topology, reached: Reached, scene: Scene, going: Sequence[Place], replayed: Mapping[Place, int]) -> int:
    """Watch or run until what was there in the partitions `going` is handled, and what is parked in the partitions
    `replayed` (how many events) is replayed. Returns the exit code."""
    chosen = _without_paused(of, reached, list(dict.fromkeys([*going, *replayed])))
    watched = [place for place in chosen if place[0] in scene.there]
    here = [place for place in chosen if place[0] not in scene.there]
    code = errors.EXIT_OK
    if watched:
        # Where only keys are replayed, the others of the partition go on anyway: nothing to wait for.
        ends = {place: scene.ends[place] if place in going else End((0, 0), 0) for place in watched}
        counts = {place: count for place, count in replayed.items() if place in watched}
        goal = Goal({place: scene.positions[place] for place in watched}, ends, counts)
        with connect.client(reached.endpoint) as client, connect.translated(reached.endpoint):
            code, abandoned = _watch(client, of, goal)
        here += sorted(abandoned)
    if here:
        code = _run(of, reached, here) or code
    return code


def _without_paused(of: Topology, reached: Reached, going: Sequence[Place]) -> list[Place]:
    """Those that may run now; says which may not."""
    with connect.client(reached.endpoint) as client, connect.translated(reached.endpoint):
        paused = pausing.paused(client, of)
    waiting = [place for place in going if is_paused(paused, *place)]
    if waiting:
        names = ", ".join(f"{processor}:{partition}" for processor, partition in waiting)
        click.echo(f"paused, and to go on with `runnelctl resume`: {names}", err=True)
    return [place for place in going if place not in waiting]


def _watch(client: Client, of: Topology, goal: Goal) -> tuple[int, set[Place]]:
    watched = list(goal.start)
    began = time.monotonic()
    try:
        with _Progress() as progress:
            outcome = following.follow(
                goal, lambda: backlog.look(client, of, watched), of.lease_ttl_ms / 1000, progress.show
            )
    except KeyboardInterrupt:
        click.echo("not watching any longer; the hosts go on with it", err=True)
        raise
    if outcome.abandoned:
        names = ", ".join(sorted({processor for processor, _ in outcome.abandoned}))
        click.echo(f"no host runs {names} any more: going on here", err=True)
    if not outcome.blocked:
        if not outcome.abandoned:
            click.echo(f"drained: {goal.total:,} event(s) in {time.monotonic() - began:.1f} s", err=True)
        return errors.EXIT_OK, outcome.abandoned
    again = [
        each
        for each in operations.blockages(client, of, list({processor for processor, _ in outcome.blocked}))
        if each.partition is None or (each.processor, each.partition) in outcome.blocked
    ]
    click.echo(f"blocked again:\n{blocked.as_text(again, verbose=False)}", err=True)
    return (errors.EXIT_HALTED if any(each.halted for each in again) else errors.EXIT_ERROR), outcome.abandoned


def _run(of: Topology, reached: Reached, here: Sequence[Place]) -> int:
    hosting.admitted(of, reached, homes.root())
    names = list(dict.fromkeys(processor for processor, _ in here))
    partitions = {name: [number for processor, number in here if processor == name] for name in names}
    notes = ["no `up` runs this: handling it here until it is drained"]
    return hosting.run(of, reached, homes.root(), notes, names, drain=True, partitions=partitions)


def _partitions(of: Topology, processor: str) -> range:
    return range(of.streams[of.processors[processor].stream].partitions)


class _Progress(Bar):
    """A bar on a terminal; elsewhere a line every few seconds, if it takes that long."""

    def __init__(self) -> None:
        super().__init__()
        self._line_due = time.monotonic() + _LINE_EVERY_S
        self._told = -1

    def show(self, done: int, total: int) -> None:
        self.update("handling", done, total)
        if not self.draws and time.monotonic() >= self._line_due and done != self._told:
            self._line_due, self._told = time.monotonic() + _LINE_EVERY_S, done
            click.echo(f"{done:,} of {total:,} events", err=True)
