"""The processors that Redis has heard of, as `{name}:meta` has them: more than one file may read a stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_PREFIX = "processor:"

#: A stream, and a processor of it.
Reader = tuple[str, str]


def field(stream: str, processor: str) -> str:
    """The field of the hash for one processor; its value is a JSON object with `start`."""
    return f"{_PREFIX}{stream}:{processor}"


def processors(fields: Mapping[bytes, bytes]) -> dict[Reader, dict[str, Any]]:
    """What was written down of each processor, from the whole hash."""
    found: dict[Reader, dict[str, Any]] = {}
    for name, text in fields.items():
        if name.startswith(_PREFIX.encode()):
            stream, _, processor = name.decode("utf-8", "replace").removeprefix(_PREFIX).partition(":")
            try:
                about = json.loads(text)
            except ValueError:
                about = None
            found[stream, processor] = about if isinstance(about, dict) else {}
    return found
