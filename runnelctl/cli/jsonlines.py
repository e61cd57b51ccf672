"""JSON lines from a file or stdin, gzipped or not, however large: never more than one line in memory."""

from __future__ import annotations

import contextlib
import gzip
import io
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from runnelctl.errors import RunnelctlError, UsageError
from runnelctl.records import MAX_RECORD_BYTES

STDIN = "-"
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Source:
    """Lines with their numbers (from 1), blank ones left out. Can be read again if it was opened `twice`."""

    def __init__(self, name: str, raw: BinaryIO, size: int | None) -> None:
        self.name = "stdin" if name == STDIN else name
        self.size = size  # in bytes as stored, for a progress bar; None for a pipe
        self._raw = raw
        self._seekable = size is not None

    @property
    def position(self) -> int:
        """How many of `size` bytes have been read, about."""
        return self._raw.tell() if self._seekable else 0

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """From the start. A line beyond the limit of a record is cut there; the codec refuses it by its length.

        Raises RunnelctlError if the file can't be read to its end."""
        if self._seekable:
            self._raw.seek(0)
        try:
            plain = self._plain()
            for number, line in enumerate(_cut(plain), start=1):
                if text := line.strip():
                    yield number, text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text
        except (OSError, EOFError, zlib.error) as error:
            raise RunnelctlError(f"cannot read {self.name} to its end: {_reason(error)}") from None

    def _plain(self) -> BinaryIO:
        if cast(io.BufferedReader, self._raw).peek(2)[:2] == _GZIP:
            return cast(BinaryIO, io.BufferedReader(gzip.GzipFile(fileobj=self._raw), 1 << 16))
        return self._raw


@contextlib.contextmanager
def opened(file: str, *, twice: bool) -> Iterator[Source]:
    """The lines of a file, or of stdin for `-`, which is spooled to a temporary file if it is to be read `twice`.
    Raises UsageError for a file that can't be opened."""
    with contextlib.ExitStack() as stack:
        if file == STDIN and not twice:
            yield Source(file, sys.stdin.buffer, None)
            return
        try:
            raw = _spooled(stack) if file == STDIN else stack.enter_context(Path(file).open("rb"))
            size = raw.seek(0, io.SEEK_END) if raw.seekable() else None
        except OSError as error:
            raise UsageError(f"cannot read {file}: {_reason(error)}") from None
        if size is None and twice:
            raw = _spooled(stack, raw)
            size = raw.seek(0, io.SEEK_END)
        yield Source(file, raw, size)


def _spooled(stack: contextlib.ExitStack, source: BinaryIO | None = None) -> BinaryIO:
    spool = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    try:
        shutil.copyfileobj(source or sys.stdin.buffer, spool, 1 << 20)
        spool.flush()
    except OSError as error:
        raise RunnelctlError(
            f"cannot keep the input in {tempfile.gettempdir()} to check it: {_reason(error)}"
        ) from None
    return cast(BinaryIO, spool)


def _cut(stream: BinaryIO) -> Iterator[bytes]:
    """Lines as `readline`, but of at most a record's limit: a gigabyte without a line feed is one bad line."""
    while line := stream.readline(MAX_RECORD_BYTES + 1):
        yield line
        while len(line) > MAX_RECORD_BYTES and not line.endswith(b"\n"):
            line = stream.readline(MAX_RECORD_BYTES + 1)


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")
