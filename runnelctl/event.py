"""What a handler sees of a record (`Event`), and what it may raise to say how it went (`Skip`, `Reject`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

RUNS_AHEAD = 32

_UNSET = msgspec.UNSET


class Skip(Exception):
    """Raised by a handler: this event is none of mine. It is passed over and counts as done; nothing is recorded."""


class Reject(Exception):
    """Raised by a handler: this event will never work. The policy applies at once, with no more attempts."""


class Source:
    """Where an event comes from: one partition of one stream, and how its records are decoded.

    `plain`, if given, does for records of less than `plain_below` bytes what `decode` does, without the words: where it
    raises, `decode` is asked what is wrong.
    """

    __slots__ = ("_ahead", "_looked", "_made", "decode", "key_of", "partition", "plain", "plain_below", "stream")

    def __init__(
        self,
        stream: str,
        partition: int,
        decode: Callable[[Any], Any],
        key_of: Callable[[Any], str],
        plain: Callable[[bytes], Any] | None = None,
        plain_below: int = 0,
    ) -> None:
        self.stream = stream
        self.partition = partition
        self.decode = decode
        self.key_of = key_of
        self.plain = plain or decode
        self.plain_below = plain_below
        self._ahead = 0  # how many runs are still to be decoded ahead
        self._made = self._looked = 0  # events of the last run that was not, and at how many of them somebody looked

    def events(self, entries: list[Any]) -> list[Event]:
        """Entries, as XREAD gives them, as events.

        A record is decoded when somebody looks at it. While handlers look at most of them, short ones are decoded here,
        a run at once, which costs little more than half; now and then a run is not, to see whether they still do.
        """
        if self._ahead:
            self._ahead -= 1
            plain, below = self.plain, self.plain_below
            try:
                return [
                    _Decoded(event_id, fields, self, 1, _UNSET, _UNSET, plain(fields[1]))
                    if fields[0] == b"data" and len(fields[1]) < below
                    else Event(event_id, fields, self)
                    for event_id, fields in entries
                ]
            except Exception:
                pass  # one of them is broken: that is told when its turn comes
        elif self._looked * 2 > self._made:
            self._ahead = RUNS_AHEAD
        self._made, self._looked = len(entries), 0
        return [Event(event_id, fields, self) for event_id, fields in entries]


class Event(msgspec.Struct, eq=False, gc=False):
    """A record with its id, key, partition and headers. `attempt` is 1 on the first.

    A msgspec Struct because building one costs a third of building a plain object, and millions are built.
    """

    _id: bytes
    _fields: list[bytes]
    _source: Source
    attempt: int = 1
    _value: Any = msgspec.UNSET
    _key: Any = msgspec.UNSET

    @property
    def id(self) -> str:
        """The entry's id in Redis, as "1763791234567-0"."""
        return self._id.decode()

    @property
    def value(self) -> Any:
        """The decoded record; decoded on first use. Raises RecordError if the stored bytes are no record."""
        value = self._value
        if value is _UNSET:
            fields, source = self._fields, self._source
            source._looked += 1
            data = fields[1] if fields[0] == b"data" else self.raw
            if len(data) < source.plain_below:
                try:
                    value = source.plain(data)
                except Exception:
                    pass  # `decode` says what is wrong
            if value is _UNSET:
                value = source.decode(data)
            self._value = value
        return value

    @property
    def raw(self) -> bytes:
        """The record as stored: UTF-8 JSON, unless the stream has another codec or is compressed."""
        fields = self._fields
        return fields[1] if fields[0] == b"data" else self._field(b"data") or b""

    @property
    def data(self) -> dict[bytes, bytes]:
        """The whole entry as Redis has it, names and values, as Runnel's events have it."""
        fields = self._fields
        return dict(zip(fields[::2], fields[1::2], strict=True))

    @property
    def key(self) -> str:
        """The routing key: from the entry, or from the record where a foreign sender left it out."""
        key = self._key
        if key is _UNSET:
            fields = self._fields
            found = fields[3] if len(fields) > 3 and fields[2] == b"key" else self._field(b"key")
            key = self._source.key_of(self.value) if found is None else found.decode("utf-8", "surrogateescape")
            self._key = key
        return key  # type: ignore[no-any-return]

    @property
    def partition(self) -> int:
        return self._source.partition

    @property
    def stream(self) -> str:
        return self._source.stream

    @property
    def timestamp(self) -> int:
        """When Redis took it, in milliseconds since 1970."""
        return int(self._id.partition(b"-")[0])

    @property
    def headers(self) -> dict[str, bytes]:
        """The sender's headers, without their `h:` prefix."""
        fields = self._fields
        return {
            fields[i][2:].decode("utf-8", "replace"): fields[i + 1]
            for i in range(0, len(fields) - 1, 2)
            if fields[i][:2] == b"h:"
        }

    @property
    def stored(self) -> list[bytes]:
        """The entry's fields that are the record: name, value, …"""
        return [b"data", self.raw]

    def _field(self, name: bytes) -> bytes | None:
        fields = self._fields
        for i in range(0, len(fields) - 1, 2):
            if fields[i] == name:
                return fields[i + 1]
        return None

    def __repr__(self) -> str:
        return f"Event({self.stream}/{self.partition} {self.id}, attempt={self.attempt})"


class _Decoded(Event, eq=False, gc=False):
    """An event that was decoded ahead: its value is an attribute, which costs nothing to look at."""

    value: Any = _UNSET


class FlatSource(Source):
    """A partition of a stream with `codec: fields`."""

    __slots__ = ()

    def events(self, entries: list[Any]) -> list[Event]:
        """As Source.events; nothing is decoded ahead."""
        return [FlatEvent(event_id, fields, self) for event_id, fields in entries]


class FlatEvent(Event, eq=False, gc=False):
    """An event of a stream with `codec: fields`: the record is in the entry's own fields, whose names are its names."""

    @property
    def value(self) -> Any:
        """As Event.value."""
        value = self._value
        if value is _UNSET:
            value = self._value = self._source.decode(self._fields)
        return value

    @property
    def raw(self) -> bytes:
        """The record's fields as a JSON object of texts; what is no UTF-8 in it is replaced."""
        edited = self._field(b"data")
        if edited is not None:
            return edited
        texts = [part.decode("utf-8", "replace") for part in self.stored]
        return msgspec.json.encode(dict(zip(texts[::2], texts[1::2], strict=False)))

    @property
    def stored(self) -> list[bytes]:
        """As Event.stored."""
        fields = self._fields
        pairs = (fields[i : i + 2] for i in range(0, len(fields) - 1, 2))
        return [part for pair in pairs if pair[0] != b"key" and pair[0][:2] != b"h:" for part in pair]
