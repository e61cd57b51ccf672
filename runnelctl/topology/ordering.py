"""What a processor's events wait for: `order` and `concurrency`, and what fits together."""

from __future__ import annotations

from runnelctl.core import model
from runnelctl.topology.nodes import Findings
from runnelctl.topology.section import Section


def order(section: Section) -> model.Order:
    """`order` of a processor."""
    return section.choice("order", model.Order, model.Order.PARTITION)


def concurrency(section: Section, findings: Findings) -> int:
    """`concurrency` of a processor; more than 1 needs keys side by side."""
    found, scalar = section.integer("concurrency") or 1, section.scalar("concurrency")
    if found > 1 and scalar is not None and order(section) is not model.Order.KEY:
        findings.wrong(scalar, f"concurrency {found} needs order: key; with order: partition one event runs at a time")
    return found
