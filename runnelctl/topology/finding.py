"""Which topology file a command is about, when the command line does not say."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping as Dict
from pathlib import Path

from runnelctl import errors

DEFAULT_FILE = "topology.yaml"
VARIABLE = "RUNNELCTL_TOPOLOGY"


def find(explicit: str | None, environ: Dict[str, str], cwd: str | Path) -> Path:
    """The file that is meant: `explicit`, else $RUNNELCTL_TOPOLOGY, else what is up from `cwd`, else ./topology.yaml.
    Raises UsageError if there is none, or several are up. Whether an explicit file exists is for `load` to say."""
    if explicit:
        return Path(explicit)
    if environ.get(VARIABLE):
        return Path(environ[VARIABLE])
    up = running(cwd)
    if len(up) == 1:
        return Path(up[0])
    if up:
        raise errors.UsageError(f"several topologies are up from here: {', '.join(up)}; say which, with -t FILE")
    if (Path(cwd) / DEFAULT_FILE).exists():
        return Path(DEFAULT_FILE)
    raise errors.UsageError(
        f"no topology: give a file with -t FILE or ${VARIABLE}, or run this where there is a {DEFAULT_FILE}"
    )


def running(cwd: str | Path) -> list[str]:
    """The topology files (absolute, sorted) of hosts that were started in `cwd` and still hold their lock."""
    files = set()
    for record in Path(cwd).glob(".runnelctl/*/hosts/*/host.json"):
        try:
            file = json.loads(record.read_bytes())["topology"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue  # half written, or not ours: such a host can't be named anyway
        if isinstance(file, str) and _is_locked(record.with_name("lock")):
            files.add(file)
    return sorted(files)


def _is_locked(path: Path) -> bool:
    """Whether somebody holds the file's flock. Asked with a shared lock, given back at once."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
