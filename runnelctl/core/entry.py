"""The fields of an entry, as Redis has them: name, value, name, value."""

from __future__ import annotations

from collections.abc import Sequence


def with_record(fields: Sequence[bytes], data: bytes) -> list[bytes]:
    """The fields with the record replaced by what an operator made of it."""
    kept = [fields[i : i + 2] for i in range(0, len(fields), 2) if fields[i] != b"data"]
    return [b"data", data, *(part for pair in kept for part in pair)]
