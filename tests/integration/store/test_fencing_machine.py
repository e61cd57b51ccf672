"""Three workers, one partition, and everything that goes wrong between them and Redis.

Hypothesis makes up histories: workers take the partition, take it from each other, read ahead, commit, never hear of
the outcome, ask again much later, are thrown back by a failover, have events trimmed under their feet. Whatever it
makes up, the outputs in Redis must be those of the events up to the cursor, each once, in order.

`RUNNELCTL_FENCING_EXAMPLES` sets how many histories are tried.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runnelctl.store import connect
from tests.partition import Partition, Word
from tests.servers import Server

EXAMPLES = int(os.environ.get("RUNNELCTL_FENCING_EXAMPLES", "350"))
STEPS = 40

workers = st.sampled_from(["a", "b", "c"])


@dataclass
class Sent:
    """A commit as it went, or will go, over the wire."""

    args: tuple[Any, ...]
    more: dict[str, Any]
    events: list[str]


@dataclass
class Worker:
    """What one owner believes; it learns better from answers only."""

    name: str
    epoch: int = 0
    nonce: int = 0
    cursor: str = "0-0"
    seq: int = 0
    total: int = 0  # its state: events handled, ever
    fetched: list[str] = field(default_factory=list)
    unknown: Sent | None = None  # a commit whose outcome it does not know
    leased: bool = False


@dataclass(frozen=True)
class Truth:
    """The model: what survives in Redis."""

    history: tuple[str, ...] = ()  # every event ever appended
    owner: tuple[int, int] | None = None  # epoch and nonce of the last acquire, until released
    done: tuple[str, ...] = ()  # events whose outputs are there
    accepted: int = 0  # events whose loss an operator accepted
    blocked: bool = False


class Fencing(RuleBasedStateMachine):
    """See the module. `server_client` and `topology` are set by the test."""

    server_client: Any
    topology: str
    numbers = itertools.count()
    answers: dict[str, int]

    @initialize()
    def begin(self) -> None:
        self.part = Partition(self.server_client, self.topology, next(self.numbers))
        self.state = f"{self.part.tag}:state"
        self.workers = {name: Worker(name) for name in "abc"}
        self.truth = Truth()
        self.nonces = itertools.count(1)
        self.highest_epoch = 0
        self.snapshots: list[tuple[Truth, dict[str, bytes | None]]] = []
        self.append(8)

    def teardown(self) -> None:
        if hasattr(self, "part"):
            self.server_client.delete(self.part.own, self.part.events, self.part.out, self.state)

    # --- the world ------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 4))
    def append(self, count: int) -> None:
        self.truth = replace(self.truth, history=(*self.truth.history, *self.part.add(count)))

    @precondition(lambda self: len(self.truth.history) > 2)
    @rule(kept=st.integers(2, 12))
    def a_stranger_trims(self, kept: int) -> None:
        self.server_client.xtrim(self.part.events, maxlen=kept, approximate=False)

    @rule()
    def snapshot(self) -> None:
        names = (self.part.own, self.part.events, self.part.out, self.state)
        self.snapshots.append((self.truth, {name: self.server_client.dump(name) for name in names}))

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data(), with_events=st.booleans())
    def failover(self, data: st.DataObject, with_events: bool) -> None:
        """Back to an earlier moment: lock, cursor, outputs and state together; the events too, or not."""
        index = len(self.snapshots) - 1 - data.draw(st.integers(0, len(self.snapshots) - 1))
        before, found = self.snapshots[index]
        del self.snapshots[index + 1 :]
        for name, text in found.items():
            if name == self.part.events and not with_events:
                continue
            self.server_client.delete(name)
            if text is not None:
                self.server_client.restore(name, 0, text)
        history = before.history if with_events else self.truth.history
        self.truth = replace(before, history=history)
        while self._server_ms() <= self.highest_epoch:
            pass  # a failover takes longer than the millisecond that epochs need to rise

    @precondition(lambda self: self.truth.blocked)
    @rule()
    def an_operator_accepts_the_loss(self) -> None:
        before = int(self.part.hash().get("count", 0))
        assert self.part.clear(lost=True) == ["OK"]
        lost = int(self.part.hash()["count"]) - before
        self.truth = replace(self.truth, blocked=False, accepted=self.truth.accepted + lost)

    # --- a worker -------------------------------------------------------------------------------------------------

    @rule(name=workers, takes_over=st.booleans(), lost=st.booleans())
    def acquire(self, name: str, takes_over: bool, lost: bool) -> None:
        worker, nonce = self.workers[name], next(self.nonces)
        own = self.part.hash()
        holder = own.get("nonce", "")
        dead = holder if takes_over else ""
        reply = self.part.acquire(nonce, f"{name}/0", dead=dead)
        if lost:
            assert self.part.acquire(nonce, f"{name}/0", dead=dead) == reply, "asked again, the same answer"
        self._saw(f"acquire {reply[0]}")
        assert (reply[0] == "BLOCKED") == self.truth.blocked
        assert (reply[0] == "BUSY") == (not self.truth.blocked and bool(holder) and not takes_over)
        if reply[0] == "OK":
            epoch = int(reply[1])
            assert epoch > self.highest_epoch, "epochs rise, whatever was lost"
            self.highest_epoch = epoch
            # A processor new to the stream begins with what is left of it.
            accepted = self.truth.accepted if own else int(reply[3])
            self.truth = replace(self.truth, owner=(epoch, nonce), accepted=accepted)
            self.workers[name] = replace(worker, epoch=epoch, nonce=nonce, leased=True, unknown=None)
            self._new_session(self.workers[name])
            if takes_over:
                self.snapshot()

    @precondition(lambda self: self._committing())
    @rule(data=st.data())
    def read_ahead(self, data: st.DataObject) -> None:
        self._read_ahead(data.draw(st.sampled_from(self._committing())))

    def _committing(self) -> list[Worker]:
        """Workers that believe in their lease and wait for no answer."""
        return [worker for worker in self.workers.values() if worker.leased and worker.unknown is None]

    def _uncertain(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.unknown is not None]

    def _read_ahead(self, worker: Worker) -> None:
        if worker.leased:
            after = worker.fetched[-1] if worker.fetched else worker.cursor
            found = self.server_client.xrange(self.part.events, min=f"({after}", count=5)
            worker.fetched += [event_id.decode() for event_id, _ in found]

    @precondition(lambda self: self._committing())
    @rule(
        data=st.data(), n=st.integers(1, 4), release=st.sampled_from([False, False, False, True]),
        fate=st.sampled_from(["answered", "answered", "reply lost", "not sent yet"]),
    )  # fmt: skip
    def commit(self, data: st.DataObject, n: int, release: bool, fate: str) -> None:
        worker = data.draw(st.sampled_from(self._committing()))
        if not worker.fetched:
            self._read_ahead(worker)
        events = worker.fetched[:n]
        new = events[-1] if events else worker.cursor
        effects: list[Word] = ["S", 4, str(worker.total + len(events))]
        for event_id in events:
            effects += ["X", 3, 0, 2, "of", event_id]
        args = (worker.epoch, worker.nonce, worker.seq + 1, worker.cursor, new, len(events))
        more = {"release": release, "names": [self.part.out, self.state], "effects": effects}
        worker.unknown = Sent(args, more, events)
        if fate == "answered":
            self._send(worker, told=True)
        elif fate == "reply lost":
            self._send(worker, told=False)

    @precondition(lambda self: self._uncertain())
    @rule(data=st.data(), told=st.booleans())
    def ask_again(self, data: st.DataObject, told: bool) -> None:
        self._send(data.draw(st.sampled_from(self._uncertain())), told=told)

    @precondition(lambda self: self._committing())
    @rule(data=st.data())
    def start_a_new_read_session(self, data: st.DataObject) -> None:
        self._new_session(data.draw(st.sampled_from(self._committing())))

    @rule(name=workers)
    def release(self, name: str) -> None:
        """By the keeper, after the process died: whatever it had under way may still arrive."""
        worker = self.workers[name]
        if worker.nonce:
            released = self.part.release(worker.epoch, worker.nonce)
            assert bool(released) == (self.truth.owner == (worker.epoch, worker.nonce))
            if released:
                self.truth = replace(self.truth, owner=None)

    # --- how it goes on -------------------------------------------------------------------------------------------

    def _send(self, worker: Worker, *, told: bool) -> None:
        sent = worker.unknown
        assert sent is not None
        rightful = self.truth.owner == sent.args[:2]
        reply = self.part.commit(*sent.args, **sent.more)
        self._saw(f"commit {reply[0]}")
        if rightful:
            assert reply[0] != "FENCED", "the owner gets past the fence"
        else:
            assert reply[0] in ("FENCED", "ALREADY"), "and nobody else"
            # Whose lease was let go meanwhile may still learn that its last commit was taken; nothing is taken again.
            assert reply[0] == "FENCED" or set(sent.events) <= set(self.truth.done)
        if reply[0] == "OK":
            owner = None if sent.more["release"] else self.truth.owner
            blocked = self.truth.blocked or bool(sent.more.get("block"))
            self.truth = replace(self.truth, done=(*self.truth.done, *sent.events), owner=owner, blocked=blocked)
        if told:
            self._told(worker, sent, reply)

    def _told(self, worker: Worker, sent: Sent, reply: list[str]) -> None:
        worker.unknown = None
        match reply[0]:
            case "OK" | "ALREADY":
                worker.cursor, worker.seq = sent.args[4], sent.args[2]
                worker.fetched = worker.fetched[len(sent.events) :]
                worker.total += len(sent.events)
                worker.leased = not sent.more["release"] and self.truth.owner == sent.args[:2]
            case "CURSOR" | "HISTORY":
                self._new_session(worker)
            case "TRIMMED":
                held = len(self.truth.history) - self.server_client.xlen(self.part.events)
                assert int(reply[1]) == held - len(self.truth.done) - self.truth.accepted > 0, "the exact number"
                args = (worker.epoch, worker.nonce, worker.seq + 1, worker.cursor, worker.cursor, 0)
                worker.unknown = Sent(args, {"release": True, "block": '{"event":""}'}, [])
                self._send(worker, told=True)
            case "FENCED":
                worker.leased = False
            case other:
                raise AssertionError(other)

    def _new_session(self, worker: Worker) -> None:
        own = self.part.hash()
        if (own.get("epoch"), own.get("nonce")) != (str(worker.epoch), str(worker.nonce)):
            worker.leased = False
            return
        worker.cursor, worker.seq, worker.fetched = own["cursor"], int(own["seq"]), []
        worker.total = int(self.server_client.get(self.state) or 0)
        self._read_ahead(worker)

    def _server_ms(self) -> int:
        seconds, micros = self.server_client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def _saw(self, what: str) -> None:
        self.answers[what] = self.answers.get(what, 0) + 1

    # --- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def outputs_are_those_of_the_events_up_to_the_cursor(self) -> None:
        if not hasattr(self, "part"):
            return
        own = self.part.hash()
        outputs = [output["of"] for output in self.part.outputs()]
        assert outputs == list(self.truth.done)
        assert outputs == sorted(set(outputs), key=outputs.index), "each once"
        assert outputs == [event_id for event_id in self.truth.history if event_id in set(outputs)], "in order"
        assert int(self.server_client.get(self.state) or 0) == len(outputs), "a counter in the state counts each once"
        if own:
            assert int(own["count"]) == len(outputs) + self.truth.accepted
            assert ("block" in own) == self.truth.blocked
            holder = (int(own["epoch"]), int(own["nonce"])) if own["nonce"] else None
            assert holder == self.truth.owner


def test_nothing_that_workers_and_redis_do_to_each_other_loses_or_doubles_an_output(
    valkey: Server, app_name: str
) -> None:
    with connect.client(valkey.endpoint) as client:
        machine = type("Machine", (Fencing,), {"server_client": client, "topology": app_name, "answers": {}})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES, stateful_step_count=STEPS, suppress_health_check=list(HealthCheck), deadline=None
            ),
        )
        met = machine.answers  # type: ignore[attr-defined]
    everything = {f"commit {word}" for word in ("OK", "ALREADY", "FENCED", "CURSOR", "HISTORY", "TRIMMED")}
    assert everything | {"acquire OK", "acquire BUSY", "acquire BLOCKED"} <= met.keys(), "the machine got about"
