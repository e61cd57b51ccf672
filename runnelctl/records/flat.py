"""`codec: fields`: a flat record in the native fields of its entry, one field per name, each value as plain text.

    text   as it is, UTF-8           true, false  `true`, `false`; `1` and `0` are read, too
    bytes  as they are               null         the field is left out
    whole number  in decimal         float        as JSON writes it: `1.5`, `1e16`

What a text means is known from the record class or the schema; without either, every value is text. The fields `key`
and `h:<name>` are the routing key and the headers, as with every codec. `data`, if there is one, is the whole record as
JSON: that is how an edited one is kept.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from runnelctl.errors import RecordError
from runnelctl.records import classes, forms, limits, wording
from runnelctl.records.classes import RecordClass

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}
_DIGITS = 4_300

Kinds = frozenset[str]


class Flat:
    """See the module. `key`: the record's own field that is also the entry's `key`, where it is called so."""

    def __init__(self, schema: Any, key: str | None) -> None:
        self._kinds = kinds(schema)
        required = schema.get("required", ()) if isinstance(schema, dict) else ()
        self._absent_is_null = [name for name in required if "null" in self._kinds.get(name, ())]
        self._key = key == "key"
        self._json = forms.Json()

    def encode(self, record: Any) -> tuple[bytes, ...]:
        """The entry's fields (name, value, …), without the key. Raises RecordError for a record that is not flat."""
        try:
            value = msgspec.to_builtins(record, enc_hook=classes.unencodable_binary, builtin_types=(bytes, bytearray))
        except Exception as error:
            raise RecordError(f"not serialisable as fields: {error}") from None
        if not isinstance(value, dict):
            raise RecordError(f"codec fields stores flat records; this is {wording.kind(value)}, not an object")
        fields: list[bytes] = []
        for name, each in value.items():
            self._refuse_name(name)
            if each is not None and not (name == "key" and self._key):
                fields += (_utf8(name, name), self._text(name, each))
        if len(fields) > 2 * limits.MAX_FIELDS:
            raise RecordError(f"{len(fields) // 2} fields, the limit of a flat record is {limits.MAX_FIELDS}")
        return tuple(fields)

    def _refuse_name(self, name: Any) -> None:
        if not isinstance(name, str):
            raise RecordError(f"the name {name!r} is not a text: JSON objects have only texts as names")
        if name == "data" or name.startswith("h:") or (name == "key" and not self._key):
            what = {"data": "the whole record as JSON", "key": "the routing key"}.get(name, "a header")
            raise RecordError(f"a flat record cannot have a field {name!r}: in the entry it stands for {what}")

    def _text(self, name: str, value: Any) -> bytes:
        if isinstance(value, bytes | bytearray):
            return bytes(value)
        if isinstance(value, str):
            return self._bytes(name, value) if "bytes" in self._kinds.get(name, ()) else _utf8(value, name)
        if isinstance(value, dict | list):
            raise RecordError(f"{name} is {wording.kind(value)}: codec fields stores flat records; use json or msgpack")
        if isinstance(value, float) and value - value != 0:
            raise RecordError(f"{name}: {value} is no JSON number")
        return msgspec.json.encode(value)

    @staticmethod
    def _bytes(name: str, text: str) -> bytes:
        try:
            return base64.b64decode(text, validate=True)
        except ValueError:
            raise RecordError(f"{name}: bytes in JSON are base64, and this is none") from None

    def decode(self, fields: list[bytes]) -> Any:
        """The plain value of an entry's fields, each typed as the class or the schema says. Raises RecordError."""
        value: dict[str, Any] = {}
        for i in range(0, len(fields) - 1, 2):
            name = fields[i]
            if name == b"data":
                return self._json.decode(fields[i + 1])
            if name[:2] == b"h:" or (name == b"key" and not self._key):
                continue
            text = name.decode("utf-8", "surrogateescape")
            value[text] = self._value(text, fields[i + 1])
        for absent in self._absent_is_null:
            value.setdefault(absent, None)
        return value

    def _value(self, name: str, data: bytes) -> Any:
        allowed = self._kinds.get(name)
        if allowed is not None and "bytes" in allowed:
            return data
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            if allowed is None:
                return data
            raise RecordError(f"{name}: not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}") from None
        if allowed is None or "string" in allowed:
            return text
        if len(text) <= _DIGITS:
            if "boolean" in allowed and text in _TRUTHS:
                return _TRUTHS[text]
            if "integer" in allowed and _WHOLE.fullmatch(text):
                return int(text)
            if "number" in allowed and _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
                return number
        wanted = " or ".join(_WORDS[kind] for kind in sorted(allowed - {"null"})) or "left out: it is always null"
        raise RecordError(f"{name}: {wording.short(text)!r} is not {wanted}")

    def typed(self, of: RecordClass) -> forms.Decode:
        """The function that decodes an entry's fields into a class."""
        nullable = [name for name, allowed in self._kinds.items() if "null" in allowed]

        def decode(fields: list[bytes]) -> Any:
            value = self.decode(fields)
            if isinstance(value, dict):
                if fields and fields[0] == b"data":
                    return of.from_json(msgspec.json.encode(value))
                for name in nullable:
                    value.setdefault(name, None)
            return of.from_plain(value)

        return decode


