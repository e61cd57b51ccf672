"""`runnelctl config` and `runnelctl schema`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from runnelctl import topology

TEXT = "name: s\nredis: 'redis://:hunter2@h'\nstreams: {o: {partitions: 2, key: a$$b}}\n"


def test_config_prints_yaml_or_json_without_secrets(run: Callable[..., Any], write: Callable[[str, str], Any]) -> None:
    write("t.yaml", TEXT)
    done = run("config", "t.yaml")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("name: s\nredis: redis://:***@h\nstreams:\n  o:\n    partitions: 2\n    key: a$$b\n")
    document = json.loads(run("config", "t.yaml", "--json").out)
    assert (document["redis"], document["streams"]["o"]["key"]) == ("redis://:***@h", "a$b")


def test_config_of_a_wrong_file_names_its_mistakes(run: Callable[..., Any], write: Callable[[str, str], Any]) -> None:
    write("t.yaml", TEXT + "x: 1\n")
    done = run("config", "t.yaml")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("t.yaml:4:1: unknown key 'x'")


def test_schema_prints_the_published_schema(run: Callable[..., Any]) -> None:
    done = run("schema")
    assert (done.code, done.out) == (0, topology.text_of_schema())
    assert json.loads(done.out)["title"] == "runnelctl topology"
