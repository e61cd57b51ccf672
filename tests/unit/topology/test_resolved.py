"""The resolved file is a topology file again."""

# ruff: noqa: E501 - a snippet of YAML stays as a user would write it

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from runnelctl import topology
from runnelctl.core import model

Load = Callable[..., model.Topology]
TEXT = """\
name: "${NAME}"
redis: redis://h:1/0
pythonpath: [sub]
streams:
  orders: {partitions: 8, key: a$$b.c, schema: s.json, capacity: 7, retention: {events: 9, age: 7d}}
  plain: {partitions: 1, schema: {enum: ["1e5", 1e5, "no", "null", "$x", "${Y}", "12:30", "", true]}, validate: both}
processors:
  billing: {stream: orders, handler: "m:f", dead_letter: true, batch: {size: 5}, max_memory: 1GiB, max_events: 9, timeout: 90s, middleware: [a:b]}
  other: {stream: plain, handler: "m:f", start: latest, policy: IGNORE}
lease: {ttl: 1500ms}
"""


def test_it_loads_as_the_same_topology(load: Load, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{}")
    shop = load(TEXT, environ={"NAME": "1e3"})
    assert shop.name == "1e3"
    assert load(topology.text(shop)) == shop
    assert load(topology.text(load("name: s\nstreams: {o: {partitions: 1}}"))).processors == {}


def test_secrets_are_hidden_and_dollars_are_themselves_in_the_document(load: Load, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{}")
    document = topology.document(load(TEXT.replace("//h", "//u:hunter2@h"), environ={"NAME": "n"}))
    assert document["redis"] == "redis://u:***@h:1/0"
    assert document["streams"]["orders"]["key"] == "a$b.c"
    assert document["pythonpath"] == [str(tmp_path / "sub")]
    assert document["streams"]["orders"]["schema"] == str(tmp_path / "s.json")
