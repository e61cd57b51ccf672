"""The embedded server: found by every command in a directory, started by whichever needs it, gone after the last.

A user holds a shared lock on `users.lock` for as long as it needs the server. The kernel lets go of it however the user
ends, and a forked child holds it too. See `warden` for the process on the other side of that lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from runnelctl.errors import RedisUnreachable, UsageError
from runnelctl.store import endpoint as endpoints
from runnelctl.store import warden
from runnelctl.store.endpoint import Endpoint
from runnelctl.store.program import binary, mending
from runnelctl.store.socketpath import socket_path

__all__ = ["Embedded", "binary", "ensure"]

FOLDER = ".runnelctl"
PATIENCE_S = 30  # for a server that is ending, or that somebody else is starting
_LOG_LIMIT_BYTES = 1 << 20
_LITTLE_BYTES = 1 << 16
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class Embedded:
    """A hold on the embedded server in `directory`. The server stays up until this is closed and nobody else has one.

    `fd` is the held lock. Forked children share the hold; a program that is started gets it by `pass_fds` only, so
    that a handler's stray subprocess cannot keep the server up.
    """

    def __init__(self, directory: Path, fd: int, endpoint: Endpoint) -> None:
        self.directory = directory
        self.fd = fd
        self.endpoint = endpoint

    def revive(self) -> None:
        """Start the server again if it died. Cheap when it did not. Raises RedisUnreachable."""
        with _told(self.directory):
            self.endpoint = endpoints.unix(_bring_up(self.directory))

    def close(self) -> None:
        """Let go of the server. In a forked child this ends the child's hold only. May be called twice."""
        if self.fd >= 0:
            # Closed and not unlocked: unlocking would take it from forked children as well.
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Embedded:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def ensure(name: str, *, root: Path | None = None) -> Embedded:
    """The embedded server of the topology `name`, started if it is not up. A millisecond when it is.

    `root` is the directory that holds `.runnelctl/` (default: `$RUNNELCTL_DIR`, else the current one). Raises
    RedisUnreachable when there is no server program, or it does not start, or the directory does not allow it.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise UsageError(f"{name!r} cannot be the name of a topology with an embedded server")
    base = root or Path(os.environ.get("RUNNELCTL_DIR") or ".")
    directory = base.absolute() / FOLDER / name
    with _told(directory):
        _make(directory)
        fd = _hold(directory)
        try:
            return Embedded(directory, fd, endpoints.unix(_bring_up(directory)))
        except BaseException:
            os.close(fd)
            raise


@contextlib.contextmanager
def _told(directory: Path) -> Iterator[None]:
    """What the operating system refuses, as a sentence about `directory`."""
    try:
        yield
    except OSError as error:
        where = f"the embedded server cannot use {error.filename or directory}"
        if error.errno in _NO_LOCKS:
            raise RedisUnreachable(
                f"{where}: its file system has no locks (flock); set RUNNELCTL_DIR to a local disk, or use redis://"
            ) from error
        raise RedisUnreachable(f"{where}: {error.strerror or error}") from error


def _make(directory: Path) -> None:
    if not directory.parent.exists():
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory.parent / ".gitignore").write_text("*\n")
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.stat()
    if status.st_mode & 0o077 and status.st_uid == os.geteuid():
        directory.chmod(0o700)


def _hold(directory: Path) -> int:
    """Take the shared lock; while a warden is ending its server, wait for it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        _make(directory)
        fd = warden.open_lock(directory / warden.USERS_LOCK)
        try:
            while not _locked(fd, fcntl.LOCK_SH):
                if time.monotonic() > deadline:
                    raise RedisUnreachable(f"the embedded server in {directory} does not end; see {warden.LOG} there")
                time.sleep(0.005)
            # The directory may have been removed meanwhile; a lock on a file that has no name protects nobody.
            if os.fstat(fd).st_nlink:
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _bring_up(directory: Path) -> str:
    """The socket of a server that answers and has a warden; the caller holds the shared lock, so it will stay."""
    deadline, pause_s = time.monotonic() + PATIENCE_S, 0.005
    while True:
        record = _record(directory)
        path = str(record.get("socket") or socket_path(directory))
        answer = warden.ping(path)
        if answer == "ready" and _free(directory / warden.WARDEN_LOCK):
            _shut_down(path)  # its warden was killed; where the system did not pass that on to it, we do
        elif answer == "ready":
            return path
        elif answer == "loading":
            deadline = time.monotonic() + PATIENCE_S
        lock = warden.open_lock(directory / warden.SERVER_LOCK)
        try:
            if _locked(lock, fcntl.LOCK_EX):
                return _start(directory, lock)
        finally:
            os.close(lock)
        _refuse_other_machine(directory, record)
        if time.monotonic() > deadline:
            pid = record.get("pid", "unknown")
            raise RedisUnreachable(f"the embedded server in {directory} (pid {pid}) runs but does not answer")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)


