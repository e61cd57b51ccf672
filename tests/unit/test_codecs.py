"""Codecs, compression and record classes: what is stored, what comes back, and what is refused."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import gzip
import sys
import uuid
import zlib
from pathlib import Path
from typing import Any

import lz4.frame
import msgspec
import pydantic
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from runnelctl.core.model import Imported, Stream, Validate
from runnelctl.errors import HandlerError, RecordError
from runnelctl.event import Event, Source
from runnelctl.records import Codec, Encoded, classes, codec_for, limits

CODECS = [(codec, how) for codec in ("json", "msgpack") for how in ("none", "zstd", "lz4", "gzip")]
LONG = {"id": "a", "text": "x" * 500}


class Item(msgspec.Struct):
    sku: str
    count: int = 1


class Struct(msgspec.Struct):
    id: str
    cents: int
    rate: float = 1.5
    paid: bool = False
    blob: bytes = b"\x00\xff"
    note: str | None = "n"
    at: datetime.datetime | None = None
    ref: uuid.UUID | None = None


@dataclasses.dataclass
class Data:
    id: str
    cents: int
    rate: float = 1.5
    paid: bool = False
    blob: bytes = b"\x00\xff"
    note: str | None = "n"
    at: datetime.datetime | None = None
    ref: uuid.UUID | None = None


class Model(pydantic.BaseModel):
    id: str
    cents: int
    rate: float = 1.5
    paid: bool = False
    blob: bytes = b"bytes"
    note: str | None = "n"
    at: datetime.datetime | None = None
    ref: uuid.UUID | None = None


class Nested(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    items: list[Item]


class Other:
    pass


def of(name: str) -> str:
    return f"{__name__}:{name}"


def codec(**about: Any) -> Codec:
    return codec_for(Stream(**({"name": "orders", "partitions": 8, "key": "id"} | about)))


def read(of: Codec, encoded: Encoded, *more: bytes) -> Any:
    """What a handler sees of it."""
    fields = [*encoded.stored, *([b"key", encoded.key.encode()] if encoded.key else []), *more]
    return of.event(b"1-0", fields, Source("orders", 0, of.reader, of.key_of)).value


def refusal(call: Any, *given: Any, **named: Any) -> str:
    with pytest.raises((RecordError, HandlerError)) as caught:
        call(*given, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("name", "how"), CODECS)
def test_a_record_comes_back_as_it_was(name: str, how: str) -> None:
    mine = codec(codec=name, compression=how)
    for record in ({"id": "a", "n": [1, 2.5, None, True, {"ü": "ß"}]}, LONG):
        encoded = mine.encode(record)
        assert (encoded.key, encoded.partition) == ("a", 3)
        assert read(mine, encoded) == record
        assert read(mine, mine.raw(msgspec.json.encode(record))) == record
    assert (len(mine.encode(LONG).data) < 200) is (how != "none")
    assert mine.encode({"id": "a"}).data == codec(codec=name).encode({"id": "a"}).data  # would not get smaller


def test_golden_bytes() -> None:
    record = {"id": "a", "n": 1}
    assert codec().encode(record).data == b'{"id":"a","n":1}'
    assert codec(codec="msgpack").encode(record).data == b"\x82\xa2id\xa1a\xa1n\x01"
    assert codec(codec="fields").encode(record).stored == (b"id", b"a", b"n", b"1")
    text = msgspec.json.encode(LONG)
    assert zstandard.ZstdDecompressor().decompress(codec(compression="zstd").encode(LONG).data) == text
    assert lz4.frame.decompress(codec(compression="lz4").encode(LONG).data) == text
    assert gzip.decompress(codec(compression="gzip").encode(LONG).data) == text


@pytest.mark.parametrize(("name", "how"), CODECS)
@pytest.mark.parametrize("now", ["none", "zstd", "lz4", "gzip"])
def test_compression_may_change_since_an_entry_tells_for_itself(name: str, how: str, now: str) -> None:
    assert read(codec(codec=name, compression=now), codec(codec=name, compression=how).encode(LONG)) == LONG
    typed = codec(codec=name, compression=now, record=of("Struct"))
    sent = codec(codec=name, compression=how).encode({"id": "a" * 300, "cents": 1})
    assert read(typed, sent) == Struct("a" * 300, 1)


BOMB = b"[" + b" " * (1 << 20) + b"]"


@pytest.mark.parametrize(
    "packed", [zstandard.compress(BOMB), lz4.frame.compress(BOMB), gzip.compress(BOMB)], ids=["zstd", "lz4", "gzip"]
)
@pytest.mark.parametrize("how", ["none", "zstd", "gzip"])
def test_a_bomb_is_refused_and_not_unpacked(packed: bytes, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_RECORD_BYTES", 64 * 1024)
    assert "too large" in refusal(codec(compression=how).decode, packed)
    assert "too large" in refusal(codec(compression=how, record=of("Struct")).reader, packed)


@pytest.mark.parametrize("how", ["zstd", "lz4", "gzip"])
def test_broken_compression_is_a_record_error(how: str) -> None:
    mine = codec(compression=how)
    data = mine.encode(LONG).data
    assert "cut short" in refusal(mine.decode, data[:-3]) or how in refusal(mine.decode, data[:-3])
    assert "behind its end" in refusal(mine.decode, data + b"x")
    for at in range(4, len(data), 7):
        try:
            mine.decode(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        except RecordError:
            pass


@pytest.mark.parametrize(("how", "module"), [("zstd", "zstandard"), ("lz4", "lz4.frame")])
def test_what_is_not_installed_names_its_extra(how: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    said = refusal(codec(compression=how).prepare)
    assert f"needs the package {module.partition('.')[0]}: pip install 'runnelctl[{how}]'" in said


@pytest.mark.parametrize("name", ["Struct", "Data", "Model"])
@pytest.mark.parametrize(("kept", "how"), [*CODECS, ("fields", "none")])
def test_instances_round_trip(name: str, kept: str, how: str) -> None:
    mine = codec(codec=kept, compression=how, record=of(name))
    kind = globals()[name]
    moment = datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC)
    for record in (kind(id="a", cents=3), kind(id="a", cents=-1, note=None, at=moment, ref=uuid.UUID(int=7))):
        encoded = mine.encode(record)
        assert encoded.key == "a"
        assert read(mine, encoded) == record
    assert read(mine, mine.encode({"id": "a", "cents": 7})).cents == 7
    assert read(mine, mine.raw(b'{"id": "a", "cents": 7, "paid": true}')).paid is True


@pytest.mark.parametrize("name", ["Struct", "Data", "Model"])
@pytest.mark.parametrize("kept", ["json", "msgpack", "fields"])
def test_what_does_not_fit_the_class_names_the_path(name: str, kept: str) -> None:
    mine = codec(codec=kept, record=of(name))
    assert "cents" in refusal(mine.encode, {"id": "a", "cents": "x"})
    assert "cents" in refusal(mine.encode, {"id": "a"})
    assert "cents" in refusal(mine.raw, b'{"id": "a", "cents": "x"}')
    loose = codec(codec=kept, record=of(name), validate=Validate.NEVER)
    assert "cents" in refusal(read, loose, codec(codec=kept).encode({"id": "a", "cents": "x"}))


def test_nested_paths_and_unknown_fields() -> None:
    mine = codec(record=of("Nested"))
    said = refusal(mine.encode, {"id": "a", "items": [{"sku": "s"}, {"sku": 5}]})
    assert said == "items[1].sku: expected str, got int"
    assert "unknown field" in refusal(mine.encode, {"id": "a", "items": [], "more": 1})
    assert read(mine, mine.encode({"id": "a", "items": [{"sku": "s"}]})) == Nested("a", [Item("s")])


def test_the_class_is_the_schema_where_there_is_none() -> None:
    strict = codec(record=of("Model"))
    assert "cents" in refusal(strict.encode, {"id": "a", "cents": "5"})  # pydantic alone would take it
    assert strict.key_of(Model(id="a", cents=1)) == "a"
    schema = classes.load(of("Struct"), ()).schema()
    assert schema["required"] == ["id", "cents"]
    assert schema["properties"]["blob"]["contentEncoding"] == "base64"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Other", "is a plain class"),
        ("read", "is a function"),
        ("CODECS", "is of type list"),
        ("Nope", "has no 'Nope'"),
    ],
)
def test_what_is_no_record_class(name: str, said: str) -> None:
    assert said in refusal(codec(record=of(name)).prepare)


# --- fields


@given(
    st.text(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans(),
    st.binary(max_size=50), st.none() | st.text(min_size=1),
)  # fmt: skip
def test_flat_records_round_trip(s: str, i: int, f: float, b: bool, x: bytes, n: str | None) -> None:
    record = Struct(id="k", cents=i, rate=f, paid=b, blob=x, note=n)
    mine = FLAT
    try:
        s.encode()
    except UnicodeEncodeError:
        return
    assert read(mine, mine.encode(record), b"h:x", s.encode()) == record


FLAT = codec(codec="fields", record=f"{__name__}:Struct")


def test_flat_without_class_or_schema_is_text() -> None:
    mine = codec(codec="fields")
    assert read(mine, mine.encode({"id": "a", "n": 1, "f": 1.0, "t": True, "none": None})) == {
        "id": "a", "n": "1", "f": "1.0", "t": "true",
    }  # fmt: skip


def test_flat_by_a_schema() -> None:
    schema = {
        "properties": {
            "id": {"type": "string"}, "n": {"type": "integer"}, "m": {"type": ["number", "integer"]},
            "t": {"type": "boolean"}, "o": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "b": {"type": "string", "contentEncoding": "base64"}, "e": {"enum": ["x", "y"]},
        },
        "required": ["o"],
    }  # fmt: skip
    mine = codec(codec="fields", schema=schema, validate=Validate.BOTH)
    record = {"id": "a", "n": 5, "m": 1.5, "t": True, "o": None, "b": b"\x00", "e": "x"}
    assert read(mine, mine.encode(record)) == record
    given = msgspec.json.encode(record | {"b": base64.b64encode(b"\x00").decode()})
    assert mine.raw(given).stored == mine.encode(record).stored
    assert "n: '5x' is not a whole number" in refusal(read, mine, Encoded(b"", "a", 0, (b"n", b"5x")))
    assert "t: 'yes' is not true or false" in refusal(read, mine, Encoded(b"", "a", 0, (b"t", b"yes")))
    assert "m: '1e999' is not" in refusal(read, mine, Encoded(b"", "a", 0, (b"m", b"1e999")))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"id": "a", "items": [1]}, "items is a list: codec fields stores flat records; use json or msgpack"),
        ({"id": "a", "user": {}}, "user is an object"),
        ([1], "this is a list, not an object"),
        ({"id": "a", "data": 1}, "cannot have a field 'data'"),
        ({"id": "a", "key": 1}, "cannot have a field 'key'"),
        ({"id": "a", "h:x": 1}, "stands for a header"),
        ({"id": "a", "f": float("nan")}, "no JSON number"),
        ({"id": "a", 5: 1}, "not a text"),
        ({"id": "a", **{f"f{n}": 1 for n in range(401)}}, "the limit of a flat record is 400"),
    ],
)
def test_what_no_flat_record_can_be(record: Any, said: str) -> None:
    assert said in refusal(codec(codec="fields").encode, record)


def test_a_flat_record_s_own_field_key_is_the_entry_s_key() -> None:
    mine = codec(codec="fields", key="key")
    encoded = mine.encode({"key": "a", "n": 1})
    assert encoded.stored == (b"n", b"1")
    assert read(mine, encoded) == {"key": "a", "n": "1"}
    assert "must be the same" in refusal(mine.encode, {"key": "a"}, key="b")


def test_a_flat_event_as_stored_and_as_edited() -> None:
    mine = codec(codec="fields")
    fields = [b"id", b"a", b"n", b"1", b"key", b"a", b"h:x", b"y"]
    event = mine.event(b"1-0", fields, Source("orders", 0, mine.reader, mine.key_of))
    assert (event.key, event.headers, event.stored) == ("a", {"x": b"y"}, [b"id", b"a", b"n", b"1"])
    assert (event.raw, mine.json(event)) == (b'{"id":"a","n":"1"}',) * 2
    edited = mine.event(b"1-0", [b"data", b'{"id":"a","n":2}', *fields], event._source)
    assert (edited.value, edited.key) == ({"id": "a", "n": 2}, "a")


# --- what is a user's own


class Hex:
    """A codec, a compressor and a partitioner in one."""

    def encode(self, value: Any) -> bytes:
        return msgspec.json.encode(value).hex().encode()

    def decode(self, data: bytes) -> Any:
        return msgspec.json.decode(bytes.fromhex(data.decode()))

    def compress(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decompress(self, data: bytes, limit: int) -> bytes:
        return zlib.decompressobj().decompress(data, limit)

    def __call__(self, key: bytes, partitions: int) -> int:
        return len(key) % partitions if key != b"bad" else partitions


def test_own_codec_compressor_and_partitioner() -> None:
    mine = codec(codec=of("Hex"), compression=of("Hex"), partitioner=Imported(of("Hex")), record=of("Struct"))
    encoded = mine.encode(Struct("abc", 1))
    assert encoded.partition == 3
    assert read(mine, encoded) == Struct("abc", 1)
    assert mine.partition_of("abcd", b"") == 4
    assert "answered 8, not 0 to 7" in refusal(mine.encode, Struct("bad", 1))
    assert "cannot undo it" in refusal(read, mine, Encoded(b"zz", "a", 0))
    assert "cannot decode it" in refusal(read, mine, Encoded(zlib.compress(b"zz"), "a", 0))
    assert mine.json(mine.event(b"1-0", [b"data", encoded.data], Source("s", 0, mine.decode, mine.key_of)))


def test_an_entry_point_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = tmp_path / "hexed-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hexed\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[runnelctl.codecs]\nhexed = {__name__}:Hex\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = codec(codec="hexed")
    assert read(mine, mine.encode({"id": "a"})) == {"id": "a"}
    assert "codec nope is not installed here" in refusal(codec(codec="nope").encode, {"id": "a"})


@pytest.mark.parametrize(("kept", "how"), CODECS)
def test_an_edited_record_is_stored_as_its_stream_stores(kept: str, how: str) -> None:
    mine = codec(codec=kept, compression=how)
    stored = mine.stored(b'{"id":"a","n":1.10}')
    event = Event(b"1-0", [b"data", stored], Source("s", 0, mine.decode, mine.key_of))
    assert event.value == {"id": "a", "n": 1.1}
    assert msgspec.json.decode(mine.json(event)) == event.value
