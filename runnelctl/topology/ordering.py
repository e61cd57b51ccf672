"""What a processor's events wait for: `order` and `concurrency`, and what fits together."""

from __future__ import annotations

from runnelctl.core import model
from runnelctl.topology.nodes import Findings
from runnelctl.topology.section import Section


def order(section: Section, findings: Findings) -> model.Order:
    """`order` of a processor."""
    found, scalar = section.choice("order", model.Order, model.Order.PARTITION), section.scalar("order")
    scope = section.choice("scope", model.Scope, model.Scope.PARTITION)
    if found is model.Order.KEY and scope is model.Scope.KEY and scalar is not None:
        findings.wrong(scalar, "order: key together with scope: key is not supported by this version yet")
    return found


def concurrency(section: Section, findings: Findings) -> int:
    """`concurrency` of a processor; more than 1 needs keys side by side."""
    found, scalar = section.integer("concurrency") or 1, section.scalar("concurrency")
    if (
        found > 1
        and scalar is not None
        and section.choice("order", model.Order, model.Order.PARTITION) is not model.Order.KEY
    ):
        findings.wrong(scalar, f"concurrency {found} needs order: key; with order: partition one event runs at a time")
    return found
