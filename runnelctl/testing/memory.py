"""What Redis holds, as plain values: streams, states, failures, and what a commit does to them.

It decides nothing that the scripts decide about owners, since there is one: a commit here always passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from runnelctl.store.leases import Commit
from runnelctl.store.wire import Argument, encoded

_WORDS = {"S": 1, "D": 0}  # what follows the key's number


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


@dataclass
class Memory:
    """Everything by its key in Redis. `now_ms` gives entries their ids."""

    now_ms: Any
    streams: dict[bytes, list[list[Any]]] = field(default_factory=dict)
    states: dict[bytes, bytes] = field(default_factory=dict)
    logs: dict[bytes, list[list[bytes]]] = field(default_factory=dict)
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
            self._apply(op, keys[number - 1], words)
        own.cursor, own.count, own.seq = commit.new, own.count + commit.n, commit.seq
        if commit.block:
            own.block = commit.block
        if commit.n:
            own.edit_id = own.edit = b""
        return [b"OK"]

    def _apply(self, op: str, key: bytes, words: list[Argument]) -> None:
        if op == "S":
            self.states[key] = _bytes(words[0])
        elif op == "D":
            self.states.pop(key, None)
        else:
            fields = [_bytes(word) for word in words[1:]]
            if op == "X":
                self.append(key, fields)
            else:
                self.logs.setdefault(key, []).append(fields)


def _effects(flat: Any) -> Iterator[tuple[str, int, list[Argument]]]:
    """An effect at a time: what, the number of its key, its words (for an append: the limit, then the fields)."""
    at = 0
    while at < len(flat):
        op, number = str(flat[at]), int(flat[at + 1])
        if op in ("X", "L"):
            count = int(flat[at + 3])
            words = [flat[at + 2], *flat[at + 4 : at + 4 + count]]
            at += 4 + count
        elif op in _WORDS:
            words = list(flat[at + 2 : at + 2 + _WORDS[op]])
            at += 2 + _WORDS[op]
        else:
            raise NotImplementedError(f"the test harness has no counterpart of the effect {op!r}")
        yield op, number, words


def _id(entry_id: bytes) -> tuple[int, int]:
    ms, _, seq = entry_id.partition(b"-")
    return int(ms), int(seq or 0)


def _bytes(word: Argument) -> bytes:
    return word if isinstance(word, bytes) else encoded(str(word))
