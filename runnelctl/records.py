"""From a record to the bytes of an entry and back: JSON, strict in both directions, without Redis.

What is validated, and what the routing key is taken from, is the record as a reader will see it: it is encoded, decoded
again and only then looked at. That costs half a microsecond and makes dataclasses, Structs and dicts one case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from runnelctl.core import routing
from runnelctl.core.encoded import Encoded
from runnelctl.core.model import Stream
from runnelctl.errors import RecordError

__all__ = ["MAX_DEPTH", "MAX_HEADERS", "MAX_RECORD_BYTES", "Codec", "Encoded", "codec_for", "header_fields"]

#: A record must be smaller than this, encoded.
MAX_RECORD_BYTES = 64 * 1024 * 1024
#: Lists and objects inside each other; what deeper nesting costs is a stack, in every reader of the stream.
MAX_DEPTH = 64
#: Headers on one entry; bounded because a script passes an entry's fields on Lua's stack.
MAX_HEADERS = 64

_SHOWN_ERRORS = 3
_SHOWN_CHARACTERS = 200
_SURROGATE = re.compile(rb"\\u[dD][89abcdefABCDEF][0-9a-fA-F]{2}")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Codec:
    """Encodes, decodes and checks the records of one stream. Compiles the schema on first use. Safe to share.

    `plain` is `decode` without its checks and words. What is shorter than `plain_below` bytes can only fail the checks
    that `plain` makes as well: the hot path calls it for these, and `decode` only to hear what is wrong.
    """

    plain = staticmethod(_decode)
    plain_below = 2 * MAX_DEPTH

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._path = tuple(stream.key.split(".")) if stream.key else None
        self._hash = routing.hash_for(stream.partitioner)
        self._partitions = stream.partitions
        self._checks_on_send = stream.validate.on_send and stream.schema is not None
        self._validator: Any = None

    def encode(self, record: Any, key: str | None = None) -> Encoded:
        """A record (dict, list, scalar, dataclass, msgspec.Struct) as compact JSON with its key and partition.

        `key` overrides the stream's key field. Raises RecordError for anything that a reader could not get back as it
        was: NaN, non-string keys, lone surrogates, too deep, too large, no key, against the schema (`validate: send`).
        """
        if isinstance(record, bytes | bytearray | memoryview):
            raise RecordError("a record is a value, not bytes: decode it first")
        try:
            data = _encode(record)
        except RecursionError:
            raise RecordError(_too_deep()) from None
        except UnicodeEncodeError as error:
            raise RecordError(f"a text holds {error.object[error.start]!a}, half of a surrogate pair") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise RecordError(f"not serialisable as JSON: {error}") from None
        value = self.decode(data)
        if value != record:
            _refuse_changed(record, value)
        return self._place(data, value, key, self._checks_on_send)

    def raw(self, data: bytes, key: str | None = None, *, validated: bool = False) -> Encoded:
        """A record given as JSON text. Its own bytes are kept if they are one line, so that numbers stay as written.

        `validated` leaves out the schema, for text that was held against it before. Raises RecordError as `encode`.
        """
        data = data.strip()
        value = self.decode(data)
        if b"\n" in data or b"\r" in data:
            data = _encode(value)
        return self._place(data, value, key, self._checks_on_send and not validated)

    def decode(self, data: bytes) -> Any:
        """The value of an entry's `data`. Raises RecordError unless it is UTF-8 JSON, not too large or deep.

        Of a name that occurs twice in an object the last one counts. Integers may have up to 4,300 digits.
        """
        size = len(data)
        if size >= MAX_RECORD_BYTES:
            raise RecordError(f"too large: {size:,} bytes, the limit is {MAX_RECORD_BYTES:,} (64 MiB)")
        try:
            value = _decode(data)
        except RecursionError:
            raise RecordError(_too_deep()) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecordError(_malformed(data, error)) from None
        except MemoryError:
            raise RecordError(f"too large: no memory left to decode {size:,} bytes") from None
        # Few bytes, or few brackets, can't nest deeply: that spares nearly every record the walk.
        if size > 2 * MAX_DEPTH and data.count(b"[") + data.count(b"{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
            raise RecordError(_too_deep())
        return value

    def validate(self, value: Any) -> None:
        """Raises RecordError, naming the first errors with their paths, if the decoded `value` is against the schema.

        The compiled validator decides and words alike. Python's would reword the message, but runs `pattern` without a
        limit on backtracking: one hostile record could hold a sender or a slice for hours.
        """
        if self._validator is None:
            self._validator = _compile(self.stream)
        if not self._validator.is_valid(value):
            raise RecordError(_worded(self._validator, value))

    def key_of(self, value: Any) -> str:
        """The routing key inside a decoded record, as text: strings as they are, integers in decimal, true and false,
        floats as in JSON (`1.0`, `1e16`). "" if the stream has no key field. Raises RecordError if there is none."""
        path = self._path
        if path is None:
            return ""
        node = value
        try:
            for part in path:
                node = node[part]
        except (KeyError, TypeError, IndexError):
            raise RecordError(_missing_key(path, value)) from None
        if type(node) is str and node:
            return node
        return _key_text(node, f"key field {'.'.join(path)!r}")

    def partition_of(self, key: str, data: bytes) -> int:
        """The partition of a key; of a record without one, a partition that its bytes pick."""
        return self._hash(key.encode() if key else data) % self._partitions

    def _place(self, data: bytes, value: Any, key: str | None, against_schema: bool) -> Encoded:
        if against_schema:
            self.validate(value)
        key = self.key_of(value) if key is None else _given_key(key)
        return Encoded(data, key, self._hash(key.encode() if key else data) % self._partitions)


def codec_for(stream: Stream) -> Codec:
    """The codec of one stream."""
    return Codec(stream)


def header_fields(headers: Mapping[str, str | bytes] | None) -> tuple[str | bytes, ...]:
    """Headers as entry fields (`h:<name>`, value, …). Raises RecordError for a name or a value that can't be one."""
    if not headers:
        return ()
    if len(headers) > MAX_HEADERS:
        raise RecordError(f"{len(headers)} headers, the limit is {MAX_HEADERS}")
    fields: list[str | bytes] = []
    for name, value in headers.items():
        if not isinstance(name, str) or not name:
            raise RecordError(f"a header's name must be a non-empty text, not {name!r}")
        if not isinstance(value, str | bytes):
            raise RecordError(f"header {name!r} must be text or bytes, not {type(value).__name__}")
        _refuse_surrogates(name, "a header's name")
        if isinstance(value, str):
            _refuse_surrogates(value, f"header {name!r}")
        fields += (f"h:{name}", value)
    return tuple(fields)


