"""Whose partitions may go on elsewhere when a slice is killed while another of its processor is away."""

from __future__ import annotations

import dataclasses
import signal
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from runnelctl.core.lifecycle import PROOF_S
from runnelctl.core.plan import plan
from runnelctl.runtime import board as cells
from runnelctl.runtime import mourning
from runnelctl.runtime.board import Board, Shape
from runnelctl.runtime.host import Host
from runnelctl.runtime.post import Post
from runnelctl.store import endpoint
from tests.bench import topology


def spared(*, other_died_s_ago: float | None) -> bool:
    """Kill a slice of two that is idle; whether its partitions may go on elsewhere."""
    of = topology()
    two = dataclasses.replace(of.processors["billing"], processes=2)
    host = Host(
        plan=plan(dataclasses.replace(of, processors={"billing": two})), endpoint=endpoint.unix("/nowhere"),
        member="h:1:x", board=Board(Shape(2, 2)), directory="/nowhere", wakes={}, drain=False, digest="",
        embedded_root=None,
    )  # fmt: skip
    q, d = host.board.q, host.board.d
    slots = [host.board.slot(slot.index) for slot in host.plan.slots]
    for base in slots:
        for cell in (cells.S_INCARNATION, cells.S_READY, cells.S_PID):
            q[base + cell] = 1
    if other_died_s_ago is not None:
        q[slots[1] + cells.S_PID], q[slots[1] + cells.S_DEAD] = 0, 1
        d[slots[1] + cells.S_JUDGED] = monotonic() - other_died_s_ago
    slot = host.plan.slots[0]
    post = Post.of_slot(slot, lambda index, incarnation: 0)
    post.incarnation, post.began = 1, monotonic()
    output: Any = SimpleNamespace(say=lambda text: None)
    assert mourning.slice_ended(host, post, slot, 1, signal.SIGKILL, output, stopping=False) == ""
    return bool(q[slots[0] + cells.S_SPARED])


@pytest.mark.parametrize(("ago_s", "expected"), [(None, True), (0.0, False), (PROOF_S + 0.1, True)])
def test_one_right_after_the_other_waits_and_later_ones_do_not(ago_s: float | None, expected: bool) -> None:
    """The other one may be in a pause of many seconds: who took over from it has shown that it lives."""
    assert spared(other_died_s_ago=ago_s) is expected
