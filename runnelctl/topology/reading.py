"""From a file to a tree of nodes. Everything that makes YAML dangerous or ambiguous is refused here, with its place.

The tree is built from the parser's events, without recursion and without following aliases: an alias bomb or 200,000
brackets cost no more than their own bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from runnelctl.topology.nodes import Findings, Mapping, Node, Place, Scalar, Sequence, plain_value

MAX_BYTES = 1 << 20
MAX_DEPTH = 32

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser is 7 times faster where there is one
_YAML_1_1_BOOLEANS = frozenset(
    f(word) for word in ("yes", "no", "on", "off") for f in (str.lower, str.title, str.upper)
)


class Unreadable(Exception):
    """The file can't be read any further; what is wrong is among the findings."""


TOPOLOGY = "a topology is a mapping (name: ..., streams: ...)"


def read(file: str, findings: Findings, what: str = TOPOLOGY) -> Mapping:
    """The tree of the YAML mapping in `file`. Mistakes go to `findings`; raises Unreadable where no tree is left.
    `what`: the sentence for a file that holds something else."""
    text = _read_text(file, findings)
    try:
        root = _Tree(file, findings).build(yaml.parse(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        findings.problem(_place_of(error, file), _sentence(error))
        raise Unreadable from None
    if root is None:
        needs = "a topology needs at least a name and streams" if what == TOPOLOGY else what
        raise _refused(findings, file, f"the file is empty: {needs}")
    if not isinstance(root, Mapping):
        findings.problem(root.place, what)
        raise Unreadable
    return root


def _read_text(file: str, findings: Findings) -> str:
    try:
        with Path(file).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused(findings, file, "no such file") from None
    except IsADirectoryError:
        raise _refused(findings, file, "is a directory, not a topology file") from None
    except (OSError, ValueError) as error:
        raise _refused(findings, file, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise _refused(findings, file, "is over 1 MiB; split it with include:")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        place = Place(file, before.count(b"\n") + 1, column)
        findings.problem(place, f"not UTF-8: byte 0x{data[error.start]:02x}")
        raise Unreadable from None


def _refused(findings: Findings, file: str, message: str) -> Unreadable:
    findings.problem(Place(file, 1, 1), message)
    return Unreadable()


def _place_of(error: yaml.YAMLError, file: str) -> Place:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)


def _sentence(error: yaml.YAMLError) -> str:
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or error).splitlines()[0]
    if "maximum nesting depth" in problem:  # a scanner that reads far ahead gives up before the tree does
        return f"nested more than {MAX_DEPTH} deep"
    if "cannot start any token" in problem:
        problem += " (indent with spaces, not tabs; quote text that begins with % @ or `)"
    elif "tab character" in problem:
        problem += " (indent with spaces, not tabs)"
    elif "mapping values are not allowed" in problem:
        problem += " (quote text that holds a colon and a space)"
    elif "',' or '}'" in problem:
        problem += ' (inside braces, quote text that holds braces, as in "${VAR}")'
    return f"not YAML: {problem}"


class _Tree:
    """Builds the tree from events; `open_nodes` is the path from the root to where the parser stands."""

    def __init__(self, file: str, findings: Findings) -> None:
        self.file = file
        self.findings = findings
        self.open_nodes: list[tuple[Mapping | Sequence, list[tuple[str, Place]]]] = []
        self.root: Node | None = None
        self.documents = 0

    def build(self, events: Iterator[Any]) -> Node | None:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                if self.documents > 1:
                    self.findings.problem(self._place(event), "a second document (---): a topology file holds one")
                    raise Unreadable
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self.open_nodes.pop()
            elif isinstance(event, yaml.NodeEvent):
                self._node(event)
        if isinstance(self.root, Scalar) and self.root.value is None and not self.root.wrong:
            return None
        return self.root

    def _place(self, event: Any) -> Place:
        return Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def _node(self, event: Any) -> None:
        node = self._made(event)
        self._refuse_extras(event, node)
        self._attach(event, node)
        if isinstance(node, (Mapping, Sequence)):
            self.open_nodes.append((node, []))
            if len(self.open_nodes) > MAX_DEPTH:
                self.findings.problem(node.place, f"nested more than {MAX_DEPTH} deep")
                raise Unreadable

    def _made(self, event: Any) -> Node:
        place = self._place(event)
        if isinstance(event, yaml.MappingStartEvent):
            return Mapping(place)
        if isinstance(event, yaml.SequenceStartEvent):
            return Sequence(place)
        if isinstance(event, yaml.AliasEvent):
            return Scalar(place)
        plain = event.style in (None, "")
        return Scalar(place, text=event.value, value=plain_value(event.value) if plain else event.value)

    def _refuse_extras(self, event: Any, node: Node) -> None:
        if isinstance(event, yaml.AliasEvent):
            self.findings.wrong(node, f"aliases (*{event.anchor}) are refused: write the value out, or use defaults:")
        elif event.anchor is not None:
            self.findings.problem(
                node.place, f"anchors (&{event.anchor}) are refused: write the value out where it is needed"
            )
        tag = getattr(event, "tag", None)
        if tag is not None and tag != "!":
            self.findings.wrong(
                node, f"tags ({tag.replace('tag:yaml.org,2002:', '!!')}) are refused: write a plain value"
            )

    def _attach(self, event: Any, node: Node) -> None:
        """Put the node where the parser stands: as the root, an item, a key, or the value of the key before it."""
        if not self.open_nodes:
            self.root = node
            self._refuse_boolean(event, node)
            return
        parent, pending = self.open_nodes[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
            self._refuse_boolean(event, node)
        elif pending:
            key, place = pending.pop()
            self._refuse_boolean(event, node)
            self._put(parent, key, place, node)
        else:
            pending.append((self._key(node), node.place))

    def _key(self, node: Node) -> str:
        if isinstance(node, Scalar):
            return node.text
        self.findings.problem(node.place, "a key must be text, not a mapping or a list")
        return f"\0{node.place.line}:{node.place.column}"

    def _put(self, parent: Mapping, key: str, place: Place, node: Node) -> None:
        first = parent.key_places.get(key)
        if first is not None:
            self.findings.problem(place, f"{key!r} is here twice, first in line {first.line}")
        elif not key.startswith("\0"):
            parent.put(key, node, place)

    def _refuse_boolean(self, event: Any, node: Node) -> None:
        if isinstance(node, Scalar) and node.text in _YAML_1_1_BOOLEANS and event.style in (None, ""):
            self.findings.wrong(
                node,
                f"{node.text} is a boolean to some YAML readers and text to others: write true or false, or quote it",
            )
