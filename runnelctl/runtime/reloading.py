"""SIGHUP: the topology file is read again by a child, and the host goes over to it without a stop.

The supervisor must neither wait for Redis nor import a handler, so a child does what `check` and `up` would do, and
leaves the new topology in the host's directory. What is unchanged is not touched: its place on the board stays, and so
does its process. Whatever changed is asked to drain and is started anew from the new file; what is gone drains and is
not; the keeper is replaced, as after a death: its successor goes on with what is on the board.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import selectors
from collections.abc import Callable, Collection
from pathlib import Path
from time import monotonic

from runnelctl.core import reload
from runnelctl.core.model import Topology
from runnelctl.core.plan import Slot, replan
from runnelctl.runtime import board as cells
from runnelctl.runtime import child, signals
from runnelctl.runtime.child import Child
from runnelctl.runtime.host import Host
from runnelctl.runtime.output import Output
from runnelctl.runtime.post import Post

#: Reads the file again, in the child: the topology and its digest. Shows what is wrong and returns None if anything is.
Reread = Callable[[], tuple[Topology, str] | None]
FILE = "reloaded"


class Reloading:
    """The child that reads, at most one at a time. Another SIGHUP meanwhile has it read once more afterwards."""

    def __init__(self, reread: Reread, output: Output, selector: selectors.BaseSelector) -> None:
        self._reread, self._output, self._selector = reread, output, selector
        self._child: Child | None = None
        self._again = False

    def begin(self, host: Host, keep: Collection[int]) -> None:
        """Read the file of `host` again."""
        if host.drain:
            self._output.say("SIGHUP: this host ends once it has drained; nothing is reloaded")
            return
        if self._child is not None:
            self._again = True
            return
        self._output.say(f"SIGHUP: reading {host.plan.topology.file} again")
        self._child = child.fork("reload", lambda: self._read(host), keep)
        self._output.attach("reload", -1, self._child.stdout, self._child.stderr)
        if self._child.pidfd is not None:
            self._selector.register(self._child.pidfd, selectors.EVENT_READ, None)

    def _read(self, host: Host) -> int:
        """In the child."""
        found = self._reread()
        if found is None:
            return 2
        Path(host.directory, FILE).write_bytes(pickle.dumps(found))
        return 0

    @property
    def pid(self) -> int | None:
        """Of the child that reads."""
        return None if self._child is None else self._child.pid

    def reap(self, host: Host, keep: Collection[int]) -> tuple[Topology, str] | None:
        """What the child read, once it has ended; None if it has not, or there was something wrong."""
        if self._child is None or (status := child.reap(self._child.pid)) is None:
            return None
        ended, self._child = self._child, None
        self._output.finish((ended.stdout, ended.stderr))
        if ended.pidfd is not None:
            self._selector.unregister(ended.pidfd)
            os.close(ended.pidfd)
        found: tuple[Topology, str] | None = None
        if status == 0:
            found = pickle.loads(Path(host.directory, FILE).read_bytes())
        else:
            self._output.say("nothing was reloaded: everything runs on as it is")
        if self._again:
            self._again = False
            self.begin(host, keep)
        return found


def next_host(host: Host, topology: Topology, digest: str) -> Host | None:
    """The host as the new file has it; None if its board has no room for what is new."""
    plan = replan(host.plan, topology, host.only)
    shape = host.board.shape
    if len(plan.slots) > shape.slots - 1 or len(plan.units) > shape.units or len(plan.tasks) > shape.tasks:
        return None
    added = {slot.index: signals.pipe() for slot in plan.places if slot.index not in host.wakes}
    return dataclasses.replace(host, plan=plan, digest=digest, wakes={**host.wakes, **added})


def adopt(old: Host, new: Host, posts: list[Post], make: Callable[[Slot], Post]) -> list[Post]:
    """Bring the posts in line with the new host: those that the file adds are made, those whose processes run what an
    older file says are asked to leave. Returns the latter."""
    leaving = _outdated(old, new, posts)
    known = {post.slot.index for post in posts if post.slot is not None}
    posts += [make(slot) for slot in new.plan.places if slot.index not in known and not slot.retired]
    for post in posts:
        if not post.retired and post.child is None and post.due is None and post not in leaving:
            post.due = monotonic()  # a process that an earlier reload had taken away
    for post in leaving:
        _ask_to_leave(new, post, monotonic())
    return leaving


def is_late(host: Host, post: Post, now: float) -> bool:
    """Whether a process that was asked to leave has had as much time as in a drain."""
    return post.leave_since is not None and now - post.leave_since > host.plan.topology.drain_ms / 1000


def _outdated(old: Host, new: Host, posts: Collection[Post]) -> list[Post]:
    """The posts whose processes run what an older file says."""
    stale = reload.changed(old.plan.topology, new.plan.topology)
    places = {slot.index: slot for slot in new.plan.places}
    found = []
    for post in posts:
        assert post.slot is not None
        slot = places.get(post.slot.index)
        gone = slot is None or slot.retired
        if post.slot.runs_tasks:
            stays = not gone and not reload.tasks_changed(old.plan.topology, new.plan.topology)
        else:
            stays = not gone and post.slot.processor not in stale
        if not stays:
            found.append(post)
        post.retired = gone
    return found


def _ask_to_leave(host: Host, post: Post, now: float) -> None:
    """Let a process drain; one that is not there is started from the new file when it is due, or never."""
    assert post.slot is not None
    if post.child is not None:
        host.board.q[host.board.slot(post.slot.index) + cells.S_OUTDATED] = post.incarnation
        post.leave_since = now
        signals.wake(host.wakes[post.slot.index][1])
    elif post.retired:
        post.due = None
    elif post.due is None:
        post.revive(host.board, now)


def words(old: Host, new: Host, leaving: Collection[Post]) -> str:
    """What a reload changes, in a sentence."""
    before, after = old.plan, new.plan
    anew = sorted({post.slot.processor or "tasks" for post in leaving if post.slot and not post.retired})
    parts = [
        ("new", [name for name in after.processors if name not in before.processors]),
        ("started anew", anew),
        ("gone", [name for name in before.processors if name not in after.processors]),
    ]
    shown = [f"{word}: {', '.join(names)}" for word, names in parts if names]
    return f"reloaded; {'; '.join(shown) or 'nothing here has to be started anew'}"
