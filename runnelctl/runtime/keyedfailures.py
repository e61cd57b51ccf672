"""Failed attempts in a lane with `order: key`: as in failures.py, but that only the event's key waits."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from runnelctl.core import policy
from runnelctl.core.policy import Failure, Step
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from runnelctl.runtime import evidence, failures
from runnelctl.runtime.states import StateUnavailable

if TYPE_CHECKING:
    from runnelctl.runtime.keyed import KeyedLane


async def settle(lane: KeyedLane, flight: list[int], events: list[Event], error: BaseException) -> None:
    """Decide on a failed attempt and carry the verdict out."""
    processor = lane.slice.processor
    if isinstance(error, StateUnavailable):  # an outage of ours must not use up the event's attempts
        await lane.slice.load_states(lane.states, events)
        _later(lane, flight, failures.STATE_PAUSE_S)
        return
    verdict = policy.decide(
        failures.kind_of(error), events[0].attempt, processor.retry, processor.policy, random.random(), processor.scope
    )
    if verdict.step is Step.PASS:
        lane.done(flight, [])
    elif verdict.step is Step.RETRY:
        failures.tell_retry(lane, events[0], error, verdict.pause_ms)
        for event in events:
            event.attempt += 1
        _later(lane, flight, verdict.pause_ms / 1000)
    elif len(flight) > 1:
        failures.tell_split(lane, events, error)
        for event in events:
            event.attempt = processor.retry.attempts
        lane.single.update(flight)
        _later(lane, flight, 0)
    else:
        _punish(lane, flight[0], events[0], verdict.step, evidence.describe(lane, events[0], error))


def _later(lane: KeyedLane, flight: list[int], seconds: float) -> None:
    """A flight failed and is to start once more, after a pause. Its key waits; the others go on."""

    def again() -> None:
        del lane.pauses[flight[0]]
        lane.order.again(flight[0], flight[1:])
        lane.pump()

    if not (lane.stopping or lane.resyncing or lane.ended is not None):
        lane.pauses[flight[0]] = lane.loop.call_later(seconds, again)
    lane.landed(flight[0])


def settle_dead(lane: KeyedLane, ordinal: int, event: Event) -> None:
    """It killed its process as often as `retry.attempts` allows: the policy applies without another try."""
    processor = lane.slice.processor
    verdict = policy.decide(Failure.DIED, event.attempt, processor.retry, processor.policy, 0.0, processor.scope)
    record = evidence.died(lane, event, lane.session.death, lane.session.tries)
    _punish(lane, ordinal, event, verdict.step, record)


def park(lane: KeyedLane, ordinal: int) -> None:
    """The next event of a parked key goes behind those that are parked."""
    event = lane.events[ordinal]
    effect = lane.parking.aside(event)
    if effect is None:
        lane.fail(ordinal, failures.unparked(lane, event, lane.parking.full(event)), cells.STATE_QUARANTINED)
    else:
        lane.done([ordinal], [effect])


def _punish(lane: KeyedLane, ordinal: int, event: Event, step: Step, record: evidence.Record) -> None:
    lane.count(cells.U_FAILED)
    if step is Step.RECORD:
        failures.tell_passed(lane, event, record)
        lane.done([ordinal], failures.effects_of(lane, event, record))
    elif step is Step.PARK and (effect := failures.parked(lane, event, record)) is not None:
        lane.done([ordinal], [effect])
    else:
        state = failures.tell_blocked(lane, event, step, record)
        lane.fail(ordinal, evidence.as_json(record), state)
