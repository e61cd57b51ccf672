"""What is quarantined or halted, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from runnelctl.store.operations import Blockage


def as_json(topology: str, found: Sequence[Blockage]) -> str:
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
    return json.dumps({"schema_version": 1, "topology": topology, "blocked": blocked}, indent=2, ensure_ascii=False)


def as_text(found: Sequence[Blockage], *, verbose: bool) -> str:
    """A paragraph for each; with `verbose` the traceback and the payload, too."""
    return "\n\n".join("\n".join(_lines(each, verbose)) for each in found)


def count(found: Sequence[Blockage]) -> str:
    """As "2 blocked partitions"."""
    whole = sum(each.partition is None for each in found)
    partitions = len(found) - whole
    parts = []
    if partitions:
        parts.append("1 blocked partition" if partitions == 1 else f"{partitions} blocked partitions")
    if whole:
        parts.append("1 halted processor" if whole == 1 else f"{whole} halted processors")
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
    lines.append(f"  {_text(record, 'type') or 'Error'}: {_first_line(_text(record, 'message'))}")
    if each.lost:
        lines.append(f"  {each.lost:,} event(s) are lost; replaying accepts that")
    attempts = record.get("attempts")
    tried = f"{attempts} attempt{'s' * (attempts != 1)}, " if isinstance(attempts, int) and attempts else ""
    pid = f" (pid {record['pid']})" if record.get("pid") else ""
    lines.append(f"  {tried}on {_text(record, 'host') or 'an unknown host'}{pid} at {_text(record, 'time')}")
    return lines + (_details(record) if verbose else [])


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
