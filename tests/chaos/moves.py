"""Whether partitions moved between hosts more often than hosts came and went."""

from __future__ import annotations

from collections import Counter, defaultdict

from tests.chaos.history import History, Unit


def leases(of: History, since: int = 0) -> list[tuple[Unit, str]]:
    """Every lease that was taken from a time on, and by which host; with '' for a host, that it was let go."""
    names = {f":{host['pid']}:": host["host"] for host in of.hosts if host["what"] == "up"}
    return [
        (change.unit, next((name for pid, name in names.items() if pid in change.owner), ""))
        for change in of.changes
        if change.kind in "ar" and change.at >= since
    ]


def needless(moved: list[tuple[Unit, str]], before: dict[Unit, str], steady: int) -> list[str]:
    """What moved though it need not have, of leases taken and let go after `before`, while `steady` hosts (h0, h1, ...)
    stayed and others came and went: from one of the steady ones to another, or more than a share to one that came.

    What was let go for a visitor that was gone before it could take it may go to anybody: a visitor let go, or lost,
    something in between.
    """
    owners, found = dict(before), []
    free: dict[Unit, int] = {}  # since when, counted in what visitors let go or lost
    holds: dict[str, Counter[str]] = defaultdict(Counter)
    partitions = Counter(processor for processor, _ in before)
    turns = 0
    for unit, host in moved:
        last = owners.get(unit, host)
        if last[:1] == "s" and host != last and unit not in free:
            turns += 1
            holds[last][unit[0]] -= 1
        if not host:
            free[unit] = turns
            continue
        was_free, since = unit in free, free.pop(unit, turns)
        if host.startswith("h") and last.startswith("h") and host != last and since == turns:
            found.append(f"{unit[0]}:{unit[1]} moved from {last} to {host}, which both stayed")
        if not host.startswith("h") and (host != last or was_free):
            holds[host][unit[0]] += 1
            share = -(-partitions[unit[0]] // (steady + 1))
            if holds[host][unit[0]] > share:
                found.append(f"{host} had {holds[host][unit[0]]} partitions of {unit[0]}, its share is {share}")
        owners[unit] = host
    return found
