"""Making a child process and knowing how it ended. What runs in the parent and what in the child is said at each step.

The parent is single-threaded and holds no connection, so a fork copies no lock and no socket that could do harm.
"""

from __future__ import annotations

import ctypes
import gc
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_RESET = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2)


def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    except OSError:
        return None


_LIBC = _libc()  # loaded before any fork


@dataclass(frozen=True, slots=True)
class Child:
    """A live child: its pid, a pidfd where the system has them, and the read ends of its output."""

    pid: int
    pidfd: int | None
    stdout: int
    stderr: int


def threads() -> int:
    """How many threads this process has; forking with more than one can deadlock the child."""
    try:
        return sum(1 for _ in Path("/proc/self/task").iterdir())
    except OSError:
        return 1


def freeze() -> None:
    """Before the forks: let children share what is loaded, since a garbage collector that touches it would copy it."""
    gc.disable()
    gc.collect()
    gc.freeze()


def fork(name: str, body: Callable[[], int], keep: Collection[int]) -> Child:
    """Start `body` in a child in a session of its own, which dies with this process. Its return value is its exit code.

    `name` is what `ps -o comm` and `top` show (15 characters of it). `keep`: file descriptors that the child may
    inherit besides its output.
    """
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    # A signal between fork and reset would run the parent's handler in the child.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _RESET)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            _become_child(name, parent, out_write, err_write, keep)
            code = body()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            _flush()
            os._exit(code)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(out_write)
    os.close(err_write)
    os.set_blocking(out_read, False)
    os.set_blocking(err_read, False)
    return Child(pid, _pidfd(pid), out_read, err_read)


def _become_child(name: str, parent: int, out: int, err: int, keep: Collection[int]) -> None:
    """In the child, before anything of ours or the user's runs."""
    os.setsid()
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before prctl took effect
        os._exit(0)
    signal.set_wakeup_fd(-1)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _RESET)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    _close_all_but(keep)
    settle(name)


def settle(name: str) -> None:
    """In a child whose descriptors and signals are in place: its name, its output, its own randomness and garbage."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    random.seed()
    # A read makes thousands of short-lived lists: the default threshold of 700 would walk them again and again.
    gc.set_threshold(20_000, 10, 10)
    gc.enable()


def _close_all_but(keep: Collection[int]) -> None:
    """Other children's pipes must not stay open here, or their ends would never be seen."""
    low = 3
    for fd in sorted({fd for fd in keep if fd > 2}):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 65536)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def reap(pid: int) -> int | None:
    """The wait status of a child that ended, None while it lives. Its whole process group goes with it."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    kill_group(pid)  # still a zombie, so its group can't be somebody else's by now
    _, status = os.waitpid(pid, 0)
    return status


def kill_group(pid: int) -> None:
    """SIGKILL a child and all that it started in its session."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def reap_strangers(ours: Collection[int]) -> None:
    """As PID 1 of a container, bury the orphans that nobody else will."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in ours:
            return
        os.waitpid(ended.si_pid, 0)


def describe(status: int) -> str:
    """A wait status in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"was killed by {name}" + (" and dumped core" if os.WCOREDUMP(status) else "")
