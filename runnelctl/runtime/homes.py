"""Where hosts live on disk: `.runnelctl/<topology>/hosts/<member>/` below the directory that `up` was started in.

host.json   who it is, for `down`, `logs` and for commands that are not told which topology
lock        flock'ed by every process of the host: whoever can take it knows that all of them are gone
ready       there once every slice is ready and the first leases are held
up.log      the output of a detached host; up.log.1 what was in it before it was rotated
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from runnelctl.errors import RunnelctlError
from runnelctl.runtime.processes import started

FOLDER = ".runnelctl"
LOG = "up.log"


@dataclass(frozen=True, slots=True)
class Home:
    """A host's directory, and what its host.json says."""

    directory: Path
    member: str
    pid: int
    topology: str  # absolute path of the topology file
    name: str  # of the topology
    detached: bool
    started: str = ""  # of the process, so that a later one of the same pid is not taken for it

    @property
    def host(self) -> str:
        """`host:pid`, as shown."""
        return self.member.rpartition(":")[0]

    @property
    def log(self) -> Path:
        return self.directory / LOG

    @property
    def ready(self) -> bool:
        return (self.directory / "ready").exists()

    @property
    def alive(self) -> bool:
        """Whether any process of the host still runs."""
        return _is_locked(self.directory / "lock")


def root() -> Path:
    """The directory that holds `.runnelctl/`: $RUNNELCTL_DIR, else the current one."""
    return Path(os.environ.get("RUNNELCTL_DIR") or ".").absolute()


def found(base: Path, name: str | None = None) -> list[Home]:
    """The homes below `base`, of one topology or of all, oldest first; those of the dead included."""
    homes = []
    for record in (base / FOLDER).glob(f"{name or '*'}/hosts/*/host.json"):
        try:
            about = json.loads(record.read_bytes())
            homes.append(
                Home(
                    record.parent,
                    about["member"],
                    int(about["pid"]),
                    about["topology"],
                    about["name"],
                    about["detached"],
                    about.get("started", ""),
                )
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # half written, or cleaned up under our eyes
    return sorted(homes, key=lambda home: home.directory.stat().st_mtime if home.directory.exists() else 0.0)


def create(base: Path, name: str, topology_file: str, *, pid: int, detached: bool) -> tuple[Home, int]:
    """A home for a new host, and the descriptor that holds its lock; forked children inherit it. Raises RunnelctlError
    if it can't be written."""
    member = f"{socket.gethostname()}:{pid}:{secrets.token_hex(3)}"
    directory = base / FOLDER / name / "hosts" / member
    try:
        return _created(directory, base, name, member, topology_file, pid=pid, detached=detached)
    except OSError as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise RunnelctlError(
            f"cannot write {directory}: {error.strerror or error}; make room, or set RUNNELCTL_DIR to another directory"
        ) from error


def _created(
    directory: Path, base: Path, name: str, member: str, topology_file: str, *, pid: int, detached: bool
) -> tuple[Home, int]:
    directory.mkdir(mode=0o700, parents=True)
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    home = Home(directory, member, pid, topology_file, name, detached, started(pid))
    early = early_log(base, name, pid)
    if detached and early.exists():  # what a detached host writes to already
        early.rename(home.log)
    _write(home)
    return home, fd


def early_log(base: Path, name: str, pid: int) -> Path:
    """Where a detached host writes before it has a home."""
    return base / FOLDER / name / f"up.{pid}.log"


def _write(home: Home) -> None:
    about = {
        "member": home.member,
        "pid": home.pid,
        "topology": home.topology,
        "name": home.name,
        "detached": home.detached,
        "started": home.started,
    }
    partial = home.directory / "host.json.partial"
    partial.write_text(json.dumps(about))
    partial.replace(home.directory / "host.json")


def remove(home: Home) -> None:
    """Clean up after a host; the log of a detached one stays, so that `logs` can tell how it ended."""
    if home.detached:
        (home.directory / "ready").unlink(missing_ok=True)
    else:
        shutil.rmtree(home.directory, ignore_errors=True)


def sweep(base: Path, name: str, keep_logs: int = 3) -> None:
    """Remove the homes of hosts that are gone, but for the last few logs."""
    gone = [home for home in found(base, name) if not home.alive]
    logs = [home for home in gone if home.detached]
    for home in gone:
        if home not in logs[-keep_logs:]:
            shutil.rmtree(home.directory, ignore_errors=True)


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)
