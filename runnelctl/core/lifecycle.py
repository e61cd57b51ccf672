"""When a slice process is restarted, when its silence is a death, when its deaths become a halt. All pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

CRASH_WINDOW_S = 60.0
CRASH_BUDGET = 5
STABLE_RUN_S = 30.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
LONGEST_PAUSE_BLAMED_S = 0.5  # the policy limits these deaths, and partitions may wait meanwhile
PROOF_S = 1.0  # who took over from the dead and lives so long does not die of the same
READY_LIMIT_S = 60.0
SILENCE = 2.0  # ttls; whose loop does not turn for so long, with no event to blame, is put down


@dataclass(frozen=True, slots=True)
class History:
    """What a slot has been through: deaths in a row (for the pause) and idle deaths (for the budget)."""

    streak: int = 0
    idle_deaths: tuple[float, ...] = field(default=())


class Fate(enum.Enum):
    """What follows a death."""

    RESTART = "restart"
    GONE = "gone"  # it was asked to leave
    UNSTARTABLE = "unstartable"  # never ready: an import error does not get better by trying again
    CRASH_LOOP = "crash loop"  # too many deaths with no event to blame


@dataclass(frozen=True, slots=True)
class Next:
    """The fate, the pause before a restart in seconds, and the slot's history from here. `spared`: until the restart,
    other slices may run its partitions, but for those whose event is suspected."""

    fate: Fate
    pause_s: float
    history: History
    spared: bool = False


def after_death(
    history: History,
    *,
    now: float,
    ran_s: float,
    ready: bool,
    asked: bool,
    in_flight: bool,
    jitter: float,
    killed: bool = False,
    reopening: bool = False,
    others_well: bool = False,
) -> Next:
    """What follows when a slice process ended. `asked`: it was told to leave. `in_flight`: an event was in a handler.

    The first death restarts at once, so that recovery takes a fork; a streak backs off, doubling to 30 s, to 0.5 s
    where an event is to blame; a run of 30 s ends the streak. Five idle deaths in 60 s are pardoned, the sixth is a
    crash loop. Who was killed by somebody else (`killed`) before it was ready may be started again within that budget,
    too: it says nothing of the handler, and must not cost the host. So may one whose handler was imported and has been
    open before in this slot, but could not open this time (`reopening`): what it opens may be away for a while. Beyond
    the budget its processor halts, and the other processors of the host go on.

    Its partitions may go on elsewhere meanwhile only if that can't carry a killer round: somebody was charged for the
    death and stays, or it came from outside, which is believed within the budget. And only while the other slices of
    its processor are well (`others_well`: they run, or died more than PROOF_S ago): whatever kills one slice right
    after the other waits for the first to be back.
    """
    if asked:
        return Next(Fate.GONE, 0.0, history)
    if not ready and not killed and not reopening:
        return Next(Fate.UNSTARTABLE, 0.0, history)
    streak = 1 if ran_s >= STABLE_RUN_S else history.streak + 1
    idle = tuple(at for at in history.idle_deaths if now - at < CRASH_WINDOW_S)
    if not in_flight:
        idle = (*idle, now)
    after = replace(history, streak=streak, idle_deaths=idle)
    if len(idle) > CRASH_BUDGET:
        return Next(Fate.CRASH_LOOP if ready or reopening else Fate.UNSTARTABLE, 0.0, after)
    spared = others_well and (in_flight or killed)
    if streak == 1:
        return Next(Fate.RESTART, 0.0, after, spared)
    longest = LONGEST_PAUSE_BLAMED_S if in_flight else LONGEST_PAUSE_S
    ceiling = min(longest, FIRST_PAUSE_S * 2.0 ** min(streak - 2, 30))
    return Next(Fate.RESTART, ceiling * (0.5 + 0.5 * jitter), after, spared)


class Health(enum.Enum):
    """What the supervisor makes of a live slice."""

    WELL = "well"
    TIMED_OUT = "timed out"  # a handler ran longer than its timeout
    STOPPED = "stopped"  # SIGSTOP, a freezer: its lease must not rest with it
    STUCK = "stuck"  # silent with nothing in flight
    NEVER_READY = f"was not ready after {READY_LIMIT_S:g} s"


def health(
    *,
    ready: bool,
    age_s: float,
    silent_s: float,
    stopped: bool,
    in_flight_s: float,
    timeout_s: float,
    ttl_s: float,
) -> Health:
    """Judge a live slice. `silent_s`: since its loop last beat. `in_flight_s`: the longest call now, 0 for none.

    A handler that blocks the loop is silent, too: that is what `timeout` is for, and it costs no lease. Only a process
    that can't run at all, or is silent without any handler to blame, is put down for its silence.
    """
    if not ready:
        return Health.NEVER_READY if age_s > READY_LIMIT_S else Health.WELL
    if stopped and silent_s > ttl_s:
        return Health.STOPPED
    if in_flight_s > timeout_s:
        return Health.TIMED_OUT
    if silent_s > SILENCE * ttl_s and in_flight_s == 0.0:
        return Health.STUCK
    return Health.WELL
