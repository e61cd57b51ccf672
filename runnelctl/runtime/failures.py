"""A failed attempt, from the exception to what the policy makes of it. Rare, so that everything here may be slow."""

from __future__ import annotations

import asyncio
import datetime
import os
import random
from typing import TYPE_CHECKING, Any

import msgspec

from runnelctl.core import keys, policy
from runnelctl.core.model import Policy
from runnelctl.core.policy import Failure, Step
from runnelctl.core.routing import dead_letter_partition
from runnelctl.errors import RecordError
from runnelctl.event import Event, Reject, Skip
from runnelctl.runtime import board as cells
from runnelctl.runtime import deadletters, tracebacks
from runnelctl.runtime.context import Effect, StateUnavailable

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane

PAYLOAD_SHOWN = 64 * 1024
TRACEBACK_SHOWN = 16 * 1024
FAILURES_KEPT = 1_000
STATE_PAUSE_S = 0.05

Record = dict[str, Any]


async def settle(lane: Lane, run: list[Event], index: int, error: BaseException) -> int:
    """Decide on the failed attempt at run[index] and carry the verdict out. Returns the index to go on with."""
    lane.idle()
    lane.context.abandon()
    event, processor = run[index], lane.slice.processor
    if isinstance(error, StateUnavailable):
        # An outage of ours must not use up the event's attempts. The state is read here, where waiting blocks nobody.
        await lane.slice.load_states(lane.states, run[index:])
        await lane.wait(STATE_PAUSE_S)
        return index
    many = bool(lane.batch_size) and len(run) - index > 1
    verdict = policy.decide(
        kind_of(error), event.attempt, processor.retry, processor.policy, random.random(), processor.scope
    )
    if verdict.step is Step.PASS:
        passed = run[index:] if many else [event]
        for skipped in passed:
            lane.ledger.pass_over(skipped, [])
        return index + len(passed)
    if verdict.step is Step.RETRY:
        await retry(lane, run[index:] if lane.batch_size else [event], error, verdict.pause_ms)
        return index
    if many:
        _split(lane, run, index, error)
        return index
    if verdict.step is Step.PARK:  # what follows of the key must not start: it is looked at anew
        lane.intake.put_back(run[index + 1 :])
        del run[index + 1 :]
    return _punish(lane, event, index, verdict.step, describe(lane, event, error))


def settle_dead(lane: Lane, run: list[Event]) -> int:
    """run[0] killed its process as often as `retry.attempts` allows: the policy applies without another try."""
    event, processor = run[0], lane.slice.processor
    verdict = policy.decide(Failure.DIED, event.attempt, processor.retry, processor.policy, 0.0, processor.scope)
    return _punish(lane, event, 0, verdict.step, died(lane, event, lane.session.death, lane.session.tries))


def died(lane: Lane, event: Event, death: str, tries: int) -> Record:
    """The record for an event that killed its process so often; `death` is what is known of the last time."""
    first, _, rest = (death or "its process died").partition("\n")
    return _record(lane, event, "ProcessDied", first, rest, tries, "died")


def block_trimmed(lane: Lane, lost: int, *, replaced: bool = False) -> None:
    """Somebody removed events that were not read yet: stop, and say how many. No policy may pass that over. `replaced`:
    the stream as a whole is another one."""
    cursor = lane.ledger.cursor.decode()
    what = f"{lost:,} unread event(s) after {cursor} were trimmed or deleted by somebody else"
    if replaced:
        what = (
            f"the stream was deleted or replaced by somebody else: it has had fewer events than the "
            f"{lane.ledger.committed:,} up to {cursor} that were passed"
        )
    message = f"{what}; `runnelctl replay` accepts the loss and goes on"
    record = _record(lane, None, "EventsTrimmed", message, "", 0, "trimmed")
    record["lost"] = lost
    lane.slice.log.error("%s: %s", lane.name, message)
    _block_here(lane, record)


def block_refused(lane: Lane, message: str) -> None:
    """Redis refused a commit for a reason that trying again won't mend."""
    lane.slice.log.error("%s: %s", lane.name, message)
    _block_here(lane, _record(lane, None, "CommitRefused", message, "", 0, "refused"))


def block_unparked(lane: Lane, event: Event, why: str) -> None:
    """An event of a parked key can't be parked: the partition waits before it."""
    message = f"the event has to be parked, since its key is, but {why}; replay what is parked"
    record = _record(lane, event, "ParkingFull", message, "", 0, "parking")
    record["state"] = "quarantined"
    lane.slice.log.error("%s: event %s: %s", lane.name, event.id, message)
    lane.ledger.block(as_json(record), cells.STATE_QUARANTINED)


def _block_here(lane: Lane, record: Record) -> None:
    """Stop where the cursor stands: the processor under HALT, else this partition. IGNORE can't pass this over."""
    halts = lane.slice.processor.policy is Policy.HALT
    record["state"] = "halted" if halts else "quarantined"
    lane.ledger.drop_and_block(as_json(record), cells.STATE_HALTED if halts else cells.STATE_QUARANTINED)


def describe(lane: Lane, event: Event, error: BaseException) -> Record:
    """The record of SPEC section 5 for an exception that a handler raised."""
    text = tracebacks.text(error)[-TRACEBACK_SHOWN:]
    name = type(error).__qualname__
    module = type(error).__module__
    kind = "rejected" if isinstance(error, Reject) else "raised"
    full = name if module in ("builtins", "runnelctl.event", "runnelctl.errors") else f"{module}.{name}"
    return _record(lane, event, full, told(error), text, event.attempt, kind)


