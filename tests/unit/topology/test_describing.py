"""What makes two topologies the same, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runnelctl import topology
from runnelctl.core import model

Load = Callable[..., model.Topology]
BASE = """\
name: s
redis: redis://:a@h
streams: {o: {partitions: 8, schema: {type: object}}}
processors: {p: {stream: o, handler: "m:f", processes: 1, batch: {size: 5}}}
"""
SAME = [
    ("redis://:a@h", "redis://:b@other"),
    ("processes: 1", "processes: 2"),
    ("processes: 1", "max_memory: 1GiB"),
    ("{type: object}", "{'type': 'object'}"),
    ("name: s", "pythonpath: [.]\nname: s"),
]
OTHER = [
    ("partitions: 8", "partitions: 4", "streams.o.partitions: 8 here, 4 there"),
    ("{type: object}", "{type: array}", "streams.o.schema: "),
    ("m:f", "m:g", "processors.p.handler: m:f here, m:g there"),
    ("size: 5", "size: 6", "processors.p.batch.size: 5 here, 6 there"),
    (", batch: {size: 5}", "", "processors.p.batch: absent here, none there"),
    ("name: s", "name: s\nlease: {ttl: 9s}", "lease.ttl_ms: 6000 here, 9000 there"),
    ("processes: 1", "policy: IGNORE", "processors.p.policy: HALT here, IGNORE there"),
]


@pytest.mark.parametrize(("old", "new"), SAME)
def test_a_host_s_own_business_does_not_count(old: str, new: str, load: Load) -> None:
    here, there = load(BASE), load(BASE.replace(old, new))
    assert topology.digest(here) == topology.digest(there)


@pytest.mark.parametrize(("old", "new", "phrase"), OTHER)
def test_what_counts_is_named(old: str, new: str, phrase: str, load: Load) -> None:
    here, there = load(BASE), load(BASE.replace(old, new))
    assert topology.digest(here) != topology.digest(there)
    found = topology.differences(topology.describe(here), topology.describe(there))
    assert any(each.startswith(phrase) for each in found), found


def test_a_schema_counts_by_its_contents_wherever_it_stands(load: Load, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type":\n"object"}')
    assert topology.digest(load(BASE)) == topology.digest(load(BASE.replace("{type: object}", "s.json")))


def test_it_is_flat_and_text(load: Load) -> None:
    described = topology.describe(load(BASE))
    assert described["streams.o.partitions"] == "8"
    assert described["processors.p.retry.attempts"] == "3"
    assert all(isinstance(value, str) for value in described.values())
    assert topology.digest(load(BASE)) == topology.digest(load(BASE))
    assert len(topology.digest(load(BASE))) == 32
