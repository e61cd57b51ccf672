"""What operators do to blocked partitions: look, retry, mend, skip. On a blocking client, for commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runnelctl.core import keys
from runnelctl.core.entry import with_record
from runnelctl.core.model import Topology
from runnelctl.core.routing import dead_letter_partition
from runnelctl.store.members import AUDIT_KEPT, CONTROL_KEPT
from runnelctl.store.scripts import Word, run, script

if TYPE_CHECKING:
    import redis


@dataclass(frozen=True, slots=True)
class Blockage:
    """A blocked partition: its failure record (SPEC section 5), and what waits there."""

    processor: str
    partition: int | None  # None: the processor halted as a whole, with no event to blame
    record: dict[str, Any]
    waiting: int  # events after the cursor, the failed one and lost ones included
    cursor: str

    @property
    def name(self) -> str:
        return self.processor if self.partition is None else f"{self.processor}:{self.partition}"

    @property
    def event_id(self) -> str:
        return str(self.record.get("event") or "")

    @property
    def lost(self) -> int:
        """Events that were trimmed before they were read; replaying accepts that."""
        lost = self.record.get("lost") if self.record.get("kind") == "trimmed" else 0
        return lost if isinstance(lost, int) else 0

    @property
    def behind(self) -> int:
        """Events that wait for this blockage to end, the failed one not counted."""
        return max(0, self.waiting - self.lost - (1 if self.event_id else 0))

    @property
    def halted(self) -> bool:
        return self.record.get("state") == "halted"


def blockages(client: redis.Redis, topology: Topology, processors: Sequence[str]) -> list[Blockage]:
    """Everything that is quarantined or halted, in the order of the topology."""
    found: list[Blockage] = []
    for name in processors:
        stream = topology.streams[topology.processors[name].stream]
        with client.pipeline(transaction=False) as pipe:
            for partition in range(stream.partitions):
                pipe.hmget(keys.own(topology.name, stream.name, partition, name), "block", "cursor", "count")
                pipe.xinfo_stream(keys.events(topology.name, stream.name, partition))
            replies = pipe.execute(raise_on_error=False)
        unread = 0
        for partition in range(stream.partitions):
            own, info = replies[2 * partition], replies[2 * partition + 1]
            if isinstance(own, Exception):
                raise own
            added = 0 if isinstance(info, Exception) else int(info["entries-added"])
            waiting = added - int(own[2] or 0)
            unread += waiting
            if own[0] is not None:
                found.append(Blockage(name, partition, _record(own[0]), waiting, (own[1] or b"0-0").decode()))
        halted = client.hget(keys.halted(topology.name), name)
        if halted is not None and not any(each.processor == name and each.halted for each in found):
            found.append(Blockage(name, None, {**_record(halted), "state": "halted"}, unread, ""))
    return found


def _record(text: bytes | str) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    if isinstance(record, dict):
        return record
    return {"message": text.decode("utf-8", "replace") if isinstance(text, bytes) else text}


def clear(client: redis.Redis, topology: Topology, blockage: Blockage, mended: bytes = b"") -> str:
    """Let the partition run again, with `mended` in place of the failed record if given. Returns OK, CLEAR, CHANGED or
    OWNED, as lua/block_clear.lua says."""
    if blockage.partition is None:
        return "OK" if client.hdel(keys.halted(topology.name), blockage.processor) else "CLEAR"
    own, events = _keys(topology, blockage)
    lost = "1" if blockage.record.get("kind") == "trimmed" else "0"
    reply = run(client, script("block_clear"), (own, events), (blockage.event_id, mended, lost))
    return str(reply[0].decode())


def skip(client: redis.Redis, topology: Topology, blockage: Blockage, dead_letter: str, fields: Sequence[Word]) -> str:
    """Pass over the failed event, into stream `dead_letter`. Returns OK, CLEAR, CHANGED, OWNED or GONE."""
    assert blockage.partition is not None
    own, events = _keys(topology, blockage)
    stream = topology.streams.get(dead_letter)
    partition = dead_letter_partition(blockage.partition, stream.partitions) if stream else blockage.partition
    target = keys.events(topology.name, dead_letter, partition)
    reply = run(client, script("event_skip"), (own, events, target), (blockage.event_id, blockage.processor, *fields))
    return str(reply[0].decode())


def entry(client: redis.Redis, topology: Topology, blockage: Blockage) -> list[bytes] | None:
    """The failed event's fields as stored, or as mended before; None if it is not there any more."""
    own, events = _keys(topology, blockage)
    reply: Any = client.xrange(events, blockage.event_id, blockage.event_id)
    if not reply:
        return None
    flat: list[Any] = [part for pair in reply[0][1].items() for part in pair]
    kept: Any = client.hmget(own, ["edit_id", "edit"])
    of, mended = kept
    if of == blockage.event_id.encode() and mended:
        flat = with_record(flat, mended)
    return flat


def _keys(topology: Topology, blockage: Blockage) -> tuple[str, str]:
    stream = topology.processors[blockage.processor].stream
    assert blockage.partition is not None
    return (
        keys.own(topology.name, stream, blockage.partition, blockage.processor),
        keys.events(topology.name, stream, blockage.partition),
    )


def lift_halt(client: redis.Redis, topology: Topology, processor: str) -> None:
    """Let a halted processor run again, on every host."""
    for blockage in blockages(client, topology, [processor]):
        if blockage.halted:
            clear(client, topology, blockage)
    unhalt(client, topology, processor)
    announce(client, topology, "replay", processor=processor)


def unhalt(client: redis.Redis, topology: Topology, processor: str) -> list[Blockage]:
    """Forget that a processor is halted, unless some of its partitions still are: those are returned."""
    left = [each for each in blockages(client, topology, [processor]) if each.halted and each.partition is not None]
    if not left:
        client.hdel(keys.halted(topology.name), processor)
    return left


def announce(client: redis.Redis, topology: Topology, what: str, **about: str) -> None:
    """Wake every keeper of the topology."""
    _append(client, keys.control(topology.name), CONTROL_KEPT, {"what": what, **about})


def audit(client: redis.Redis, topology: Topology, **about: str) -> None:
    """Write down what an operator did."""
    _append(client, keys.audit(topology.name), AUDIT_KEPT, about)


def _append(client: redis.Redis, log: str, kept: int, fields: dict[str, str]) -> None:
    run(client, script("log_append"), (log,), (kept, *(part for pair in fields.items() for part in pair)))
