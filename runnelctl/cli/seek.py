"""`runnelctl seek`: put a processor's cursor somewhere else, to repeat events or to skip them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli import consent, moments, names, options, targets
from runnelctl.cli.targets import Target
from runnelctl.core.model import Topology
from runnelctl.runtime import mending
from runnelctl.store import connect, meta, operations
from runnelctl.store.connect import Client
from runnelctl.store.operations import Blockage
from runnelctl.store.reach import reach
from runnelctl.store.seeking import Move, Moved, Seeker, refusal

_WORDS = {"earliest": b"-", "latest": b"+"}


@click.command()
@click.argument("target", metavar="PROCESSOR[:PARTITION]", shell_complete=names.processors)
@click.option(
    "--to",
    "to",
    required=True,
    metavar="earliest|latest|ID|TIME|-10m",
    help="The first event to be handled next: the oldest there is, the next to come, one by its id, or by time.",
)
@click.option("-y", "--yes", is_flag=True, help="Don't ask; needed where there is no terminal to ask on.")
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the audit.")
@options.topology_option
def command(file: Path, target: str, to: str, yes: bool, reason: str) -> int:
    """Move the cursor of PROCESSOR, in all partitions or in one. Shows before and after, and how many events are
    repeated or skipped.

    With an `up` running, hosts finish the event in hand and go on from the new place. A quarantined or halted partition
    stays so, unless the cursor moves beyond the failed event. Parked events stay parked; back is refused while there
    are any.
    """
    of = topology.load(file)
    chosen = targets.parse(of, target)
    moment = None if to in _WORDS else moments.parse(to, "--to")
    with (
        reach(of.redis, of.name) as reached,
        connect.client(reached.endpoint, client_name="runnelctl:seek") as client,
        connect.translated(reached.endpoint),
    ):
        meta.agree(client, of)
        seeker = Seeker(client, of, chosen.processor)
        first = _WORDS[to] if moment is None else moments.id_text(moment.first(seeker.server_ms())).encode()
        planned = [seeker.plan(partition, first) for partition in chosen.partitions]
        blocked = operations.blockages(client, of, [chosen.processor.name])
        _show(chosen, planned, blocked)
        moves = [each for each in planned if not each.is_none]
        if not moves:
            click.echo("nothing to do: it stands there already", err=True)
            return errors.EXIT_OK
        _refuse_parked(chosen, seeker, moves)
        if not consent.given(f"move {_count(len(moves))} of {chosen.processor.name}?", "move it", yes=yes):
            return errors.EXIT_ERROR
        _move(client, of, chosen, seeker, moves, blocked, to, reason)
    return errors.EXIT_OK


def _refuse_parked(chosen: Target, seeker: Seeker, moves: Sequence[Move]) -> None:
    """Before anything is moved: a cursor must not go back where events are parked."""
    for move in moves:
        parked = 0 if move.skipped >= 0 else seeker.parked(move.partition)
        if parked:
            raise errors.RunnelctlError(f"{refusal(chosen.processor.name, move.partition, parked)}; nothing moved")


def _show(chosen: Target, planned: Sequence[Move], blocked: Sequence[Blockage]) -> None:
    """A line per partition on stdout; on stderr what stays blocked."""
    name = chosen.processor.name
    width = max(len(move.before.cursor) for move in planned)
    to_width = max(len(move.after.cursor) for move in planned)
    for move in planned:
        before, after = move.before.cursor.decode(), move.after.cursor.decode()
        click.echo(f"{name}:{move.partition}  {before:<{width}} → {after:<{to_width}}  {_cost(move)}")
    for each in blocked:
        at = next((move for move in planned if move.partition == each.partition), None)
        if at is None or not each.event_id:
            continue
        state = "halted" if each.halted else "quarantined"
        beyond = moments.entry_id(at.after.cursor) >= moments.entry_id(each.event_id)
        what = "which this lifts: the cursor moves beyond it" if beyond else f"and stays so until `replay {each.name}`"
        click.echo(f"{each.name} is {state} at event {each.event_id}, {what}", err=True)


def _cost(move: Move) -> str:
    if not move.skipped:
        return "stays where it is" if move.is_none else "no event between"
    count, what = abs(move.skipped), "skipped" if move.skipped > 0 else "repeated"
    return f"{count:,} event is {what}" if count == 1 else f"{count:,} events are {what}"


def _count(partitions: int) -> str:
    return "1 partition" if partitions == 1 else f"{partitions} partitions"


def _move(
    client: Client, of: Topology, chosen: Target, seeker: Seeker, moves: Sequence[Move], blocked: Sequence[Blockage],
    to: str, reason: str,
) -> None:  # fmt: skip
    """Move them all, write it down, and tell the hosts."""
    name = chosen.processor.name
    moved: list[Moved] = []
    try:
        for move in moves:
            moved.append(seeker.move(move))
            _audit(client, of, name, moved[-1], to, reason)
    finally:
        halted = {each.partition for each in blocked if each.halted}
        if any(each.lifted and each.move.partition in halted for each in moved):
            operations.unhalt(client, of, name)
        if any(each.lifted for each in moved):
            operations.announce(client, of, "replay", processor=name)
        operations.announce(client, of, "seek", processor=name)
    repeated = -sum(each.move.skipped for each in moved if each.move.skipped < 0)
    skipped = sum(each.move.skipped for each in moved if each.move.skipped > 0)
    click.echo(f"moved {_count(len(moved))}: {repeated:,} event(s) repeated, {skipped:,} skipped", err=True)


def _audit(client: Client, of: Topology, processor: str, moved: Moved, to: str, reason: str) -> None:
    move = moved.move
    operations.audit(
        client, of, who=mending.who(), what="seek", processor=processor, partition=str(move.partition), to=to,
        before=move.before.cursor.decode(), after=move.after.cursor.decode(), skipped=str(move.skipped),
        reason=reason, time=mending.now(),
    )  # fmt: skip
