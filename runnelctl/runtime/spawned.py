"""`start: spawn`: a child that goes on as a fresh interpreter, for handlers whose libraries do not survive a fork.

The child is forked like any other, so that it has its session, its death signal and its output, and then executes
Python anew. What it must know goes along in a file without a name; board, pipes and locks by their descriptors.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

from runnelctl.runtime.host import KEEPER, Host

_PACKAGES = str(Path(__file__).parents[2])


def execute(host: Host, slot: int, incarnation: int, name: str) -> NoReturn:
    """In a forked child: become a fresh interpreter that runs the keeper (slot KEEPER) or what the slot is for. `name`
    is what `ps` shows."""
    told = os.environ.get("PYTHONPATH")
    payload = pickle.dumps((host, slot, incarnation, name, list(sys.path), told))
    with tempfile.TemporaryFile() as file:
        file.write(payload)
        file.flush()
        for fd in _open_fds():
            os.set_inheritable(fd, True)  # all that `child.fork` has left open is meant to be
        path = f"{told}{os.pathsep}{_PACKAGES}" if told else _PACKAGES
        arguments = [sys.executable, "-P", "-m", __name__, str(file.fileno()), name]
        os.execve(sys.executable, arguments, {**os.environ, "PYTHONPATH": path})


def _open_fds() -> list[int]:
    found = []
    for fd in range(3, 4096):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found.append(fd)
    return found


def main(fd: int) -> int:
    """In the fresh interpreter; returns the exit code."""
    from runnelctl.runtime import child, launch

    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        host, slot, incarnation, name, path, told = pickle.loads(file.read())
    sys.path[:] = path
    os.environ.pop("PYTHONPATH")
    if told is not None:
        os.environ["PYTHONPATH"] = told
    child.settle(name)
    return launch.keeper(host) if slot == KEEPER else launch.child_of(host, slot, incarnation)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
