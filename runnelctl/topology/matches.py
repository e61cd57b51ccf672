"""`match` of a processor, read and held against the stream's schema."""

from __future__ import annotations

from runnelctl.core import model
from runnelctl.topology import contradictions
from runnelctl.topology.nodes import Findings, Mapping, Scalar, Sequence, contains_wrong, plain_value
from runnelctl.topology.section import Section


def read(section: Section, stream: model.Stream | None, findings: Findings) -> model.Match:
    node = section.node("match")
    if not isinstance(node, Mapping):
        return ()
    found = []
    for name, given in node.entries.items():
        if contains_wrong(given):
            continue
        items = given.items if isinstance(given, Sequence) else [given]
        values = tuple(
            plain_value(item.text) if item.interpolated else item.value for item in items if isinstance(item, Scalar)
        )
        found.append((name, values))
        if not values:
            findings.wrong(given, f"match: {name} has no value to match: no event would ever be handled")
    if not node.entries:
        findings.wrong(node, "match is empty: name a field and its values, or leave match out")
    if stream is not None and stream.schema is not None:
        for name, sentence in contradictions.of_match(tuple(found), stream.schema):
            findings.warning(node.entries[name].place, sentence)
    return tuple(found)
