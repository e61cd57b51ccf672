"""A failed attempt, from the exception to what the policy makes of it. Rare, so that everything here may be slow."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from runnelctl.core import keys, policy
from runnelctl.core.model import Policy
from runnelctl.core.policy import Failure, Step
from runnelctl.core.routing import dead_letter_partition
from runnelctl.event import Event, Reject, Skip
from runnelctl.runtime import board as cells
from runnelctl.runtime import deadletters, evidence
from runnelctl.runtime.context import Effect, StateUnavailable
from runnelctl.runtime.evidence import Record

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane

FAILURES_KEPT = 1_000
STATE_PAUSE_S = 0.05


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
    return _punish(lane, event, index, verdict.step, evidence.describe(lane, event, error))


def settle_dead(lane: Lane, run: list[Event]) -> int:
    """run[0] killed its process as often as `retry.attempts` allows: the policy applies without another try."""
    event, processor = run[0], lane.slice.processor
    verdict = policy.decide(Failure.DIED, event.attempt, processor.retry, processor.policy, 0.0, processor.scope)
    return _punish(lane, event, 0, verdict.step, evidence.died(lane, event, lane.session.death, lane.session.tries))


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
    record = evidence.record(lane, None, "EventsTrimmed", message, "", 0, "trimmed")
    record["lost"] = lost
    lane.slice.log.error("%s: %s", lane.name, message)
    _block_here(lane, record)


def block_refused(lane: Lane, message: str) -> None:
    """Redis refused a commit for a reason that trying again won't mend."""
    lane.slice.log.error("%s: %s", lane.name, message)
    _block_here(lane, evidence.record(lane, None, "CommitRefused", message, "", 0, "refused"))


def block_unparked(lane: Lane, event: Event, why: str | None) -> None:
    """An event of a parked key can't be parked: the partition waits before it."""
    lane.ledger.block(unparked(lane, event, why), cells.STATE_QUARANTINED)


def unparked(lane: Lane, event: Event, why: str | None) -> str:
    """The record for an event that had to be parked and can't be; logged."""
    message = f"the event has to be parked, since its key is, but {why}; replay what is parked"
    record = evidence.record(lane, event, "ParkingFull", message, "", 0, "parking")
    record["state"] = "quarantined"
    lane.slice.log.error("%s: event %s: %s", lane.name, event.id, message)
    return evidence.as_json(record)


def _block_here(lane: Lane, record: Record) -> None:
    """Stop where the cursor stands: the processor under HALT, else this partition. IGNORE can't pass this over."""
    halts = lane.slice.processor.policy is Policy.HALT
    record["state"] = "halted" if halts else "quarantined"
    lane.ledger.drop_and_block(evidence.as_json(record), cells.STATE_HALTED if halts else cells.STATE_QUARANTINED)


def kind_of(error: BaseException) -> Failure:
    if isinstance(error, Skip):
        return Failure.SKIPPED
    return Failure.REJECTED if isinstance(error, Reject) else Failure.RAISED


def tell_retry(lane: Lane, event: Event, error: BaseException, pause_ms: float) -> None:
    """Log, and count, an attempt that failed and is not the last."""
    lane.slice.log.warning(
        "%s: attempt %d of %d at event %s failed, next in %.0f ms: %s",
        lane.name, event.attempt, lane.slice.processor.retry.attempts, event.id, pause_ms, evidence.short(error),
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
        lane.name, len(events), events[0].attempt, evidence.short(error),
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
        effect = parked(lane, event, record)
        if effect is not None:
            lane.ledger.pass_over(event, [effect])
            return index + 1
    state = tell_blocked(lane, event, step, record)  # and notes it in the record
    lane.ledger.block(evidence.as_json(record), state)
    return index


def parked(lane: Lane, event: Event, record: Record) -> Effect | None:
    """What parks an event that failed for good, and its key; logged. None if there is no way to: the record says why,
    and the partition is to stop instead."""
    record["state"] = "parked"
    effect = lane.parking.failed(event, evidence.as_json(record))
    if effect is None:
        record["escalated"] = lane.parking.full(event)
    else:
        what = "its key is parked until `runnelctl replay`"
        lane.slice.log.error("%s; %s\n%s", _headline(lane, event, record), what, evidence.told_of(record))
    return effect


def tell_passed(lane: Lane, event: Event, record: Record) -> None:
    """Log that a failed event is passed over."""
    what = f"policy IGNORE passes it over{_where_dead(lane)}"
    lane.slice.log.error("%s; %s\n%s", _headline(lane, event, record), what, evidence.told_of(record))


def tell_blocked(lane: Lane, event: Event, step: Step, record: Record) -> int:
    """Log that a failed event stops its partition or processor, and note it in its record. Returns the lane's state."""
    record["state"] = "halted" if step is Step.HALT else "quarantined"
    what = "the processor halts" if step is Step.HALT else "the partition is quarantined"
    lane.slice.log.error(
        "%s; %s until `runnelctl replay`\n%s", _headline(lane, event, record), what, evidence.told_of(record)
    )
    return cells.STATE_HALTED if step is Step.HALT else cells.STATE_QUARANTINED


def _headline(lane: Lane, event: Event, record: Record) -> str:
    line = f"{lane.name}: event {event.id} (key {record['key']!r}) failed {record['attempts']} time(s)"
    return f"{line}; {record['escalated']}" if "escalated" in record else line


def _where_dead(lane: Lane) -> str:
    dead = lane.slice.processor.dead_letter
    return f", to stream {dead}" if dead else ""


def effects_of(lane: Lane, event: Event, record: Record) -> list[Effect]:
    """The failure record, and the dead letter if the processor has one: in the same commit as the cursor."""
    topology = lane.slice.topology
    unit = lane.unit
    log = keys.failures(topology.name, unit.stream, unit.partition, unit.processor)
    effects: list[Effect] = [("L", log, (FAILURES_KEPT, 2, b"record", evidence.as_json(record)))]
    dead = lane.slice.processor.dead_letter
    if dead is not None:
        fields = deadletters.fields(event, record)
        partition = dead_letter_partition(event.partition, topology.streams[dead].partitions)
        target = keys.events(topology.name, dead, partition)
        effects.append(("X", target, (topology.streams[dead].capacity, len(fields), *fields)))
    return effects
