"""What follows when a child of the supervisor ended: its death is shown on the board; another is started, or not."""

from __future__ import annotations

import os
import random
from time import monotonic

from runnelctl.core import lifecycle
from runnelctl.core.lifecycle import Fate, Next
from runnelctl.core.plan import Slot
from runnelctl.runtime import board as cells
from runnelctl.runtime import child, standins, vitals
from runnelctl.runtime.host import Host
from runnelctl.runtime.output import Output
from runnelctl.runtime.post import Post


def keeper_ended(post: Post, status: int, output: Output) -> None:
    """Start another: it goes on as the same member, with what is on the board."""
    after = lifecycle.after_death(
        post.history, now=monotonic(), ran_s=monotonic() - post.began, ready=True, asked=False, in_flight=True,
        jitter=random.random(),
    )  # fmt: skip
    output.say(f"the keeper {child.describe(status)}; starting another, leases go on")
    post.history, post.due = after.history, monotonic() + after.pause_s


def slice_ended(host: Host, post: Post, slot: Slot, pid: int, status: int, output: Output, *, stopping: bool) -> str:
    """A slice, or the tasks process, ended. Returns why the whole host can't go on, or ''."""
    board, base, now = host.board, host.board.slot(slot.index), monotonic()
    recycled = os.waitstatus_to_exitcode(status) == 0 and board.q[base + cells.S_RECYCLE] == post.incarnation
    text = vitals.death_text(slot, pid, status, post.cause, post.tail, host.plan)
    after = _fate(host, post, slot, status, recycled=recycled, stopping=stopping)
    post.history = after.history
    crash_loop = after.fate is Fate.CRASH_LOOP
    board.write_text(slot.index, text)
    board.d[base + cells.S_JUDGED] = post.judged if post.cause else now
    board.q[base + cells.S_CAUSE] = cells.CAUSE_CRASH_LOOP if crash_loop else post.cause or vitals.cause_of(status)
    if after.spared:
        board.q[base + cells.S_SPARED] = post.incarnation
    board.q[base + cells.S_PID] = 0
    board.q[base + cells.S_DEAD] = post.incarnation
    what = text.splitlines()[0]
    if recycled and not stopping:
        post.due = now
    elif after.fate is Fate.UNSTARTABLE:
        handler = "its tasks were" if slot.runs_tasks else f"its handler {host.plan.processor(slot).handler} was"
        return f"{what} before {handler} ready; it is not restarted"
    elif after.fate is Fate.RESTART and not stopping:
        board.q[base + cells.S_RESTARTS] += 1
        output.say(f"{what}; restarting it {f'in {after.pause_s:.1f} s' if after.pause_s else 'at once'}")
        post.due = now + after.pause_s
    elif crash_loop:
        output.say(f"{what}; too often in a minute, with no event to blame")
    return ""


def _fate(host: Host, post: Post, slot: Slot, status: int, *, recycled: bool, stopping: bool) -> Next:
    board, base, now = host.board, host.board.slot(slot.index), monotonic()
    clean = os.waitstatus_to_exitcode(status) == 0
    # There is always a task to blame where tasks run: whoever else has tasks there must not wait for long.
    blamed = slot.runs_tasks or vitals.in_flight(host, slot) or post.cause == cells.CAUSE_STOPPED
    loaded = board.q[base + cells.S_LOADED] == post.incarnation
    return lifecycle.after_death(
        post.history, now=now, ran_s=now - post.began,
        asked=recycled or ((clean or post.cause == cells.CAUSE_DRAIN) and stopping),
        ready=board.q[base + cells.S_READY] == post.incarnation,
        killed=vitals.killed(status, post.cause),
        reopening=loaded and bool(board.q[base + cells.S_READY]),
        in_flight=blamed, jitter=random.random(), others_well=_others_well(host, slot, now),
    )  # fmt: skip


def _others_well(host: Host, slot: Slot, now: float) -> bool:
    """Whether all other slices of its processor here run, or died long enough ago for what they died of to be gone."""
    board = host.board
    others = [each.index for each in host.plan.slots_of(slot.processor) if each.index != slot.index]
    return all(
        standins.ready(host, index) or now - board.d[board.slot(index) + cells.S_JUDGED] >= lifecycle.PROOF_S
        for index in others
    )
