"""A topology file as a tree of nodes that know where they stand, and the findings that are reported about them.

Our own small tree instead of PyYAML's: it holds no aliases, no tags and no duplicate keys, and a scalar's type follows
YAML 1.2 (so `no`, `12:30:45` and `2025-01-01` stay text).
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runnelctl import errors

Plain = str | int | float | bool | None

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_LONGEST_NUMBER = 40  # int() of thousands of digits is slow, then refused; nothing here needs more than 20
_MOST_FINDINGS = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: the file as the user named it, line and column from 1."""

    file: str
    line: int
    column: int


@dataclass(slots=True)
class Node:
    """`wrong` means that the value has been reported already: nothing may be built on it or said about it again."""

    place: Place
    wrong: bool = False
    origin: str = ""  # "RUNNELCTL_DRAIN" or "--drain" where the value does not come from the file


@dataclass(slots=True)
class Scalar(Node):
    """`text` is what stands in the file; `value` is its type as plain YAML. Interpolated ones may be read as either."""

    text: str = ""
    value: Plain = None
    interpolated: bool = False


@dataclass(slots=True)
class Mapping(Node):
    """Keys are always text, whatever YAML would make of them."""

    entries: dict[str, Node] = field(default_factory=dict)
    key_places: dict[str, Place] = field(default_factory=dict)

    def put(self, key: str, node: Node, place: Place) -> None:
        self.entries[key] = node
        self.key_places[key] = place


@dataclass(slots=True)
class Sequence(Node):
    items: list[Node] = field(default_factory=list)


class TooManyFindings(Exception):
    """Enough is enough: a broken file may hold a hundred thousand mistakes, and nobody reads more than the first."""


@dataclass(slots=True)
class Findings:
    """What was found so far: problems, which refuse the file, and warnings, which don't."""

    problems: list[errors.Problem] = field(default_factory=list)
    warnings: list[errors.Problem] = field(default_factory=list)

    def problem(self, place: Place, message: str) -> None:
        """Note a mistake. Raises TooManyFindings after the hundredth."""
        self.problems.append(errors.Problem(place.file, place.line, place.column, message))
        if len(self.problems) >= _MOST_FINDINGS:
            raise TooManyFindings

    def wrong(self, node: Node, message: str) -> None:
        """Note a mistake in a value, and mark the value so that it is not reported again."""
        node.wrong = True
        self.problem(node.place, f"{node.origin}: {message}" if node.origin else message)

    def warning(self, place: Place, message: str) -> None:
        self.warnings.append(errors.Problem(place.file, place.line, place.column, message))


def plain_value(text: str) -> Plain:
    """The value that a plain (unquoted) YAML scalar of this text has: null, a boolean, a number, or else the text."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) <= _LONGEST_NUMBER:
        if _INTEGER.fullmatch(text):
            return int(text.replace("_", ""))
        if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
            return number
    return text


def to_python(node: Node) -> Any:
    """The node as plain dicts, lists and scalars, for an inline JSON Schema."""
    if isinstance(node, Mapping):
        return {key: to_python(value) for key, value in node.entries.items()}
    if isinstance(node, Sequence):
        return [to_python(item) for item in node.items]
    assert isinstance(node, Scalar)
    return node.value


def contains_wrong(node: Node) -> bool:
    """Whether anything at or below the node has been reported."""
    if isinstance(node, Mapping):
        return node.wrong or any(map(contains_wrong, node.entries.values()))
    if isinstance(node, Sequence):
        return node.wrong or any(map(contains_wrong, node.items))
    return node.wrong


def beside(file: str, path: str) -> str:
    """The absolute path of what `file` calls `path`. Links are left as they are: a file and what stands beside it
    belong together even where the file itself is a link."""
    return os.path.normpath(Path.cwd() / Path(file).parent / path)
