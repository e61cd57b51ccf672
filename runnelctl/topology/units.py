"""Durations and sizes: from their text to milliseconds and bytes, and back."""

from __future__ import annotations

import re

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
LONGEST_MS = 3650 * _MILLISECONDS["d"]

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_BYTES = {
    **{"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12},
    **{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40},
}
LARGEST_BYTES = 1 << 60


def duration_ms(text: str) -> int | None:
    """`100ms 10s 5m 2h 7d` in milliseconds; None if it is no duration or over ten years."""
    return _scaled(_DURATION, _MILLISECONDS, text, LONGEST_MS)


def size_bytes(text: str) -> int | None:
    """`512MiB 64KiB 1GiB 10MB` in bytes; None if it is no size or absurdly large."""
    return _scaled(_SIZE, _BYTES, text, LARGEST_BYTES)


def _scaled(pattern: re.Pattern[str], factors: dict[str, int], text: str, most: int) -> int | None:
    match = pattern.fullmatch(text)
    if match is None or len(text) > 24:
        return None
    number, unit = match.groups()
    value = round(float(number) * factors[unit]) if "." in number else int(number) * factors[unit]
    return value if value <= most else None


def duration_text(milliseconds: int) -> str:
    """The shortest exact spelling: 60000 -> `1m`, 1500 -> `1500ms`."""
    return _spelled(milliseconds, _MILLISECONDS)


def size_text(size: int) -> str:
    """The shortest exact spelling in binary units: 536870912 -> `512MiB`."""
    return _spelled(size, {unit: factor for unit, factor in _BYTES.items() if unit == "B" or "i" in unit})


def _spelled(value: int, factors: dict[str, int]) -> str:
    for unit, factor in sorted(factors.items(), key=lambda item: -item[1]):
        if factor == 1 or (value and value % factor == 0):
            return f"{value // factor}{unit}"
    raise AssertionError("every table of units has a factor of one")
