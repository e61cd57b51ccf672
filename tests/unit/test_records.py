"""Encoding, decoding and refusing records."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnelctl import records
from runnelctl.core.model import Stream, Validate
from runnelctl.errors import RecordError
from runnelctl.event import Event, Source
from runnelctl.records import Codec, Encoded, codec_for, limits

SCHEMA = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "minimum": 0},
        "kind": {"enum": ["paid", "refunded"]},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
    },
    "$defs": {"item": {"type": "object", "required": ["sku"]}},
}


@dataclasses.dataclass
class Order:
    id: str
    amount: float = 1.0


class Payment(msgspec.Struct):
    id: str
    amount: float = 1.0


def codec(**changes: Any) -> Codec:
    return codec_for(Stream(**({"name": "orders", "partitions": 8, "key": "id"} | changes)))


def refusal(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(RecordError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def plain_values() -> st.SearchStrategy[Any]:
    """What may be in a record, and a little of what may not."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5)
    return st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.integers() | st.text(), inner))


@pytest.mark.parametrize("record", [{"id": "a", "amount": 1.0}, Order("a"), Payment("a")])
def test_dicts_dataclasses_and_structs_are_the_same_record(record: Any) -> None:
    encoded = codec().encode(record)
    assert encoded.data == b'{"id":"a","amount":1.0}'
    assert (encoded.key, encoded.partition) == ("a", 3)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        ("é", "é"),
        (" ", " "),
        ("1", "1"),
        (7, "7"),
        (-7, "-7"),
        (10**30, "1" + "0" * 30),
        (True, "true"),
        (False, "false"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (1e16, "1e16"),
    ],
)
def test_how_a_key_becomes_text(value: Any, text: str) -> None:
    assert codec().encode({"id": value}).key == text


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"user": "a"}, "key field 'id' is missing: the record has user"),
        ({}, "key field 'id' is missing: the record has nothing"),
        ([1], "key field 'id' is missing: the record is a list, not an object"),
        ("id", "key field 'id' is missing: the record is a text, not an object"),
        (None, "key field 'id' is missing: the record is null, not an object"),
        ({"id": None}, "key field 'id' is null"),
        ({"id": ""}, "key field 'id' is empty"),
        ({"id": {"a": 1}}, "key field 'id' is an object"),
        ({"id": [1]}, "key field 'id' is a list"),
    ],
)
def test_a_record_without_its_key_is_told_what_was_there(record: Any, says: str) -> None:
    assert says in refusal(codec().encode, record)


def test_a_dotted_path_names_the_place_where_it_ends() -> None:
    deep = codec(key="user.address.zip")
    assert deep.encode({"user": {"address": {"zip": "x1"}}}).key == "x1"
    assert "'user' has name" in refusal(deep.encode, {"user": {"name": "n"}})
    assert "'user.address' is a text, not an object" in refusal(deep.encode, {"user": {"address": "here"}})


def test_a_key_given_stands_in_for_the_field() -> None:
    assert codec().encode({"user": 1}, key="mine").key == "mine"
    assert codec().encode({"id": "field"}, key="mine").key == "mine"
    for bad in ("", 7, "\ud800"):
        assert "the key given" in refusal(codec().encode, {"id": "a"}, key=bad)


def test_without_a_key_field_the_bytes_pick_the_partition() -> None:
    keyless = codec(key=None)
    partitions = {keyless.encode({"n": number}).partition for number in range(200)}
    assert partitions == set(range(8))
    assert keyless.encode({"n": 1}) == keyless.encode({"n": 1})
    assert keyless.encode({"n": 1}).key == ""
    assert keyless.encode({"n": 1}, key="k").key == "k"


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"x": math.nan}, "x: nan is no JSON number"),
        ({"x": [{"y": -math.inf}]}, "x[0].y: -inf is no JSON number"),
        ({1: 2}, "the name 1 is not a text"),
        ({"x": {None: 2}}, "not serialisable"),
        ({"x": {2.5: 2}}, "the name 2.5 in x is not a text"),
        ({"x": object()}, "not serialisable"),
        ({"x": "\ud800"}, "half of a surrogate pair"),
        ({"x": 10**5000}, "not serialisable"),
    ],
)
def test_what_json_cannot_carry_is_refused(extra: Any, says: str) -> None:
    assert says in refusal(codec().encode, {"id": "a"} | extra)


