"""Failed attempts in a lane with `order: key`: as in failures.py, but that only the event's key waits."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from runnelctl.core import policy
from runnelctl.core.policy import Failure, Step
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from runnelctl.runtime import failures
from runnelctl.runtime.states import StateUnavailable

if TYPE_CHECKING:
    from runnelctl.runtime.keyed import KeyedLane


async def settle(lane: KeyedLane, flight: list[int], events: list[Event], error: BaseException) -> None:
    """Decide on a failed attempt and carry the verdict out."""
    processor = lane.slice.processor
    if isinstance(error, StateUnavailable):  # an outage of ours must not use up the event's attempts
        await lane.slice.load_states(lane.states, events)
        lane.later(flight, failures.STATE_PAUSE_S)
        return
    verdict = policy.decide(
        failures.kind_of(error), events[0].attempt, processor.retry, processor.policy, random.random()
    )
    if verdict.step is Step.PASS:
        lane.done(flight, [])
    elif verdict.step is Step.RETRY:
        failures.tell_retry(lane, events[0], error, verdict.pause_ms)
        for event in events:
            event.attempt += 1
        lane.later(flight, verdict.pause_ms / 1000)
    elif len(flight) > 1:
        failures.tell_split(lane, events, error)
        for event in events:
            event.attempt = processor.retry.attempts
        lane.single.update(flight)
        lane.later(flight, 0)
    else:
        _punish(lane, flight[0], events[0], verdict.step, failures.describe(lane, events[0], error))


def settle_dead(lane: KeyedLane, ordinal: int, event: Event) -> None:
    """It killed its process as often as `retry.attempts` allows: the policy applies without another try."""
    processor = lane.slice.processor
    verdict = policy.decide(Failure.DIED, event.attempt, processor.retry, processor.policy, 0.0)
    record = failures.died(lane, event, lane.session.death, lane.session.tries)
    _punish(lane, ordinal, event, verdict.step, record)


def _punish(lane: KeyedLane, ordinal: int, event: Event, step: Step, record: failures.Record) -> None:
    lane.count(cells.U_FAILED)
    if step is Step.RECORD:
        failures.tell_passed(lane, event, record)
        lane.done([ordinal], failures.effects_of(lane, event, record))
    else:
        state = failures.tell_blocked(lane, event, step, record)
        lane.fail(ordinal, failures.as_json(record), state)
