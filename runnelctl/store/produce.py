"""The sender's decisions, without I/O: what goes into which chunk, what an answer means, what is sent again and when.

Every partition is a lane with at most one chunk in flight. Its entries are numbered, and the produce script remembers
the last numbers, so the very same chunk can be sent until an answer comes: it is stored once. A lane whose chunk is
refused drops what is queued behind it, because nothing may overtake a refused record.

    while (move := producer.next(now_ms)) is not None:
        sleep(move.ms)  or  producer.took(move, exchange(client, move.calls), now_ms)
"""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from runnelctl import errors
from runnelctl.core import backoff
from runnelctl.core.encoded import Encoded
from runnelctl.core.model import Stream
from runnelctl.store import refusal
from runnelctl.store.carry import Answer, Lost, ScriptCall, Short, Unsent
from runnelctl.store.lane import Batch, Chunk, Lane
from runnelctl.store.scripts import script

#: Of all chunks that travel together; a single entry may be larger.
CALL_BYTES = 8 * 1024 * 1024
FIRST_PAUSE_S = 0.02

#: Error replies that a failover, a restart or a resharding ends. Nothing was stored.
_PASSING = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS", "MOVED"})

log = logging.getLogger("runnelctl.send")


class Call(msgspec.Struct):
    """Carry `calls` at once and bring the answers back with `Producer.took`."""

    lanes: list[Lane]
    calls: list[ScriptCall]


class Pause(msgspec.Struct):
    """Nothing can be sent for so long."""

    ms: float


