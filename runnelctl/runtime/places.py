"""Where units run, as members and own hashes write it down."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from runnelctl.core.assign import Place


def abouts(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """What each member says of itself, without the parts of its entry that change with every beat."""
    return {member: entry.split(b"|", 2)[-1] for member, entry in members.items()}


def capacity(entry: bytes) -> dict[str, int]:
    """processor -> slices, from a member's entry `time|counter|{...}`; nothing from one that can't be read."""
    try:
        found = json.loads(entry.split(b"|", 2)[2])["capacity"]
        return {str(name): int(slots) for name, slots in found.items()}
    except (IndexError, KeyError, ValueError, TypeError, AttributeError):
        return {}


def serving(members: Mapping[str, bytes]) -> dict[str, dict[str, int]]:
    """What each member may be given partitions of: member -> processor -> slices.

    Nothing of what it is still starting: others keep their partitions until it can. Nothing of what it rests from,
    either, unless nobody else could run it: then it keeps its partitions for those to come.
    """
    able = {member: _without(capacity(entry), starting(entry)) for member, entry in members.items()}
    awake = {member: _without(slots, resting(members[member])) for member, slots in able.items()}
    elsewhere = {name for slots in awake.values() for name, count in slots.items() if count}
    return {
        member: {name: awake[member][name] if name in elsewhere else count for name, count in slots.items()}
        for member, slots in able.items()
    }


def _without(slots: Mapping[str, int], names: Collection[str]) -> dict[str, int]:
    return {name: 0 if name in names else count for name, count in slots.items()}


def starting(entry: bytes) -> frozenset[str]:
    """Processors that the member is still starting."""
    return _listed(entry, "starting")


def resting(entry: bytes) -> frozenset[str]:
    """Processors that have no slice at the member for now, and may run elsewhere."""
    return _listed(entry, "resting")


def _listed(entry: bytes, what: str) -> frozenset[str]:
    try:
        return frozenset(json.loads(entry.split(b"|", 2)[2]).get(what, ()))
    except (IndexError, ValueError, TypeError, AttributeError):
        return frozenset()


def place(owner: str, able: Mapping[str, int]) -> Place | None:
    """The place that an own hash's `owner` field names, if that host is a member."""
    member, _, number = owner.rpartition("/")
    return (member, int(number)) if member in able and number.isdigit() else None
