"""What must be true, kept beside the store and compared with it at every change."""

from __future__ import annotations

import json
from typing import Any

from tests.simulation.store import Store
from tests.simulation.streams import Stream, parse, text_of


class Violation(Exception):
    """A promise was broken."""


class UnitTruth:
    """One processor in one partition, as it must be."""

    def __init__(self, own: str, events: str, out: str) -> None:
        self.own, self.events, self.out = own, events, out
        self.owner: tuple[str, str] | None = None
        self.done: list[str] = []  # what every output in Redis must be of, in order
        self.cursor = "0-0"
        self.epochs: dict[str, str] = {}  # epoch -> the one nonce that may commit under it; survives failovers
        self.highest = 0
        self.deleted: set[str] = set()  # by a stranger; whoever had read them ahead may still handle them
        self.moves = 0  # seeks, failovers and trims: then a lane may have begun before its lease was taken away

    def saved(self) -> tuple[Any, ...]:
        return self.owner, list(self.done), self.cursor, set(self.deleted)

    def roll_back(self, saved: tuple[Any, ...]) -> None:
        self.owner, self.done, self.cursor = saved[0], list(saved[1]), saved[2]
        self.deleted = set(saved[3])
        self.moves += 1


def acquired(unit: UnitTruth, nonce: str, reply: list[str], dead: str) -> None:
    """After lease_acquire."""
    if reply[0] != "OK":
        return
    epoch = reply[1]
    if unit.owner == (epoch, nonce):
        return  # asked again
    if unit.owner is not None and unit.owner[1] != dead:
        raise Violation(f"{unit.own}: taken from {unit.owner}, whom nobody had taken for dead")
    if int(epoch) <= unit.highest:
        raise Violation(f"{unit.own}: epoch {epoch} after {unit.highest}")
    unit.highest = int(epoch)
    unit.owner = (epoch, nonce)
    unit.epochs[epoch] = nonce


def committed(unit: UnitTruth, store: Store, args: list[str], reply: list[str], before: str) -> None:
    """After commit: `before` is the cursor that there was."""
    epoch, nonce, _, _, new, n = args[:6]
    claimed = [args[at + 5] for at in range(9, len(args)) if args[at] == "X" and args[at + 4] == "of"]
    if reply[0] != "OK":
        if reply[0] == "FENCED" and unit.owner == (epoch, nonce):
            raise Violation(f"{unit.own}: its owner was fenced")
        return
    if unit.owner != (epoch, nonce) or unit.epochs.get(epoch) != nonce:
        raise Violation(f"{unit.own}: ({epoch}, {nonce}) committed, the owner is {unit.owner}")
    stream = store.stream(unit.events)
    passed = [text_of(each) for each in stream.between(parse(before), parse(new))] if stream else []
    if passed != [event for event in claimed if event not in unit.deleted] or len(claimed) != int(n):
        raise Violation(f"{unit.own}: the cursor went from {before} to {new} over {passed}; handled were {claimed}")
    if parse(new) < parse(before) or before != unit.cursor:
        raise Violation(f"{unit.own}: a commit from {before} to {new} where {unit.cursor} was")
    unit.cursor = new
    unit.done += claimed
    if args[7] == "1":
        unit.owner = None


def compare(unit: UnitTruth, store: Store, sought: bool) -> None:
    """Outputs and counters against what must be there."""
    out, own = store.stream(unit.out) or Stream(), store.hash(unit.own)
    outputs = [fields[1] for fields in out.fields]
    if outputs != unit.done:
        raise Violation(f"{unit.own}: outputs {outputs} instead of {unit.done}")
    if not sought and len(set(outputs)) != len(outputs):
        raise Violation(f"{unit.own}: an output twice: {outputs}")
    if own and own["cursor"] != unit.cursor:
        raise Violation(f"{unit.own}: cursor {own['cursor']} instead of {unit.cursor}")


def convicted(record: str, guilty: set[str], killed_beside: dict[str, int]) -> None:
    """Of a failure record that blocks: an event that never did it must not pay, unless an outsider killed its process
    while it was in the handler, which looks the same."""
    found = json.loads(record)
    if found.get("kind") == "died" and found["uid"] not in guilty and not killed_beside.get(found["uid"]):
        raise Violation(f"event {found['event']} (record {found['uid']}) is innocent and was convicted")
