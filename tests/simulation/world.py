"""One schedule: a cluster made up by a seed, the faults that hit it, and what must be true in the end."""

from __future__ import annotations

import random
from typing import Any

from runnelctl.core.assign import Place, assign
from runnelctl.core.charges import Cause
from runnelctl.core.model import Policy, Retry
from tests.simulation import faults, truth
from tests.simulation.host import Host
from tests.simulation.keeper import PROCESSOR, able
from tests.simulation.lane import Lane, Slice
from tests.simulation.scheduler import Actor, Group, Scheduler, Signal, Weather
from tests.simulation.sender import Sender
from tests.simulation.store import Store
from tests.simulation.streams import Stream, parse, text_of
from tests.simulation.truth import UnitTruth, Violation

START_MS = 1_700_000_000_000
PATIENCE_S = 120.0  # of made-up time, after the faults are over


class Holding:
    """As runnelctl.store.leases has it."""

    __slots__ = ("epoch", "nonce", "owner", "record", "suspected")

    def __init__(self, own: dict[str, str]) -> None:
        self.owner, self.nonce, self.epoch = own.get("owner", ""), own.get("nonce", ""), int(own.get("epoch", "0"))
        self.record = own.get("block")
        self.suspected = max(int(own.get("suspect", "0")), int(own.get("alone") or "0")) > int(own.get("count", "0"))


class Unit:
    """One partition of the one processor."""

    def __init__(self, partition: int) -> None:
        tag = f"{{s:orders:{partition}}}"
        self.partition = self.index = partition
        self.processor = PROCESSOR
        self.producer_tag = f"{tag}:producer:"
        self.truth = UnitTruth(f"{tag}:own:{PROCESSOR}", f"{tag}:events", f"{tag}:out")
        self.signals: list[Signal] = []
        self.lanes: list[Lane] = []