def _compile(stream: Stream) -> Any:
    """The stream's schema, compiled. References to other documents are refused: a schema must not fetch anything."""
    import jsonschema_rs

    def refuse(uri: str) -> Any:
        raise ValueError(f"{uri} is another document; put its definitions under $defs")

    try:
        return jsonschema_rs.validator_for(True if stream.schema is None else stream.schema, retriever=refuse)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        message = getattr(error, "message", None) or str(error)
        source = f" ({stream.schema_source})" if stream.schema_source else ""
        raise RecordError(f"the schema of stream {stream.name!r}{source} is not usable: {_short(message)}") from None


def _worded(validator: Any, value: Any) -> str:
    errors = list(validator.iter_errors(value))
    shown = []
    for error in errors[:_SHOWN_ERRORS]:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.instance_path).lstrip(".")
        shown.append(f"{path}: {_short(error.message)}" if path else _short(error.message))
    more = len(errors) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")


def _short(text: str) -> str:
    """The message with a long record inside cut out of its middle: what is wrong stands at the end."""
    text = " ".join(text.split())
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    return f"{text[: _SHOWN_CHARACTERS // 2]} … {text[-_SHOWN_CHARACTERS // 2 :]}"


def _too_deep() -> str:
    return f"too deep: more than {MAX_DEPTH} lists or objects inside each other"


def _depth(value: Any) -> int:
    depth, level = 0, [value] if isinstance(value, dict | list) else []
    while level and depth <= MAX_DEPTH:
        depth += 1
        children = (child for node in level for child in (node.values() if type(node) is dict else node))
        level = [child for child in children if type(child) is dict or type(child) is list]
    return depth


def _malformed(data: bytes, error: Exception) -> str:
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


def _refuse_changed(record: Any, value: Any) -> None:
    """Find what JSON can't carry: the encoder silently turns NaN into null and the number 1 as a name into "1"."""
    plain = msgspec.to_builtins(record)
    if plain == value:
        return
    trail: list[tuple[str, Any]] = [("", plain)]
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


def _missing_key(path: tuple[str, ...], value: Any) -> str:
    name, node, walked = ".".join(path), value, list[str]()
    for part in path:
        if not isinstance(node, dict) or part not in node:
            break
        node, walked = node[part], [*walked, part]
    place = f"{'.'.join(walked)!r}" if walked else "the record"
    if isinstance(node, dict):
        there = ", ".join(list(node)[:8]) or "nothing"
        return f"key field {name!r} is missing: {place} has {_short(there)}"
    return f"key field {name!r} is missing: {place} is {_kind(node)}, not an object"


def _key_text(node: Any, what: str) -> str:
    kind = type(node)
    if kind is bool:
        return "true" if node else "false"
    if kind is int:
        return str(node)
    if kind is float:
        return _encode(node).decode()
    if node is None or node == "":
        raise RecordError(f"{what} is {'null' if node is None else 'empty'}: give the record a key, or pass one")
    raise RecordError(f"{what} is {_kind(node)}: a key is a text, a number, true or false")


def _given_key(key: str) -> str:
    if not isinstance(key, str) or not key:
        raise RecordError(f"the key given must be a non-empty text, not {key!r}")
    _refuse_surrogates(key, "the key given")
    return key


def _refuse_surrogates(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RecordError(f"{what} holds half of a surrogate pair") from None


def _kind(node: Any) -> str:
    names: dict[type, str] = {dict: "an object", list: "a list", str: "a text", type(None): "null", bool: "a boolean"}
    return names.get(type(node), "a number")
