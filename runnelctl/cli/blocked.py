"""What is quarantined or halted, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from runnelctl.core.status import printable
from runnelctl.store.operations import Blockage
from runnelctl.store.parked import ParkedKey

_PARKED_SHOWN = 20


def as_json(topology: str, found: Sequence[Blockage], parked: Sequence[ParkedKey] = ()) -> str:
    """The listing for a machine; `error` is the failure record of each."""
    blocked = [
        {
            "processor": each.processor,
            "partition": each.partition,
            "state": "halted" if each.halted else "quarantined",
            "cursor": each.cursor or None,
            "waiting": each.behind,
            "lost": each.lost,
            "error": each.record,
        }
        for each in found
    ]
    keys = [
        {
            "processor": each.processor,
            "partition": each.partition,
            "key": each.key,
            "events": each.events,
            "replaying": each.asked,
            "error": each.record,
        }
        for each in parked
    ]
    listing = {"schema_version": 1, "topology": topology, "blocked": blocked, "parked": keys}
    text = json.dumps(listing, indent=2, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()  # a key need not be UTF-8


def as_text(found: Sequence[Blockage], *, verbose: bool) -> str:
    """A paragraph for each; with `verbose` the traceback and the payload, too."""
    return "\n\n".join("\n".join(_lines(each, verbose)) for each in found)


def parked_text(found: Sequence[ParkedKey], *, verbose: bool) -> str:
    """As `as_text`, for parked keys; not too many of them."""
    shown = found if verbose else found[:_PARKED_SHOWN]
    paragraphs = ["\n".join(_parked_lines(each, verbose)) for each in shown]
    if len(shown) < len(found):
        paragraphs.append(f"… and {len(found) - len(shown):,} more keys (-v or --json shows them all)")
    return "\n\n".join(paragraphs)


def count(found: Sequence[Blockage], parked: Sequence[ParkedKey] = ()) -> str:
    """As "2 blocked partitions and 1 parked key"."""
    whole = sum(each.partition is None for each in found)
    partitions = len(found) - whole
    parts = []
    if partitions:
        parts.append("1 blocked partition" if partitions == 1 else f"{partitions} blocked partitions")
    if whole:
        parts.append("1 halted processor" if whole == 1 else f"{whole} halted processors")
    if parked:
        parts.append("1 parked key" if len(parked) == 1 else f"{len(parked):,} parked keys")
    return " and ".join(parts)


def _lines(each: Blockage, verbose: bool) -> list[str]:
    record = each.record
    state = "halted" if each.halted else "quarantined"
    where = f" at event {each.event_id}, key {_text(record, 'key')!r}" if each.event_id else ""
    waiting = (
        "nothing waits" if not each.behind else f"{each.behind:,} event{' waits' if each.behind == 1 else 's wait'}"
    )
    behind = " behind it" if each.event_id else ""
    lines = [f"{each.name} is {state}{where}; {waiting}{behind}"]
    if _text(record, "escalated"):
        lines.append(f"  and not only its key: {_text(record, 'escalated')}")
    lines.append(f"  {_text(record, 'type') or 'Error'}: {_first_line(_text(record, 'message'))}")
    if each.lost:
        lines.append(f"  {each.lost:,} event(s) are lost; replaying accepts that")
    lines.append(_tried(record))
    return lines + (_details(record) if verbose else [])


def _parked_lines(each: ParkedKey, verbose: bool) -> list[str]:
    record = each.record
    behind = each.events - 1
    follow = "nothing" if not behind else f"{behind:,} event{'s' * (behind != 1)}"
    replaying = "; a replay is asked for" if each.asked else ""
    lines = [f"{printable(each.name)} is parked at event {each.event_id}; {follow} behind it{replaying}"]
    lines += [f"  {_text(record, 'type') or 'Error'}: {_first_line(_text(record, 'message'))}", _tried(record)]
    return lines + (_details(record) if verbose else [])


def _tried(record: dict[str, Any]) -> str:
    attempts = record.get("attempts")
    tried = f"{attempts} attempt{'s' * (attempts != 1)}, " if isinstance(attempts, int) and attempts else ""
    pid = f" (pid {record['pid']})" if record.get("pid") else ""
    return f"  {tried}on {_text(record, 'host') or 'an unknown host'}{pid} at {_text(record, 'time')}"


def _details(record: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    payload, size = _text(record, "payload"), record.get("payload_bytes")
    if payload:
        cut = f" (cut, {size:,} bytes in all)" if isinstance(size, int) and size > len(payload.encode()) else ""
        lines.append(f"  payload{cut}: {payload}")
    return lines + [f"  {line}" for line in _text(record, "traceback").splitlines()]


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    return "" if value is None else str(value)


def _first_line(text: str) -> str:
    line, _, rest = text.partition("\n")
    return f"{line} …" if rest.strip() else line
