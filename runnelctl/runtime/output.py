"""Children's output, line by line with a prefix, without ever blocking the supervisor.

What a slow terminal or a full pipe can't take is kept up to a limit, then dropped and counted. The last lines of every
child are kept for the report of its death.
"""

from __future__ import annotations

import errno
import os
import selectors
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runnelctl.core.model import Log
from runnelctl.runtime import loglines

LOG_LIMIT = 16 * 1024 * 1024  # of a detached host's log; the one before it is kept as well
LINE_LIMIT = 16 * 1024
PENDING_LIMIT = 1024 * 1024
TAIL_LINES = 20
CHUNK = 65536
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # passes: drop lines, but try again with the next
_COLORS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)


@dataclass(slots=True)
class Source:
    """One output pipe of one child."""

    fd: int
    label: str
    sink: Sink
    tail: deque[str]
    rest: bytearray = field(default_factory=bytearray)
    color: int = 0


class Sink:
    """Our own stdout or stderr. Writes what can be written at once; the selector tells when more can."""

    def __init__(self, fd: int, selector: selectors.BaseSelector, written: Callable[[], None] = lambda: None) -> None:
        self.fd = fd
        self.terminal = os.isatty(fd)
        self.note = _plain_note
        self._selector = selector
        self._written = written  # told after every write
        self._pending: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._watched = False
        self._dead = False

    def write(self, data: bytes) -> None:
        """Take a whole line."""
        if self._dead:
            return
        if self._size > PENDING_LIMIT:
            self._dropped += 1
            return
        self._tell_dropped()
        self._pending.append(data)
        self._size += len(data)
        if not self._watched:
            self._watch()

    def _tell_dropped(self) -> bool:
        """Where lines were dropped, say how many; False if none were."""
        if not self._dropped or self._dead:
            return False
        note = self.note(f"{self._dropped:,} lines of output dropped: nobody read them in time")
        self._dropped = 0
        self._pending.append(note)
        self._size += len(note)
        return True

    def _watch(self) -> None:
        try:
            self._selector.register(self.fd, selectors.EVENT_WRITE, self)
            self._watched = True
        except (PermissionError, ValueError, KeyError):
            self.flush(blocking=True)  # a regular file: always writable, and nothing to select on

    def flush(self, *, blocking: bool = False) -> None:
        """Write some; all of it if `blocking`. At most a pipe's atomic size at once, which a ready fd takes."""
        while self._pending or self._tell_dropped():
            chunk = self._pending.popleft()
            while len(chunk) < 4096 and self._pending and len(chunk) + len(self._pending[0]) <= 4096:
                chunk += self._pending.popleft()
            piece, chunk = chunk[:4096], chunk[4096:]
            try:
                written = os.write(self.fd, piece)
            except BlockingIOError:
                written = 0
            except OSError as error:
                if error.errno in _FULL:
                    self._dropped += 1 + len(self._pending)
                else:
                    self._dead = True
                self._pending.clear()
                self._size = 0
                break
            self._size -= written
            chunk = piece[written:] + chunk
            if chunk:
                self._pending.appendleft(chunk)
            if not blocking:
                break
        if not self._pending and (self._dead or not self._dropped) and self._watched:
            self._selector.unregister(self.fd)
            self._watched = False
        self._written()


def _object(label: str, text: str) -> str:
    return loglines.named(label, text, time.time())


def _plain_note(text: str) -> bytes:
    return f"runnelctl │ {text}\n".encode()


