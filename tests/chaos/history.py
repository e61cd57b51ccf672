"""What a run left in its directory, as values. The judge sees nothing else."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

Id = tuple[int, int]
Unit = tuple[str, int]  # processor, partition
STREAM_OF = {"sink": "events", "echo": "echoes"}


#: What was acknowledged a little before a cut may be lost with it, since replication lags; what was handled before it
#: may be handled again, since commits lag; and a call that began before the cut was noticed may end later.
_AWAY = ("kill-redis", "stop-redis", "torn-tail", "failover", "redis-1s")
_LAG_NS, _HANDLED_NS, _AFTER_NS = 300_000_000, 5_000_000_000, 3_000_000_000


class Effect(NamedTuple):
    """One line of a handler; times in ns of the machine's monotonic clock."""

    processor: str
    host: str
    pid: int
    epoch: int
    partition: int
    id: Id
    key: str
    seq: int
    start: int
    end: int

    @property
    def unit(self) -> Unit:
        return self.processor, self.partition

    def __str__(self) -> str:
        return (
            f"{self.processor}:{self.partition} {self.id[0]}-{self.id[1]} by {self.host}/{self.pid} epoch {self.epoch}"
        )


@dataclass(slots=True)
class Sent:
    """What producers wrote of one (key, seq): ids that they were told, and sends of unknown outcome or still open."""

    acked: list[Id] = field(default_factory=list)
    attempts: int = 0
    refused: int = 0
    acked_at: list[int] = field(default_factory=list)

    @property
    def doubtful(self) -> int:
        """Attempts that may have left a copy without anybody being told."""
        return self.attempts - self.refused - len(self.acked)


class Taken(NamedTuple):
    """An entry that Redis holds. `raw` is set where it is no record of ours."""

    id: Id
    key: str
    seq: int
    of: Id | None = None
    do: str = ""
    raw: bool = False


class Change(NamedTuple):
    """What Redis let pass: a lease that was taken ("a"), a commit ("c"), a release ("r"), or a gap in what is known."""

    kind: str
    unit: Unit
    epoch: int
    nonce: str
    seq: int
    expected: str
    cursor: str
    n: int
    at: int
    owner: str = ""  # member/slot, of a lease that was taken


