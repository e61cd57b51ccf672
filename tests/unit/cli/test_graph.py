"""Pictures of a topology."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.unit.cli.conftest import Outcome

TOPOLOGY = """
name: shop
streams:
  orders: {partitions: 8, key: user}
  end: {partitions: 1}
processors:
  billing: {stream: orders, handler: "a:b", processes: 2, policy: IGNORE, dead_letter: true}
  graph: {stream: orders, handler: "a:c", processes: 1, batch: {size: 50}}
tasks:
  beat: {run: "a:d", every: 10s}
  night: {run: "a:e", cron: "0 3 * * *", leader: true}
"""


def test_a_tree_for_people(run: Callable[..., Outcome], write: Callable[[str, str], Path]) -> None:
    write("topology.yaml", TOPOLOGY)
    outcome = run("graph")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "shop",
        "├─ orders  (8 partitions, key user)",
        "│  ├─▶ billing  a:b  (x2, IGNORE; dead letters to orders.dead)",
        "│  └─▶ graph  a:c  (x1, HALT, batches of 50)",
        "├─ end  (1 partition)",
        "├─ orders.dead  (8 partitions)",
        "└─ tasks",
        "   ├─▶ beat  a:d  (every 10s)",
        "   └─▶ night  a:e  (cron 0 3 * * * UTC, leader)",
    ]


def test_mermaid_uses_no_word_of_its_own_as_a_name(
    run: Callable[..., Outcome], write: Callable[[str, str], Path]
) -> None:
    write("topology.yaml", TOPOLOGY)
    lines = run("graph", "--format", "mermaid").out.splitlines()
    assert lines[0] == "flowchart LR"
    assert lines[-3:] == ["  s0 --> p0", "  p0 -. dead letters .-> s2", "  s0 --> p1"]
    assert all(re.match(r"  [spt]\d", line) for line in lines[1:])


def test_dot_names_every_stream_and_processor(run: Callable[..., Outcome], write: Callable[[str, str], Path]) -> None:
    write("topology.yaml", TOPOLOGY)
    text = run("graph", "--format", "dot").out
    assert text.startswith('digraph "shop" {') and text.endswith("}\n")
    assert '"stream:orders" -> "processor:billing";' in text
    assert '"processor:billing" -> "stream:orders.dead" [style=dashed, label="dead letters"];' in text


def test_a_mistake_in_the_file_is_said_as_ever(run: Callable[..., Outcome], write: Callable[[str, str], Path]) -> None:
    write("topology.yaml", "name: shop\n")
    outcome = run("graph")
    assert (outcome.code, outcome.out) == (2, "")
    assert "1:1: no stream is declared" in outcome.err
