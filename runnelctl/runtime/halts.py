"""Failure records that block, as the keeper reads and makes them."""

from __future__ import annotations

import datetime
import json

from runnelctl.core.plan import Slot
from runnelctl.runtime import board as cells
from runnelctl.runtime.host import Host


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
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps(
        {
            "event": "",
            "key": "",
            "payload": "",
            "type": "CrashLoop",
            "message": f"slice {slot.name} keeps dying with no event in flight: {message}",
            "traceback": rest,
            "attempts": 0,
            "kind": "crash loop",
            "state": "halted",
            "policy": host.plan.processor(slot).policy.value,
            "processor": slot.processor,
            "stream": host.plan.processor(slot).stream,
            "partition": None,
            "epoch": 0,
            "host": host.name,
            "pid": 0,
            "time": now,
        }
    )