class Producer:
    """Queues entries of any stream of one topology and decides what to do next. Not for use by several threads."""

    def __init__(
        self,
        topology: str,
        *,
        translate: Callable[[Exception], errors.RunnelctlError],
        deadline_ms: float = 30_000,
        wait_ms: float = 0,
        jitter: Callable[[], float] = random.random,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """`translate` words an error of the connection or of Redis; `deadline_ms` bounds the attempts of a chunk;
        `wait_ms` how long it waits for room in a full partition."""
        self._translate = translate
        self._topology = topology
        self._deadline_ms, self._wait_ms = deadline_ms, wait_ms
        self._jitter, self._new_id = jitter, new_id
        self._id = new_id()
        self._lanes: dict[str, list[Lane]] = {}
        self._busy: dict[Lane, None] = {}  # lanes with a queue or a chunk, longest waiting first
        self._away: set[Lane] = set()  # those whose last attempt met no server that would serve them
        self._script = script("produce")

    def add(self, stream: Stream, window: Sequence[Encoded], headers: tuple[str | bytes, ...], batch: Batch) -> None:
        """Queue checked records, each behind the others of its partition. The batch's places are the window's."""
        lanes, busy = self._lanes_of(stream), self._busy
        for index, encoded in enumerate(window):
            lane = lanes[encoded.partition]
            lane.queue.append((encoded, headers, batch, index))
            busy[lane] = None

    @property
    def busy(self) -> bool:
        """Whether anything is queued or under way."""
        return bool(self._busy)

    def next(self, now_ms: float) -> Call | Pause | None:
        """What to do now; None when everything is settled."""
        lanes: list[Lane] = []
        size, wake_ms = 0, float("inf")
        for lane in self._busy:
            chunk = lane.chunk or lane.cut(now_ms + self._deadline_ms)
            if chunk.not_before_ms > now_ms:
                wake_ms = min(wake_ms, chunk.not_before_ms)
            elif not lanes or size + chunk.size <= CALL_BYTES:
                lanes.append(lane)
                size += chunk.size
        if lanes:
            return Call(lanes, [ScriptCall(self._script, lane.keys, _chunk(lane).args) for lane in lanes])
        return Pause(wake_ms - now_ms) if self._busy else None

    def took(self, call: Call, answers: list[Answer], now_ms: float) -> None:
        """Take the answers to a call: settle what is stored or refused, prepare what is to be sent again."""
        if self._away and any(isinstance(answer, list) for answer in answers):
            for lane in self._away:  # the server is back: not everybody has to find that out alone
                if lane.chunk is not None:
                    lane.chunk.hasten(now_ms)
            self._away.clear()
        for lane, answer in zip(call.lanes, answers, strict=True):
            self._busy.pop(lane)
            self._take(lane, _chunk(lane), answer, now_ms)
            if lane.queue or lane.chunk:
                self._busy[lane] = None

    def abandon(self, error: errors.RunnelctlError) -> None:
        """Settle everything that is still open with `error`; what is in flight may be stored all the same."""
        for lane in self._busy:
            lane.drop(error, error)
        self._busy.clear()

    def _lanes_of(self, stream: Stream) -> list[Lane]:
        lanes = self._lanes.get(stream.name)
        if lanes is None:
            lanes = [Lane(self._topology, stream, partition, self._id) for partition in range(stream.partitions)]
            self._lanes[stream.name] = lanes
        return lanes

    def _take(self, lane: Lane, chunk: Chunk, answer: Answer, now_ms: float) -> None:
        chunk.attempts += 1
        if isinstance(answer, list):
            self._told(lane, chunk, answer, now_ms)
        elif isinstance(answer, Unsent | Lost | Short):
            chunk.doubtful = chunk.doubtful or not isinstance(answer, Unsent)
            if not isinstance(answer, Short):
                self._away.add(lane)
            if not self._again(chunk, now_ms, chunk.deadline_ms):
                self._give_up(lane, chunk, answer.error, short=isinstance(answer, Short))
        elif answer.code not in _PASSING or not self._again(chunk, now_ms, chunk.deadline_ms):
            self._give_up(lane, chunk, answer.error)
        else:
            self._away.add(lane)

    def _told(self, lane: Lane, chunk: Chunk, reply: list[Any], now_ms: float) -> None:
        status = _text(reply[0])
        if status == "OK":
            lane.chunk = None
            ids = [*_ids(_text(reply[1]), int(reply[2])), *_ids(_text(reply[3]), int(reply[4]))]
            for (_, _, batch, index), entry_id in zip(chunk.entries, ids, strict=True):
                batch.store(index, entry_id)
        elif status == "CAPACITY":
            # The wait counts from the first attempt, which is `deadline_ms` before the deadline.
            if not self._again(chunk, now_ms, chunk.deadline_ms - self._deadline_ms + self._wait_ms):
                self._refuse(lane, chunk, refusal.full(lane, _text(reply[1])))
        elif status == "GAP":
            self._renumber(lane, chunk, _text(reply[1]))
        else:
            self._refuse(lane, chunk, refusal.unfit(lane, status, _text(reply[1])))

    def _again(self, chunk: Chunk, now_ms: float, until_ms: float) -> bool:
        """Prepare another attempt if there is time, with full jitter: a thousand senders must not come back in step."""
        if now_ms >= until_ms:
            return False
        pause_ms = backoff.pause_s(chunk.attempts, self._jitter(), FIRST_PAUSE_S) * 1000
        chunk.not_before_ms = min(now_ms + pause_ms, until_ms)
        return True

    def _give_up(self, lane: Lane, chunk: Chunk, error: Exception, *, short: bool = False) -> None:
        """An attempt that was lost may have stored the chunk, whatever the attempts after it were told."""
        cause = self._translate(error)
        self._refuse(lane, chunk, refusal.unknown(lane, chunk, cause, short=short) if chunk.doubtful else cause)

    def _refuse(self, lane: Lane, chunk: Chunk, error: errors.RunnelctlError) -> None:
        lane.drop(error, refusal.behind(lane, error))
        if chunk.doubtful:
            # It may still arrive; under another name its numbers can't be mistaken for ours.
            lane.rename(self._topology, self._new_id())

    def _renumber(self, lane: Lane, chunk: Chunk, last: str) -> None:
        log.warning(
            "%s has lost records that it had acknowledged: of this sender's records it knows number %s as the last, "
            "but %d were stored",
            lane.keys[0],
            last,
            chunk.first - 1,
        )
        lane.rename(self._topology, self._new_id())
        chunk.first = chunk.args[0] = lane.next
        lane.next += len(chunk.entries)


def _chunk(lane: Lane) -> Chunk:
    assert lane.chunk is not None, "a lane in a call has a chunk"
    return lane.chunk


def _ids(first: str, count: int) -> list[str]:
    if not count:
        return []
    ms, _, seq = first.partition("-")
    return [f"{ms}-{number}" for number in range(int(seq), int(seq) + count)]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
