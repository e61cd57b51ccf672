"""Other hosts on this machine: a process that died takes its file lock with it, so its death is known at once.

Every process of a host inherits the flock on `.runnelctl/<name>/hosts/<member>/lock`. Whoever can take it knows that
all of them are gone, without waiting for a ttl.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from runnelctl.runtime.host import Host


def dead(host: Host, members: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    """Members that lived in our directory and are gone, each with its entry as just seen."""
    home = Path(host.directory).parent
    return [
        (member, entry)
        for member, entry in members.items()
        if member != host.member and _abandoned(home / member / "lock")
    ]


class Turn:
    """What one process of a topology does at a time on this machine. Whoever dies has given its turn back by that; a
    child that it forked never has it."""

    def __init__(self, host: Host) -> None:
        self._path = Path(host.directory).parent.parent / "turn" if host.directory else None
        self._fd = -1

    def take(self) -> bool:
        """Whether it is ours, now or already. Where the system gives no such locks, it is everybody's."""
        if self._fd >= 0 or self._path is None:
            return True
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            return True
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            return error.errno not in (errno.EACCES, errno.EAGAIN)
        self._fd = fd
        return True

    def give_back(self) -> None:
        """Let the next have it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _abandoned(lock: Path) -> bool:
    try:
        fd = os.open(lock, os.O_RDWR)
    except OSError:
        return False  # never lived here, or cleaned up; silence has to tell
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)