def kind_of(error: BaseException) -> Failure:
    if isinstance(error, Skip):
        return Failure.SKIPPED
    return Failure.REJECTED if isinstance(error, Reject) else Failure.RAISED


def tell_retry(lane: Lane, event: Event, error: BaseException, pause_ms: float) -> None:
    """Log, and count, an attempt that failed and is not the last."""
    lane.slice.log.warning(
        "%s: attempt %d of %d at event %s failed, next in %.0f ms: %s",
        lane.name, event.attempt, lane.slice.processor.retry.attempts, event.id, pause_ms, short(error),
    )  # fmt: skip
    lane.count(cells.U_RETRIED)


async def retry(lane: Lane, events: list[Event], error: BaseException, pause_ms: float) -> None:
    """The partition waits: order before speed."""
    tell_retry(lane, events[0], error, pause_ms)
    for event in events:
        event.attempt += 1
    await asyncio.sleep(0)  # its clock stands still while a handler blocks it
    clock = asyncio.get_running_loop().time  # the one that `wait` goes by
    until = clock() + pause_ms / 1000
    while (left := until - clock()) > 0:
        if lane.stopping or lane.resyncing or lane.ended is not None:
            return
        await lane.wait(left)


def tell_split(lane: Lane, events: list[Event], error: BaseException) -> None:
    """Log that a batch is taken apart."""
    lane.slice.log.warning(
        "%s: a batch of %d failed %d times, trying its events one by one: %s",
        lane.name, len(events), events[0].attempt, short(error),
    )  # fmt: skip


def _split(lane: Lane, run: list[Event], index: int, error: BaseException) -> None:
    """A batch's attempts are used up: give its events one last attempt each, alone, so that only the culprit pays."""
    tell_split(lane, run[index:], error)
    lane.last_try_until = lane.ledger.first + len(run) - 1
    lane.intake.put_back(run[index:])
    del run[index:]


def _punish(lane: Lane, event: Event, index: int, step: Step, record: Record) -> int:
    """Carry out a final verdict; the record goes to Redis with the commit that it belongs to."""
    lane.count(cells.U_FAILED)
    if step is Step.RECORD:
        tell_passed(lane, event, record)
        lane.ledger.pass_over(event, effects_of(lane, event, record))
        return index + 1
    if step is Step.PARK:
        record["state"] = "parked"
        why = lane.parking.failed(event, as_json(record))
        if why is None:
            what = "its key is parked until `runnelctl replay`"
            lane.slice.log.error("%s; %s\n%s", _headline(lane, event, record), what, told_of(record))
            return index + 1
        record["escalated"] = why
    state = tell_blocked(lane, event, step, record)  # and notes it in the record
    lane.ledger.block(as_json(record), state)
    return index


def tell_passed(lane: Lane, event: Event, record: Record) -> None:
    """Log that a failed event is passed over."""
    what = f"policy IGNORE passes it over{_where_dead(lane)}"
    lane.slice.log.error("%s; %s\n%s", _headline(lane, event, record), what, told_of(record))


def tell_blocked(lane: Lane, event: Event, step: Step, record: Record) -> int:
    """Log that a failed event stops its partition or processor, and note it in its record. Returns the lane's state."""
    record["state"] = "halted" if step is Step.HALT else "quarantined"
    what = "the processor halts" if step is Step.HALT else "the partition is quarantined"
    lane.slice.log.error("%s; %s until `runnelctl replay`\n%s", _headline(lane, event, record), what, told_of(record))
    return cells.STATE_HALTED if step is Step.HALT else cells.STATE_QUARANTINED


def _headline(lane: Lane, event: Event, record: Record) -> str:
    line = f"{lane.name}: event {event.id} (key {record['key']!r}) failed {record['attempts']} time(s)"
    return f"{line}; {record['escalated']}" if "escalated" in record else line


def told_of(record: Record) -> str:
    """A record for the log: the handler's traceback, or what it says of itself."""
    if record["kind"] in ("raised", "rejected"):
        return str(record["traceback"]).rstrip()
    return f"{record['type']}: {record['message']}\n{record['traceback']}".rstrip()


def _where_dead(lane: Lane) -> str:
    dead = lane.slice.processor.dead_letter
    return f", to stream {dead}" if dead else ""


def effects_of(lane: Lane, event: Event, record: Record) -> list[Effect]:
    """The failure record, and the dead letter if the processor has one: in the same commit as the cursor."""
    topology = lane.slice.topology
    unit = lane.unit
    log = keys.failures(topology.name, unit.stream, unit.partition, unit.processor)
    effects: list[Effect] = [("L", log, (FAILURES_KEPT, 2, b"record", as_json(record)))]
    dead = lane.slice.processor.dead_letter
    if dead is not None:
        fields = deadletters.fields(event, record)
        partition = dead_letter_partition(event.partition, topology.streams[dead].partitions)
        target = keys.events(topology.name, dead, partition)
        effects.append(("X", target, (topology.streams[dead].capacity, len(fields), *fields)))
    return effects


def _record(lane: Lane, event: Event | None, type_: str, message: str, trace: str, attempts: int, kind: str) -> Record:
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
