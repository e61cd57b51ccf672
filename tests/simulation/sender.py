"""A sender: the real `Producer` (runnelctl/store/produce.py) decides, this carries its calls over the bad network."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from runnelctl import errors
from runnelctl.core import routing
from runnelctl.core.encoded import Encoded
from runnelctl.core.model import Stream as StreamModel
from runnelctl.store import carry
from runnelctl.store.lane import Batch
from runnelctl.store.produce import Call as SendCall
from runnelctl.store.produce import Pause, Producer
from tests.simulation.scheduler import LOST, Actor, Call, Group

if TYPE_CHECKING:
    from tests.simulation.world import World

_AWAY = ConnectionError("the connection broke")


class Sender:
    """Sends so many records, a few at a time; remembers which were acknowledged."""

    def __init__(self, world: World, records: int) -> None:
        self.world, self.records, self.group = world, records, Group()
        self.acknowledged: set[str] = set()
        self.settled = False
        self._stream = StreamModel(name="orders", partitions=len(world.units), key="key")
        self._ids = self._generation = 0
        self._producer = Producer(
            "s", translate=lambda error: errors.RunnelctlError(str(error)), deadline_ms=4_000,
            jitter=world.rng.random, new_id=self._new_id,
        )  # fmt: skip

    def _new_id(self) -> str:
        self._ids += 1
        return f"p{self._ids}"

    def main(self) -> Actor:
        """All records, one batch after the other."""
        rng, sent = self.world.rng, 0
        while sent < self.records:
            batch = [str(uid) for uid in range(sent, min(self.records, sent + rng.randint(1, 4)))]
            sent += len(batch)
            yield from self._send(batch)
            yield rng.random() * 1.2
        self.settled = True

    def _send(self, uids: list[str]) -> Actor:
        window = []
        for uid in uids:
            key = f"k{self.world.rng.randrange(8)}"
            window.append(Encoded(uid.encode(), key, routing.crc32(key.encode()) % len(self.world.units)))
        batch = Batch(len(window))
        self._producer.add(self._stream, window, (), batch)
        self._generation = self.world.scheduler.weather.generation
        while (move := self._producer.next(self.world.now * 1000)) is not None:
            if isinstance(move, Pause):
                yield move.ms / 1000
            else:
                answers = yield from self._carry(move)
                self._producer.took(move, answers, self.world.now * 1000)
        # What the old server acknowledged and took with it, while the answer was on its way, is a failover's loss.
        if self._generation == self.world.scheduler.weather.generation:
            self.acknowledged |= {uid for uid, entry in zip(uids, batch.ids, strict=True) if entry is not None}

    def _carry(self, move: SendCall) -> Actor:
        answers: list[Any] = []
        for lane, call in zip(move.lanes, move.calls, strict=True):
            unit = self.world.units[lane.partition]
            args = [word.decode() if isinstance(word, bytes) else str(word) for word in call.args]
            reply = yield Call(functools.partial(self._produce, unit, call.keys, args))
            answers.append(carry.Lost(_AWAY) if reply is LOST else reply)
        return answers

    def _produce(self, unit: Any, names: tuple[str, ...], args: list[str]) -> Any:
        reply = self.world.run("produce", [unit.truth.events, f"{unit.producer_tag}{names[1]}"], args)
        self.world.added(unit)
        return reply
