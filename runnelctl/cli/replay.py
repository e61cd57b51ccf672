"""`runnelctl replay`: what is quarantined or halted, and why; then retry it, skip it or mend it, in order."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from runnelctl import errors, topology
from runnelctl.cli import blocked, editing, letters, names, options, resuming, targets, unparking
from runnelctl.core.model import Topology
from runnelctl.records import codec_for
from runnelctl.runtime import mending
from runnelctl.runtime.mending import Action, Operator, Outcome
from runnelctl.store import connect, meta, operations, parked
from runnelctl.store.connect import Client
from runnelctl.store.operations import Blockage
from runnelctl.store.parked import ParkedKey
from runnelctl.store.reach import Reached, reach


@click.command()
@click.argument("target", metavar="[PROCESSOR[:PARTITION]]", required=False, shell_complete=names.processors)
@click.option("-k", "--key", help="Only this key: parked, or that of a failed event.")
@click.option("--skip", is_flag=True, help="Move the failed event to the dead letters and go on behind it.")
@click.option("--edit", is_flag=True, help="Mend the failed record in $VISUAL or $EDITOR, then retry it.")
@click.option(
    "--from-dead-letter",
    "letters_of",
    is_flag=False,
    flag_value=letters.ALL,
    metavar="[STREAM]",
    help="Take dead letters back, in order, each once: of one dead letter stream, or of all.",
)
@click.option("--dry-run", is_flag=True, help="Only list what is blocked, and why.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask; needed where there is no terminal to ask on.")
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the audit, and with a dead letter.")
@click.option("-v", "--verbose", is_flag=True, help="List tracebacks and payloads, too.")
@options.topology_option
@options.json_option
def command(
    file: Path,
    target: str | None,
    key: str | None,
    skip: bool,
    edit: bool,
    letters_of: str | None,
    dry_run: bool,
    yes: bool,
    reason: str,
    verbose: bool,
    as_json: bool,
) -> int:
    """List what is quarantined, halted or parked and why, then retry it in order: all of it, or of one PROCESSOR, or
    one PARTITION.

    With an `up` running it resumes there at once. With none the handlers run here, under the lease. Exits 0 once the
    backlog is drained, 1 if anything is blocked or parked again, 4 if it halts again.
    """
    if skip and edit:
        raise errors.UsageError("--skip and --edit exclude each other: is the event to be passed over, or mended?")
    if letters_of is not None and (skip or edit):
        raise errors.UsageError("--from-dead-letter takes letters back as they are, without --skip or --edit")
    action = Action.SKIP if skip else Action.EDIT if edit else Action.RETRY
    of = topology.load(file)
    chosen = _chosen(of, target)
    with reach(of.redis, of.name) as reached:
        with connect.client(reached.endpoint) as client, connect.translated(reached.endpoint):
            meta.agree(client, of)
        if letters_of is not None:
            what = letters.wanted(of, letters_of, chosen, key)
            return letters.replay(of, reached, what, dry_run=dry_run, yes=yes, reason=reason, as_json=as_json)
        with connect.client(reached.endpoint) as client, connect.translated(reached.endpoint):
            found = _matching(operations.blockages(client, of, list(chosen)), chosen, key)
            keys = [each for each in parked.find(client, of, list(chosen), key) if _meant(each, chosen)]
            _list(of, found, keys, target, key, as_json=as_json, verbose=verbose)
            if dry_run or not (found or keys):
                return errors.EXIT_OK
            if not _wanted(found, keys, action, yes=yes):
                return errors.EXIT_ERROR
        return _replay(of, reached, found, keys, action, reason, chosen)


Chosen = dict[str, int | None]


def _chosen(of: Topology, target: str | None) -> Chosen:
    """processor -> the one partition that is meant, or None for all of them."""
    if target is None:
        return dict.fromkeys(of.processors)
    meant = targets.parse(of, target)
    return {meant.processor.name: meant.partition}


def _matching(found: Sequence[Blockage], chosen: Chosen, key: str | None) -> list[Blockage]:
    return [
        each
        for each in found
        if _meant(each, chosen) and (key is None or (each.event_id and each.record.get("key") == key))
    ]


def _meant(each: Blockage | ParkedKey, chosen: Chosen) -> bool:
    return chosen[each.processor] in (None, each.partition)


def _list(
    of: Topology,
    found: Sequence[Blockage],
    keys: Sequence[ParkedKey],
    target: str | None,
    key: str | None,
    *,
    as_json: bool,
    verbose: bool,
) -> None:
    if as_json:
        click.echo(blocked.as_json(of.name, found, keys))
    elif found or keys:
        texts = (blocked.as_text(found, verbose=verbose), blocked.parked_text(keys, verbose=verbose))
        click.echo("\n\n".join(text for text in texts if text))
    if not (found or keys):
        what = f"of {target}" if target else f"in {of.name}"
        click.echo(f"nothing {what} is blocked or parked" + (f" with key {key!r}" if key is not None else ""), err=True)


def _wanted(found: Sequence[Blockage], keys: Sequence[ParkedKey], action: Action, *, yes: bool) -> bool:
    """Whether the user says so. Raises UsageError where nobody can be asked."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise errors.UsageError(f"there is no terminal to ask on: add --yes to {action.value} this, or --dry-run")
    if action is Action.EDIT:
        return True  # saving the change is the answer
    if action is Action.SKIP:
        question = f"skip the failed event of {blocked.count(found, keys)}?"
    else:
        question = f"retry {blocked.count(found, keys)}?"
    if click.confirm(question, default=False, err=True):
        return True
    click.echo("nothing done", err=True)
    return False


