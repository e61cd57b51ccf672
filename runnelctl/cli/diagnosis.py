"""What `doctor` thinks of a set-up: a finding for each thing that it looked at. This judges; `doctor` looks."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runnelctl.core.model import Topology

_OLDEST_PYTHON = (3, 11)
_SLOW_PING_MS = 5.0
_CLOCK_OFF_MS = 1_000
_LITTLE_SPACE_BYTES = 1 << 30
#: Of one slice: its own pipes and sockets, and some for what a handler opens.
_FILES_PER_SLICE = 12
_CONNECTIONS_PER_SLICE = 3
_CONNECTIONS_BESIDE = 4  # the keeper's two, and two for commands


class Verdict(enum.Enum):
    """`BAD` is what keeps runnelctl from working or its promises from holding; `WARNING` is worth a thought."""

    OK = "ok"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what is thought of it, and in a sentence why."""

    subject: str
    verdict: Verdict
    message: str


def python(version: tuple[int, ...], text: str, system: str) -> Finding:
    """Whether this Python is new enough."""
    if version[:2] < _OLDEST_PYTHON:
        return Finding("python", Verdict.BAD, f"Python {text} is too old: 3.11 is the oldest that will do")
    if system not in ("Linux", "Darwin"):
        return Finding("python", Verdict.BAD, f"Python {text} on {system}: only Linux and macOS have what is needed")
    return Finding("python", Verdict.OK, f"Python {text} on {system}")


def packages(versions: Mapping[str, str | None]) -> Finding:
    """Whether everything that the base install brings is there."""
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        return Finding("packages", Verdict.BAD, f"not installed: {', '.join(missing)}; pip install runnelctl")
    return Finding("packages", Verdict.OK, ", ".join(f"{name} {version}" for name, version in versions.items()))


def open_files(of: Topology, limit: int) -> Finding:
    """Whether the shell's limit is enough for one host of the topology."""
    slices = sum(processor.processes for processor in of.processors.values())
    needed = (slices + 2) * _FILES_PER_SLICE
    if limit < needed:
        message = (
            f"a process may open {limit} files, {slices} slices need about {needed}: ulimit -n {max(1024, needed)}"
        )
        return Finding("open files", Verdict.BAD, message)
    return Finding("open files", Verdict.OK, f"a process may open {limit:,}")


def cores(of: Topology, number: int) -> Finding:
    """Whether the topology asks for many more processes than this machine has cores."""
    slices = sum(processor.processes for processor in of.processors.values())
    if slices > 8 * number:
        message = f"{slices} slices on {number} cores: fewer processes per processor would do the same work with less"
        return Finding("cores", Verdict.WARNING, message)
    return Finding("cores", Verdict.OK, f"{number} for {slices} slice(s)")


def disk(directory: str, free_bytes: int) -> Finding:
    """Whether there is room for logs, and for the embedded server's data."""
    free = f"{free_bytes / (1 << 30):,.1f} GiB free in {directory}"
    if free_bytes < _LITTLE_SPACE_BYTES:
        return Finding("disk", Verdict.WARNING, f"only {free}")
    return Finding("disk", Verdict.OK, free)


def ping(times_ms: Sequence[float]) -> Finding:
    """How far away Redis is. An event that waits for its commit waits for this."""
    middle, worst = sorted(times_ms)[len(times_ms) // 2], max(times_ms)
    message = f"{middle:.2f} ms in the middle, {worst:.2f} ms at worst of {len(times_ms)}"
    if middle > _SLOW_PING_MS:
        return Finding("round trip", Verdict.WARNING, f"{message}: far away; expect a lower rate per partition")
    return Finding("round trip", Verdict.OK, message)


def clock(offset_ms: float) -> Finding:
    """How far this machine's clock is from Redis's. Nothing is decided by it; times that are shown would be off."""
    if abs(offset_ms) > _CLOCK_OFF_MS:
        message = f"{offset_ms / 1000:+,.1f} s from Redis's: no promise hangs on it, but times are shown wrong"
        return Finding("clock", Verdict.WARNING, message)
    return Finding("clock", Verdict.OK, f"{abs(offset_ms):,.0f} ms from Redis's")


def connections(of: Topology, limit: int, used: int) -> Finding:
    """Whether Redis has room for the connections of one more host."""
    slices = sum(processor.processes for processor in of.processors.values())
    needed = slices * _CONNECTIONS_PER_SLICE + _CONNECTIONS_BESIDE
    message = f"{used:,} of {limit:,} in use, an up here takes {needed}"
    verdict = Verdict.BAD if used + needed > limit else Verdict.OK
    return Finding("connections", verdict, f"{message}: raise maxclients" if verdict is Verdict.BAD else message)
