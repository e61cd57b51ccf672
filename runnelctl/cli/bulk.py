"""Many records into one stream: checked first, listed when refused, counted when sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

import click

from runnelctl import client, errors
from runnelctl.cli.progress import Bar
from runnelctl.core.model import Stream, Topology
from runnelctl.records import Encoded, codec_for, header_fields

_LISTED = 10
#: Enough for `--json` and for what fits on a command line; of a million records nobody wants the ids on stdout.
_IDS = 1_000
#: Checked records up to this many bytes are kept for sending; of a larger file the records are read a second time.
_KEPT_BYTES = 64 * 1024 * 1024
#: What a kept record costs besides its data.
_RECORD_BYTES = 250
_EVERY = 1_000

Lines = Iterable[tuple[int, bytes]]
Position = Callable[[], tuple[int, int | None]]


class Refused:
    """The records that can't be sent: the first are listed, all are counted and, if asked for, written to a file."""

    def __init__(self, place: str, out: TextIO | None) -> None:
        self.count = 0
        self._place, self._out = place, out

    def add(self, number: int, error: errors.RecordError, text: bytes) -> None:
        self.count += 1
        if self.count <= _LISTED:
            click.echo(f"{self._place}{number}: {error}", err=True)
        if self._out:
            record = {"line": number, "error": str(error), "record": text.decode("utf-8", "replace")}
            self._out.write(json.dumps(record, ensure_ascii=False) + "\n")

    def close(self) -> None:
        if self.count > _LISTED:
            click.echo(f"… and {self.count - _LISTED:,} more", err=True)


@dataclass
class Sent:
    """What came of it."""

    stream: Stream
    count: int = 0
    refused: int = 0
    seconds: float = 0.0
    first_ids: list[str] = field(default_factory=list)


class Bulk:
    """One bulk send: with `skip` good records go out as they are read, else only if every single one is good."""

    def __init__(self, of: Topology, stream: Stream, key: str | None, headers: dict[str, str], *, skip: bool) -> None:
        self.skip = skip
        self._topology, self._stream, self._key, self._headers = of, stream, key, headers
        self._codec = codec_for(stream)
        header_fields(headers)  # refuses bad ones before anything else is done

    def run(self, lines: Callable[[], Lines], refused: Refused, position: Position) -> Sent:
        """Send what `lines` gives; it is called once more if there is too much to keep after the check.

        Raises RecordError if records are refused and not skipped, and whatever sending raises, with what is stored.
        """
        started, sent = time.monotonic(), Sent(self._stream)
        with Bar() as bar:
            good = self._good(lines(), refused) if self.skip else self._checked(lines, refused, bar, position)
            self._send(good, sent, bar, position)
        refused.close()
        sent.refused, sent.seconds = refused.count, time.monotonic() - started
        return sent

    def _checked(self, lines: Callable[[], Lines], refused: Refused, bar: Bar, position: Position) -> Iterable[Encoded]:
        kept: list[Encoded] = []
        size = count = 0
        for encoded in self._good(lines(), refused):
            count += 1
            size += len(encoded.data) + _RECORD_BYTES
            if size <= _KEPT_BYTES:
                kept.append(encoded)
            if count % _EVERY == 0:
                bar.update("checking", *position())
        refused.close()
        if refused.count:
            verb = "is" if refused.count == 1 else "are"
            raise errors.RecordError(f"nothing was sent: {refused.count:,} of {refused.count + count:,} {verb} refused")
        if size <= _KEPT_BYTES:
            return kept
        kept.clear()
        return (self._codec.raw(text, self._key, validated=True) for _, text in lines())

    def _good(self, lines: Lines, refused: Refused) -> Iterator[Encoded]:
        raw, key = self._codec.raw, self._key
        for number, text in lines:
            try:
                yield raw(text, key)
            except errors.RecordError as error:
                refused.add(number, error, text)

    def _send(self, records: Iterable[Encoded], sent: Sent, bar: Bar, position: Position) -> None:
        total = len(records) if isinstance(records, list) else None
        with client.connect_sync(self._topology) as sender:
            try:
                for ids in sender.send_encoded(self._stream.name, records, self._headers):
                    sent.count += len(ids)
                    sent.first_ids += ids[: max(_IDS - len(sent.first_ids), 0)]
                    bar.update("sending", *((sent.count, total) if total is not None else position()))
            except errors.RunnelctlError as error:
                stored = sent.count + sum(entry_id is not None for entry_id in error.ids)
                error.args = (f"{error}; {f'{stored:,} records were' if stored else 'nothing was'} stored before that",)
                raise
