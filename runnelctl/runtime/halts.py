"""Failure records that block, as the keeper reads and makes them."""

from __future__ import annotations

import datetime
import json
import logging

from runnelctl.core.model import Order, Policy
from runnelctl.core.plan import Slot, Unit
from runnelctl.runtime import board as cells
from runnelctl.runtime.host import Host
from runnelctl.store import leases
from runnelctl.store.leases import Astray, Blocked, Wanted
from runnelctl.store.wire import Wire


def state_of(record: str | None) -> int:
    """STATE_HALTED or STATE_QUARANTINED for a failure record as stored, 0 for none."""
    if record is None:
        return 0
    try:
        halted = json.loads(record).get("state") == "halted"
    except (ValueError, AttributeError):
        halted = False
    return cells.STATE_HALTED if halted else cells.STATE_QUARANTINED


def crash_loop(host: Host, slot: Slot, text: str) -> str:
    """The record for a processor whose slices keep dying with no event to blame."""
    message, _, rest = text.partition("\n")
    message = f"slice {slot.name} keeps dying with no event in flight: {message}"
    return _record(host, slot, None, "CrashLoop", message, "crash loop", halted=True, traceback=rest)


async def strand(wire: Wire, host: Host, log: logging.Logger, wanted: Wanted, found: Astray) -> None:
    """Block a partition whose own hash is gone while its consumer group is there: where it goes on is for an operator
    to say."""
    unit = wanted[0]
    processor, name = host.plan.processor(unit), f"{unit.processor}:{unit.partition}"
    message = (
        f"the record of where {name} is has gone from Redis, deleted or evicted, and states of keys may have, too; by "
        f"its consumer group, {found.count:,} event(s) were passed, up to {found.cursor}: `runnelctl replay {name}` "
        "goes on from there, or from where `runnelctl seek` puts it before"
    )
    if processor.order is Order.KEY:
        message += "; events behind it that were done out of turn come again"
    halted = processor.policy is Policy.HALT
    record = _record(host, unit, unit.partition, "PositionLost", message, "position lost", halted=halted)
    if await leases.acquire(wire, host.plan.topology.name, [wanted], record) == [Blocked(record)]:
        log.error("%s: %s", name, message)


def _record(
    host: Host, of: Slot | Unit, partition: int | None, type_: str, message: str, kind: str, *, halted: bool,
    traceback: str = "",
) -> str:  # fmt: skip
    processor = host.plan.processor(of)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps(
        {
            "event": "", "key": "", "payload": "", "type": type_, "message": message, "traceback": traceback,
            "attempts": 0, "kind": kind, "state": "halted" if halted else "quarantined",
            "policy": processor.policy.value, "processor": processor.name, "stream": processor.stream,
            "partition": partition, "epoch": 0, "host": host.name, "pid": 0, "time": now,
        }
    )  # fmt: skip
