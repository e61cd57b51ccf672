"""The warden of an embedded server: a small process that starts the server and ends it when its last user is gone.

Run as a script by `embedded.ensure`, under `python -I -S`, so it imports the standard library only. Three locks in the
server's directory, all of them `flock`s that the kernel lets go of however their holder ends:

    users.lock    shared by every user. The warden asks for it exclusively: it gets it when the last user has gone, and
                  holds it until the server has ended, so that a newcomer waits instead of meeting a dying server.
    server.lock   held by the warden and, inherited, by the server: no second server while either of them lives.
    warden.lock   held by the warden alone: a server that answers without one has been orphaned and must not be used.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

USERS_LOCK = "users.lock"
SERVER_LOCK = "server.lock"
WARDEN_LOCK = "warden.lock"
RECORD = "server.json"
LOG = "server.log"
DATA = "data"
READY = b"ready"

START_S = 30  # without any answer; a server that says LOADING has as long as it takes
STOP_S = 20  # for the last fsync; then SIGKILL, which costs nothing that has left the server's memory
DEATHS = 5
DEATHS_WITHIN_S = 60
_PR_SET_PDEATHSIG = 1
# The wheel's Valkey uses the C library's malloc. A commit makes some hundred strings of a size and frees them together;
# when as many are kept for the next one, that costs the server 8 % less. Other C libraries ignore it.
_MALLOC = "glibc.malloc.tcache_count=2000"
_NOBODY_LEFT = b"\0"  # beside the numbers of signals, of which none is 0


@dataclass(frozen=True)
class Plan:
    """What a warden is told on its command line. `server_fd` holds server.lock; `ready_fd` is written to and closed."""

    directory: str
    socket: str
    binary: str
    server_fd: int
    ready_fd: int


def ping(path: str, timeout_s: float = 2.0) -> str:
    """What the server on the unix socket `path` says: "ready", "loading", "silent" (no reply in time) or "gone"."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(path)
            connection.sendall(b"PING\r\n")
            reply = connection.recv(64)
    except TimeoutError:
        return "silent"
    except OSError:
        return "gone"
    if reply.startswith(b"-LOADING"):
        return "loading"
    return "ready" if reply.startswith(b"+PONG") else "gone"


