"""Where units run, as members and own hashes write it down."""

from __future__ import annotations

import json
from collections.abc import Mapping

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


def serving(entry: bytes) -> dict[str, int]:
    """The same without the processors that the member is still starting: others keep their partitions until it can."""
    unready = starting(entry)
    return {name: 0 if name in unready else slots for name, slots in capacity(entry).items()}


def starting(entry: bytes) -> frozenset[str]:
    """Processors that the member is still starting."""
    try:
        return frozenset(json.loads(entry.split(b"|", 2)[2]).get("starting", ()))
    except (IndexError, ValueError, TypeError, AttributeError):
        return frozenset()


def place(owner: str, able: Mapping[str, int]) -> Place | None:
    """The place that an own hash's `owner` field names, if that host is a member."""
    member, _, number = owner.rpartition("/")
    return (member, int(number)) if member in able and number.isdigit() else None
