"""What `status` reads, as values: members and their beats, the hosts' reports, and every partition's books.

Reports come from other processes, perhaps of another version: what is missing gets a default, what is unknown is left
out, and a report that makes no sense counts as none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

Record = dict[str, Any]


class SlotReport(msgspec.Struct, frozen=True):
    """A slice as its host sees it; `pid` 0: no process at the moment; `ready`: it has imported its handler."""

    slice: str
    pid: int = 0
    restarts: int = 0
    ready: bool = False


class UnitReport(msgspec.Struct, frozen=True):
    """A partition that the host holds. `busy_ms`: how long an event has been in the handler, 0 for none; `silent_ms`:
    since when the slice's loop has not turned."""

    processor: str
    partition: int
    slice: str = ""
    pid: int = 0
    state: str = "starting"
    busy_ms: int = 0
    silent_ms: int = 0
    restarts: int = 0


class TotalReport(msgspec.Struct, frozen=True):
    """What a host has done in a partition since its `up`. `lost`, `undone`: events that a failover took away, and whose
    commit it took back; `rate`: events per second lately; `latency`: counts, bucket b for calls below 2**b
    microseconds."""

    processor: str
    partition: int
    processed: int = 0
    failed: int = 0
    rate: float = 0.0
    latency: list[int] = msgspec.field(default_factory=list)
    lost: int = 0
    undone: int = 0


class TaskReport(msgspec.Struct, frozen=True):
    """A task as a host has it. `next` and `ran_at` are ms of the host's clock; `running_ms` is None where it does not
    run; `leads`: it has a leader, and this host is it."""

    task: str
    leads: bool = False
    next: int | None = None
    ran_at: int | None = None
    took_ms: int | None = None
    outcome: str | None = None
    running_ms: int | None = None
    runs: int = 0
    failures: int = 0
    skipped: int = 0


class Report(msgspec.Struct, frozen=True):
    """One host's report of itself, as of its last beat."""

    pid: int = 0
    stopping: bool = False
    slots: list[SlotReport] = msgspec.field(default_factory=list)
    units: list[UnitReport] = msgspec.field(default_factory=list)
    totals: list[TotalReport] = msgspec.field(default_factory=list)
    tasks: list[TaskReport] = msgspec.field(default_factory=list)


_decode_report = msgspec.json.Decoder(Report).decode


@dataclass(frozen=True, slots=True)
class Own:
    """One processor in one partition as Redis has it.

    `owner` is `member/slice number` or empty; `cursor` None where nobody ever owned it; `count` events lie at or before
    it. `added`, `length` and `last` (an id) are the stream's; `unread_ms` is the timestamp of its first unread entry.
    `parked` is the failure record of the key that was parked first of those that are.
    """

    epoch: int | None = None
    owner: str = ""
    cursor: str | None = None
    count: int = 0
    block: Record | None = None
    added: int = 0
    length: int = 0
    last: str = "0-0"
    unread_ms: int | None = None
    parked_keys: int = 0
    parked_events: int = 0
    parked: Record | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that was read at one moment of the server's clock. `beats`: member -> its last beat on that clock."""

    server_ms: int
    beats: Mapping[str, int]
    reports: Mapping[str, Report]
    halted: Mapping[str, Record]
    units: Mapping[tuple[str, int], Own]
    paused: Mapping[str, Record] = field(default_factory=dict)


def beat_ms(entry: bytes) -> int:
    """When a member beat, on the server's clock, from its entry `time|counter|{...}`; 0 if it can't be read."""
    text = entry.partition(b"|")[0]
    return int(text) if text.isdigit() else 0


def report(text: bytes) -> Report:
    """A host's report; an empty one if it can't be read."""
    try:
        return _decode_report(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Report()


def record(text: bytes) -> Record:
    """A failure record; one that can't be read becomes the message of one."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"message": text.decode("utf-8", "replace")}
