"""Whether partitions moved between hosts more often than hosts came and went."""

from __future__ import annotations

from collections import Counter, defaultdict

from tests.chaos.history import History, Unit


def leases(of: History, since: int = 0) -> list[tuple[Unit, str]]:
    """Every lease that was taken from a time on, and by which host."""
    names = {f":{host['pid']}:": host["host"] for host in of.hosts if host["what"] == "up"}
    return [
        (change.unit, next(name for pid, name in names.items() if pid in change.owner))
        for change in of.changes
        if change.kind == "a" and change.at >= since
    ]


def needless(taken: list[tuple[Unit, str]], before: dict[Unit, str], steady: int) -> list[str]:
    """What moved though it need not have, of leases taken after `before`, while `steady` hosts (h0, h1, ...) stayed and
    others came and went: from one of the steady ones to another, or more than a share to one that came."""
    owners, found = dict(before), []
    by_visitor: dict[str, Counter[str]] = defaultdict(Counter)
    for unit, host in taken:
        last = owners.get(unit, host)
        if host.startswith("h") and last.startswith("h") and host != last:
            found.append(f"{unit[0]}:{unit[1]} moved from {last} to {host}, which both stayed")
        if not host.startswith("h"):
            by_visitor[host][unit[0]] += 1
        owners[unit] = host
    partitions = Counter(processor for processor, _ in before)
    for host, processors in by_visitor.items():
        for processor, count in processors.items():
            share = -(-partitions[processor] // (steady + 1))
            if count > share:
                found.append(f"{host} was given {count} partitions of {processor}, its share is {share}")
    return found
