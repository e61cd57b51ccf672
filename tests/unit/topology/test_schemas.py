"""Which JSON Schemas are taken, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runnelctl.topology import schemas

GOOD: list[Any] = [
    {},
    True,
    False,
    {"type": "object", "properties": {"$ref": {"type": "string"}}},
    {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"a": {}}, "$ref": "#/definitions/a"},
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": {"a": {}}, "items": {"$ref": "#/$defs/a"}},
    {"const": {"$ref": "https://example.com"}, "examples": [{"$ref": "x.json"}]},
    {"properties": {"const": {"$ref": "#"}}},
]
BAD: list[tuple[Any, str]] = [
    (3, "a JSON Schema is an object"),
    ([], "a JSON Schema is an object"),
    ({"type": 3}, "not a JSON Schema: 3 is not"),
    ({"minimum": "a"}, "not a JSON Schema: 'a' is not of type 'number'"),
    ({"$schema": "http://example.com/x"}, "unknown $schema 'http://example.com/x'"),
    ({"$schema": []}, "$schema must be the URI"),
    ({"properties": {"const": {"$ref": "x.json"}}}, "$ref to 'x.json' is refused"),
    ({"$dynamicRef": "http://a"}, "$dynamicRef to 'http://a' is refused"),
    ({"allOf": [{"$ref": "file:///etc/passwd"}]}, "is refused: only references inside the schema"),
    ({"$ref": "#/$defs/a"}, "not a JSON Schema: Pointer '/$defs/a' does not exist"),
    ({"pattern": "("}, "not a JSON Schema"),
    ({"pattern": "\ud800"}, "not a JSON Schema"),
]


@pytest.mark.parametrize("schema", GOOD, ids=str)
def test_taken(schema: Any) -> None:
    schemas.check(schema)


@pytest.mark.parametrize(("schema", "sentence"), BAD, ids=range(len(BAD)))
def test_refused(schema: Any, sentence: str) -> None:
    with pytest.raises(schemas.NotASchema) as caught:
        schemas.check(schema)
    assert sentence in str(caught.value)


def test_very_deep_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5_000):
        schema = {"items": schema}
    with pytest.raises(schemas.NotASchema, match="nested more than 128 deep"):
        schemas.check(schema)


FILES = {
    b"": "schema s.json is not JSON: Expecting value",
    b"{": "schema s.json is not JSON",
    b'{"minimum": NaN}': "schema s.json is not JSON: NaN is no JSON value",
    b'"\xff"': "schema s.json is not JSON: not UTF-8",
    b"[" * 200_000: "schema s.json is not JSON: nested too deep",
    b" " * ((4 << 20) + 1): "schema s.json is over 4 MiB",
    b"3": "schema s.json: a JSON Schema is an object",
    b'{"properties": {"a": {"type": "strin"}}}': "schema s.json at properties.a.type: not a JSON Schema: 'strin'",
}


@pytest.mark.parametrize("text", FILES, ids=lambda text: repr(text[:20]))
def test_files(text: bytes, mistakes: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "s.json").write_bytes(text)
    found = mistakes("name: s\nstreams: {o: {partitions: 1, schema: s.json}}")
    assert len(found) == 1
    assert found[0].startswith(f"topology.yaml:2:38: {FILES[text]}")
