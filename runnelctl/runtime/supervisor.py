"""The supervisor: forks, reaps, restarts, drains. One thread, one select loop; no Redis, no asyncio, no user code, so
that an outage can't stop it and a fork stays safe and cheap. What it decides is decided in core/lifecycle.py.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from runnelctl import errors
from runnelctl.core.lifecycle import Health
from runnelctl.core.model import Topology
from runnelctl.core.plan import Slot
from runnelctl.runtime import board as cells
from runnelctl.runtime import child, mourning, reloading, signals, vitals
from runnelctl.runtime.homes import LOG
from runnelctl.runtime.host import SUPERVISOR, Host
from runnelctl.runtime.output import Output, Sink, Source
from runnelctl.runtime.post import EXITS, REASONS, Post
from runnelctl.runtime.progress import Progress
from runnelctl.runtime.reloading import Reloading, Reread

KEEPER_GRACE_S = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class Supervisor:
    """See the module. `run` is the whole life of `up`, after the checks; it returns the exit code."""

    def __init__(
        self,
        host: Host,
        keeper: Callable[[Host], int],
        slice_: Callable[[Host, int, int], int],
        keep: set[int],
        reread: Reread,
    ) -> None:
        self.host = host
        self.board = host.board
        self.ttl_s = host.plan.topology.lease_ttl_ms / 1000
        self._selector = selectors.DefaultSelector()
        width = max([len("runnelctl"), *(len(slot.name) for slot in host.plan.places)])
        log = Path(host.directory) / LOG
        self.output = Output(self._selector, width, color="NO_COLOR" not in os.environ, log=log)
        self.output.write_as(host.plan.topology.log)
        self._held = keep
        self._body = slice_
        self._keeper = Post.of_keeper(lambda: keeper(self.host))
        self._posts = [self._post(slot) for slot in host.plan.places]
        self._reloading = Reloading(reread, self.output, self._selector)
        self._signal_read, self._signal_write = signals.pipe()
        self._stopping_since: float | None = None
        self._forced = False
        self._code: int | None = None
        self._announced = False
        self._check_s = vitals.check_interval_s(host.plan)
        self._check_due = 0.0
        self._progress = Progress(host, self.output, monotonic())

    def _post(self, slot: Slot) -> Post:
        return Post.of_slot(slot, lambda index, incarnation: self._body(self.host, index, incarnation))

    @property
    def _keep(self) -> set[int]:
        """What children inherit."""
        return self._held | {fd for pair in self.host.wakes.values() for fd in pair}

    # --- the loop ---------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Supervise until everything has ended; returns the exit code."""
        self._selector.register(self._signal_read, selectors.EVENT_READ, None)
        self._selector.register(self.host.supervisor_wake[0], selectors.EVENT_READ, None)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._signal_write, warn_on_full_buffer=False)
        child.freeze()
        self._beat()
        while not self._finished():
            for post in (self._keeper, *self._posts):
                if post.child is None and post.due is not None and monotonic() >= post.due:
                    self._start(post)
            self._wait()
            self._reap()
            self._check()
            self._conclude()
        self.output.footer("")
        self.output.flush()
        return errors.EXIT_FORCED if self._forced else self._code or errors.EXIT_OK

    def _finished(self) -> bool:
        return self._stopping_since is not None and self._keeper.child is None and not self._alive()

    def _alive(self) -> list[Post]:
        return [post for post in self._posts if post.child is not None]

    def _wait(self) -> None:
        """Sleep until a child ends or writes, a signal or a wake-up comes, or something is due."""
        now = monotonic()
        due = [
            self._check_due,
            self._progress.due,
            *(post.due for post in (self._keeper, *self._posts) if post.child is None and post.due is not None),
        ]
        for key, _ in self._selector.select(max(0.0, min(due) - now)):
            if isinstance(key.data, Source):
                self.output.read(key.data)
            elif isinstance(key.data, Sink):
                key.data.flush()
            elif key.fd == self._signal_read:
                for number in os.read(self._signal_read, 4096):
                    self._signalled(number)
            elif key.fd == self.host.supervisor_wake[0]:
                signals.drain(key.fd)

    def _signalled(self, number: int) -> None:
        if number in (signal.SIGINT, signal.SIGTERM):
            if self._stopping_since is None:
                name = signal.Signals(number).name
                self.stop(
                    f"{name}: draining, at most {self.host.plan.topology.drain_ms / 1000:g} s; once more forces", 0
                )
            elif not self._forced:
                self._force()
        elif number == signal.SIGHUP and self._stopping_since is None:
            self._reloading.begin(self.host, self._keep)

    # --- starting and stopping --------------------------------------------------------------------------------

    def _start(self, post: Post) -> None:
        if child.threads() > 1:
            raise RuntimeError("the supervisor has more than one thread: forking is not safe")
        post.incarnation += 1
        post.cause = cells.CAUSE_NONE
        post.began = monotonic()
        if post.slot is not None:
            base = self.board.slot(post.slot.index)
            self.board.d[base + cells.S_BEAT] = post.began
            self.board.q[base + cells.S_INCARNATION] = post.incarnation
        post.child = child.fork(post.process_name, lambda: post.body(post.incarnation), self._keep)
        post.due = None
        post.tail = self.output.attach(post.label, post.color, post.child.stdout, post.child.stderr)
        if post.child.pidfd is not None:
            self._selector.register(post.child.pidfd, selectors.EVENT_READ, None)
        if post.slot is not None:
            self.board.q[self.board.slot(post.slot.index) + cells.S_PID] = post.child.pid

    def stop(self, why: str, code: int) -> None:
        """Drain: handlers finish, cursors are committed, leases released."""
        if self._stopping_since is not None:
            return
        self._progress.finish(monotonic())
        self.output.say(why)
        self._stopping_since = monotonic()
        self._code = code
        self.board.q[cells.H_STOPPING] = 1
        for post in self._posts:
            post.due = None
        for index, pair in self.host.wakes.items():
            if index != SUPERVISOR:
                signals.wake(pair[1])

    def _force(self) -> None:
        self.output.say("once more: killing what is left")
        self._forced = True
        self._stopping_since = monotonic() - self.host.plan.topology.drain_ms / 1000
        for post in self._alive():
            self._kill_late(post)

    def _kill_late(self, post: Post) -> None:
        """The time to drain is over."""
        if post.cause == cells.CAUSE_NONE:
            if not self._forced:
                self.output.say(f"{post.label} did not finish in time and is killed; its events will be handled again")
            self._kill(post, cells.CAUSE_DRAIN)

    def _kill(self, post: Post, cause: int) -> None:
        assert post.child is not None
        post.cause, post.judged = cause, monotonic()
        child.kill_group(post.child.pid)

    # --- endings ----------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        for post in (self._keeper, *self._posts):
            if post.child is not None and (status := child.reap(post.child.pid)) is not None:
                self._bury(post, status)
        found = self._reloading.reap(self.host, self._keep)
        if found is not None and self._stopping_since is None:
            self._adopt(*found)
        if os.getpid() == 1:
            ours = [post.child.pid for post in (self._keeper, *self._posts) if post.child is not None]
            child.reap_strangers([*ours, *([self._reloading.pid] if self._reloading.pid else [])])

    def _bury(self, post: Post, status: int) -> None:
        """A child ended: take its last words, show its death on the board, decide what follows."""
        assert post.child is not None
        ended, post.child = post.child, None
        self.output.finish((ended.stdout, ended.stderr))
        if ended.pidfd is not None:
            self._selector.unregister(ended.pidfd)
            os.close(ended.pidfd)
        stopping = self._stopping_since is not None
        if post.slot is not None:
            why = mourning.slice_ended(
                self.host, post, post.slot, ended.pid, status, self.output, stopping=stopping
            )  # fmt: skip
            post.leave_since = None
            if post.retired:
                post.due = None
            elif why:
                self.stop(why, errors.EXIT_HANDLER)
        elif post.cause != cells.CAUSE_NONE and not stopping:
            post.due = monotonic()  # we ended it, for one that knows the new file
        elif not stopping or self._alive():
            mourning.keeper_ended(post, status, self.output)
        signals.wake(self.host.keeper_wake[1])

    def _adopt(self, topology: Topology, digest: str) -> None:
        """Go over to a topology that was read again (see runtime/reloading.py)."""
        old, new = self.host, reloading.next_host(self.host, topology, digest)
        if new is None:
            self.output.say("the new file has too many processes or partitions for a reload: start `up` anew")
            return
        self.host = new
        leaving = reloading.adopt(old, new, self._posts, self._post)
        if self._keeper.child is not None:
            self._kill(self._keeper, cells.CAUSE_DRAIN)
        self._check_s = vitals.check_interval_s(new.plan)
        self.output.write_as(topology.log)
        self.output.say(reloading.words(old, new, leaving))

    # --- watching ---------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        self.board.d[cells.H_SUPERVISOR_BEAT] = monotonic()

    def _check(self) -> None:
        """Look at everybody's pulse when it is time."""
        now = monotonic()
        if now < self._check_due:
            return
        self._check_due = now + self._check_s
        self._beat()
        for post in self._alive():
            assert post.slot is not None
            if post.cause == cells.CAUSE_NONE:
                self._judge(post, post.slot, now)
                if reloading.is_late(self.host, post, now):
                    self._kill_late(post)
        if self._stopping_since is not None:
            late = now - self._stopping_since - self.host.plan.topology.drain_ms / 1000
            for post in self._alive() if late >= 0 else ():
                self._kill_late(post)
            if (
                self._keeper.child is not None
                and late >= (1.0 if self._forced else KEEPER_GRACE_S)
                and not self._alive()
            ):
                self.output.say("the keeper could not release everything; leases run out by themselves")
                self._kill(self._keeper, cells.CAUSE_DRAIN)

    def _judge(self, post: Post, slot: Slot, now: float) -> None:
        verdict = vitals.judge(self.host, slot, post.incarnation, post.began, now, self._pid(post))
        if verdict is Health.WELL:
            return
        self.output.say(f"{slot.name} {verdict.value}: killing it")
        self._kill(post, cells.CAUSE_TIMEOUT if verdict is Health.TIMED_OUT else cells.CAUSE_STOPPED)

    @staticmethod
    def _pid(post: Post) -> int:
        assert post.child is not None
        return post.child.pid

    def _conclude(self) -> None:
        """Follow what the keeper found; say when all is up; draw the progress of a drain."""
        q = self.board.q
        if (
            not self._announced
            and self._stopping_since is None
            and vitals.all_ready(self.host)
            and q[cells.H_SETTLED]
            and q[cells.H_OWNED] >= q[cells.H_WANTED]
        ):
            self._announced = True
            vitals.write_ready(self.host)
            self.output.say(vitals.up_text(self.host))
        outcome = q[cells.H_OUTCOME]
        if outcome != cells.OUTCOME_NONE and self._stopping_since is None:
            self.stop(REASONS[outcome], EXITS[outcome])
        if q[cells.H_REPLAYED] != q[cells.H_REPLAYS] and self._stopping_since is None:
            for post in self._posts:
                post.revive(self.board, monotonic())
            q[cells.H_REPLAYED] = q[cells.H_REPLAYS]
        self._progress.show(monotonic())
