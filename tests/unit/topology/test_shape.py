"""The published schema, our interpreter of it, the model and the table of what is to come must agree."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from runnelctl.core import model
from runnelctl.topology import building, interpolation, reading, section, shape, unsupported
from runnelctl.topology.nodes import Findings

STREAM = {
    *("partitions", "key", "schema", "record", "partitioner", "capacity", "validate", "codec", "compression"),
    "retention",
}
COMMON = {
    *("match", "processes", "policy", "scope", "order", "concurrency", "retry", "timeout", "batch", "commit"),
    *("dead_letter", "start", "max_memory", "max_events", "middleware", "max_parked", "state"),
}


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            yield schema
        for value in schema.values():
            yield from _objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _objects(value)


def test_it_is_valid_draft_07_and_closed_everywhere() -> None:
    jsonschema.Draft7Validator.check_schema(shape.published())
    assert shape.published()["$schema"] == "http://json-schema.org/draft-07/schema#"
    found = list(_objects(shape.published()))
    assert len(found) == 16
    for each in found:
        assert each["additionalProperties"] is False or each is found[0]["properties"].get("streams")


def test_every_key_has_a_title_for_messages_and_a_description_for_editors() -> None:
    for each in _objects(shape.published()):
        for key, value in each["properties"].items():
            assert "title" in shape.resolved(value), key
            assert any("description" in each for each in _chain(value)), key


def _chain(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    if "$ref" in schema:
        yield from _chain(shape.published()["definitions"][schema["$ref"].rpartition("/")[2]])


def test_the_accepted_keys() -> None:
    schema = shape.published()
    definitions = schema["definitions"]
    assert set(schema["properties"]) == {
        *("name", "redis", "pythonpath", "streams", "processors", "tasks", "defaults", "lease", "drain", "start"),
        "include",
        *("durability", "log", "discover"),
    }
    assert set(definitions["stream"]["properties"]) == STREAM
    assert set(definitions["defaults"]["properties"]) == COMMON
    assert set(definitions["processor"]["properties"]) == COMMON | {"stream", "handler"}


class _Recorder(section.Section):
    """Notes the keys that `building` asks for."""

    asked: set[str]

    def node(self, key: str) -> Any:
        self.asked.add(key)
        return super().node(key)

    def section(self, key: str) -> section.Section:
        self.asked.add(key)
        return super().section(key)

    def has(self, key: str) -> bool:
        self.asked.add(key)
        return super().has(key)


def test_what_the_schema_accepts_is_what_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = {"codec", "compression"}  # one value only, so nothing to build
    monkeypatch.setattr(_Recorder, "asked", set(), raising=False)
    monkeypatch.setattr(building, "Section", _Recorder)
    findings = Findings()
    text = "{name: s, streams: {o: {partitions: 1}}, processors: {p: {stream: o, handler: 'm:f', batch: {}}}}"
    tree = reading._Tree("t.yaml", findings).build(yaml.parse(text, Loader=yaml.SafeLoader))
    building.topology(tree, "t.yaml", findings)  # type: ignore[arg-type]
    top = set(shape.published()["properties"]) - {"include"}
    assert _Recorder.asked >= (top | STREAM | COMMON | {"stream", "handler"}) - fixed


def test_defaults_in_the_schema_are_those_of_the_model() -> None:
    definitions = shape.published()["definitions"]
    assert definitions["retry"]["properties"]["attempts"]["default"] == model.Retry().attempts
    assert definitions["commit"]["properties"]["events"]["default"] == model.CommitBounds().events
    assert definitions["batch"]["properties"]["size"]["default"] == model.Batch().size
    defaults = {each.name: each.default for each in dataclasses.fields(model.Stream)}
    assert definitions["stream"]["properties"]["capacity"]["default"] == defaults["capacity"]
    assert definitions["stream"]["properties"]["validate"]["default"] == model.Validate.SEND.value


def test_nothing_is_both_supported_and_not() -> None:
    properties = {
        "": shape.published()["properties"],
        "streams.*": shape.published()["definitions"]["stream"]["properties"],
        "processors.*": shape.published()["definitions"]["processor"]["properties"],
        "defaults": shape.published()["definitions"]["defaults"]["properties"],
    }
    for parent, keys in unsupported._KEYS.items():
        assert not set(keys) & set(properties[parent])
    for path, values in unsupported._VALUES.items():
        parent, _, key = path.rpartition(".")
        branches = shape.resolved(properties[parent][key])["anyOf"]
        assert not set(values) & set(branches[0]["enum"])


STREAM_VALUES: dict[str, list[Any]] = {
    "partitions": [1, 4096, 0, 4097, "8", True, None, 1.5],
    "key": ["a", "a.b", "", "a..b", 3],
    "schema": ["a.json", {}, [], 3, ""],
    "record": ["a:b", "a.b:C", "a", 1],
    "codec": ["json", "msgpack", "fields", "a:b", "a b", 1],
    "compression": ["none", "zstd", "a.b:c", True],
    "partitioner": ["crc32", "murmur2", "ring", None, "a:b", {}, {"ring": {}}, {"ring": {"vnodes": 0}}],
    "capacity": [1, 0, "1"],
    "validate": ["send", "never", True],
}
PROCESSOR_VALUES: dict[str, list[Any]] = {
    "stream": ["o", "", "a b", "a" * 64, "a" * 65, "o\n", 3],
    "match": [{}, {"a": 1}, {"a.b": [1, "x", None, True]}, {"a": {}}, {"a": [[1]]}, {"": 1}, {"h:x": 1.5}, "a"],
    "handler": ["a:b", "a.b:c.d", "a", "a:", ":b", "a:b:c", "1:a"],
    "processes": [1, 0, True],
    "policy": ["HALT", "halt"],
    "scope": ["partition", "key", "event"],
    "max_parked": [{}, {"events": 1}, {"events": 0}, {"size": "1MiB"}, {"size": "many"}, {"keys": 1}, 5],
    "state": [{}, {"ttl": "7d"}, {"ttl": "0s"}, {"ttl": 7}, {"age": "1d"}, "7d"],
    "order": ["partition", "key", "keys"],
    "concurrency": [1, 1_024, 1_025, 0],
    "retry": [{}, {"attempts": 1}, {"attempts": 0}, {"x": 1}, [], {"backoff": "0s"}, {"max_backoff": "1"}],
    "timeout": ["1s", "0s", "0.5h", "1w", 1],
    "batch": [{}, None, {"size": 100_001}, {"within": "1s"}],
    "commit": [{"every": "1s", "events": 1}, {"events": 0}],
    "dead_letter": [True, False, "o", "", 1],
    "start": ["earliest", "latest", "first"],
    "max_memory": ["1MiB", "1", "0KB", "1.5GB"],
    "max_events": [1, 0],
    "middleware": [["a:b"], [], "a:b", ["c"]],
}
CASES = [("streams", key, value) for key, values in STREAM_VALUES.items() for value in values] + [
    ("processors", key, value) for key, values in PROCESSOR_VALUES.items() for value in values
]


@pytest.mark.parametrize(("kind", "key", "value"), CASES)
def test_our_interpreter_agrees_with_jsonschema(kind: str, key: str, value: Any) -> None:
    document: dict[str, Any] = {
        "name": "s",
        "streams": {"o": {"partitions": 1}},
        "processors": {"p": {"stream": "o", "handler": "m:f"}},
    }
    document[kind]["o" if kind == "streams" else "p"][key] = value
    findings = Findings()
    tree = reading._Tree("t.yaml", findings).build(yaml.parse(json.dumps(document), Loader=yaml.SafeLoader))
    assert tree is not None
    interpolation.apply(tree, {}, findings)  # type: ignore[arg-type]
    shape.check(tree, shape.published(), "", findings)
    # jsonschema uses re.search, where $ matches before a newline at the end; ours does not
    strict = jsonschema.Draft7Validator(shape.published()).is_valid(document) and value != "o\n"
    assert (not findings.problems) == strict
