"""Numbers as people read them in a table: short, right to about three digits."""

from __future__ import annotations

_MILLION = 1_000_000
#: the unit's length in seconds, its letter, and the next smaller one
_SPANS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s"))


def count(number: int) -> str:
    """`1,234`, and `12.3M` from ten million on."""
    if abs(number) < 10 * _MILLION:
        return f"{number:,}"
    return f"{number / _MILLION:,.1f}M"


def rate(per_second: float) -> str:
    """`0.5/s`, `210/s`, `61.2k/s`; `0` for nothing."""
    if per_second < 0.05:
        return "0"
    if per_second < 9.95:
        return f"{per_second:.1f}/s"
    if per_second < 9_999.5:
        return f"{per_second:,.0f}/s"
    return f"{per_second / 1000:,.1f}k/s"


def span(milliseconds: float) -> str:
    """`35µs`, `1.2ms`, `12ms`, `3.2s`, `45s`, `5m10s`, `3h20m`, `12d4h`; `0` for nothing."""
    if milliseconds <= 0:
        return "0"
    if milliseconds < 0.9995:
        return f"{max(1, milliseconds * 1000):.0f}µs"
    if milliseconds < 9.95:
        return f"{milliseconds:.1f}ms"
    if milliseconds < 999.5:
        return f"{milliseconds:.0f}ms"
    if milliseconds < 9_950:
        return f"{milliseconds / 1000:.1f}s"
    seconds = round(milliseconds / 1000)
    for length, letter, smaller, smaller_letter in _SPANS:
        if seconds >= length:
            rest = seconds % length // smaller
            return f"{seconds // length}{letter}" + (f"{rest}{smaller_letter}" if rest else "")
    return f"{seconds}s"