def test_a_dataclass_with_nan_is_refused_too() -> None:
    assert "amount: nan" in refusal(codec().encode, Order("a", math.nan))
    assert "amount: nan" in refusal(codec().encode, Payment("a", math.nan))


@given(st.dictionaries(st.text(max_size=3) | st.just("id"), plain_values(), max_size=5))
def test_the_short_way_to_an_entry_leads_where_the_long_one_does(record: dict[str, Any]) -> None:
    short, long = codec(), codec()
    long.__dict__["quick"] = lambda _: None
    found = short.quick(record)
    if found is not None:
        assert Encoded(*found) == long.encode(record)
    elif isinstance(record.get("id"), str) and record["id"]:
        refusal(long.encode, record)  # nothing that is right has to go the long way


def test_bytes_are_not_a_record() -> None:
    assert "not bytes" in refusal(codec().encode, b'{"id":"a"}')


def test_depth_is_bounded_in_both_directions() -> None:
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return value

    keyless = codec(key=None)
    assert keyless.decode(keyless.encode(nested(records.MAX_DEPTH)).data) == nested(records.MAX_DEPTH)
    for depth in (records.MAX_DEPTH + 1, 900, 200_000):
        assert "too deep" in refusal(keyless.encode, nested(depth))
        assert "too deep" in refusal(keyless.decode, b"[" * depth + b"]" * depth)
        assert "too deep" in refusal(keyless.decode, b'{"a":' * depth + b"1" + b"}" * depth)
        assert "too deep" in refusal(codec().encode, {"id": "a", "x": nested(depth)})
    # Wide is not deep, and neither are brackets in a text.
    assert keyless.decode(b"[" + b"[]," * 500 + b"[]]")
    assert keyless.decode(b'"' + b"[" * 500 + b'"') == "[" * 500


def test_size_is_bounded_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RECORD_BYTES", 200)
    keyless = codec(key=None)
    assert "too large: 200 bytes" in refusal(keyless.encode, "x" * 198)
    assert "too large: 5,000 bytes" in refusal(keyless.decode, b"[" * 5_000)
    assert "too large: 200 bytes" in refusal(codec().encode, {"id": "x" * 191})
    assert keyless.encode("x" * 197).data


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON: it is empty"),
        (b"{", "not JSON: input data was truncated"),
        (b"{} {}", "not JSON: trailing characters (byte 4)"),
        (b"[NaN]", "NaN is no JSON number"),
        (b"[Infinity]", "Infinity is no JSON number"),
        (b"1e999", "not JSON: number out of range"),
        (b'"\xff"', "not UTF-8: byte 0xff at offset 1"),
        (b'{"\xc3":1}', "not UTF-8: byte 0xc3 at offset 2"),
        (b'"\xed\xa0\x80"', "not UTF-8: byte 0xed at offset 1"),
        (b'"\\ud800"', "half of a surrogate pair"),
        (b"'a'", "not JSON: invalid character (byte 0)"),
        (b"9" * 5_000, "not JSON: integer value out of range"),
    ],
)
def test_what_is_not_json_gets_a_sentence(data: bytes, says: str) -> None:
    assert says in refusal(codec().decode, data)
    assert says in refusal(codec().raw, data)


def test_huge_integers_survive() -> None:
    assert codec().decode(b"9007199254740993") == 9007199254740993
    assert codec().decode(b"1" * 4_000) == int("1" * 4_000)


def test_raw_keeps_one_line_as_it_was_written() -> None:
    raw = codec().raw
    assert raw(b' {"id": "a", "n": 1.10}\n').data == b'{"id": "a", "n": 1.10}'
    assert raw(b'{"id":\n"a"}').data == b'{"id":"a"}'
    assert raw(b'{"id": 5}').key == "5"