def _replay(
    of: Topology, reached: Reached, found: list[Blockage], keys: list[ParkedKey], action: Action, reason: str,
    chosen: Chosen,
) -> int:  # fmt: skip
    """Act on each, then see it through. Returns the exit code."""
    processors = [each.processor for each in found] + [each.processor for each in keys]
    scene = resuming.survey(of, reached, list(dict.fromkeys(processors)))
    with connect.client(reached.endpoint) as client, connect.translated(reached.endpoint):
        operator = Operator(client, of, mending.who(), reason)
        outcomes = [outcome for each in found if (outcome := _act(operator, each, action)) is not None]
        reopened = unparking.act(operator, keys, action)
        resumed = [outcome.blockage for outcome in outcomes if outcome.done]
        still_halted = _lift_halts(client, of, resumed)
        if resumed or any(each.done for each in reopened):
            operations.announce(client, of, "replay", by=operator.who)
    free = [each for each in resumed if each.processor not in still_halted]
    going = resuming.places(of, scene, free, one=None not in chosen.values())
    code = resuming.resume(of, reached, scene, going, unparking.replayed(reopened))
    with connect.client(reached.endpoint) as client, connect.translated(reached.endpoint):
        parked_again = unparking.parked_again(client, of, reopened)
    refused = len(resumed) < len(outcomes) or not all(each.done for each in reopened)
    failed = errors.EXIT_ERROR if refused or parked_again else errors.EXIT_OK
    return code or (errors.EXIT_HALTED if still_halted else failed)


def _act(operator: Operator, blockage: Blockage, action: Action) -> Outcome | None:
    """Do it and say what came of it; None if the user left the record as it was."""
    if action is Action.RETRY:
        outcome: Outcome | None = operator.retry(blockage)
    elif action is Action.SKIP:
        outcome = operator.skip(blockage)
    else:
        outcome = _edit(operator, blockage)
    message = outcome.message if outcome else f"{blockage.name}: the record is as it was; nothing done"
    click.echo(message, err=True)
    return outcome


def _edit(operator: Operator, blockage: Blockage) -> Outcome | None:
    event = operator.event(blockage)
    if event is None:
        return operator.without_event(blockage, Action.EDIT)
    codec = codec_for(operator.topology.streams[event.stream])
    try:
        mended = editing.edit(
            mending.shown(codec, event), blockage.name, lambda text: mending.checked(codec, event, text),
            again=sys.stdin.isatty() and sys.stderr.isatty(),
        )  # fmt: skip
    except errors.RecordError as error:
        return Outcome(blockage, False, str(error))
    return None if mended is None else operator.mend(blockage, event.raw, mended)


def _lift_halts(client: Client, of: Topology, resumed: Sequence[Blockage]) -> set[str]:
    """Let halted processors run again; returns those that have other halted partitions left, and says which."""
    still = set()
    for processor in dict.fromkeys(each.processor for each in resumed if each.halted):
        left = operations.unhalt(client, of, processor)
        if left:
            still.add(processor)
            others = ", ".join(each.name for each in left)
            click.echo(f"{processor} stays halted: so {'is' if len(left) == 1 else 'are'} {others}", err=True)
    return still
