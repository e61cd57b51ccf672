"""Other hosts on this machine: a process that died takes its file lock with it, so its death is known at once.

Every process of a host inherits the flock on `.runnelctl/<name>/hosts/<member>/lock`. Whoever can take it knows that
all of them are gone, without waiting for a ttl.
"""

from __future__ import annotations

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