class World:
    """See the module. `play` is the whole schedule; it raises Violation."""

    def __init__(self, seed: int, store: type[Store] = Store) -> None:
        self.seed, self.rng = seed, random.Random(seed)
        rng = self.rng
        self.scheduler = Scheduler(rng)
        self.clock_ms = 0  # what somebody moved the server's clock by
        self.store = store(lambda: START_MS + int(self.scheduler.now * 1000) + self.clock_ms)
        self.ttl_s, self.timeout_s = 6.0, 4.0
        self.handler_s = rng.choice([0.02, 0.02, 2.5])  # the longest
        self.attempts = rng.randint(2, 3)
        self.retry = Retry(attempts=self.attempts, backoff_ms=50, max_backoff_ms=400)
        self.policy = rng.choice([Policy.QUARANTINE, Policy.QUARANTINE, Policy.HALT, Policy.IGNORE])
        self.units = [Unit(number) for number in range(rng.choice([1, 1, 2, 3]))]
        self.membership = ["{s}:members", "{s}:hosts", "{s}:control"]
        self.halted = "{s}:halted"
        self.frozen_since: dict[Group, float] = {}
        self.kinds: dict[str, str] = {}
        self.mended, self.hung, self.guilty = False, set[str](), set[str]()
        self.expelled: set[str] = set()
        self.killed_beside: dict[str, int] = {}
        self.restarts = self.deaths = self.stood_in = 0
        self.trimmed = self.deleted = self.sought = self.skipped = False
        self.trace: list[str] | None = None
        self.hosts: list[Host] = []
        self.members = 0
        for _ in range(rng.choice([1, 2, 2, 3])):
            self.join()
        self.sender = Sender(self, rng.choice([3, 5, 9]))
        self.scheduler.spawn(self.sender.main(), self.sender.group)

    @property
    def now(self) -> float:
        return self.scheduler.now

    # --- the schedule -----------------------------------------------------------------------------------------

    def play(self) -> World:
        """Faults for a while, then peace, mended handlers, replays; in the end everything must be handled."""
        end = faults.plan(self)
        self.scheduler.run(end)
        self.say("the faults are over")
        self._peace()
        self.scheduler.spawn(self._mend(), Group())
        limit = end + PATIENCE_S
        while not self._finished():
            if self.now >= limit:
                raise Violation(f"not finished {PATIENCE_S:g} s after the last fault: {self._leftovers()}")
            self.scheduler.run(self.now + 0.25)
        for unit in self.units:
            truth.compare(unit.truth, self.store, self.sought)
            self._complete(unit)
        self._nothing_lost()
        return self

    def _peace(self) -> None:
        self.scheduler.weather = Weather(generation=self.scheduler.weather.generation)
        for host in self.hosts:
            host.cut_until = 0.0
            for group in (host.keeper, *(each.group for each in host.slices if each is not None)):
                group.cut_until = 0.0
        self.mended = True
        if not any(host.alive and not host.stopping for host in self.hosts):
            self.join()

    def _mend(self) -> Actor:
        """An operator who replays whatever is blocked until nothing is."""
        while True:
            self.replay()
            yield 1.0

    def _finished(self) -> bool:
        if not self.sender.settled or self.store.hash(self.halted):
            return False
        for unit in self.units:
            own, stream = self.store.hash(unit.truth.own), self.store.stream(unit.truth.events)
            if not own or "block" in own or stream is None or not own.get("nonce"):
                return False
            if parse(own["cursor"]) < (stream.ids[-1] if stream.ids else (0, 0)):
                return False
        return self._balanced()

    def _balanced(self) -> bool:
        """Whether every partition runs where it belongs: whoever stood in for another has let go again."""
        owners: list[Place | None] = []
        for unit in self.units:
            member, _, number = self.store.hash(unit.truth.own)["owner"].rpartition("/")
            owners.append((member, int(number)))
        members = self.store.hash(self.membership[0])
        return (
            assign(able({member: entry.split("|")[2].encode() for member, entry in members.items()}), owners) == owners
        )

    def _leftovers(self) -> str:
        return "; ".join(f"{unit.truth.own}: {self.store.hash(unit.truth.own)}" for unit in self.units)

    def _complete(self, unit: Unit) -> None:
        """Every event is accounted for, and has its output if nobody trimmed or sought."""
        stream = self.store.stream(unit.truth.events)
        assert stream is not None
        if self.deleted and self.skipped:  # a skip passes over what was deleted before the failed event
            return
        if self.sought or not stream.has(stream.last):  # that the end is gone is noticed with the next event
            return
        if int(self.store.hash(unit.truth.own)["count"]) != stream.added:
            raise Violation(f"{unit.truth.own}: counts {self.store.hash(unit.truth.own)['count']} of {stream.added}")
        if not (self.trimmed or self.deleted) and [text_of(each) for each in stream.ids] != unit.truth.done:
            raise Violation(f"{unit.truth.events}: {stream.ids} were sent, {unit.truth.done} are done")

    def _nothing_lost(self) -> None:
        stored = [fields[1] for unit in self.units for fields in (self._events(unit).fields)]
        if len(set(stored)) != len(stored):
            raise Violation(f"a record is there twice: {sorted(stored)}")
        if not (self.trimmed or self.deleted) and (lost := self.sender.acknowledged - set(stored)):
            raise Violation(f"acknowledged and lost: {sorted(lost)}")
        bound = self.deaths + len(self.hung) * 4 * self.attempts
        if self.restarts > bound:
            raise Violation(f"{self.restarts} restarts after {self.deaths} deaths")

    def _events(self, unit: Unit) -> Stream:
        return self.store.stream(unit.truth.events) or Stream()

    # --- what happens in the store ----------------------------------------------------------------------------

    def run(self, script: str, names: list[str], args: list[str], dead: str = "") -> Any:
        """A script, with its consequences checked."""
        holder = ""
        if script == "lease_acquire":
            holder = self.store.hash(names[0]).get("owner", "").partition("/")[0]
        reply = self.store.run(script, names, args)
        if self.trace is not None:
            self.say(f"{script} {names[0]} {args} -> {reply}")
        unit = next((unit for unit in self.units if unit.truth.own == names[0]), None)
        if unit is not None and script == "lease_acquire":
            truth.acquired(unit.truth, args[0], reply, dead)
            member = args[1].partition("/")[0]
            if reply[0] == "OK" and holder not in ("", member) and holder not in self.expelled:
                self.violated(f"{member} took {unit.truth.own} from {holder}, whom nobody had expelled")
        elif script == "member_expel" and reply:
            self.expelled.add(args[0])
        elif unit is not None and script == "lease_release" and reply:
            if unit.truth.owner != (args[0], args[1]):
                self.violated(f"released by {args[:2]}, who did not have it: {unit.truth.owner}")
            unit.truth.owner = None
        return reply

    def commit(self, unit: Unit, args: list[str]) -> list[str]:
        """A lane's commit."""
        names = [unit.truth.own, unit.truth.events, unit.truth.out]
        before = self.store.hash(unit.truth.own).get("cursor", "0-0")
        reply: list[str] = self.run("commit", names, args)
        truth.committed(unit.truth, self.store, args, reply, before)
        # A suspect is known by its number in the partition, which the next one gets if a stranger deletes it.
        if reply[0] == "OK" and args[8] and not (self.deleted or self.trimmed):
            truth.convicted(args[8], self.guilty, self.killed_beside)
        return reply

    def read(self, unit: Unit, after: str, count: int) -> list[tuple[str, str]]:
        """XREAD: ids and the numbers of the records."""
        stream = self._events(unit)
        found = stream.after(parse(after), count)
        start = stream.ids.index(found[0]) if found else 0
        return [(text_of(each), stream.fields[start + at][1]) for at, each in enumerate(found)]

    def holdings(self) -> tuple[set[str], list[Holding]]:
        """What a keeper reads before it settles."""
        found = [Holding(self.store.hash(unit.truth.own)) for unit in self.units]
        return set(self.store.hash(self.halted)), found

    def present(self) -> dict[str, bytes]:
        """Every member's entry."""
        return {member: entry.encode() for member, entry in self.store.hash(self.membership[0]).items()}

    def added(self, unit: Unit) -> None:
        """Entries came: blocked reads return."""
        for signal in unit.signals:
            self.scheduler.after(self.rng.random() * 0.002, self.scheduler.fire, signal)

    # --- what happens to processes ----------------------------------------------------------------------------

    def kind(self, uid: str) -> str:
        """What a record's handler does."""
        return "ok" if self.mended else self.kinds.get(uid, "ok")

    def new_signal(self, unit: Unit) -> Signal:
        signal = Signal()
        unit.signals.append(signal)
        return signal

    def forget(self, lane: Lane) -> None:
        """Its process is dead."""
        if lane in lane.unit.lanes:
            lane.unit.lanes.remove(lane)
            lane.unit.signals.remove(lane.nudge)

    def starts(self, lane: Lane, event: str) -> None:
        """A handler begins: nobody else may have the partition, but after a seek or a failover under way."""
        owner = lane.unit.truth.owner
        if owner != (lane.epoch, lane.nonce) and lane.moves == lane.unit.truth.moves:
            self.violated(f"a handler of {lane.epoch} begins with {event} while {owner} owns {lane.unit.truth.own}")
        for other in lane.unit.lanes:  # on one host there are never two, unless it was expelled or Redis forgot
            host = lane.slice.host
            if other is not lane and other.busy and other.slice.host is host and other.forfeits == host.forfeits:
                self.violated(f"two slices of {host.member} are in handlers of {lane.unit.truth.own}")

    def told(self, lane: Lane, events: list[str]) -> None:
        """An owner heard that these events are done, and goes on behind them."""
        if lane.moves == lane.unit.truth.moves and not set(events) <= set(lane.unit.truth.done):
            self.violated(f"{lane.unit.truth.own}: told that {events} are done, which they are not")

    def dies(self, slice_: Slice, uid: str) -> None:
        """A record that kills its process."""
        self.guilty.add(uid)
        self.deaths += 1
        self.say(f"record {uid} kills {slice_.host.member}/{slice_.slot}")
        slice_.host.kill_slice(slice_.slot, Cause.DIED)

    def host_dies(self, host: Host, uid: str) -> None:
        """A record that takes the machine down."""
        self.guilty.add(uid)
        self.say(f"record {uid} takes {host.member} down")
        self.lose(host)

    def lose(self, host: Host) -> None:
        """A machine is gone; another one joins after a while."""
        if host.alive:
            host.die()
            self.scheduler.after(1.0 + self.rng.random() * 3, self.join)

    def join(self) -> None:
        """A host comes up."""
        self.members += 1
        self.hosts = [host for host in self.hosts if host.alive]
        self.hosts.append(Host(self, f"h{self.members}", self.rng.randint(1, 2)))

    def left(self, host: Host) -> None:
        """It drained and is gone."""
        host.die()

    def tell(self, host: Host | None) -> None:
        """Something on the control stream: every other keeper looks again."""
        for other in self.hosts:
            if other is not host and other.alive:
                self.scheduler.after(self.rng.random() * 0.01, self._heard, other)

    def _heard(self, host: Host) -> None:
        host.news = True
        self.scheduler.fire(host.wake)

    def replay(self) -> None:
        """`runnelctl replay`: whatever blocks may run again; a loss is accepted."""
        found = False
        for unit in self.units:
            own = self.store.hash(unit.truth.own)
            if "block" in own and not own.get("nonce"):
                self.run("block_clear", [unit.truth.own, unit.truth.events], ["", "", "1"])
                found = True
        if self.store.data.pop(self.halted, None) or found:
            self.say("replay")
            for host in self.hosts:
                self._heard(host)

    def violated(self, message: str) -> None:
        raise Violation(message)

    def say(self, what: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now:9.4f}  {what}")
