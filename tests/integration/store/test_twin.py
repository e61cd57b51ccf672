"""The simulation's store against real servers: the same random calls on both, the same replies, the same contents.

`RUNNELCTL_TWIN_CALLS` sets how many calls are compared; `pytest -m soak` makes a hundred thousand.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from typing import Any

import pytest
from redis.exceptions import ResponseError

from runnelctl.core import keys
from runnelctl.store import connect
from tests.partition import PROCESSOR, Partition, failed
from tests.servers import Server
from tests.simulation.store import Refused, Store
from tests.simulation.streams import Stream, parse, text_of

CALLS = int(os.environ.get("RUNNELCTL_TWIN_CALLS", "3000"))
CALLS_PER_PARTITION = 60
HIGHEST = "18446744073709551615-18446744073709551615"


class Twins:
    """One partition twice: on a server and in the simulation's store. Every method is one call on both."""

    def __init__(self, client: Any, topology: str, number: int, rng: random.Random) -> None:
        self.part = Partition(client, topology, number)
        self.client, self.rng = client, rng
        self.now_ms = 0
        self.twin = Store(lambda: self.now_ms)
        self.own, self.events, self.out = self.part.own, self.part.events, self.part.out
        self.state, self.sender = f"{self.part.tag}:state", f"{self.part.tag}:producer:p"
        self.members, self.hosts = f"{self.part.tag}:members", f"{self.part.tag}:hosts"
        self.control, self.halted = f"{self.part.tag}:control", keys.halted(self.part.tag)
        self.answers: set[str] = set()
        self.next_seq = 1

    def call(self, name: str, names: Sequence[str], args: Sequence[Any]) -> list[str]:
        """Make a call on both; the twin's clock shows what the server's showed."""
        texts = [str(arg) for arg in args]
        try:
            real = self.part.run(name, names, texts)
        except ResponseError:
            real = ["error"]
        self.now_ms = self._clock(name, real)
        try:
            twin = self.twin.run(name, names, texts)
        except Refused:
            twin = ["error"]
        assert _flat(real) == _flat(twin), f"{name} {names} {texts}: the server said {real}, the twin {twin}"
        found = _flat(real)
        self.answers.add(f"{name} {found[0]}")
        return found

    def _clock(self, name: str, reply: Any) -> int:
        if name in ("lease_acquire", "cursor_seek"):
            return int(self.part.hash().get("epoch", 0))
        if name == "member_beat":
            return int(reply[1])
        if name == "produce":
            return parse(reply[3])[0] if reply[0] == "OK" and reply[3] else 0
        if name == "member_expel":
            return self._newest(self.control)
        return self._newest(self.out)

    def _newest(self, name: str) -> int:
        if self.client.type(name) != b"stream":
            return 0
        last = self.client.xrevrange(name, count=1)
        return parse(last[0][0].decode())[0] if last else 0

    # --- moves ------------------------------------------------------------------------------------------------

    def acquire(self) -> None:
        own, rng = self.twin.hash(self.own), self.rng
        nonce = rng.choice([rng.randrange(1, 10**6), rng.randrange(1, 10**6), own.get("nonce", 1), ""])
        dead = rng.choice(["", own.get("nonce", ""), own.get("nonce", ""), "77"])
        start = rng.choice(["earliest", "latest"])
        args = [nonce, f"h{rng.randrange(3)}/0", dead, start, PROCESSOR]
        self.call("lease_acquire", [self.own, self.events], args)

    def release(self) -> None:
        own, rng = self.twin.hash(self.own), self.rng
        first = rng.choice(["", int(own.get("count", 0)) + rng.randrange(3), own.get("suspect", 1)])
        args = [self._nearly(own, "epoch"), self._nearly(own, "nonce"), first, first, rng.randrange(2), "SIGSEGV"]
        self.call("lease_release", [self.own], args)

    def commit(self) -> None:
        own, rng = self.twin.hash(self.own), self.rng
        stream = self.twin.stream(self.events)
        cursor = own.get("cursor", "0-0")
        following = [text_of(each) for each in stream.after(parse(cursor), rng.randrange(5))] if stream else []
        new = following[-1] if following else cursor
        if rng.random() < 0.05:
            new, following = "1-1", ["1-1"]
        seq = int(own.get("seq", 0)) + rng.choice([1, 1, 1, 1, 1, 1, 0, 2])
        block = failed(new) if rng.random() < 0.15 else ""
        head = [
            self._nearly(own, "epoch"), self._nearly(own, "nonce"), seq, self._nearly(own, "cursor", "0-0"), new,
            len(following), PROCESSOR, int(rng.random() < 0.15), block,
        ]  # fmt: skip
        self.call("commit", [self.own, self.events, self.out, self.state], [*head, *self._effects()])

    def _effects(self) -> list[Any]:
        rng, words = self.rng, []
        for _ in range(rng.choice([0, 1, 1, 3])):
            kind = rng.randrange(20)
            if kind < 4:
                pairs = [rng.randrange(99) for _ in range(2 * rng.choice([1, 1, 2, 5]))]
                words += ["E", 3, rng.choice([0, 0, 0, 4, 100]), len(pairs) // 2, *pairs]
            elif kind < 9:
                words += ["X", 3, rng.choice([0, 0, 0, 4, 100]), 2, "of", rng.randrange(99)]
            elif kind < 12:
                words += ["L", 3, 1000, 2, "failed", rng.randrange(99)]
            elif kind < 17:
                words += ["S", 4, rng.randrange(99)]
            elif kind < 19:
                words += ["D", 4]
            else:
                words += rng.choice([["X", 1, 0, 2, "a", "b"], ["S", 1, "x"]])
        return words

    def _nearly(self, own: dict[str, str], name: str, otherwise: str = "1") -> str:
        """The field's value, or now and then something else."""
        return own.get(name, otherwise) if self.rng.random() > 0.07 else self.rng.choice(["1", "2-2", "", "x"])

    def clear(self) -> None:
        args = [self._failed_event(), self.rng.choice(["", "{}"]), self.rng.randrange(2)]
        self.call("block_clear", [self.own, self.events], args)

    def skip(self) -> None:
        own, stream = self.twin.hash(self.own), self.twin.stream(self.events)
        event = self._failed_event()
        if "block" in own and stream and (after := stream.after(parse(own["cursor"]), 1)) and self.rng.random() < 0.7:
            event = text_of(after[0])  # what blocks in earnest is the event after the cursor
            own["block"] = failed(event)
            self.client.hset(self.own, "block", failed(event))
        self.call("event_skip", [self.own, self.events, self.out], [event, PROCESSOR, "of", event])

    def _failed_event(self) -> str:
        block = self.twin.hash(self.own).get("block", "")
        event = block.split('"')[3] if block else ""
        return self.rng.choice([event, event, "", "9-9"])

    def seek(self) -> None:
        stream, rng = self.twin.stream(self.events), self.rng
        at = rng.choice(stream.ids) if stream and stream.ids else (0, 0)
        gone = stream.gone if stream else 0
        count = gone + (len(stream.between((0, 0), at)) if stream else 0)
        args = [text_of(at), count, PROCESSOR, (stream.added if stream else 0) - rng.choice([0, 0, 1, -5]), gone]
        self.call("cursor_seek", [self.own, self.events], args)

    def produce(self) -> None:
        rng = self.rng
        first = max(1, self.next_seq + rng.choice([0, 0, 0, 0, 0, -1, -2, 2]))
        entries = [
            rng.choice([["{}", "", 0], ["{}", "k", 0], ["{}", "k", 2, "h:a", "b"]]) for _ in range(1 + rng.randrange(3))
        ]
        args = [first, rng.choice([1000, 1000, 1000, 6]), 3_600_000, len(entries), *(w for e in entries for w in e)]
        if self.call("produce", [self.events, self.sender], args)[0] == "OK":
            self.next_seq = max(self.next_seq, first + len(entries))

    def beat(self) -> None:
        args = [f"h{self.rng.randrange(3)}", f"{self.rng.randrange(99)}|{{}}", "report", int(self.rng.random() < 0.3)]
        if args[3] and self.rng.random() < 0.6:  # in time or late, and far from both
            args.append(round(time.time() * 1000) + self.rng.choice([-60_000, 60_000]))
        self.call("member_beat", [self.members, self.hosts], args)

    def expel(self) -> None:
        member = f"h{self.rng.randrange(3)}"
        seen = self.rng.choice([self.twin.hash(self.members).get(member, "x"), "", "1|1|{}"])
        self.call("member_expel", [self.members, self.hosts, self.control], [member, seen])

    def halt(self) -> None:
        self.call("halt_set", [self.halted], [f"p{self.rng.randrange(3)}", self.rng.randrange(99)])

    # --- what a stranger does ---------------------------------------------------------------------------------

    def trim(self) -> None:
        stream = self.twin.stream(self.events)
        if stream is not None and stream.length:
            kept = self.rng.randrange(stream.length + 1)
            self.client.xtrim(self.events, maxlen=kept, approximate=False)
            stream.trim(kept)

    def delete(self) -> None:
        stream = self.twin.stream(self.events)
        if stream is not None and stream.ids:
            gone = self.rng.choice(stream.ids)
            self.client.xdel(self.events, text_of(gone))
            stream.delete(gone)

    def spoil(self) -> None:
        """Another type, the highest id, or nothing where something was."""
        match self.rng.randrange(3):
            case 0:
                self.client.delete(self.out)
                self.client.set(self.out, "x")
                self.twin.data[self.out] = "x"
            case 1:
                self.client.delete(self.out)
                self.twin.data.pop(self.out, None)
            case _ if self.events in self.twin.data:
                stream = self.twin.data[self.events]
                if stream.last < parse(HIGHEST):
                    self.client.xadd(self.events, {"data": "{}"}, id=HIGHEST)
                    stream.append(parse(HIGHEST), ("data", "{}"))

    # --- the comparison ---------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Everything that is stored, but for the ids of outputs, which are the clock's."""
        for name in (self.own, self.members, self.hosts, self.halted):
            there = {k.decode(): v.decode() for k, v in self.client.hgetall(name).items()}
            assert there == self.twin.hash(name), name
        for name in (self.state, self.sender):
            text = self.client.get(name)
            assert (None if text is None else text.decode()) == self.twin.data.get(name), name
        self._compare_stream(self.events, self.twin.stream(self.events), ids=True)
        out = self.twin.data.get(self.out)
        if not isinstance(out, str):
            self._compare_stream(self.out, out, ids=False)

    def _compare_stream(self, name: str, twin: Stream | None, *, ids: bool) -> None:
        assert bool(self.client.exists(name)) == (twin is not None), name
        if twin is None:
            return
        there = self.client.xrange(name)
        contents = [tuple(x.decode() for pair in fields.items() for x in pair) for _, fields in there]
        assert contents == twin.fields, name
        if ids:
            assert [entry_id.decode() for entry_id, _ in there] == [text_of(each) for each in twin.ids]
            info = self.client.xinfo_stream(name)
            assert (info["entries-added"], info["last-generated-id"].decode()) == (twin.added, text_of(twin.last))
            groups = {
                group["name"].decode(): (parse(group["last-delivered-id"].decode()), group["entries-read"])
                for group in self.client.xinfo_groups(name)
            }
            assert groups == twin.groups


MOVES = {
    "acquire": 12, "commit": 30, "release": 6, "produce": 16, "clear": 6, "skip": 4, "seek": 2, "beat": 4, "expel": 2,
    "halt": 1, "trim": 1, "delete": 1,
}  # fmt: skip
MET = {
    *(f"commit {word}" for word in ("OK", "ALREADY", "FENCED", "CURSOR", "HISTORY", "TRIMMED", "FULL", "TYPE")),
    *(f"lease_acquire {word}" for word in ("OK", "BUSY", "BLOCKED")),
    *(f"produce {word}" for word in ("OK", "GAP", "STALE", "CAPACITY", "POISONED")),
    *(f"block_clear {word}" for word in ("OK", "CLEAR", "CHANGED", "OWNED")),
    *(f"event_skip {word}" for word in ("OK", "CLEAR", "CHANGED", "OWNED")),
    *(f"{name} {word}" for name in ("lease_release", "member_expel") for word in "01"),
    "cursor_seek OK", "cursor_seek CHANGED", "member_beat OK", "member_beat EXPELLED",
}  # fmt: skip


def compare(server: Server, topology: str, calls: int, seed: int = 0) -> set[str]:
    """Make so many calls on both; returns which replies were met."""
    met: set[str] = set()
    moves, weights = [*MOVES], [*MOVES.values()]
    with connect.client(server.endpoint) as client:
        for number in range(max(1, calls // CALLS_PER_PARTITION)):
            rng = random.Random(f"{seed}/{number}")
            twins = Twins(client, topology, number, rng)
            spoiled = rng.randrange(CALLS_PER_PARTITION) if rng.random() < 0.3 else -1
            for step in range(CALLS_PER_PARTITION):
                getattr(twins, "spoil" if step == spoiled else rng.choices(moves, weights)[0])()
            twins.compare()
            met |= twins.answers
            client.delete(*client.keys(f"{twins.part.tag}*"))
    return met


def test_the_twin_answers_as_the_scripts_do(redis_server: Server, app_name: str) -> None:
    met = compare(redis_server, app_name, CALLS)
    assert met >= MET, f"never met: {sorted(MET - met)}"


@pytest.mark.soak
def test_the_twin_answers_as_the_scripts_do_for_long(redis_server: Server, app_name: str) -> None:
    compare(redis_server, app_name, 100_000, seed=1)


def _flat(reply: Any) -> list[str]:
    if isinstance(reply, list):
        return [text for part in reply for text in _flat(part)]
    return [str(reply)]