@dataclass(slots=True)
class History:
    """Everything; a hand-made one is what the checker's own tests are made of."""

    ttl_ns: int = 2_000_000_000
    aftermath_ns: int = 4_000_000_000
    commit_events: int = 100
    partitions: int = 16
    at_once: int = 0  # handlers of a partition with order: key; 0 with order: partition
    batch: int = 1  # events of one call, at most
    park: bool = False  # what fails is parked and replayed in the end, with what follows of its key
    effects: list[Effect] = field(default_factory=list)
    sent: dict[tuple[str, int], Sent] = field(default_factory=lambda: defaultdict(Sent))
    taken: dict[str, dict[int, list[Taken]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    dead: list[dict[str, str]] = field(default_factory=list)
    own: dict[Unit, dict[str, str | None]] = field(default_factory=dict)
    states: dict[str, dict[str, int]] = field(default_factory=dict)
    actions: list[dict[str, Any]] = field(default_factory=list)
    hosts: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)  # where the product's own output calls something a defect
    alarms: list[str] = field(default_factory=list)  # where it says that Redis lost something
    leaks: list[str] = field(default_factory=list)  # files that hold the secret
    files: int = 0
    changes: list[Change] = field(default_factory=list)

    @property
    def by_key(self) -> bool:
        """Whether keys overtake each other; then what is true of a partition is true of each key."""
        return bool(self.at_once) or self.park

    @property
    def cuts(self) -> list[tuple[int, int]]:
        """From when until when Redis took what it had forgotten afterwards."""
        return [(action["cut"], action["end"]) for action in self.actions if "cut" in action]

    @property
    def removed(self) -> set[tuple[int, Id]]:
        """Entries of `events` that a stranger removed before they were handled, by what the product says."""
        return {
            (action["partition"], id_of(entry))
            for action in self.actions
            for entry in (*action.get("lost", ()), *action.get("passed", ()))
        }

    def forgotten(self, at: int) -> bool:
        """Whether Redis may have lost what it took then."""
        return any(begin - _LAG_NS <= at <= end + _AFTER_NS for begin, end in self.cuts)

    def again(self, unit: Unit, event: Id, before: int, now: int) -> bool:
        """Whether what happened to Redis may have had an event, last begun at `before`, handled another time."""
        return self._cut_between(before, now) or self._removed_between(unit, event, before, now)

    def _removed_between(self, unit: Unit, event: Id, before: int, now: int) -> bool:
        """A stranger removed one that came earlier and was not committed: then neither was anything after it."""
        return unit[0] == "sink" and any(
            action["partition"] == unit[1] and min(map(id_of, action["lost"])) <= event
            and action["at"] - _HANDLED_NS <= before <= action["end"] and now >= action["at"]
            for action in self.actions if action.get("lost")
        )  # fmt: skip

    def _cut_between(self, first: int, second: int) -> bool:
        for begin, end in self.cuts:
            since = begin - _HANDLED_NS
            # While Redis was away nothing could be committed: what was done before that was, perhaps, after the cut.
            for at, until in sorted(self._outages(), reverse=True):
                if at < since <= until:
                    since = at - _HANDLED_NS
            if since <= first <= end + _AFTER_NS and second >= begin:
                return True
        return False

    def _outages(self) -> list[tuple[int, int]]:
        return [(action["at"], action["end"]) for action in self.actions if action["nemesis"] in _AWAY]


def id_of(text: str) -> Id:
    ms, _, seq = text.partition("-")
    return int(ms), int(seq)


def read(directory: Path, secret: str) -> History:
    """The history of a run. Raises OSError if there is none."""
    options = json.loads((directory / "options.json").read_text())
    history = History(
        ttl_ns=options["ttl_ms"] * 1_000_000, commit_events=options["commit_events"], partitions=options["partitions"],
        aftermath_ns=int(options.get("aftermath_ttls", 2.0) * options["ttl_ms"] * 1_000_000),
        at_once=options.get("concurrency", 1) if options.get("order") == "key" else 0, park=options.get("park", False),
        batch=max(1, options.get("batch", 0)),
    )  # fmt: skip
    # In the order in which calls began: one that was stopped in between is written down when it goes on.
    history.effects = [_effect(line.split()) for line in _lines(directory / "effects")]
    history.effects.sort(key=lambda effect: effect.start)
    history.changes = [_change(line.split()) for line in _lines(directory / "commits")]
    for path in sorted(directory.glob("intents.*")):
        for line in _lines(path):
            note_sent(history, line.split())
    for entry in _json_lines(directory / "taken.jsonl"):
        history.taken[entry["stream"]][entry["partition"]].append(_taken(entry))
    history.dead = _json_lines(directory / "dead.jsonl")
    for entry in _json_lines(directory / "own.jsonl"):
        history.own[entry["processor"], entry["partition"]] = entry
    history.states = {entry["key"]: entry for entry in _json_lines(directory / "states.jsonl")}
    for streams in history.taken.values():
        for entries in streams.values():
            entries.sort(key=lambda entry: entry.id)  # what was removed was written down first
    history.actions = _json_lines(directory / "actions.jsonl")
    history.hosts = _json_lines(directory / "hosts.jsonl")
    history.samples = _json_lines(directory / "samples.jsonl")
    history.facts = {fact["what"]: fact for fact in _json_lines(directory / "facts.jsonl")}
    for path in sorted(directory.glob("up.*.out")):
        history.complaints += [f"{path.name}: {line}" for line in _lines(path) if "a defect" in line]
    for path in (*sorted(directory.glob("up.*.out")), *sorted(directory.glob("producer.*.out"))):
        history.alarms += [f"{path.name}: {line}" for line in _lines(path) if any(word in line for word in _ALARMS)]
    found = [path for path in directory.rglob("*") if path.is_file()]
    history.files = len(found)
    history.leaks = [str(path.relative_to(directory)) for path in found if holds(path, secret.encode())]
    return history


_ALARMS = ("Redis went back in time", "has lost records that it had acknowledged")


def holds(path: Path, secret: bytes) -> bool:
    """Whether a file has the secret in it, however large it is."""
    end = b""
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            if secret in end + part:
                return True
            end = part[-len(secret) :]
    return False


def note_sent(history: History, words: list[str]) -> None:
    """One line of a producer, split."""
    sent = history.sent[words[1], int(words[2])]
    if words[0] == "i":
        sent.attempts += 1
    elif words[0] == "a":
        sent.acked.append(id_of(words[3]))
        sent.acked_at.append(int(words[4]))
    elif words[0] == "r":
        sent.refused += 1


def _effect(words: list[str]) -> Effect:
    processor, host, pid, epoch, partition, event_id, key, seq, start, end = words
    return Effect(
        sys.intern(processor), sys.intern(host), int(pid), int(epoch), int(partition), id_of(event_id),
        sys.intern(key), int(seq), int(start), int(end),
    )  # fmt: skip


def _change(words: list[str]) -> Change:
    match words:
        case ["a", processor, partition, epoch, nonce, cursor, _, at, owner]:
            return Change("a", (processor, int(partition)), int(epoch), nonce, 0, "", cursor, 0, int(at), owner)
        case ["c", processor, partition, epoch, nonce, seq, expected, new, n, at]:
            unit = (sys.intern(processor), int(partition))
            return Change("c", unit, int(epoch), nonce, int(seq), expected, new, int(n), int(at))
        case ["r", processor, partition, epoch, nonce, at]:
            return Change("r", (processor, int(partition)), int(epoch), nonce, 0, "", "", 0, int(at))
        case _:
            return Change("gap", ("", 0), 0, "", 0, "", "", 0, int(words[1]))


def _taken(entry: dict[str, Any]) -> Taken:
    if "raw" in entry or not isinstance(entry.get("seq"), int) or "key" not in entry:
        return Taken(id_of(entry["id"]), "", -1, raw=True)
    of = id_of(entry["of"]) if "of" in entry else None
    return Taken(id_of(entry["id"]), entry["key"], entry["seq"], of, entry.get("do", ""))


def _lines(path: Path) -> list[str]:
    """Lines that were written to their end."""
    return path.read_text(errors="replace").split("\n")[:-1] if path.exists() else []


def _json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _lines(path)]
