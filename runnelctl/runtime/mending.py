"""What an operator may do about a blocked partition, and the words for what came of it: retry, skip, mend the record.

Each is one script in Redis that acts on the very failure which the operator saw, and a line in the audit.
"""

from __future__ import annotations

import datetime
import enum
import getpass
import os
import socket
from dataclasses import dataclass

import msgspec

from runnelctl.core.model import Topology, Validate
from runnelctl.errors import RecordError
from runnelctl.event import Event, Source
from runnelctl.records import Codec, codec_for
from runnelctl.runtime import deadletters
from runnelctl.store import operations
from runnelctl.store.connect import Client
from runnelctl.store.operations import Blockage

AUDITED_BYTES = 64 * 1024


class Action(enum.Enum):
    """What is done, in the word that the audit has for it."""

    RETRY = "retry"
    SKIP = "skip"
    EDIT = "edit"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an action; `message` says it in a sentence."""

    blockage: Blockage
    done: bool
    message: str


@dataclass(frozen=True, slots=True)
class Operator:
    """Acts on blockages of one topology, in somebody's name."""

    client: Client
    topology: Topology
    who: str
    reason: str

    def retry(self, blockage: Blockage) -> Outcome:
        """Let it run again from the failed event."""
        answer = operations.clear(self.client, self.topology, blockage)
        what = f"retrying event {blockage.event_id}" if blockage.event_id else "going on"
        if blockage.lost:
            what = f"going on without the {blockage.lost:,} lost event(s)"
        return self._outcome(blockage, Action.RETRY, answer, what)

    def skip(self, blockage: Blockage) -> Outcome:
        """Move the failed event to the dead letters and go on behind it."""
        event = self.event(blockage)
        if event is None:
            return self.without_event(blockage, Action.SKIP)
        target = dead_letter_of(self.topology, blockage.processor)
        record = blockage.record | {"reason": self.reason or None}
        answer = operations.skip(self.client, self.topology, blockage, target, deadletters.fields(event, record))
        return self._outcome(blockage, Action.SKIP, answer, f"event {blockage.event_id} moved to {target}")

    def mend(self, blockage: Blockage, old: bytes, new: bytes) -> Outcome:
        """Retry with `new`, which `checked` gave, in place of the failed record `old`; both as stored."""
        answer = operations.clear(self.client, self.topology, blockage, new)
        what = f"retrying event {blockage.event_id} with the record as edited"
        return self._outcome(blockage, Action.EDIT, answer, what, old=cut(old), new=cut(new))

    def event(self, blockage: Blockage) -> Event | None:
        """The failed event as it would be handled now; None if it is not there any more or there is none."""
        fields = operations.entry(self.client, self.topology, blockage) if blockage.event_id else None
        if fields is None:
            return None
        assert blockage.partition is not None
        stream = self.topology.streams[self.topology.processors[blockage.processor].stream]
        codec = codec_for(stream)
        source = Source(stream.name, blockage.partition, codec.decode, codec.key_of)
        return codec.event(blockage.event_id.encode(), fields, source)

    def without_event(self, blockage: Blockage, action: Action) -> Outcome:
        """The answer where there is no event to act on."""
        if blockage.event_id:
            return self._outcome(blockage, action, "GONE", "")
        return Outcome(blockage, False, f"{blockage.name} has no failed event to {action.value}: {advice(blockage)}")

    def _outcome(self, blockage: Blockage, action: Action, answer: str, what: str, **more: str) -> Outcome:
        if answer == "OK":
            operations.audit(
                self.client, self.topology, who=self.who, what=action.value, processor=blockage.processor,
                partition="" if blockage.partition is None else str(blockage.partition), event=blockage.event_id,
                key=str(blockage.record.get("key") or ""), reason=self.reason, time=now(), **more,
            )  # fmt: skip
            return Outcome(blockage, True, f"{blockage.name}: {what}")
        return Outcome(blockage, False, f"{blockage.name}: {_NOT_DONE[answer].format(name=blockage.name)}")


_NOT_DONE = {
    "CLEAR": "it is not blocked any more, somebody else was quicker; nothing done",
    "OWNED": "a host runs it at this moment, somebody else was quicker; nothing done",
    "CHANGED": "it is blocked by another failure by now; nothing done. Look again: `runnelctl replay {name} --dry-run`",
    "GONE": "the failed event is not in the stream any more; nothing done. `runnelctl replay {name}` goes on behind it",
}


def advice(blockage: Blockage) -> str:
    """What to do about a blockage that no event is to blame for."""
    if blockage.lost:
        return f"{blockage.lost:,} event(s) are lost; `runnelctl replay {blockage.name}` accepts that and goes on"
    return f"mend the cause, then `runnelctl replay {blockage.name}`"


def dead_letter_of(topology: Topology, processor: str) -> str:
    """The stream that a skipped event of this processor goes to."""
    about = topology.processors[processor]
    return about.dead_letter or f"{about.stream}.dead"


def pretty(raw: bytes) -> str:
    """A stored record for an editor: indented JSON with its numbers as written; as it is if it is none."""
    try:
        return msgspec.json.format(raw, indent=2).decode() + "\n"
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return raw.decode("utf-8", "replace")


def shown(codec: Codec, event: Event) -> str:
    """A stored record for an editor, whatever its codec."""
    try:
        return pretty(codec.json(event))
    except RecordError:
        return pretty(event.raw)


def checked(codec: Codec, event: Event, text: str) -> bytes:
    """An edited record as it will be stored, from its JSON. Raises RecordError if it is no record, against class or
    schema, or has another key: the key decides the partition, and with it the order."""
    try:
        compact = msgspec.json.format(text.encode(), indent=-1)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        compact = text.encode("utf-8", "surrogatepass")  # the codec says what is wrong
    _refuse_other_key(codec, event, codec.key_of(codec.parse(compact)))
    if codec.stream.validate is not Validate.NEVER:
        codec.check(compact)
    return codec.stored(compact)


def _refuse_other_key(codec: Codec, event: Event, key: str) -> None:
    if codec.stream.key is None:
        return
    try:
        before = codec.key_of(event.value)
    except RecordError:  # broken as it was: the entry's own key has to tell
        try:
            before = event.key
        except RecordError:
            if codec.partition_of(key, b"") == event.partition:
                return
            raise RecordError(
                f"the key {key!r} belongs to partition {codec.partition_of(key, b'')}, not to {event.partition} "
                "where the event is: send the record anew, and skip this one"
            ) from None
    if key != before:
        raise RecordError(
            f"{codec.stream.key} was {before!r} and is {key!r} now, but the key must stay: it decides the partition. "
            "Send the record anew, and skip this one"
        )


def who() -> str:
    """user@host, for the audit."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def now() -> str:
    """The time for the audit, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cut(record: bytes) -> str:
    """A record for the audit, not too much of it."""
    return record[:AUDITED_BYTES].decode("utf-8", "replace")
