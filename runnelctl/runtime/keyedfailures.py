"""Failed attempts in a lane with `order: key`: as in failures.py, but that only the event's key waits."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from runnelctl.core import policy
from runnelctl.core.keyorder import Flight
from runnelctl.core.policy import Failure, Step
from runnelctl.runtime import board as cells
from runnelctl.runtime import evidence, failures
from runnelctl.runtime.states import StateUnavailable

if TYPE_CHECKING:
    from runnelctl.runtime.keyed import KeyedLane


async def settle(lane: KeyedLane, flight: Flight, error: BaseException) -> None:
    """Decide on a failed attempt and carry the verdict out."""
    processor, events = lane.slice.processor, flight.events
    if isinstance(error, StateUnavailable):  # an outage of ours must not use up the event's attempts
        await lane.slice.load_states(lane.states, events)
        _later(lane, flight, failures.STATE_PAUSE_S)
        return
    verdict = policy.decide(
        failures.kind_of(error), events[0].attempt, processor.retry, processor.policy, random.random(), processor.scope
    )
    if verdict.step is Step.PASS:
        lane.flights.done(flight, [])
    elif verdict.step is Step.RETRY:
        failures.tell_retry(lane, events[0], error, verdict.pause_ms)
        for event in events:
            event.attempt += 1
        _later(lane, flight, verdict.pause_ms / 1000)
    elif flight.joined:
        failures.tell_split(lane, events, error)
        for each in (flight, *flight.joined):
            each.event.attempt, each.alone = processor.retry.attempts, True
        _later(lane, flight, 0)
    else:
        _punish(lane, flight, verdict.step, evidence.describe(lane, flight.event, error))


def _later(lane: KeyedLane, flight: Flight, seconds: float) -> None:
    """A flight failed and is to start once more, after a pause. Its key waits; the others go on."""

    def again() -> None:
        del lane.pauses[flight.ordinal]
        lane.order.again(flight)
        lane.flights.pump()

    if not (lane.stopping or lane.resyncing or lane.ended is not None):
        lane.pauses[flight.ordinal] = lane.loop.call_later(seconds, again)
    lane.flights.off(flight)


def settle_dead(lane: KeyedLane, flight: Flight) -> None:
    """It killed its process as often as `retry.attempts` allows: the policy applies without another try."""
    processor, event = lane.slice.processor, flight.event
    verdict = policy.decide(Failure.DIED, event.attempt, processor.retry, processor.policy, 0.0, processor.scope)
    _punish(lane, flight, verdict.step, evidence.died(lane, event, lane.session.death, lane.session.tries))


def park(lane: KeyedLane, flight: Flight) -> None:
    """The next event of a parked key goes behind those that are parked."""
    event = flight.event
    effect = lane.parking.aside(event)
    if effect is None:
        lane.fail(flight, failures.unparked(lane, event, lane.parking.full(event)), cells.STATE_QUARANTINED)
    else:
        lane.flights.done(flight, [effect])


def _punish(lane: KeyedLane, flight: Flight, step: Step, record: evidence.Record) -> None:
    event = flight.event
    lane.count(cells.U_FAILED)
    if step is Step.RECORD:
        failures.tell_passed(lane, event, record)
        lane.flights.done(flight, failures.effects_of(lane, event, record))
    elif step is Step.PARK and (effect := failures.parked(lane, event, record)) is not None:
        lane.flights.done(flight, [effect])
    else:
        state = failures.tell_blocked(lane, event, step, record)
        lane.fail(flight, evidence.as_json(record), state)
