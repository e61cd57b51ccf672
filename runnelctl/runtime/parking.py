"""Parked keys, as one lane has them: which event may not start, and the replay of those that may again.

An event whose key is parked goes to the end of its key's list, in the commit that moves the cursor past it. A replay
takes the list's events through the handler, oldest first, each off the list in the commit that carries what it did. The
key is open again when its list is empty. Only the lane adds to a list, so nothing can overtake.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from runnelctl.core import keys, parking, policy
from runnelctl.core.parking import Element
from runnelctl.core.policy import Failure, Step
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from runnelctl.runtime import evidence, failures, workload
from runnelctl.runtime.context import Effect, StateUnavailable
from runnelctl.runtime.siding import Siding
from runnelctl.store import parking as stored
from runnelctl.store.parking import Lot
from runnelctl.store.wire import ConnectionLost, ReplyError

if TYPE_CHECKING:
    from runnelctl.runtime.lane import Lane

PAGE = 64  # parked events that are replayed in one go
RUN = 256  # events that are sifted in one go: what may not start yet is put back, event by event
REPLAY_RUN = 32  # the same between two pages of a replay: fewer than a page, so that its list gets shorter


class Parking:
    """See the module. `keys` are parked; those in `asked` are to be replayed, in this order."""

    def __init__(self, lane: Lane, lot: Lot) -> None:
        self._lane = lane
        unit = lane.unit
        self._where = (lane.slice.topology.name, unit.stream, unit.partition, unit.processor)
        self._parked, self._replaying = keys.parked(*self._where), keys.replaying(*self._where)
        self._siding = Siding(lane)
        self.restart(lot)

    def restart(self, lot: Lot) -> None:
        """Begin (again) from what Redis has."""
        self.keys = set(lot.keys)
        self.asked = dict.fromkeys(lot.asked)
        self._events, self._size = lot.events, lot.size
        self._tries, self._sure, self._death = lot.tries, lot.sure, lot.death
        # A process died in a replay. One event at a time, committed before the next, the culprit is known.
        self._one_by_one = lot.tries > 0

    # --- parking

    @property
    def run(self) -> int:
        """How many events to take at once while anything is parked."""
        return REPLAY_RUN if self.asked else RUN

    def sift(self, run: list[Event]) -> list[Event]:
        """Park the events that `run` begins with as far as their keys are parked; returns those behind them that may be
        started, up to the next that may not."""
        held = [self.holds(event) for event in run]
        start = held.index(False) if False in held else len(run)
        if start:
            ledger, done, iteration = self._lane.ledger, 0, self._lane.iteration
            ledger.open_run(run[:start])
            while done < start and (effect := self.aside(run[done])) is not None:
                ledger.pass_over(run[done], [effect])
                done += 1
            if iteration is not None and iteration.expected == ledger.first:
                iteration.expected += done  # its loop goes on behind them
            ledger.close_run(done)
            if done < start:
                failures.block_unparked(self._lane, run[done], self.full(run[done]))
                return []
        end = held.index(True, start) if True in held[start:] else len(run)
        if end < len(run):
            self._lane.intake.put_back(run[end:])
        return run[start:end]

    def failed(self, event: Event, record: str) -> Effect | None:
        """What parks an event whose attempts are used up, and with it its key; None where `full` says why not."""
        effect = self.aside(event, record)
        if effect is not None:
            self.keys.add(event.key)
        return effect

    def holds(self, event: Event) -> bool:
        """Whether the event may not start, since its key is parked."""
        return workload.key_or_none(event) in self.keys

    def full(self, event: Event) -> str | None:
        """Why an event can't be parked; None if it can."""
        if not workload.key_or_none(event):
            return "the event has no key that can be read, so its partition stops and not a key"
        size = len(parking.pack(event._id, event._fields))
        return parking.no_room(self._lane.slice.processor.max_parked, self._events, self._size, size)

    def aside(self, event: Event, record: str = "") -> Effect | None:
        """What puts an event at the end of its key's list, to be committed as done with that; None if it is `full`."""
        if self.full(event) is not None:
            return None
        element = parking.pack(event._id, event._fields)
        self._events, self._size = self._events + 1, self._size + len(element)
        return ("P", keys.parked_events(*self._where, event.key), (self._parked, event.key, element, record))

    # --- replaying

    async def replay(self) -> bool:
        """Handle the oldest parked events of the key whose replay was asked for first, a page of them. True: there is
        no time, or no reason, to start a run before the next."""
        lane = self._lane
        if not await self._settled() or not await self._alone():
            return True
        key = next(iter(self.asked))
        most = 1 if self._one_by_one else min(PAGE, lane.slice.commit_events)
        elements = await self._oldest(key, most)
        if elements is None:
            self.asked.pop(key)
            return True
        if lane.states.used:
            lane.ledger.relieve_states()
            await lane.slice.load_states(lane.states, [self._event(element) for element in elements])
        done = 0
        while done < len(elements) and await self._handle(key, elements[done]):
            done += 1
        lane.idle()
        if self._one_by_one:
            await self._settled()
            lane.slice.trial.over(lane)
        if done == len(elements) < most and self._is_ours():
            self._open(key)
        return not (self._is_ours() and lane.intake.count)

    async def _alone(self) -> bool:
        """After a death, wait until nothing else is in a handler of this slice, so that the next names its cause."""
        lane = self._lane
        while self._tries and self._is_ours() and not lane.slice.trial.may_begin(lane):
            await lane.slice.trial.rest(lane)
        return self._is_ours()

    def _is_ours(self) -> bool:
        lane = self._lane
        return not (lane.ended is not None or lane.resyncing or lane.stopping)

    async def _settled(self) -> bool:
        """Commit everything, so that the lists in Redis are the truth. False: this lane goes no further for now."""
        lane = self._lane
        lane.idle()
        while self._is_ours() and lane.ledger.unsettled:
            await lane.ledger.progress()
        return self._is_ours()

    async def _oldest(self, key: str, most: int) -> list[Element] | None:
        """None: what is stored there is not ours."""
        lane = self._lane
        while True:
            wire = await lane.slice.committer.side.get()
            try:
                return await stored.oldest(wire, lane.slice.topology.name, lane.unit, key, most)
            except ValueError as error:
                lane.slice.log.error("%s: key %r stays parked: %s", lane.name, key, error)
                return None
            except (ConnectionLost, ReplyError):
                lane.slice.committer.side.drop()
                await asyncio.sleep(0.2)

    def _open(self, key: str) -> None:
        """The key's list is empty: its next event is handled like any other."""
        self.keys.discard(key)
        self.asked.pop(key, None)
        self._lane.slice.log.info("%s: key %r is replayed and goes on", self._lane.name, key)

    def _event(self, element: Element) -> Event:
        return self._lane.slice.codec.event(element.event_id, element.fields, self._lane.source)

    async def _handle(self, key: str, element: Element) -> bool:
        """Take one parked event to its end. False: it is still parked, don't go on behind it."""
        lane, processor, event = self._lane, self._lane.slice.processor, self._event(element)
        if self._tries:
            event.attempt = self._tries + 1
            if self._sure and self._tries >= processor.retry.attempts:
                return self._conclude(key, element, event, evidence.died(lane, event, self._death, self._tries))
        while True:
            started, effects, error = await self._siding.call(event)
            if not started:
                return False
            if error is None:
                return self._done(key, element, effects)
            lane.idle()
            lane.context.abandon()
            if isinstance(error, StateUnavailable):
                await lane.slice.load_states(lane.states, [event])
                await lane.wait(failures.STATE_PAUSE_S)
                continue
            kind = failures.kind_of(error)
            verdict = policy.decide(
                kind, event.attempt, processor.retry, processor.policy, random.random(), processor.scope
            )
            if verdict.step is Step.PASS:
                return self._done(key, element, [])
            if verdict.step is not Step.RETRY:
                return self._conclude(key, element, event, evidence.describe(lane, event, error))
            await failures.retry(lane, [event], error, verdict.pause_ms)
            if not self._is_ours():
                return False

    def _conclude(self, key: str, element: Element, event: Event, record: evidence.Record) -> bool:
        """Its attempts are used up: IGNORE passes it over, under the other policies the key stays parked."""
        lane, processor = self._lane, self._lane.slice.processor
        lane.count(cells.U_FAILED)
        headline = f"{lane.name}: parked event {event.id} (key {key!r}) failed {record['attempts']} time(s) again"
        final = policy.decide(Failure.REJECTED, 1, processor.retry, processor.policy, 0.0, processor.scope)
        if final.step is Step.RECORD:
            lane.slice.log.error("%s; policy IGNORE passes it over\n%s", headline, evidence.told_of(record))
            return self._done(key, element, failures.effects_of(lane, event, record))
        record["state"] = "parked"
        lane.slice.log.error("%s; it stays parked until `runnelctl replay`\n%s", headline, evidence.told_of(record))
        self._tries = 0
        self.asked.pop(key, None)
        lane.ledger.beside([self._effect("F", key, element, evidence.as_json(record))])
        return False

    def _done(self, key: str, element: Element, effects: list[Effect]) -> bool:
        self._tries = 0
        self._events, self._size = self._events - 1, self._size - element.size
        self._lane.ledger.beside([*effects, self._effect("U", key, element)])
        return True

    def _effect(self, op: str, key: str, element: Element, *more: Any) -> Effect:
        name = keys.parked_events(*self._where, key)
        return (op, name, (self._parked, self._replaying, key, element.token, *more))
