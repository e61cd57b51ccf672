"""The short way from a record to its entry, for nearly all that are sent: the checks of `Codec.encode` in one go, at
half the price, with no words for what fails them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runnelctl.records import forms, limits

#: From a record to its bytes, key and partition: the parts of an `Encoded`, which costs more to make than they do.
Quick = Callable[[dict[str, Any]], tuple[bytes, str, int] | None]


def encoder(field: str, place: Callable[[bytes], int], validate: Callable[[Any], None] | None) -> Quick:
    """For a stream that stores JSON as it is and has a text in a field of its records as the key: the function that
    encodes a dict, or gives None where only the long way knows whether, or what, something is wrong.

    `validate`, if there is one, raises RecordError for a value that is against the schema.
    """
    to_json, from_json, may_be_deep = forms.encode_json, forms.decode_json, forms.may_be_deep
    short = 2 * limits.MAX_DEPTH  # too short to be deep

    def encode(record: dict[str, Any]) -> tuple[bytes, str, int] | None:
        try:
            data = to_json(record)
            seen = from_json(data)
            key = seen[field]
        except Exception:
            return None
        if seen != record or type(key) is not str or not key:
            return None
        if len(data) > short and (len(data) >= limits.MAX_RECORD_BYTES or may_be_deep(data)):
            return None
        if validate is not None:
            validate(seen)
        return data, key, place(key.encode())

    return encode


def nothing(_: dict[str, Any]) -> None:
    """For every other stream."""