_WORDS = {"boolean": "true or false", "integer": "a whole number", "number": "a number", "string": "text", "bytes": ""}


def kinds(schema: Any) -> dict[str, Kinds]:
    """What each property of a schema may be: integer, number, boolean, string, bytes, null, object, array. A property
    of which the schema does not say is not in it, and read as text."""
    if not isinstance(schema, dict):
        return {}
    found = {name: _kinds_of(part, schema, 0) for name, part in (schema.get("properties") or {}).items()}
    return {name: each for name, each in found.items() if each}


def _kinds_of(part: Any, root: Mapping[str, Any], depth: int) -> Kinds:
    if not isinstance(part, dict) or depth > limits.MAX_DEPTH:
        return frozenset()
    reference = part.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        return _kinds_of(_target(root, reference), root, depth + 1)
    found: set[str] = set()
    given = part.get("type", ())
    for each in [given] if isinstance(given, str) else given:
        found.add("bytes" if each == "string" and _is_bytes(part) else each)
    for branch in (*part.get("anyOf", ()), *part.get("oneOf", ()), *part.get("allOf", ())):
        found |= _kinds_of(branch, root, depth + 1)
    if not found:
        for value in part.get("enum", [part["const"]] if "const" in part else []):
            found.add(_JSON_TYPES.get(type(value), "object"))
    return frozenset(found)


def _is_bytes(part: Mapping[str, Any]) -> bool:
    return part.get("contentEncoding") in ("base64", "base64url") or part.get("format") == "binary"


_JSON_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", list: "array"}


def _target(root: Mapping[str, Any], reference: str) -> Any:
    node: Any = root
    for step in reference[2:].split("/"):
        node = node.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
    return node


def misfits(schema: Any, key: str | None) -> list[str]:
    """Why records of this schema can't be stored in fields, a phrase for each property."""
    found = []
    for name, allowed in kinds(schema).items():
        some = allowed - {"null"}
        if some & {"object", "array"}:
            found.append(f"{name} is {' or '.join(sorted(some))}, and codec fields stores flat records")
        elif len(some - {"integer"} if "number" in some else some) > 1:
            found.append(f"{name} may be {' or '.join(sorted(some))}, which codec fields cannot tell apart")
    for name in (schema.get("properties") or {}) if isinstance(schema, dict) else ():
        if name == "data" or name.startswith("h:") or (name == "key" and key != "key"):
            found.append(f"{name} is a name that codec fields needs itself")
    return found


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise RecordError(f"{name!a} holds half of a surrogate pair") from None
