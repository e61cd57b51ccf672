"""A record class against a schema, and a match against either."""

# ruff: noqa: E501 - a row of a table stays on one line

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from runnelctl.topology import contradictions


class Item(msgspec.Struct):
    sku: str
    count: int = 1


class Order(msgspec.Struct):
    id: str
    cents: int
    items: list[Item] = []
    note: str | None = None
    user: Item | None = None


EXPORTED = msgspec.json.schema(Order)
FITS = {
    "required": ["id", "cents"],
    "properties": {
        "id": {"type": "string"},
        "cents": {"type": "integer"},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        "note": {"type": ["string", "null"]},
        "extra": {"type": "integer"},
    },
    "$defs": {"item": {"properties": {"sku": {"type": "string"}}, "required": ["sku"]}},
}


def top(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema["$ref"].rpartition("/")[2]
    return {**schema["$defs"][name], "$defs": schema["$defs"]}


def changed(**properties: Any) -> dict[str, Any]:
    return FITS | {"properties": {**FITS["properties"], **properties}}  # type: ignore[dict-item]


def test_what_goes_together_is_not_complained_about() -> None:
    for exported in (EXPORTED, top(EXPORTED)):
        assert contradictions.of_class(FITS, exported) == []
    for anything in (
        True,
        False,
        None,
        {},
        {"type": "object"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    ):
        assert contradictions.of_class(anything, EXPORTED) == []


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (FITS | {"required": ["id"]}, "cents is required by the class, and a record may lack it by the schema"),
        (FITS | {"required": ["id", "cents", "extra"]}, "extra is required by the schema, and the class does not have it"),
        (changed(id={"type": "integer"}), "id is integer by the schema, and string in the class"),
        (changed(id={"enum": [1, 2]}), "id is integer by the schema, and string in the class"),
        (changed(cents={"type": "number"}), "cents may have a fraction by the schema, and is an integer in the class"),
        (changed(cents={"type": ["integer", "null"]}), "cents may be null by the schema, and not in the class"),
        (changed(note={"type": "object"}), "note is object by the schema, and null or string in the class"),
        (changed(items={"type": "array", "items": {"type": "string"}}), "items[] is string by the schema, and object in the class"),
        (changed(items={"items": {"properties": {"sku": {"type": "integer"}}, "required": ["sku"]}}),
         "items[].sku is integer by the schema, and string in the class"),
        (changed(user={"properties": {"skew": {}}}),
         "user.sku is required by the class, and the schema does not have it"),
    ],
)  # fmt: skip
def test_what_contradicts(schema: dict[str, Any], said: str) -> None:
    found = contradictions.of_class(schema, EXPORTED)
    assert len(found) == 1
    assert found[0].startswith(said)


def test_a_name_nearly_right() -> None:
    schema = {"required": ["id", "cent"], "properties": {"id": {"type": "string"}, "cent": {"type": "integer"}}}
    assert contradictions.of_class(schema, EXPORTED) == [
        "cents is required by the class, and the schema does not have it (did you mean 'cent'?)",
        "cent is required by the schema, and the class does not have it (did you mean 'cents'?)",
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("type", "paid", None),
        ("type", "payd", "match: type is never 'payd' by the schema (did you mean 'paid'?)"),
        ("typ", "paid", "match: the schema has no field 'typ' (did you mean 'type'?)"),
        ("user.land", "DE", "match: the schema has no field 'land' in user"),
        ("user.country", 5, "match: user.country is string by the schema, and never 5"),
        ("user.country", "DE", None),
        ("n", 1.5, None),
        ("h:any", "x", None),
        ("free.any", "x", None),
    ],
)
def test_a_match_that_never_holds(name: str, value: Any, said: str | None) -> None:
    schema = {
        "properties": {
            "type": {"enum": ["paid", "refunded"]},
            "user": {"properties": {"country": {"type": "string"}}},
            "n": {"type": "integer"},
            "free": {},
        }
    }
    found = contradictions.of_match(((name, (value,)),), schema)
    assert found == ([] if said is None else [(name, said)])
