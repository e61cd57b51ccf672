"""What events did, as a commit carries it: packed so that both sides have few words to read."""

from __future__ import annotations

from typing import Any

from runnelctl.runtime.states import Effect
from runnelctl.store.wire import Argument

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


def numbered(effects: list[Effect], names: list[Argument]) -> list[Argument]:
    """Effects as lua/commit.lua takes them; keys go to `names`. Of several writes to a state the last stays, and plain
    entries of one stream share one effect as long as no other one of the stream comes between."""
    number: dict[Argument, int] = {}
    merged: list[list[Argument]] = []
    writes: dict[str, Effect] = {}
    entries: dict[str, list[Argument]] = {}
    for effect in effects:
        op, name, arguments = effect
        if op == "E":
            group = entries.get(name)
            if group is None:
                group = entries[name] = ["E", _number(name, number, names), arguments[0], 0]
                merged.append(group)
            group += arguments[1:]
        elif op in "SDT":
            writes[name] = effect
        else:
            entries.pop(name, None)
            more = _MORE_KEYS.get(op, 0)
            others = [_number(each, number, names) for each in arguments[:more]]
            merged.append([op, _number(name, number, names), *others, *arguments[more:]])
    words: list[Argument] = []
    for group in merged:
        if group[0] == "E":
            group[3] = len(group) // 2 - 2
        words += group
    for op, name, arguments in writes.values():
        words += (op, _number(name, number, names), *arguments)
    return words


def _number(name: Argument, number: dict[Argument, int], names: list[Argument]) -> int:
    """The number of a key; it joins `names` the first time."""
    found = number.get(name)
    if found is None:
        names.append(name)
        found = number[name] = len(names)
    return found