def boot_id() -> str:
    """What tells this boot of this machine from any other; empty where the system has no such thing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class Warden:
    """One server process, from its start to the moment when nobody needs it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._directory = Path(plan.directory)
        self._identity = self._directory.stat().st_ino
        self._server: subprocess.Popen[bytes] | None = None
        self._stopping = False
        # Everything that can happen arrives as a byte on one pipe: signals, and that the last user has gone.
        self._news, self._tell = os.pipe()
        for end in (self._news, self._tell):
            os.set_blocking(end, False)

    def run(self) -> None:
        """Serve until there are no users, or SIGTERM, or the server cannot be kept alive."""
        held = open_lock(self._directory / WARDEN_LOCK)
        fcntl.flock(held, fcntl.LOCK_EX)
        self._listen()
        users = open_lock(self._directory / USERS_LOCK)
        threading.Thread(target=self._await_last_user, args=(users,), daemon=True).start()
        try:
            self._start()
            failure = self._await_answer()
            self._report(READY if failure is None else failure.encode())
            if failure is None:
                self._watch()
        finally:
            self._stop()

    def _listen(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _noted)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.set_wakeup_fd(self._tell)

    def _await_last_user(self, users: int) -> None:
        """In a thread: blocks in the kernel until every user has closed users.lock or died."""
        fcntl.flock(users, fcntl.LOCK_EX)
        os.write(self._tell, _NOBODY_LEFT)

    def _start(self) -> None:
        (self._directory / DATA).mkdir(mode=0o700, exist_ok=True)
        self._server = subprocess.Popen(
            _command(self._plan, self._directory / DATA),
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "GLIBC_TUNABLES": _MALLOC},
            pass_fds=(self._plan.server_fd,),
            preexec_fn=_bound_to(os.getpid()),  # noqa: PLW1509 - the one other thread only ever sleeps in flock
        )
        self._record(self._server.pid)

    def _await_answer(self) -> str | None:
        """Wait for the first PONG. Returns why it will not come, or None."""
        assert self._server is not None
        deadline, pause_s = time.monotonic() + START_S, 0.002
        while True:
            answer = ping(self._plan.socket)
            if answer == "ready":
                return None
            if self._stopping:
                return "it was stopped while it started"
            if self._server.poll() is not None:
                return f"it {_ending(self._server.returncode)} while it started"
            if answer == "loading":
                deadline = time.monotonic() + START_S
            if time.monotonic() > deadline:
                return f"it did not answer within {START_S} s"
            self._await_news(pause_s)
            pause_s = min(pause_s * 1.5, 0.1)

    def _watch(self) -> None:
        """Sleep until something happens; start the server again when it dies by itself, more slowly each time."""
        deaths: list[float] = []
        while not self._stopping:
            assert self._server is not None
            if self._server.poll() is None:
                self._await_news(None)
                continue
            now = time.monotonic()
            deaths = [*(death for death in deaths if now - death < DEATHS_WITHIN_S), now]
            log(f"the server (pid {self._server.pid}) {_ending(self._server.returncode)} by itself")
            if len(deaths) >= DEATHS:
                log(f"giving up after {len(deaths)} deaths in {DEATHS_WITHIN_S} s")
                return
            resume = now + 0.1 * 2 ** (len(deaths) - 1)
            while not self._stopping and (left_s := resume - time.monotonic()) > 0:
                self._await_news(left_s)
            if not self._stopping:
                self._start()

    def _await_news(self, timeout_s: float | None) -> None:
        select.select([self._news], [], [], timeout_s)
        try:
            news = os.read(self._news, 512)
        except BlockingIOError:
            return
        if any(byte != signal.SIGCHLD for byte in news):
            self._stopping = True

    def _stop(self) -> None:
        """End the server and leave nothing that would point to it. The locks go last, with this process."""
        server = self._server
        if server is not None and server.poll() is None:
            server.terminate()
            try:
                server.wait(STOP_S)
            except subprocess.TimeoutExpired:
                log(f"the server did not end within {STOP_S} s and is killed")
                server.kill()
                server.wait()
        # If the directory has been removed and made anew, what lies at these paths now is another warden's.
        try:
            if self._directory.stat().st_ino == self._identity:
                (self._directory / RECORD).unlink(missing_ok=True)
                Path(self._plan.socket).unlink(missing_ok=True)
        except OSError as error:
            log(f"cannot clean up: {error}")

    def _record(self, pid: int) -> None:
        record = {
            "schema_version": 1,
            "host": socket.gethostname(),
            "boot_id": boot_id(),
            "pid": pid,
            "warden_pid": os.getpid(),
            "socket": self._plan.socket,
            "binary": self._plan.binary,
        }
        draft = self._directory / f"{RECORD}.new"
        try:
            draft.write_text(json.dumps(record, indent=2) + "\n")
            draft.replace(self._directory / RECORD)
        except OSError as error:
            log(f"cannot write {RECORD}: {error}")  # a full disk; the server itself will say so to its senders

    def _report(self, word: bytes) -> None:
        try:
            os.write(self._plan.ready_fd, word)
        except BrokenPipeError:
            pass  # who asked has died; the lock will tell whether somebody else needs the server
        os.close(self._plan.ready_fd)


def open_lock(path: Path) -> int:
    """A file descriptor of the lock file `path`, made if need be; not inherited by programs that are started."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def log(text: str) -> None:
    """A line in server.log, which is this process's stdout, in the manner of the server's own lines."""
    with contextlib.suppress(OSError):  # a full disk must not end the warden
        print(f"{os.getpid()}:W {time.strftime('%d %b %Y %H:%M:%S')} * warden: {text}", flush=True)


def _command(plan: Plan, data: Path) -> list[str]:
    return [
        *(plan.binary, "--port", "0", "--unixsocket", plan.socket, "--unixsocketperm", "700", "--dir", str(data)),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction"),
        *("--daemonize", "no", "--logfile", "", "--always-show-logo", "no"),
    ]


def _bound_to(parent: int) -> Callable[[], None] | None:
    """What the server's process does before it becomes the server: ask to get SIGTERM when the warden dies."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # the warden died before the request was made

    return prepare


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _noted(number: int, frame: FrameType | None) -> None:
    """The byte on the wakeup pipe is all that is wanted; without a handler it would not be written."""


def main(arguments: list[str]) -> None:
    """Leave the process that was started (it must not have to reap us), and be the warden."""
    directory, path, binary, server_fd, ready_fd = arguments
    if os.fork():
        os._exit(0)
    Warden(Plan(directory, path, binary, int(server_fd), int(ready_fd))).run()


if __name__ == "__main__":
    main(sys.argv[1:])