class Output:
    """All sources and both sinks. `footer` is a line that stays below everything else on a terminal."""

    def __init__(self, selector: selectors.BaseSelector, width: int, *, color: bool, log: Path) -> None:
        """`log`: the file that a detached host writes to. When both our outputs are that file it is rotated."""
        self._selector = selector
        self._log = log
        written = self._rotate if _is_open_as(log, 1) and _is_open_as(log, 2) else lambda: None
        self._out, self._err = Sink(1, selector, written), Sink(2, selector, written)
        self._width = width
        self._color = color
        self._json = False
        self._sources: dict[int, Source] = {}
        self._footer = ""

    def write_as(self, log: Log) -> None:
        """Write lines as the topology says: as they are behind a prefix, or as JSON objects."""
        self._json = log.format == "json"
        if self._json:
            self._out.note = self._err.note = lambda text: f"{_object('runnelctl', text)}\n".encode()

    def attach(self, label: str, number: int, stdout: int, stderr: int) -> deque[str]:
        """Relay a child's pipes; returns the deque that will hold its last lines."""
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        for fd, sink in ((stdout, self._out), (stderr, self._err)):
            color = _COLORS[number % len(_COLORS)] if number >= 0 else 2
            source = Source(fd, label, sink, tail, color=color)
            self._sources[fd] = source
            self._selector.register(fd, selectors.EVENT_READ, source)
        return tail

    def read(self, source: Source, *, all_of_it: bool = False) -> None:
        """Take what a child wrote; at its end, the rest and the pipe."""
        while True:
            try:
                data = os.read(source.fd, CHUNK)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close(source)
                return
            source.rest += data
            *lines, rest = source.rest.split(b"\n")
            source.rest = bytearray(rest)
            for line in lines:
                self._line(source, bytes(line))
            while len(source.rest) > LINE_LIMIT:
                self._line(source, bytes(source.rest[:LINE_LIMIT]))
                del source.rest[:LINE_LIMIT]
            if not all_of_it:
                return

    def finish(self, fds: tuple[int, ...]) -> None:
        """A child ended: take what is left in its pipes. A grandchild may hold them open; it has had its time."""
        for fd in fds:
            source = self._sources.get(fd)
            if source is not None:
                self.read(source, all_of_it=True)
                if fd in self._sources:
                    self._close(source)

    def say(self, text: str) -> None:
        """A word of our own, on stderr."""
        for line in text.splitlines() or [""]:
            self._put(self._err, "runnelctl", line, 1)

    def footer(self, text: str) -> None:
        """Show `text` as the last line of the terminal; an empty one removes it."""
        if self._err.terminal and text != self._footer:
            self._footer = text
            self._err.write(b"\r\x1b[K" + text.encode())

    @property
    def terminal(self) -> bool:
        return self._err.terminal

    def flush(self) -> None:
        """Before we exit: write everything that can be written within the patience of a closed terminal."""
        self._out.flush(blocking=not self._out.terminal or True)
        self._err.flush(blocking=True)

    def _rotate(self) -> None:
        """Start a new log when this one is large enough."""
        if os.fstat(2).st_size < LOG_LIMIT:
            return
        try:
            self._log.replace(self._log.with_name(f"{self._log.name}.1"))
            fd = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            return  # its directory is gone, or the disk is full: go on with the file that is open
        os.dup2(fd, 1)
        os.dup2(fd, 2)
        os.close(fd)

    def _close(self, source: Source) -> None:
        if source.rest:
            self._line(source, bytes(source.rest))
            source.rest = bytearray()
        self._sources.pop(source.fd, None)
        self._selector.unregister(source.fd)
        os.close(source.fd)

    def _line(self, source: Source, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        source.tail.append(text)
        self._put(source.sink, source.label, text, source.color)

    def _put(self, sink: Sink, label: str, text: str, color: int) -> None:
        if self._json:
            text, prefix = _object(label, text), ""
        else:
            prefix = f"{label:<{self._width}} │ "
        if self._color and sink.terminal and prefix:
            prefix = f"\x1b[{color}m{prefix}\x1b[0m"
        clear = "\r\x1b[K" if self._footer and sink.terminal else ""
        sink.write(f"{clear}{prefix}{text}\n".encode())
        if self._footer and sink.terminal:
            self._err.write(self._footer.encode())


def _is_open_as(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except OSError:
        return False
