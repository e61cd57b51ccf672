"""Acting on parked keys for `replay`: replay, skip or mend each, and say afterwards which are parked again."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from runnelctl import errors
from runnelctl.cli import blocked, editing
from runnelctl.core.model import Topology
from runnelctl.records import codec_for
from runnelctl.runtime import mending, reopening
from runnelctl.runtime.mending import Action, Operator
from runnelctl.runtime.reopening import Reopening
from runnelctl.store import parked
from runnelctl.store.backlog import Place
from runnelctl.store.connect import Client
from runnelctl.store.parked import ParkedKey

_TOLD = 20  # actions that are told one by one


def act(operator: Operator, keys: Sequence[ParkedKey], action: Action) -> list[Reopening]:
    """Do it to each and say what came of it; a record that the user left as it was is in no list."""
    found: list[Reopening] = []
    for key in keys:
        if action is Action.RETRY:
            outcome: Reopening | None = reopening.retry(operator, key)
        elif action is Action.SKIP:
            outcome = reopening.skip(operator, key)
        else:
            outcome = _edit(operator, key)
        if outcome is not None:
            found.append(outcome)
        if len(found) <= _TOLD or outcome is None or not outcome.done:
            click.echo(outcome.message if outcome else f"{key.name}: the record is as it was; nothing done", err=True)
    if len(found) > _TOLD:
        click.echo(f"… and {len(found) - _TOLD:,} more keys", err=True)
    return found


def replayed(outcomes: Sequence[Reopening]) -> dict[Place, int]:
    """Where events are being replayed now, and how many."""
    places: dict[Place, int] = {}
    for each in outcomes:
        if each.done and each.left:
            place = each.parked.processor, each.parked.partition
            places[place] = places.get(place, 0) + each.left
    return places


def parked_again(client: Client, of: Topology, outcomes: Sequence[Reopening]) -> bool:
    """Whether any of these keys is still parked, now that the replay is over; says which and why."""
    wanted = {(each.parked.processor, each.parked.partition, each.parked.key) for each in outcomes if each.done}
    processors = list(dict.fromkeys(processor for processor, _, _ in wanted))
    still = [
        each
        for each in parked.find(client, of, processors)
        if (each.processor, each.partition, each.key) in wanted
    ]  # fmt: skip
    if still:
        click.echo(f"still parked:\n{blocked.parked_text(still, verbose=False)}", err=True)
    return bool(still)


def _edit(operator: Operator, key: ParkedKey) -> Reopening | None:
    element = parked.head(operator.client, operator.topology, key)
    if element is None:
        return Reopening(key, False, 0, f"{key.name}: it is not parked any more; nothing done")
    event = reopening.event_of(operator, key, element)
    codec = codec_for(operator.topology.streams[event.stream])
    try:
        new = editing.edit(
            mending.shown(codec, event), f"{key.processor}:{key.partition}",
            lambda text: mending.checked(codec, event, text), again=sys.stdin.isatty() and sys.stderr.isatty(),
        )  # fmt: skip
    except errors.RecordError as error:
        return Reopening(key, False, 0, str(error))
    return None if new is None else reopening.mend(operator, key, element, new)
