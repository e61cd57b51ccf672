"""What an event looks like in a dead letter stream, whether the policy or an operator put it there."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from runnelctl.event import Event
from runnelctl.store.wire import Argument

_TOLD = ("stream", "partition", "event", "processor", "type", "message", "attempts", "time", "reason")
_SHOWN_CHARACTERS = 1024

HEADERS_KEPT = 1_000  # a foreign sender may write more than a script can pass on


def fields(event: Event, record: Mapping[str, Any]) -> list[Argument]:
    """The event as it was sent, and why it is here in headers: `record` is its failure record (SPEC section 5), with
    the operator's `reason` if there is one."""
    found: list[Argument] = [*event.stored, b"key", record["key"]]
    for name, value in islice(event.headers.items(), HEADERS_KEPT):
        found += (f"h:{name}", value)
    for name in _TOLD:
        if record.get(name) is not None:
            found += (f"h:dead-{name}", str(record[name])[:_SHOWN_CHARACTERS])
    return found
