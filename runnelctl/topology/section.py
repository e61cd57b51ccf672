"""Typed reading of a mapping that has passed the shape check: a value, or its default where there is none.

Where a value is there but wrong, its default stands in, so that everything else can still be built and checked.
"""

from __future__ import annotations

import enum
from typing import TypeVar

from runnelctl.topology import units
from runnelctl.topology.nodes import Findings, Mapping, Node, Scalar, plain_value

E = TypeVar("E", bound=enum.Enum)


class Section:
    """One or two mappings (a processor, and the file's `defaults`): the first that has a key gives its value."""

    def __init__(self, findings: Findings, *mappings: Node | None) -> None:
        self.findings = findings
        self.mappings = [node for node in mappings if isinstance(node, Mapping) and not node.wrong]

    def node(self, key: str) -> Node | None:
        """The node of `key` where it is given and not wrong."""
        for mapping in self.mappings:
            if key in mapping.entries:
                node = mapping.entries[key]
                return None if node.wrong else node
        return None

    def scalar(self, key: str) -> Scalar | None:
        node = self.node(key)
        return node if isinstance(node, Scalar) else None

    def section(self, key: str) -> Section:
        """The mappings below `key`, merged as these are."""
        return Section(self.findings, *(mapping.entries.get(key) for mapping in self.mappings))

    def has(self, key: str) -> bool:
        return any(key in mapping.entries for mapping in self.mappings)

    def text(self, key: str) -> str | None:
        scalar = self.scalar(key)
        return None if scalar is None else scalar.text

    def integer(self, key: str) -> int | None:
        scalar = self.scalar(key)
        value = None if scalar is None else plain_value(scalar.text) if scalar.interpolated else scalar.value
        return value if isinstance(value, int) else None

    def choice(self, key: str, kind: type[E], default: E) -> E:
        text = self.text(key)
        return default if text is None else kind(text)

    def duration_ms(self, key: str, default: int) -> int:
        """Milliseconds. Over ten years is reported."""
        scalar = self.scalar(key)
        if scalar is None:
            return default
        duration = units.duration_ms(scalar.text)
        if duration is None:
            self.findings.wrong(scalar, f"{key} is longer than ten years")
        elif duration == 0 and scalar.text.strip("0.msh d"):
            self.findings.wrong(scalar, f"{key} is under a millisecond")
        return default if duration is None else duration

    def size_bytes(self, key: str) -> int | None:
        """Bytes. An absurd size is reported."""
        scalar = self.scalar(key)
        size = None if scalar is None else units.size_bytes(scalar.text)
        if scalar is not None and not size:
            self.findings.wrong(scalar, f"{key} is not a size that a process can have")
        return size
