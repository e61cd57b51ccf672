"""The records of one stream: encoded, checked and placed for a sender, decoded for a reader.

What is validated, and what the routing key is taken from, is the record as a reader will see it: it is encoded, decoded
again and only then looked at. That costs half a microsecond and makes dataclasses, Structs and dicts one case.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from runnelctl.core.encoded import Encoded
from runnelctl.core.model import Stream
from runnelctl.errors import RecordError
from runnelctl.event import Event, FlatEvent
from runnelctl.records import classes, compression, forms, keys, limits, quick, validation, wording
from runnelctl.records.flat import Flat


class Codec:
    """Encodes, decodes and checks the records of one stream. Safe to share.

    The schema, a class, a library or something of the user's own is loaded when it is first needed; `prepare` loads
    all of it. Raises HandlerError for what can't be.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._path = tuple(stream.key.split(".")) if stream.key else None
        self._checks_schema = stream.validate.on_send and (stream.schema is not None or stream.record is not None)
        self._checks_class = stream.validate.on_send and stream.record is not None
        self._is_flat = stream.codec == "fields"
        #: What is stored is the record's JSON text.
        self.is_text = stream.codec == "json" and stream.compression == "none"
        #: What a handler gets of an entry of this stream.
        self.event: type[Event] = FlatEvent if self._is_flat else Event
        #: The plain value of an entry: of its `data`, or with `codec: fields` of its fields. Raises RecordError.
        self.decode: Callable[[Any], Any] = forms.Json().decode if self.is_text else self._decode
        # What is shorter than `plain_below` bytes can only fail the checks that `plain` makes as well.
        self.plain: Callable[[bytes], Any] = forms.decode_json
        self.plain_below = 2 * limits.MAX_DEPTH if self.is_text else 0

    # --- for senders

    def encode(self, record: Any, key: str | None = None) -> Encoded:
        """A record (dict, list, scalar, instance) with its key and partition.

        `key` overrides the stream's key field. Raises RecordError for anything that a reader could not get back as it
        was: NaN, non-string keys, lone surrogates, too deep, too large, no key; against class or schema (`validate`).
        """
        if key is None and type(record) is dict and (found := self.quick(record)) is not None:
            return Encoded(*found)
        return self.encode_any(record, key)

    def encode_any(self, record: Any, key: str | None = None) -> Encoded:
        """As `encode`, for what `quick` gave up."""
        if isinstance(record, _BYTES):
            raise RecordError("a record is a value, not bytes: decode it first")
        if self._is_flat:
            return self._encode_flat(record, key)
        if not self._form.tells and self.stream.record is not None and isinstance(record, self._class.target):
            record = classes.plain(record)  # a codec of the user's own gets what JSON has, as long as it is ours to say
        form = self._form
        data = form.encode(record)
        value = self._seen(data)
        if value != record and form.tells:
            _refuse_changed(record, value)
        return self._checked(data, value, key)

    def raw(self, data: bytes, key: str | None = None, *, validated: bool = False) -> Encoded:
        """A record given as JSON text. Stored as JSON, its own bytes are kept if they are one line, so that numbers
        stay as written.

        `validated` leaves out class and schema, for text that was held against them before. Raises as `encode`.
        """
        data = data.strip()
        value = _JSON.decode(data)
        if self.stream.codec == "json":
            if b"\n" in data or b"\r" in data:
                data = _JSON.encode(value)
            return self._checked(data, value, key, validated=validated)
        if self.stream.record is not None and self.stream.codec == "msgpack":
            value = self._class.from_json(data)  # msgpack has bytes and times as they are, and JSON has texts for them
        return self.encode(value, key)

    def _seen(self, data: bytes) -> Any:
        """What a reader will see; the short way where it is the same."""
        if len(data) < self.plain_below:
            try:
                return self.plain(data)
            except Exception:
                pass  # `decode` says what is wrong
        return self._form.decode(data)

    def _checked(self, data: bytes, value: Any, key: str | None, *, validated: bool = False) -> Encoded:
        if not validated:
            if self._checks_class:
                self._typed(data)
            if self._checks_schema:
                self.validate(value)
        key = keys.key_at(self._path, value) if key is None else keys.given_key(key)
        partition = self._place(key.encode() if key else data)
        return Encoded(self._smaller(data) if self._smaller else data, key, partition)

    def _encode_flat(self, record: Any, key: str | None) -> Encoded:
        fields = self._flat.encode(record)
        own = self.stream.key == "key"
        value = msgspec.to_builtins(record, enc_hook=classes.unencodable_binary, builtin_types=(bytes, bytearray))
        found = self.key_of(value) if key is None or own else None
        if own and key is not None and key != found:
            raise RecordError("with codec fields, a record's field 'key' is the entry's key, too: it must be the same")
        routed = found if key is None else keys.given_key(key)
        assert routed is not None
        entry = [*fields, b"key", routed.encode()] if own else list(fields)
        if not fields and not routed:
            raise RecordError("an entry of Redis needs at least one field, and this record has no value")
        seen = self._flat.decode(entry)
        if self._checks_class:
            self._typed(entry)
        if self._checks_schema:
            self.validate(seen)
        data = forms.json_text(seen)
        if len(data) >= limits.MAX_RECORD_BYTES:
            raise RecordError(wording.too_large(len(data)))
        return Encoded(data, routed, self._place(routed.encode() if routed else data), fields)

    # --- for readers

    @functools.cached_property
    def reader(self) -> Callable[[Any], Any]:
        """The function that makes `event.value`, made once: into the record class if there is one, and held against the
        schema with `validate: read`. Raises RecordError for what is no record."""
        typed = self._read_typed() if self.stream.record is not None else None
        if not (self.stream.validate.on_read and self.stream.schema is not None):
            return typed or self.decode
        decode, validate = self.decode, self.validate

        def read(data: Any) -> Any:
            value = decode(data)
            validate(value)
            return value if typed is None else typed(data)

        return read

    def shortcut(self, decode: Callable[[Any], Any]) -> tuple[Callable[[bytes], Any] | None, int]:
        """For what `reader` gave: a function that does the same without the words for records shorter than so many
        bytes. The hot path calls it for these, and `decode` only to hear what is wrong."""
        if decode == self.decode:
            return self.plain, self.plain_below
        if self.is_text and self.stream.record is not None and decode == self._typed:
            return self._class.decode_json, 2 * limits.MAX_DEPTH
        return None, 0

    def _read_typed(self) -> Callable[[Any], Any]:
        typed, larger = self._typed, None if self._is_flat else self._larger
        return typed if larger is None else lambda data: typed(larger(data))

    def prepare(self) -> None:
        """Load everything now. Raises HandlerError for what can't be loaded, RecordError for an unusable schema."""
        _ = self._place, self._smaller
        if self.stream.record is not None:
            _ = self._typed
        _ = self._flat if self._is_flat else (self._form, self._larger)
        if self._checks_schema or (self.stream.validate.on_read and self.stream.schema is not None):
            _ = self.validate

    @functools.cached_property
    def validate(self) -> Callable[[Any], None]:
        """Raises RecordError, naming the first errors with their paths, if a plain value is against the schema: the
        stream's own, else that of its record class."""
        stream = self.stream
        source = f" ({stream.schema_source})" if stream.schema_source else ""
        schema = self._class.schema() if stream.schema is None and stream.record is not None else stream.schema
        check = validation.checker(schema, f"stream {stream.name!r}{source}")
        return check if stream.codec == "json" else lambda value: check(classes.plain(value))

    def json(self, event: Event) -> bytes:
        """An event's record as compact JSON, for eyes and editors; numbers as written where it is stored so. Raises
        RecordError."""
        value = event.value
        if self.is_text:
            return msgspec.json.format(event.raw, indent=-1)
        return forms.json_text(value if self.stream.record is None else classes.plain(value))

    @staticmethod
    def parse(text: bytes) -> Any:
        """The value of a JSON text, whatever the stream's codec. Raises RecordError."""
        return _JSON.decode(text)

    def check(self, text: bytes) -> None:
        """Raises RecordError for a JSON text that does not fit the class or the schema."""
        if self.stream.record is not None:
            self._class.from_json(text)
        if self.stream.record is not None or self.stream.schema is not None:
            self.validate(_JSON.decode(text))

    def stored(self, text: bytes) -> bytes:
        """A record given as compact JSON as it is stored in place of an entry's record: see core/entry.py."""
        return text if self._is_flat or self.is_text else self.raw(text, key="-", validated=True).data

    # --- keys

    def key_of(self, value: Any) -> str:
        """The routing key inside a decoded record, as `keys.key_at` says. Raises RecordError if there is none."""
        return keys.key_at(self._path, value)

    def partition_of(self, key: str, data: bytes) -> int:
        """The partition of a key; of a record without one, a partition that its bytes pick."""
        return self._place(key.encode() if key else data)

    # --- what is loaded when it is needed

    @functools.cached_property
    def _place(self) -> Callable[[bytes], int]:
        return keys.placing(self.stream)

    @functools.cached_property
    def quick(self) -> quick.Quick:
        """What `encode` tries first with a dict whose key is not given: None where only the long way knows."""
        if not self.is_text or self._checks_class or self._path is None or len(self._path) > 1:
            return quick.nothing
        return quick.encoder(self._path[0], self._place, self.validate if self._checks_schema else None)

    @functools.cached_property
    def _form(self) -> forms.Form:
        return forms.form_of(self.stream.codec, self.stream.pythonpath)

    @functools.cached_property
    def _flat(self) -> Flat:
        schema = self.stream.schema
        if self.stream.record is not None:
            schema = self._class.schema()
        return Flat(schema, self.stream.key)

    @functools.cached_property
    def _class(self) -> classes.RecordClass:
        assert self.stream.record is not None
        return classes.load(self.stream.record, self.stream.pythonpath)

    @functools.cached_property
    def _typed(self) -> Callable[[Any], Any]:
        """From what is encoded, or with `codec: fields` from an entry's fields, to an instance."""
        return self._flat.typed(self._class) if self._is_flat else self._form.typed(self._class)

    @functools.cached_property
    def _smaller(self) -> compression.Bytes | None:
        """From encoded to stored, in a stream that is compressed."""
        name = self.stream.compression
        compress = compression.compressor(name, self.stream.pythonpath)
        if compress is None or not self.stream.tells_compression:
            return compress

        def smaller(data: bytes) -> bytes:
            packed = compress(data)
            return packed if len(packed) < len(data) else data

        return smaller

    @functools.cached_property
    def _larger(self) -> compression.Bytes | None:
        """From stored to encoded. Where a record tells whether it is compressed, that counts, not the topology."""
        name = self.stream.compression
        if name == "none":
            return None
        expand = compression.decompressor(name, self.stream.pythonpath)
        if not self.stream.tells_compression:
            return expand

        def larger(data: bytes) -> bytes:
            found = compression.kind_of(data)
            if found is None:
                return data
            return expand(data) if found == name else compression.decompressor(found, ())(data)

        return larger

    def _decode(self, data: Any) -> Any:
        if self._is_flat:
            return self._flat.decode(data)
        return self._form.decode(data if self._larger is None else self._larger(data))


_JSON = forms.Json()
_BYTES = (bytes, bytearray, memoryview)  # made once: per record a union of them would cost as much as the encoding


def codec_for(stream: Stream) -> Codec:
    """The codec of one stream."""
    return Codec(stream)


def _refuse_changed(record: Any, value: Any) -> None:
    """Find what the codec can't carry, in a record that came back as something else."""
    plain = msgspec.to_builtins(record, enc_hook=classes.unencodable)
    if plain != value:
        wording.refuse_unsound(plain)
