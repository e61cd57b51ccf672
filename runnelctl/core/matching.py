"""Which events a processor is for: `match` compiled to one test. Pure.

    match: {type: [OrderPaid, OrderRefunded], "user.country": DE, "h:tenant": acme}

All conditions must hold; a list means any of its values. Types count as in JSON: 1 is 1.0, and neither true nor "1". A
field that is not there is null. A header is text, and is compared with the value as text.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping
from typing import Any

from runnelctl.core.model import Match

HEADER = "h:"

Test = Callable[[Any], bool]


def compiled(match: Match) -> Test:
    """A function of an event (its `value` and `headers`) that tells whether all conditions hold. Conditions on headers
    come first: an event that fails one of them is not decoded."""
    headers = [(name.removeprefix(HEADER), _texts(values)) for name, values in match if name.startswith(HEADER)]
    fields = [(tuple(name.split(".")), _among(values)) for name, values in match if not name.startswith(HEADER)]
    if not headers and len(fields) == 1:
        path, test = fields[0]
        return lambda event: test(_at(event.value, path))

    def matches(event: Any) -> bool:
        if headers:
            given: Mapping[str, bytes] = event.headers
            if not all(given.get(name) in texts for name, texts in headers):
                return False
        value = event.value if fields else None
        return all(test(_at(value, path)) for path, test in fields)

    return matches


def _texts(values: tuple[Any, ...]) -> frozenset[bytes | None]:
    return frozenset(None if value is None else as_text(value).encode() for value in values)


def as_text(value: str | int | float | bool) -> str:
    """A value of a condition as a header would have it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _at(value: Any, path: tuple[str, ...]) -> Any:
    """The field that a path leads to, in dicts or instances; None if there is none."""
    for part in path:
        if type(value) is dict:
            value = value.get(part)
        elif value is None or isinstance(value, str | int | float | list | tuple | bytes):
            return None
        else:
            kind: Any = type(value)
            tagged = getattr(kind, "__struct_config__", None)
            if tagged is not None and tagged.tag_field == part:
                value = tagged.tag
            else:
                value = getattr(value, _attributes(kind).get(part, part), None)
    return value


@functools.lru_cache(maxsize=1_000)
def _attributes(kind: type) -> dict[str, str]:
    """A record class's fields by their names on the wire, which may be others than those in Python."""
    names = getattr(kind, "__struct_encode_fields__", None)
    if names is not None:
        return dict(zip(names, kind.__struct_fields__, strict=True))  # type: ignore[attr-defined]
    models: Mapping[str, Any] = getattr(kind, "model_fields", None) or {}
    return {about.serialization_alias or about.alias or name: name for name, about in models.items()}


def _among(values: tuple[Any, ...]) -> Test:
    """Whether a field's value is one of these."""
    texts = frozenset(value for value in values if isinstance(value, str))
    truths = frozenset(value for value in values if isinstance(value, bool))
    numbers = frozenset(value for value in values if isinstance(value, int | float) and not isinstance(value, bool))
    null = None in values

    def test(value: Any) -> bool:
        kind = type(value)
        if kind is str:
            return value in texts
        if value is None:
            return null
        if kind is bool:
            return value in truths
        if kind is int or kind is float:
            return value in numbers
        if isinstance(value, enum.Enum):
            return test(value.value)
        if isinstance(value, dict | list):
            return False
        written = getattr(value, "isoformat", None)
        return (str(value) if written is None else written()) in texts

    return test
