"""Where the embedded server's unix socket lies: in its directory or, if that path is too long, in a private place."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from runnelctl.errors import RedisUnreachable

LONGEST_BYTES = 100  # the kernel takes 107 on Linux and 103 on macOS


def socket_path(directory: Path) -> str:
    """The socket's path for the server in `directory`. Raises RedisUnreachable if the private place is not private."""
    # A server removes its socket when it ends. By the inode, one whose directory was removed and made anew under it
    # does not remove its successor's.
    inode = directory.stat().st_ino
    path = directory / f"s{inode:x}"
    if len(os.fsencode(path)) <= LONGEST_BYTES:
        return str(path)
    digest = hashlib.sha256(os.fsencode(f"{os.path.realpath(directory)}:{inode}")).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()).absolute() / f"runnelctl-{os.geteuid()}"
    if len(os.fsencode(folder)) + len(digest) + 1 > LONGEST_BYTES:
        folder = Path("/tmp") / folder.name
    _make_private(folder)
    return str(folder / digest)


def _make_private(folder: Path) -> None:
    """Anybody may make a directory of that name in the temp dir first, or a link that leads elsewhere."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    status = folder.lstat()
    private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
    if not private:
        raise RedisUnreachable(
            f"the embedded server's socket would go to {folder}, which is not a directory that only you can use; "
            "remove it, or set RUNNELCTL_DIR to a directory with a shorter path"
        )
