"""What events did, as a commit carries it: packed so that both sides have few words to read."""

from __future__ import annotations

from collections import deque
from typing import Any

from runnelctl.runtime.states import Effect
from runnelctl.store.wire import Argument

EFFECTS_PER_COMMIT = 2_000
EFFECT_BYTES_PER_COMMIT = 8 * 1024 * 1024

#: Effects that are in no commit yet, oldest first: ordinal and id of their event, and what it did.
Waiting = deque[tuple[int, bytes, list[Effect]]]

_MORE_KEYS = {"P": 1, "U": 2, "F": 2}  # arguments that are names of keys, too


def size_of(effects: list[Effect]) -> int:
    """About how many bytes a commit carries them in."""
    size = 0
    for op, _, arguments in effects:
        parts: Any = arguments
        if op == "E":
            size += len(parts[1]) + len(parts[2])
        elif op == "S":
            size += len(parts[0])
        else:
            for part in parts:
                if not isinstance(part, int):
                    size += len(part)
    return size


class Packing:
    """Effects on their way into a commit, as lua/commit.lua takes them; their keys go to `names`. Of several writes to
    a state the last stays, and plain entries of one stream share one effect as long as no other one of the stream comes
    between."""

    __slots__ = ("_entries", "_number", "_packed", "_writes", "count", "events", "names", "size")

    def __init__(self, names: list[Argument]) -> None:
        self.names = names
        self.events = self.count = self.size = 0  # whose effects were taken, how many those are, and their `size_of`
        self._number: dict[Argument, int] = {}
        self._packed: list[list[Argument]] = []
        self._writes: dict[str, Effect] = {}
        self._entries: dict[str, list[Argument]] = {}  # to which more of the stream may be added

    def fill(self, waiting: Waiting, done: float) -> tuple[int, bytes] | None:
        """Take what waits of events up to ordinal `done`, oldest first. Returns ordinal and id of the last one if there
        is no room for more in one script."""
        entries, writes, size, count = self._entries, self._writes, self.size, self.count
        events, last = 0, None
        while waiting and waiting[0][0] <= done:  # what is in here is paid per event
            ordinal, event_id, effects = waiting.popleft()
            events += 1
            for effect in effects:
                op, name, arguments = effect
                if op == "E":
                    capacity, data, key = arguments
                    group = entries.get(name) or self._open(name, capacity)
                    group += (data, key)
                    size += len(data) + len(key)  # type: ignore[arg-type]
                elif op == "S":
                    writes[name] = effect
                    size += len(arguments[0])  # type: ignore[arg-type]
                else:
                    self.add(effect)
                    size += size_of([effect])
            count += len(effects)
            if count >= EFFECTS_PER_COMMIT or size >= EFFECT_BYTES_PER_COMMIT:
                last = ordinal, event_id
                break
        self.size, self.count = size, count
        self.events += events
        return last

    def add(self, effect: Effect) -> None:
        """Take one that is neither a plain entry nor a state that is set for ever."""
        op, name, arguments = effect
        if op in "DT":
            self._writes[name] = effect
            return
        self._entries.pop(name, None)
        more = _MORE_KEYS.get(op, 0)
        others = [self._numbered(each) for each in arguments[:more]]
        self._packed.append([op, self._numbered(name), *others, *arguments[more:]])

    def words(self) -> list[Argument]:
        """All of them. Nothing may be added after."""
        words: list[Argument] = []
        for group in self._packed:
            if group[0] == "E":
                group[3] = len(group) // 2 - 2
            words += group
        for op, name, arguments in self._writes.values():
            words += (op, self._numbered(name), *arguments)
        return words

    def _open(self, name: str, capacity: Argument) -> list[Argument]:
        group = self._entries[name] = ["E", self._numbered(name), capacity, 0]
        self._packed.append(group)
        return group

    def _numbered(self, name: Argument) -> int:
        """The number of a key; it joins `names` the first time."""
        found = self._number.get(name)
        if found is None:
            self.names.append(name)
            found = self._number[name] = len(self.names)
        return found
