"""What tasks print, told apart: each line gets the name of the task that it comes from.

All tasks of a host share a process and so its output. The name of the task that runs is in a context variable, which
coroutines and the threads of plain functions inherit.
"""

from __future__ import annotations

import contextvars
import io
import sys
import threading
from typing import TextIO

speaker: contextvars.ContextVar[str] = contextvars.ContextVar("speaker", default="")


class Voices(io.TextIOBase):
    """A text stream that puts the speaker's name before every line. Lines are passed on whole."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._begun: dict[str, str] = {}  # lines without an end so far

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        who = speaker.get()
        with self._lock:
            *lines, rest = (self._begun.get(who, "") + text).split("\n")
            self._begun[who] = rest
            if lines:
                prefix = f"{who}: " if who else ""
                self._stream.write("".join(f"{prefix}{line}\n" for line in lines))
        return len(text)

    def flush(self) -> None:
        with self._lock:
            self._stream.flush()

    def finish(self) -> None:
        """At the end: what had no end of line gets one."""
        with self._lock:
            for who, rest in self._begun.items():
                if rest:
                    self._stream.write(f"{who}: {rest}\n" if who else f"{rest}\n")
            self._begun.clear()
            self._stream.flush()


def install() -> None:
    """From here on, what this process prints goes through Voices."""
    sys.stdout, sys.stderr = Voices(sys.stdout), Voices(sys.stderr)


def finish() -> None:
    """Pass on what is left, before the process ends."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, Voices):
            stream.finish()