def _start(directory: Path, lock: int) -> str:
    """Start a warden, handing it the server's lock, and wait until its server answers."""
    path, log = socket_path(directory), directory / warden.LOG
    if log.exists() and log.stat().st_size > _LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    program = binary()
    ready, tell = os.pipe()
    try:
        with log.open("ab") as output:
            told_before = output.tell()
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", warden.__file__, str(directory), path, str(program), str(lock), str(tell)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                pass_fds=(lock, tell),
                start_new_session=True,
            )
        os.close(tell)
        tell = -1
        with open(ready, "rb", closefd=False) as pipe:
            word = pipe.read()
        process.wait()
    finally:
        os.close(ready)
        if tell >= 0:
            os.close(tell)
    if word != warden.READY:
        raise _did_not_start(directory, program, word.decode(), told_before)
    return path


def _did_not_start(directory: Path, program: Path, reason: str, told_before: int) -> RedisUnreachable:
    log = directory / warden.LOG
    with log.open("rb") as written:
        written.seek(told_before)
        lines = [line for line in written.read().decode("utf-8", "replace").splitlines() if line.strip()]
    tail = "".join(f"\n  {line}" for line in lines[-5:])
    advice = mending("\n".join(lines), program, directory / warden.DATA)
    if not lines and shutil.disk_usage(directory).free < _LITTLE_BYTES:
        advice = "the disk is full: make room and start again"  # so full that there was no room to say so
    return RedisUnreachable(
        f"the embedded server in {directory} does not start: {reason or 'its warden ended early'}; {advice}"
        + (f"\nThe end of {log}:{tail}" if tail else "")
    )


def _record(directory: Path) -> dict[str, object]:
    """What the warden wrote of its server; empty when there is none, or it cannot be read."""
    try:
        record = json.loads((directory / warden.RECORD).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _refuse_other_machine(directory: Path, record: dict[str, object]) -> None:
    """The lock is held. If that is by another machine, over a network file system, waiting is in vain."""
    theirs, ours = record.get("boot_id"), warden.boot_id()
    elsewhere = theirs != ours if theirs and ours else record.get("host") != socket.gethostname()
    if record and elsewhere:
        raise RedisUnreachable(
            f"the embedded server in {directory} runs on the machine {record.get('host')}; an embedded server is for "
            "one machine only: name a redis:// URL that all of them can reach"
        )


def _locked(fd: int, kind: int) -> bool:
    """Take a lock of `kind` if that is possible at once."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _free(path: Path) -> bool:
    """Whether nobody holds the lock `path` exclusively."""
    fd = warden.open_lock(path)
    try:
        return _locked(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _shut_down(path: str) -> None:
    """Ask the server at `path` to end cleanly. By its socket and not by its pid, which may be anybody's by now."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        connection.connect(path)
        connection.sendall(b"SHUTDOWN\r\n")
        connection.recv(64)
