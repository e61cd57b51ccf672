"""Wake-ups between processes: a byte on a non-blocking pipe, of which many count as one."""

from __future__ import annotations

import os


def pipe() -> tuple[int, int]:
    """A non-blocking pipe: read end, write end."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write


def wake(write: int) -> None:
    """Wake whoever reads the other end; one that is awake already, or gone, is no error."""
    try:
        os.write(write, b".")
    except (BlockingIOError, BrokenPipeError, OSError):
        pass


def drain(read: int) -> None:
    """Take all wake-ups that are there."""
    try:
        while os.read(read, 4096):
            pass
    except BlockingIOError:
        pass
