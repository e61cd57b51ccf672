"""What Redis holds, as plain values: streams, states, failures, and what a commit does to them.

It decides nothing that the scripts decide about owners, since there is one: a commit here always passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from runnelctl.store.leases import Commit
from runnelctl.store.wire import Argument, encoded

#: What follows the number of an effect's key: numbers of more keys, then so many words.
_MORE = {"S": (0, 1), "D": (0, 0), "T": (0, 2), "P": (1, 3), "U": (2, 2), "F": (2, 3), "A": (0, 2)}


@dataclass
class Own:
    """What the own hash of a unit says."""

    cursor: bytes = b"0-0"
    count: int = 0
    seq: int = 0
    epoch: int = 0
    block: str = ""
    edit_id: bytes = b""
    edit: bytes = b""
    above: bytes = b""  # ids of events that are done behind the cursor
    parked: dict[str, str] = field(default_factory=dict)  # key -> its failure record
    asked: dict[str, None] = field(default_factory=dict)  # keys to be replayed


@dataclass
class Memory:
    """Everything by its key in Redis. `now_ms` gives entries their ids."""

    now_ms: Any
    streams: dict[bytes, list[list[Any]]] = field(default_factory=dict)
    states: dict[bytes, bytes] = field(default_factory=dict)
    logs: dict[bytes, list[list[bytes]]] = field(default_factory=dict)
    lists: dict[bytes, list[bytes]] = field(default_factory=dict)
    owns: dict[bytes, Own] = field(default_factory=dict)
    _last: tuple[int, int] = (0, 0)

    def append(self, name: bytes, fields: list[bytes]) -> bytes:
        """A new entry at the end of a stream; its id."""
        ms, seq = self._last
        now = int(self.now_ms())
        self._last = (now, 0) if now > ms else (ms, seq + 1)
        entry_id = b"%d-%d" % self._last
        self.streams.setdefault(name, []).append([entry_id, fields])
        return entry_id

    def after(self, name: bytes, cursor: bytes) -> list[list[Any]]:
        """The entries of a stream behind an id."""
        entries = self.streams.get(name, [])
        at = _id(cursor)
        first = next((index for index, entry in enumerate(entries) if _id(entry[0]) > at), len(entries))
        return entries[first:]

    def own(self, name: str) -> Own:
        return self.owns.setdefault(name.encode(), Own())

    def commit(self, commit: Commit) -> list[bytes]:
        """Do what lua/commit.lua does for an owner. No stream is ever full here."""
        keys = [_bytes(name) for name in commit.keys]
        own = self.owns[keys[0]]
        for op, number, words in _effects(commit.effects):
            self._apply(op, keys[number - 1], words, own)
        own.cursor, own.count, own.seq = commit.new, own.count + commit.n, commit.seq
        if commit.block:
            own.block = commit.block
        if commit.n:
            own.edit_id = own.edit = b""
        return [b"OK"]

    def _apply(self, op: str, key: bytes, words: list[Any], own: Own) -> None:
        if op in "ST":
            self.states[key] = _bytes(words[0])
        elif op == "D":
            self.states.pop(key, None)
        elif op == "E":
            for data, event_key in zip(words[1::2], words[2::2], strict=True):
                self.append(key, [b"data", _bytes(data), b"key", _bytes(event_key)])
        elif op == "X":
            self.append(key, [_bytes(word) for word in words[1:]])
        elif op == "L":
            self.logs.setdefault(key, []).append([_bytes(word) for word in words[1:]])
        elif op == "A":
            own.above = _bytes(words[0])
        elif op == "P":
            _, event_key, element, record = words
            self.lists.setdefault(key, []).append(_bytes(element))
            own.parked.setdefault(str(event_key), str(record))
        else:
            _, _, event_key, _, *record = words
            if op == "F":
                own.parked[str(event_key)] = str(record[0])
                own.asked.pop(str(event_key), None)
            else:
                self.lists[key].pop(0)
                if not self.lists[key]:
                    own.parked.pop(str(event_key), None)
                    own.asked.pop(str(event_key), None)


def _effects(flat: Any) -> Iterator[tuple[str, int, list[Any]]]:
    """An effect at a time: what, the number of its key, its words (for an append: the limit, then the fields)."""
    at = 0
    while at < len(flat):
        op, number = str(flat[at]), int(flat[at + 1])
        if op in ("X", "L", "E"):
            count = int(flat[at + 3]) * (2 if op == "E" else 1)
            words = [flat[at + 2], *flat[at + 4 : at + 4 + count]]
            at += 4 + count
        elif op in _MORE:
            count = sum(_MORE[op])
            words = list(flat[at + 2 : at + 2 + count])
            at += 2 + count
        else:
            raise NotImplementedError(f"the test harness has no counterpart of the effect {op!r}")
        yield op, number, words


def _id(entry_id: bytes) -> tuple[int, int]:
    ms, _, seq = entry_id.partition(b"-")
    return int(ms), int(seq or 0)


def _bytes(word: Argument) -> bytes:
    return word if isinstance(word, bytes) else encoded(str(word))
