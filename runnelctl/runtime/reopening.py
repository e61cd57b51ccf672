"""What an operator may do about a parked key, and the words for what came of it: replay, skip, mend the oldest record.

The counterpart of mending.py, which is about blocked partitions. Each is one script, and a line in the audit.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from runnelctl.core.parking import Element, mended
from runnelctl.event import Event, Source
from runnelctl.records import codec_for
from runnelctl.runtime import deadletters, mending
from runnelctl.runtime.mending import Action, Operator
from runnelctl.store import operations, parked
from runnelctl.store.parked import ParkedKey


@dataclass(frozen=True, slots=True)
class Reopening:
    """What came of an action: whether it was done, how many events are left to replay, and a sentence."""

    parked: ParkedKey
    done: bool
    left: int
    message: str


def retry(operator: Operator, key: ParkedKey) -> Reopening:
    """Have its events replayed, oldest first."""
    answer, left = parked.ask(operator.client, operator.topology, key, _request(operator))
    return _told(operator, key, Action.RETRY, answer, left, f"replaying {_events(left)}")


def skip(operator: Operator, key: ParkedKey) -> Reopening:
    """Move its oldest event to the dead letters and replay the rest."""
    element = parked.head(operator.client, operator.topology, key)
    if element is None:
        return _told(operator, key, Action.SKIP, "CLEAR", 0, "")
    target = mending.dead_letter_of(operator.topology, key.processor)
    event = event_of(operator, key, element)
    record = key.record | {"reason": operator.reason or None}
    if event.id != key.event_id:  # another one than what failed is the oldest: skipped by choice, not for its failure
        record |= {"event": event.id, "type": "Skipped", "message": "skipped by an operator", "attempts": 0}
    answer, left = parked.skip(
        operator.client, operator.topology, key, element.token, _request(operator), target,
        deadletters.fields(event, record),
    )  # fmt: skip
    rest = f", replaying {_events(left)}" if left else "; the key is open again"
    return _told(operator, key, Action.SKIP, answer, left, f"event {event.id} moved to {target}{rest}")


def mend(operator: Operator, key: ParkedKey, element: Element, new: bytes) -> Reopening:
    """Replay with the record `new`, which `mending.checked` gave, in place of the oldest event's."""
    stored = mended(element, new)
    answer, left = parked.ask(
        operator.client, operator.topology, key, _request(operator), element.token, stored
    )  # fmt: skip
    event = event_of(operator, key, element)
    what = f"replaying {_events(left)}, event {event.id} with the record as edited"
    return _told(operator, key, Action.EDIT, answer, left, what, old=mending.cut(event.raw), new=mending.cut(new))


def event_of(operator: Operator, key: ParkedKey, element: Element) -> Event:
    """A parked event as it would be handled now."""
    stream = operator.topology.streams[operator.topology.processors[key.processor].stream]
    codec = codec_for(stream)
    source = Source(stream.name, key.partition, codec.decode, codec.key_of)
    return codec.event(element.event_id, element.fields, source)


def _request(operator: Operator) -> str:
    return msgspec.json.encode({"time": mending.now(), "who": operator.who, "reason": operator.reason}).decode()


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count:,} events"


_NOT_DONE = {
    "CLEAR": "it is not parked any more, somebody else was quicker; nothing done",
    "CHANGED": "its oldest event is another one by now; nothing done. Look again: `runnelctl replay {where} --dry-run`",
}


def _told(
    operator: Operator, key: ParkedKey, action: Action, answer: str, left: int, what: str, **more: str
) -> Reopening:  # fmt: skip
    if answer != "OK":
        where = f"{key.processor}:{key.partition}"
        return Reopening(key, False, 0, f"{key.name}: {_NOT_DONE[answer].format(where=where)}")
    shown = key.key.encode("utf-8", "backslashreplace").decode()
    operations.audit(
        operator.client, operator.topology, who=operator.who, what=action.value, processor=key.processor,
        partition=str(key.partition), event=key.event_id, key=shown, reason=operator.reason, time=mending.now(), **more,
    )  # fmt: skip
    return Reopening(key, True, left, f"{key.name}: {what}")
