"""The record of a failure (SPEC section 5): what happened, where, and everything that is needed to mend it."""

from __future__ import annotations

import datetime
import os
from typing import TYPE_CHECKING, Any

import msgspec

from runnelctl.errors import RecordError
from runnelctl.event import Event, Reject
from runnelctl.runtime import tracebacks

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane

PAYLOAD_SHOWN = 64 * 1024
TRACEBACK_SHOWN = 16 * 1024

Record = dict[str, Any]


def describe(lane: Lane, event: Event, error: BaseException) -> Record:
    """The record of SPEC section 5 for an exception that a handler raised."""
    text = tracebacks.text(error)[-TRACEBACK_SHOWN:]
    name = type(error).__qualname__
    module = type(error).__module__
    kind = "rejected" if isinstance(error, Reject) else "raised"
    full = name if module in ("builtins", "runnelctl.event", "runnelctl.errors") else f"{module}.{name}"
    return record(lane, event, full, told(error), text, event.attempt, kind)


def died(lane: Lane, event: Event, death: str, tries: int) -> Record:
    """The record for an event that killed its process so often; `death` is what is known of the last time."""
    first, _, rest = (death or "its process died").partition("\n")
    return record(lane, event, "ProcessDied", first, rest, tries, "died")


def record(lane: Lane, event: Event | None, type_: str, message: str, trace: str, attempts: int, kind: str) -> Record:
    """A record as it is stored, but for what the policy makes of it."""
    slice_ = lane.slice
    payload = _payload(lane, event) if event else b""
    return {
        "event": event.id if event else "",  # first, since lua/block_clear.lua looks for it
        "key": safe_key(event) if event else "",
        "payload": payload[:PAYLOAD_SHOWN].decode("utf-8", "replace"),
        "payload_bytes": len(payload),
        "type": type_,
        "message": message[:4096],
        "traceback": trace,
        "attempts": attempts,
        "kind": kind,
        "policy": slice_.processor.policy.value,
        "processor": lane.unit.processor,
        "stream": lane.unit.stream,
        "partition": lane.unit.partition,
        "epoch": lane.ledger.epoch,
        "host": slice_.host,
        "pid": os.getpid(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def _payload(lane: Lane, event: Event) -> bytes:
    """The record as JSON text, whatever its codec; as it is stored if it can't be decoded."""
    try:
        return event.raw if lane.slice.codec.is_text else lane.slice.codec.json(event)
    except RecordError:
        return event.raw


def safe_key(event: Event) -> str:
    """The event's key, or an empty one where the record is too broken to have one."""
    try:
        return event.key
    except (RecordError, UnicodeError):
        return ""


def short(error: BaseException) -> str:
    """One line for a log: the exception's type and the start of its message."""
    return f"{type(error).__name__}: {' '.join(told(error).split())[:200]}"


def told(error: BaseException) -> str:
    """`str(error)`, which is the user's code too, and may itself fail."""
    try:
        return str(error)
    except Exception as worse:
        return f"(its text cannot be had: {type(worse).__name__})"


def as_json(record: Record) -> str:
    """A record as it is stored."""
    try:
        return msgspec.json.encode(record).decode()
    except UnicodeEncodeError:  # a key or a message with bytes that are no UTF-8: shown escaped
        shown = {
            name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
            for name, value in record.items()
        }
        return msgspec.json.encode(shown).decode()


def told_of(record: Record) -> str:
    """A record for the log: the handler's traceback, or what it says of itself."""
    if record["kind"] in ("raised", "rejected"):
        return str(record["traceback"]).rstrip()
    return f"{record['type']}: {record['message']}\n{record['traceback']}".rstrip()
