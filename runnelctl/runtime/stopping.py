"""Asking hosts of this machine to drain, and waiting until they are gone. No process is ever signalled by its number
alone: it must hold its home's lock, and have started when the home says."""

from __future__ import annotations

import contextlib
import enum
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from runnelctl.runtime import homes, processes
from runnelctl.runtime.homes import Home

POLL_S = 0.05


class Answer(enum.Enum):
    """What came of asking."""

    ASKED = "asked"
    ELSEWHERE = "runs on another machine"
    STRANGER = "cannot be found by its pid; it runs in another container, or is ending by itself"
    FORBIDDEN = "belongs to another user"


@dataclass(frozen=True, slots=True)
class Asked:
    """A host that was asked to stop, or why it was not. `pidfd` is -1 where the system has none."""

    home: Home
    answer: Answer
    pidfd: int = -1


def ask(home: Home) -> Asked:
    """Send SIGTERM to the supervisor of a live host."""
    if home.host.rpartition(":")[0] != socket.gethostname():
        return Asked(home, Answer.ELSEWHERE)
    pidfd = -1
    try:
        # Held before the check, the descriptor names the checked process for good, whatever its pid comes to mean.
        if hasattr(os, "pidfd_open"):
            pidfd = os.pidfd_open(home.pid)
        if not home.started or processes.started(home.pid) != home.started:
            raise ProcessLookupError
        if pidfd >= 0:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        else:
            os.kill(home.pid, signal.SIGTERM)
    except (ProcessLookupError, PermissionError) as error:
        if pidfd >= 0:
            os.close(pidfd)
        return Asked(home, Answer.FORBIDDEN if isinstance(error, PermissionError) else Answer.STRANGER)
    return Asked(home, Answer.ASKED, pidfd)


def wait(asked: Iterable[Asked], deadline: float, gone: Callable[[Home], None]) -> list[Home]:
    """Wait until each host and all its children have ended, at most until `deadline` (of the monotonic clock); calls
    `gone` with each. Returns those that are still there. Closes the descriptors."""
    left = []
    for each in asked:
        try:
            if each.pidfd >= 0:
                select.select([each.pidfd], [], [], max(0.0, deadline - time.monotonic()))
            while each.home.alive and time.monotonic() < deadline:
                time.sleep(POLL_S)
        finally:
            with contextlib.suppress(OSError):
                os.close(each.pidfd)
        if each.home.alive:
            left.append(each.home)
        else:
            gone(each.home)
    return left


def live(base: Path, file: str, name: str) -> list[Home]:
    """The live hosts below `base` that run this topology: by its file, or by its name."""
    return [home for home in homes.found(base) if (home.topology == file or home.name == name) and home.alive]
