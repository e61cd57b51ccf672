"""The events that every benchmark sends. Needs no package, and Python 3.8: the peers' environments read it too."""

from __future__ import annotations

from typing import Any


def record(number: int) -> dict[str, Any]:
    """About 100 bytes of JSON, of one of 1,000 users, evenly."""
    user = f"user-{number * 7919 % 1000}"
    return {"user": user, "n": number, "amount": number % 997 / 10, "note": "a note of some length, as usual"}
