"""Events of a stream as `tail` shows them: a line for eyes, or JSON for programs."""

from __future__ import annotations

import base64
import datetime
from typing import Any

import msgspec

from runnelctl.core.status import printable
from runnelctl.errors import RecordError
from runnelctl.event import Event, Source
from runnelctl.records import Codec
from runnelctl.store.excerpt import Entry


class Listing:
    """How the entries of one stream are shown. `width`: cells of the terminal; None writes JSON lines."""

    def __init__(self, codec: Codec, width: int | None) -> None:
        self._codec, self._width = codec, width
        self._sources: dict[int, Source] = {}

    def event(self, entry: Entry) -> Event:
        """The entry as a handler would see it."""
        if entry.partition not in self._sources:
            name = self._codec.stream.name
            self._sources[entry.partition] = Source(name, entry.partition, self._codec.decode, self._codec.key_of)
        return self._codec.event(entry.id, entry.fields, self._sources[entry.partition])

    def key(self, entry: Entry) -> str:
        """Its key; an empty one where the record is too broken to have one."""
        try:
            return self.event(entry).key
        except (RecordError, UnicodeError):
            return ""

    def line(self, entry: Entry) -> str:
        return self._json(entry) if self._width is None else self._text(entry, self._width)

    def _text(self, entry: Entry, width: int) -> str:
        from rich.cells import cell_len, set_cell_size

        event = self.event(entry)
        at = _clock(event.timestamp)
        try:
            record = self._codec.json(event).decode()
        except RecordError as error:
            record = f"<{error}> {event.raw[:width]!r}"
        line = printable(f"{at}  {entry.partition}  {event.id}  {self.key(entry)}  {' '.join(record[:4000].split())}")
        return set_cell_size(line, max(0, width - 1)) + "…" if cell_len(line) > width else line

    def _json(self, entry: Entry) -> str:
        event = self.event(entry)
        headers = {name: value.decode("utf-8", "replace") for name, value in event.headers.items()}
        about: dict[str, Any] = {
            "id": event.id,
            "partition": entry.partition,
            "key": _sound(self.key(entry)),
            "timestamp": event.timestamp,
            "headers": headers,
        }
        try:
            about["value"] = msgspec.Raw(self._codec.json(event))  # numbers stay as written
        except RecordError as error:
            about |= {"error": str(error)} | _raw(event.raw)
        return msgspec.json.encode(about).decode()


def _raw(data: bytes) -> dict[str, str]:
    """Bytes that are no record, as text if they are one."""
    try:
        return {"raw": data.decode()}
    except UnicodeDecodeError:
        return {"raw": data.decode("utf-8", "replace"), "raw_base64": base64.b64encode(data).decode()}


def _sound(text: str) -> str:
    """Without the marks that stand for bytes which were no UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _clock(timestamp_ms: int) -> str:
    try:
        return datetime.datetime.fromtimestamp(timestamp_ms / 1000).isoformat(" ", "milliseconds")
    except (ValueError, OverflowError, OSError):  # somebody chose an id that is no time
        return str(timestamp_ms)
