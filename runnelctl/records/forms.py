"""How a record becomes bytes and bytes a record: one form per codec. All raise RecordError for what does not work.

`fields` is one as well, but with an entry's fields in the place of bytes; it has its own module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from runnelctl.errors import RecordError
from runnelctl.records import classes, compression, imported, limits, wording
from runnelctl.records.classes import RecordClass

encode_json = msgspec.json.Encoder(enc_hook=classes.unencodable).encode
decode_json = msgspec.json.Decoder().decode
_encode_msgpack = msgspec.msgpack.Encoder(enc_hook=classes.unencodable_binary).encode
_decode_msgpack = msgspec.msgpack.Decoder().decode

Decode = Callable[[Any], Any]


class Form(Protocol):
    """What a codec can do. `tells`: a compressed record can be told from one that is not by its first bytes."""

    tells: bool

    def encode(self, record: Any) -> bytes:
        """A record that a reader gets back as it was."""

    def decode(self, data: bytes) -> Any:
        """Its plain value: dicts, lists, texts, numbers; perhaps bytes and dates."""

    def typed(self, of: RecordClass) -> Decode:
        """The function that decodes into a class."""


class Json:
    """UTF-8 JSON."""

    tells = True

    def encode(self, record: Any) -> bytes:
        try:
            return encode_json(record)
        except Exception as error:
            raise _refused(error, "JSON") from None

    def decode(self, data: bytes) -> Any:
        """Of a name that occurs twice in an object the last one counts. Integers may have up to 4,300 digits."""
        size = len(data)
        if size >= limits.MAX_RECORD_BYTES:
            raise RecordError(wording.too_large(size))
        try:
            value = decode_json(data)
        except RecursionError:
            raise RecordError(wording.too_deep()) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if found := compression.kind_of(data):  # the stream is, or was, compressed
                return self.decode(compression.decompressor(found, ())(data))
            raise RecordError(wording.malformed(data, error)) from None
        except MemoryError:
            raise RecordError(f"too large: no memory left to decode {size:,} bytes") from None
        if may_be_deep(data) and depth(value) > limits.MAX_DEPTH:
            raise RecordError(wording.too_deep())
        return value

    def typed(self, of: RecordClass) -> Decode:
        from_json = of.from_json

        def decode(data: bytes) -> Any:
            if len(data) >= limits.MAX_RECORD_BYTES or may_be_deep(data):
                self.decode(data)
            try:
                return from_json(data)
            except RecordError:
                if found := compression.kind_of(data):
                    return decode(compression.decompressor(found, ())(data))
                self.decode(data)  # says what is wrong in the words that a stream without a class has
                raise

        return decode


class Msgpack:
    """msgpack: as JSON, and bytes and times as they are."""

    tells = True

    def encode(self, record: Any) -> bytes:
        try:
            data = _encode_msgpack(record)
        except TypeError as error:
            try:  # a field of a pydantic model that only pydantic can write
                plain = msgspec.to_builtins(record, enc_hook=classes.unencodable, builtin_types=(bytes,))
                data = _encode_msgpack(plain)
            except Exception:
                raise _refused(error, "msgpack") from None
        except Exception as error:
            raise _refused(error, "msgpack") from None
        wording.refuse_unsound(_decode_msgpack(data))
        return data

    def decode(self, data: bytes) -> Any:
        size = len(data)
        if size >= limits.MAX_RECORD_BYTES:
            raise RecordError(wording.too_large(size))
        try:
            value = _decode_msgpack(data)
        except RecursionError:
            raise RecordError(wording.too_deep()) from None
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, TypeError) as error:
            if found := compression.kind_of(data):
                return self.decode(compression.decompressor(found, ())(data))
            raise RecordError(f"not msgpack: {wording.short(str(error))}" if data else "not msgpack: empty") from None
        except MemoryError:
            raise RecordError(f"too large: no memory left to decode {size:,} bytes") from None
        if size > limits.MAX_DEPTH and depth(value) > limits.MAX_DEPTH:
            raise RecordError(wording.too_deep())
        return value

    def typed(self, of: RecordClass) -> Decode:
        from_msgpack = of.from_msgpack

        def decode(data: bytes) -> Any:
            if len(data) >= limits.MAX_RECORD_BYTES:
                raise RecordError(wording.too_large(len(data)))
            try:
                return from_msgpack(data)
            except Exception:
                if found := compression.kind_of(data):
                    return decode(compression.decompressor(found, ())(data))
                self.decode(data)
                raise

        return decode


class Own:
    """A codec of the user's own."""

    tells = False

    def __init__(self, name: str, pythonpath: tuple[str, ...]) -> None:
        self._name = name
        self._own = imported.load("codec", name, pythonpath)

    def encode(self, record: Any) -> bytes:
        try:
            data = self._own.encode(record)
        except Exception as error:
            raise RecordError(f"codec {self._name} cannot encode it: {type(error).__name__}: {error}") from error
        if not isinstance(data, bytes):
            raise RecordError(f"codec {self._name} made {wording.kind(data)} of it, and not bytes")
        return data

    def decode(self, data: bytes) -> Any:
        size = len(data)
        if size >= limits.MAX_RECORD_BYTES:
            raise RecordError(wording.too_large(size))
        try:
            return self._own.decode(data)
        except Exception as error:
            raise RecordError(f"codec {self._name} cannot decode it: {type(error).__name__}: {error}") from error

    def typed(self, of: RecordClass) -> Decode:
        def decode(data: bytes) -> Any:
            value = self.decode(data)
            return value if isinstance(value, of.target) else of.from_plain(value)

        return decode


def form_of(codec: str, pythonpath: tuple[str, ...]) -> Form:
    """The form of a codec other than `fields`. Raises HandlerError for one that is not there."""
    if codec == "json":
        return Json()
    return Msgpack() if codec == "msgpack" else Own(codec, pythonpath)


def json_text(value: Any) -> bytes:
    """Any decoded value as compact JSON, for eyes: bytes in base64, what JSON does not know as text."""
    return msgspec.json.encode(value, enc_hook=str)


def may_be_deep(data: bytes) -> bool:
    """Few bytes, or few brackets, can't nest deeply: that spares nearly every record the walk."""
    return len(data) > 2 * limits.MAX_DEPTH and data.count(b"[") + data.count(b"{") > limits.MAX_DEPTH


def depth(value: Any) -> int:
    """How many lists and objects are inside each other; stops counting above the limit."""
    found, level = 0, [value] if isinstance(value, dict | list) else []
    while level and found <= limits.MAX_DEPTH:
        found += 1
        children = (child for node in level for child in (node.values() if type(node) is dict else node))
        level = [child for child in children if type(child) is dict or type(child) is list]
    return found


def _refused(error: Exception, what: str) -> RecordError:
    if isinstance(error, RecursionError):
        return RecordError(wording.too_deep())
    if isinstance(error, UnicodeEncodeError):
        return RecordError(f"a text holds {error.object[error.start]!a}, half of a surrogate pair")
    return RecordError(f"not serialisable as {what}: {error}")
