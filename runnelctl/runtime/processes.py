"""What the system knows of a process: when it started, whether it is stopped, how large it is.

From /proc where there is one, since to import psutil takes a tenth of the start of `up`; else from psutil.
"""

from __future__ import annotations

import os
from pathlib import Path

_STOPPED = ("T", "t")  # by a signal, by a debugger
_STATE, _STARTED = 0, 19  # fields 3 and 22 of /proc/<pid>/stat


def started(pid: int) -> str:
    """When a process started, in whatever unit the system has; equal only for one and the same process. Empty if it
    is gone."""
    if (fields := _stat(pid)) is not None:
        return fields[_STARTED]
    import psutil

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return ""


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by SIGSTOP or a debugger."""
    if (fields := _stat(pid)) is not None:
        return fields[_STATE] in _STOPPED
    import psutil

    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return False


def resident_bytes() -> int:
    """How much of the memory this process has."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        import psutil

        return int(psutil.Process().memory_info().rss)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the third on; None without a /proc, or if the process is gone."""
    try:
        # The command's name may hold blanks and brackets; what follows its last bracket is fields 3 and on.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields if len(fields) > _STARTED else None
