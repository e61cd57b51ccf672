"""A pseudo-terminal for commands that behave differently on one: what they draw is read, keys are typed."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

from tests import servers
from tests.process.ups import environment
from tests.waiting import wait_until

_die_with_parent = servers.die_with_parent()


def _take_terminal() -> None:
    """What is on stdin becomes the terminal of the new session, as in a shell."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if _die_with_parent is not None:
        _die_with_parent()


class Terminal:
    """`runnelctl` with `arguments` in `directory` on a terminal of `columns` by `lines`."""

    def __init__(self, directory: Path, *arguments: str, columns: int = 80, lines: int = 24) -> None:
        self._master, self._slave = pty.openpty()
        termios.tcsetwinsize(self._slave, (lines, columns))
        self._written = bytearray()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "runnelctl", *arguments],
            cwd=directory, env=environment(TERM="xterm-256color"), stdin=self._slave, stdout=self._slave,
            stderr=self._slave, start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - the tests' main thread, and it only makes system calls
        )  # fmt: skip

    @property
    def written(self) -> str:
        """Everything that was written so far, escape sequences and all."""
        while select.select([self._master], [], [], 0)[0]:
            try:
                self._written += os.read(self._master, 65536)
            except OSError:
                break
        return self._written.decode("utf-8", "replace")

    @property
    def settings(self) -> list[Any]:
        """The line discipline, as termios has it."""
        return termios.tcgetattr(self._slave)

    def expect(self, text: str, after: int = 0, timeout_s: float = 20) -> int:
        """Wait until `text` is written, beyond position `after`; returns where it ends."""
        wait_until(lambda: text in self.written[after:], timeout_s, f"{text!r} on the terminal")
        return self.written.index(text, after) + len(text)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait(self, timeout_s: float = 20) -> int:
        """The exit code, once it has ended; what it writes is read on, so that it can end."""
        wait_until(lambda: (self.written, self.process.poll() is not None)[1], timeout_s, "the command to end")
        return self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)
