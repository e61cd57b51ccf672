"""Records in an editor and back."""

from __future__ import annotations

import pytest

from runnelctl.core.model import Stream, Validate
from runnelctl.errors import RecordError
from runnelctl.event import Event, Source
from runnelctl.records import Codec
from runnelctl.runtime import mending

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def codec(**about: object) -> Codec:
    settings: dict[str, object] = {"name": "orders", "partitions": 4, "key": "user", "schema": SCHEMA}
    return Codec(Stream(**settings | about))  # type: ignore[arg-type]


def event(of: Codec, data: bytes, *fields: bytes, partition: int = 0) -> Event:
    return Event(b"1-0", [b"data", data, *fields], Source("orders", partition, of.decode, of.key_of))


def test_a_record_is_shown_indented_with_its_numbers_as_written() -> None:
    shown = mending.pretty('{"a":1.10,"big":123456789012345678901234567890,"ü":[1e2]}'.encode())
    assert shown == '{\n  "a": 1.10,\n  "big": 123456789012345678901234567890,\n  "ü": [\n    1e2\n  ]\n}\n'


@pytest.mark.parametrize("raw", [b"not json", b'{"a": \xff}', b""])
def test_what_is_no_record_is_shown_as_it_is(raw: bytes) -> None:
    assert mending.pretty(raw) == raw.decode("utf-8", "replace")


def test_an_edited_record_is_compact_with_its_numbers_as_written() -> None:
    of = codec()
    assert mending.checked(of, event(of, b'{"user":"u"}'), '{ "user": "u",\n "x": 1.10 }\n') == b'{"user":"u","x":1.10}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ('{"user": "v"}', "the key must stay"),
        ('{"n": 1}', "key field 'user' is missing"),
        ('{"user": "u", "n": "1"}', 'is not of type "integer"'),
        ('{"user": "\udcff"}', "not UTF-8"),
    ],
)
def test_a_wrong_edit_is_refused(text: str, said: str) -> None:
    of = codec()
    with pytest.raises(RecordError, match=said):
        mending.checked(of, event(of, b'{"user":"u"}'), text)


def test_a_broken_record_must_get_the_key_of_its_entry() -> None:
    of = codec()
    broken = event(of, b"}{", b"key", b"u")
    assert mending.checked(of, broken, '{"user":"u"}') == b'{"user":"u"}'
    with pytest.raises(RecordError, match="'u' and is 'v'"):
        mending.checked(of, broken, '{"user":"v"}')


def test_a_broken_record_without_any_key_must_stay_in_its_partition() -> None:
    of = codec()
    home = of.partition_of("u", b"")
    assert mending.checked(of, event(of, b"}{", partition=home), '{"user":"u"}') == b'{"user":"u"}'
    with pytest.raises(RecordError, match=f"belongs to partition {home}"):
        mending.checked(of, event(of, b"}{", partition=(home + 1) % 4), '{"user":"u"}')


def test_a_key_given_apart_from_the_record_does_not_matter() -> None:
    of = codec()
    sent_with_key = event(of, b'{"user":"u"}', b"key", b"other")
    assert mending.checked(of, sent_with_key, '{"user":"u","n":1}') == b'{"user":"u","n":1}'


def test_the_schema_counts_as_the_stream_says() -> None:
    never, on_read = codec(validate=Validate.NEVER), codec(validate=Validate.READ)
    assert mending.checked(never, event(never, b'{"user":"u"}'), '{"user":"u","n":"x"}')
    with pytest.raises(RecordError):
        mending.checked(on_read, event(on_read, b'{"user":"u"}'), '{"user":"u","n":"x"}')
