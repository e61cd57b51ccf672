"""Junk from a seed: JSON that is nearly right, bytes that are not, and the entries that carry them."""

from __future__ import annotations

import random

Entry = dict[bytes, bytes]

_SOUND = (
    b'{"id": 1, "amount": 12.5, "user": {"name": "Ada", "tags": ["a", "b"]}}',
    b'{"id": "k-17", "amount": 0, "note": "\\u00e4\\ud83d\\ude00", "more": null, "sure": true}',
    b'{"id": 9007199254740993, "amount": -1e-7, "list": [[], {}, [1, 2, 3]]}',
)
_TOKENS = (
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"00", b"1" * 400, b"0." + b"1" * 400, b"\\ud800", b"\\u0000",
    b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\x00", b"[" * 100, b"{" * 100, b'{"a":' * 70, b'"id": 2,', b",,", b"//",
    b"/**/", b"'", b"\xef\xbb\xbf", b"\r\n", b"null", b"true", b'"', b"\\", b"}", b"]", b"[[[[", b"id", b"amount",
)  # fmt: skip
_NAMES = (b"data", b"key", b"h:a", b"h:", b"h:\xff", b"", b"\x00", b"DATA", b"data ", b"id")


def payload(rng: random.Random) -> bytes:
    """The bytes of a record, some of them sound."""
    kind = rng.randrange(20)
    if kind == 0:
        return rng.randbytes(rng.randrange(60))
    if kind == 1:
        return b"[" * (depth := rng.choice([10, 63, 64, 65, 1_000])) + b"]" * depth
    if kind == 2:
        return rng.choice(_TOKENS)
    if kind == 3:
        return b'{"id": ' + rng.choice(_TOKENS) + b"}"
    text = bytearray(rng.choice(_SOUND))
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        at = rng.randrange(len(text) + 1)
        change = rng.randrange(5)
        if change == 0:
            del text[at : at + rng.randrange(8)]
        elif change == 1:
            text[at:at] = rng.choice(_TOKENS)
        elif change == 2 and at < len(text):
            text[at] = rng.randrange(256)
        elif change == 3:
            del text[at:]
        else:
            text[at:at] = text[: rng.randrange(20)]
    return bytes(text)


def entry(rng: random.Random) -> Entry:
    """The fields of an entry of a stream, never none."""
    if rng.random() < 0.7:
        fields = {b"data": payload(rng)}
        if rng.random() < 0.6:
            fields[b"key"] = rng.choice([b"k", b"", b"\xff\xfe", b"a" * 300, rng.randbytes(5)])
        return fields
    names = rng.sample(_NAMES, rng.randint(1, 4))
    return {name: payload(rng) if rng.random() < 0.5 else rng.randbytes(4) for name in names}