def test_a_schema_names_the_first_errors_with_their_paths() -> None:
    strict = codec(schema=SCHEMA)
    assert strict.encode({"id": "a", "amount": 3, "items": [{"sku": 1}]})
    said = refusal(strict.encode, {"id": "a", "amount": -3})
    assert said == "amount: -3 is less than the minimum of 0"
    said = refusal(strict.encode, {"id": "a", "amount": -3, "kind": "x", "items": [{}, {}, {}]})
    assert said.startswith("amount: -3 is less than the minimum of 0; ")
    assert said.count(";") == 3  # which of them come first is the validator's choice
    assert said.endswith("; and 2 more")
    assert 'items[1]: "sku" is a required property' in refusal(strict.raw, b'{"id":"a","items":[{"sku":1},{}]}')


def test_a_long_record_does_not_make_a_long_message() -> None:
    said = refusal(codec(schema=SCHEMA).encode, {"id": "a", "kind": "x" * 10_000})
    assert len(said) < 300
    assert "paid" in said


def test_when_the_schema_counts() -> None:
    bad = {"id": "a", "amount": -1}
    for when in (Validate.READ, Validate.NEVER):
        assert codec(schema=SCHEMA, validate=when).encode(bad)
    for when in (Validate.SEND, Validate.BOTH):
        refusal(codec(schema=SCHEMA, validate=when).encode, bad)
    assert codec(schema=SCHEMA).raw(b'{"id":"a","amount":-1}', validated=True)
    refusal(codec(schema=SCHEMA, validate=Validate.READ).validate, bad)
    codec(schema=None).validate(bad)


def test_a_schema_must_not_fetch_anything() -> None:
    for uri in ("http://127.0.0.1:1/x.json", "file:///etc/hostname"):
        said = refusal(codec(schema={"$ref": uri}, schema_source="/s.json").encode, {"id": "a"})
        assert "the schema of stream 'orders' (/s.json) is not usable" in said
        assert "another document" in said


def test_a_hostile_pattern_ends_at_once() -> None:
    slow = codec(schema={"properties": {"id": {"pattern": "^(a|a)*(?=x)$"}}})
    assert refusal(slow.encode, {"id": "a" * 5_000 + "!"})


def test_headers() -> None:
    assert records.header_fields(None) == ()
    assert records.header_fields({"trace": "1", "blob": b"\xff"}) == ("h:trace", "1", "h:blob", b"\xff")
    for bad, says in (
        ({"": "x"}, "non-empty"),
        ({"a": 1}, "must be text or bytes, not int"),
        ({"a": "\ud800"}, "surrogate"),
        ({"\ud800": "a"}, "surrogate"),
        ({str(number): "" for number in range(65)}, "65 headers"),
    ):
        assert says in refusal(records.header_fields, bad)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_what_goes_in_comes_out(value: Any) -> None:
    keyless = codec(key=None)
    encoded = keyless.encode(value)
    assert keyless.decode(encoded.data) == value
    assert keyless.raw(encoded.data) == encoded


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        value = codec().decode(data)
    except RecordError:
        return
    assert codec(key=None).encode(value)


@given(st.one_of(st.binary(max_size=160), st.integers(0, 80).map(lambda depth: b"[" * depth + b"]" * depth)))
def test_an_event_decodes_as_the_codec_does_whichever_way_it_takes(data: bytes) -> None:
    codec = codec_for(Stream(name="s", partitions=1))
    event = Event(b"1-0", [b"data", data], Source("s", 0, codec.decode, codec.key_of, codec.plain, codec.plain_below))
    try:
        expected: object = codec.decode(data)
    except RecordError as error:
        with pytest.raises(RecordError) as raised:
            _ = event.value
        assert str(raised.value) == str(error)
    else:
        assert repr(event.value) == repr(expected)
        assert event.value is event.value
