"""How it is said what is wrong with a record."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from runnelctl.errors import RecordError
from runnelctl.records import limits

_SHOWN_CHARACTERS = 200
_SURROGATE = re.compile(rb"\\u[dD][89abcdefABCDEF][0-9a-fA-F]{2}")


def short(text: str) -> str:
    """The message with a long record inside cut out of its middle: what is wrong stands at the end."""
    text = " ".join(text.split())
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[: _SHOWN_CHARACTERS // 2]} … {text[-_SHOWN_CHARACTERS // 2 :]}"


def dotted(path: Any) -> str:
    """A path of names and indices as `items[0].sku`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def too_deep() -> str:
    return f"too deep: more than {limits.MAX_DEPTH} lists or objects inside each other"


def too_large(size: int) -> str:
    return f"too large: {size:,} bytes, the limit is {limits.MAX_RECORD_BYTES:,} (64 MiB)"


def malformed(data: bytes, error: Exception) -> str:
    """Why this is not JSON."""
    if not data:
        return "not JSON: it is empty"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return f"not UTF-8: byte 0x{data[wrong.start]:02x} at offset {wrong.start}"
    reason = str(error).removeprefix("JSON is malformed: ")
    if at := re.search(r"\(byte (\d+)\)", reason):
        there = data[int(at[1]) :]
        for word in (b"NaN", b"Infinity", b"-Infinity"):
            if there.startswith(word) or data[max(int(at[1]) - 1, 0) :].startswith(word):
                return f"not JSON: {word.decode()} is no JSON number (byte {at[1]})"
    if _SURROGATE.search(data) and ("surrogate" in reason or "truncated" in reason):
        return "not JSON: half of a surrogate pair"
    return f"not JSON: {reason[:1].lower()}{reason[1:]}"


def misfit(error: msgspec.ValidationError) -> str:
    """What msgspec has against a record, with the path first: `items[0].sku: expected str, got int`."""
    what, _, at = str(error).partition(" - at ")
    path = at.replace("`", "").removeprefix("$").removeprefix(".").replace("key in $", "a name in the record")
    what = short(what.replace("`", "").removeprefix("Object ").removeprefix("Array "))
    what = what[:1].lower() + what[1:]
    return f"{path}: {what}" if path else what


def refuse_unsound(value: Any) -> None:
    """Find what JSON can't carry and an encoder lets through: NaN, which becomes null, and the number 1 as a name,
    which becomes "1". Raises RecordError with the place."""
    trail: list[tuple[str, Any]] = [("", value)]
    while trail:
        path, node = trail.pop()
        if isinstance(node, dict):
            for name, child in node.items():
                if not isinstance(name, str):
                    where = f" in {path.lstrip('.')}" if path else ""
                    raise RecordError(f"the name {name!r}{where} is not a text: JSON objects have only texts as names")
                trail.append((f"{path}.{name}", child))
        elif isinstance(node, list | tuple | set | frozenset):
            trail.extend((f"{path}[{index}]", child) for index, child in enumerate(node))
        elif isinstance(node, float) and node - node != 0:
            where = f"{path.lstrip('.')}: " if path else ""
            raise RecordError(f"{where}{node} is no JSON number")


def missing_key(path: tuple[str, ...], value: Any) -> str:
    """That there is no key where it should be, and what is there instead."""
    name, node, walked = ".".join(path), value, list[str]()
    for part in path:
        if not isinstance(node, dict) or part not in node:
            break
        node = node[part]
        walked.append(part)
    place = f"{'.'.join(walked)!r}" if walked else "the record"
    if isinstance(node, dict):
        there = ", ".join(str(name) for name in list(node)[:8]) or "nothing"
        return f"key field {name!r} is missing: {place} has {short(there)}"
    return f"key field {name!r} is missing: {place} is {kind(node)}, not an object"


def kind(node: Any) -> str:
    """What a value is, in the words of JSON."""
    names: dict[type, str] = {
        **{dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "a boolean", bytes: "bytes"},
        **{int: "a number", float: "a number"},
    }
    return names.get(type(node), f"a {type(node).__name__}")
