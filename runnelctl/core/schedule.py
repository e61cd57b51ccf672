"""When a task is due, and what becomes of a time that it is due at. All pure: clocks and zones are arguments.

A *tick* is a moment at which a task is due, in milliseconds. Which clock it is on is the caller's business: the wall's
for `cron` and for tasks with a leader, so that all hosts count the same ticks, and the host's own monotonic one for
`every`, which nobody can put back.

Of ticks that were missed (the process was being replaced, the leader changed, the machine slept) only the newest is
run, once, and only if it is at most CATCH_UP_MS old. So a pause is never made up for by many runs in a row.
"""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterator
from dataclasses import dataclass

from runnelctl.core.model import Overlap, Task

CATCH_UP_MS = 3_600_000


class Act(enum.Enum):
    """What to do now."""

    WAIT = "wait"  # nothing is due
    RUN = "run"
    QUEUE = "queue"  # it still runs: once more afterwards
    SKIP = "skip"  # it still runs: this tick is left out
    LAPSE = "lapse"  # missed for so long that nobody wants it any more


@dataclass(frozen=True, slots=True)
class Turn:
    """`tick`: the newest one that is due, which is settled by `act`; None where nothing is. `next_ms`: the one after
    now; None if there is none."""

    act: Act
    tick: int | None
    next_ms: int | None


def turn(
    task: Task, *, last_ms: int, now_ms: int, origin_ms: int, zone: datetime.tzinfo, running: bool, queued: bool
) -> Turn:
    """What a task has to do at `now_ms`. `last_ms`: the last tick that is settled; ticks of `every` are counted from
    `origin_ms`; `queued`: a run waits already for the present one to end."""
    upcoming = next_tick(task, now_ms, origin_ms, zone)
    tick = newest(task, last_ms, now_ms, origin_ms, zone)
    if tick is None:
        return Turn(Act.WAIT, None, upcoming)
    if now_ms - tick > CATCH_UP_MS:
        return Turn(Act.LAPSE, tick, upcoming)
    if not running:
        return Turn(Act.RUN, tick, upcoming)
    return Turn(Act.QUEUE if may_queue(task) and not queued else Act.SKIP, tick, upcoming)


def may_queue(task: Task) -> bool:
    """Whether a run may wait for the present one to end."""
    return task.overlap is Overlap.QUEUE


def next_tick(task: Task, after_ms: int, origin_ms: int, zone: datetime.tzinfo) -> int | None:
    """The first tick strictly after a moment; None if there is none, as with `on: start`."""
    if task.every_ms is not None:
        return origin_ms + ((after_ms - origin_ms) // task.every_ms + 1) * task.every_ms
    if task.cron is not None:
        return next(_cron(task.cron, after_ms, zone), None)
    return None


def newest(task: Task, after_ms: int, now_ms: int, origin_ms: int, zone: datetime.tzinfo) -> int | None:
    """The last tick after one moment and at or before another; None if there is none. One that is older than
    CATCH_UP_MS may be given for any of its age: it is not going to be run."""
    if task.every_ms is not None:
        tick = origin_ms + (now_ms - origin_ms) // task.every_ms * task.every_ms
        return tick if tick > max(after_ms, origin_ms) else None
    if task.cron is None:
        return None
    found = None
    # A cron of every second has 3,600 ticks in the hour that counts; whatever is older needs no exact answer.
    first = next(_cron(task.cron, after_ms, zone), None)
    start_ms = after_ms if first is None or first > now_ms - CATCH_UP_MS else now_ms - CATCH_UP_MS - 1
    for tick in _cron(task.cron, start_ms, zone):
        if tick > now_ms:
            break
        found = tick
    return found if found is not None else first if first is not None and first <= now_ms else None


def _cron(expression: str, after_ms: int, zone: datetime.tzinfo) -> Iterator[int]:
    from cronsim import CronSim  # only topologies with such tasks pay for it

    after = datetime.datetime.fromtimestamp(after_ms / 1000, zone)
    for moment in CronSim(expression, after):
        yield int(moment.timestamp() * 1000)


def words(task: Task) -> str:
    """When a task runs, in a few words: `every 10s`, `cron 45 17 * * * UTC`, `on start`."""
    if task.on_start:
        return "on start"
    if task.every_ms is not None:
        return f"every {task.every_ms / 1000:g}s"
    return f"cron {task.cron} {task.timezone}"
