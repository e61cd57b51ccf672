"""What a run left in its directory, as values. The judge sees nothing else."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

Id = tuple[int, int]
Unit = tuple[str, int]  # processor, partition
STREAM_OF = {"sink": "events", "echo": "echoes"}


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


@dataclass(slots=True)
class History:
    """Everything; a hand-made one is what the checker's own tests are made of."""

    ttl_ns: int = 2_000_000_000
    commit_events: int = 100
    partitions: int = 16
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
    leaks: list[str] = field(default_factory=list)  # files that hold the secret


def id_of(text: str) -> Id:
    ms, _, seq = text.partition("-")
    return int(ms), int(seq)


def read(directory: Path, secret: str) -> History:
    """The history of a run. Raises OSError if there is none."""
    options = json.loads((directory / "options.json").read_text())
    history = History(
        ttl_ns=options["ttl_ms"] * 1_000_000, commit_events=options["commit_events"], partitions=options["partitions"]
    )
    for line in _lines(directory / "effects"):
        history.effects.append(_effect(line.split()))
    for path in sorted(directory.glob("intents.*")):
        for line in _lines(path):
            note_sent(history, line.split())
    for entry in _json_lines(directory / "taken.jsonl"):
        history.taken[entry["stream"]][entry["partition"]].append(_taken(entry))
    history.dead = _json_lines(directory / "dead.jsonl")
    for entry in _json_lines(directory / "own.jsonl"):
        history.own[entry["processor"], entry["partition"]] = entry
    history.states = {entry["key"]: entry for entry in _json_lines(directory / "states.jsonl")}
    history.actions = _json_lines(directory / "actions.jsonl")
    history.hosts = _json_lines(directory / "hosts.jsonl")
    history.samples = _json_lines(directory / "samples.jsonl")
    history.facts = {fact["what"]: fact for fact in _json_lines(directory / "facts.jsonl")}
    for path in sorted(directory.glob("up.*.out")):
        history.complaints += [f"{path.name}: {line}" for line in _lines(path) if "a defect" in line]
    found = (path for path in directory.rglob("*") if path.is_file())
    history.leaks = [str(path.relative_to(directory)) for path in found if secret.encode() in path.read_bytes()]
    return history


def note_sent(history: History, words: list[str]) -> None:
    """One line of a producer, split."""
    sent = history.sent[words[1], int(words[2])]
    if words[0] == "i":
        sent.attempts += 1
    elif words[0] == "a":
        sent.acked.append(id_of(words[3]))
    elif words[0] == "r":
        sent.refused += 1


def _effect(words: list[str]) -> Effect:
    processor, host, pid, epoch, partition, event_id, key, seq, start, end = words
    return Effect(
        processor, host, int(pid), int(epoch), int(partition), id_of(event_id), key, int(seq), int(start), int(end)
    )


def _taken(entry: dict[str, Any]) -> Taken:
    if "raw" in entry or not isinstance(entry.get("seq"), int) or "key" not in entry:
        return Taken(id_of(entry["id"]), "", -1, raw=True)
    of = id_of(entry["of"]) if "of" in entry else None
    return Taken(id_of(entry["id"]), entry["key"], entry["seq"], of, entry.get("do", ""))


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def _json_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _lines(path)]
