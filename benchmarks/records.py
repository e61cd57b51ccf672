"""The events that every benchmark sends. Needs no package, and Python 3.8: the peers' environments read it too."""

from __future__ import annotations

import zlib
from typing import Any


def record(number: int, drawn: bool = False) -> dict[str, Any]:
    """About 100 bytes of JSON, of one of 1,000 users: each in turn, or `drawn` as if at random."""
    user = f"user-{(zlib.crc32(str(number).encode()) >> 7) % 1000 if drawn else number * 7919 % 1000}"
    return {"user": user, "n": number, "amount": number % 997 / 10, "note": "a note of some length, as usual"}
