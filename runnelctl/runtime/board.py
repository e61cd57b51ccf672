"""The board: shared memory made before the first fork, one writer per cell, read by everybody else.

It is why a hard death is no mystery: after a SIGSEGV the supervisor reads which event was in flight. It also carries
leases from the keeper to the slices, the host's deadline, and the figures of `status`; none of that costs a message.
The idea is Apache httpd's scoreboard. Every cell is 8 bytes and aligned, so a reader sees the old or the new value;
where several cells belong together, the writer stores the one that makes them valid last.

Times are seconds of CLOCK_MONOTONIC, which all processes of a host share.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass

# --- host cells -------------------------------------------------------------------------------------------------
HOST_CELLS = 16
H_STOPPING = 0  # supervisor: 1 once a drain was asked for
H_DEADLINE = 1  # keeper, double: no event may be started after this moment
H_SUPERVISOR_BEAT = 2  # supervisor, double
H_KEEPER_BEAT = 3  # keeper, double
H_OUTCOME = 4  # keeper: an OUTCOME_ below
H_DRAIN_TOTAL = 5  # keeper: events that `up --drain` has to pass
H_DRAIN_DONE = 6  # keeper: how many of them are passed
H_OWNED = 7  # keeper: leases held, so that `--wait` knows when the host works
H_WANTED = 8  # keeper: leases that it ought to hold
H_SETTLED = 9  # keeper: 1 once it knows what it ought to hold
H_REPLAYS = 10  # keeper: how often somebody replayed
H_REPLAYED = 11  # supervisor: up to which of these it has revived slices that it had given up
H_LOOKS = 12  # keeper: how often slices had to look anew at what is parked and to be replayed

OUTCOME_NONE, OUTCOME_DRAINED, OUTCOME_HALTED, OUTCOME_DOWN, OUTCOME_BLOCKED = range(5)

# --- slot cells: one slot per slice, whatever process fills it ----------------------------------------------------
SLOT_CELLS = 16
S_INCARNATION = 0  # supervisor: counts the processes that filled this slot
S_PID = 1  # supervisor: 0 when none
S_DEAD = 2  # supervisor: the last incarnation that was reaped; written after S_CAUSE and the text
S_CAUSE = 3  # supervisor: a CAUSE_ below
S_RESTARTS = 4  # supervisor
S_JUDGED = 5  # supervisor, double: when it put the process down, or saw that it had died
S_READY = 6  # slice: its incarnation once the handler is imported and open
S_BEAT = 7  # slice, double
S_RSS = 8  # slice: bytes, as of its last beat
S_RECYCLE = 9  # slice: 1 when it wants to be replaced (max_memory, max_events)
S_STALLED = 10  # keeper: an incarnation that has to be put down
S_ASKED = 11  # keeper: an incarnation that an operator wants replaced
S_OUTDATED = 13  # supervisor: an incarnation that runs what an older file says, and has to leave
S_LOADED = 12  # slice: its incarnation once the handler is imported
S_SPARED = 14  # supervisor: an incarnation that died, and whose partitions may go on elsewhere; before S_DEAD

CAUSE_NONE, CAUSE_EXIT, CAUSE_SIGNAL, CAUSE_TIMEOUT, CAUSE_STOPPED, CAUSE_CRASH_LOOP, CAUSE_DRAIN = range(7)

# --- unit cells: one unit per processor and partition -------------------------------------------------------------
LATENCY_BUCKETS = 24
UNIT_CELLS = 24 + LATENCY_BUCKETS
U_SLOT = 0  # keeper: which slot runs it
U_FOR = 1  # keeper: which incarnation of that slot the lease is for
U_EPOCH = 2  # keeper
U_NONCE = 3  # keeper
U_GRANT = 4  # keeper: counts grants; written last, makes the cells above valid
U_WANTED = 5  # keeper: 0 asks the slice to finish and release
U_HELD = 6  # keeper: 1 from the grant until the lease is released
U_BLOCKED = 7  # keeper: 0, or STATE_QUARANTINED or STATE_HALTED as last seen in Redis
U_TAKEN = 8  # slice: the grant it runs
U_STATE = 9  # slice: a STATE_ below, of the grant in U_TAKEN
U_STARTED = 10  # slice: ordinal of the event in the handler (events passed before it + 1)
U_LAST = 18  # slice: for a batch, the ordinal of its last event; below U_STARTED otherwise
U_SINCE = 11  # slice, double: when it got there; 0 when nothing is in flight
U_CURSOR_MS = 12  # slice: committed cursor
U_CURSOR_SEQ = 13  # slice
U_COUNT = 14  # slice: events passed up to the cursor, ever
U_PROCESSED = 15  # slice: handled since `up`
U_FAILED = 16  # slice: events that met the policy since `up`
U_RETRIED = 17  # slice: attempts that failed since `up`
U_SLOW_US = 19  # slice: the longest handler call since `up`, microseconds
U_FULL = 20  # slice: commits that had to wait, since a stream they emit into is full
U_LOST = 21  # slice: events that a failover took away, as far as it knew of them, since `up`
U_UNDONE = 22  # slice: events whose commit a failover took back, since `up`
U_LATENCY = 24  # slice: LATENCY_BUCKETS counts, bucket b: below 2**b microseconds

STATE_NONE, STATE_RUNNING, STATE_RELEASED, STATE_QUARANTINED, STATE_HALTED, STATE_LOST, STATE_BACKOFF = range(7)

# --- task cells: one block per task -------------------------------------------------------------------------------
TASK_CELLS = 24
T_EPOCH = 0  # keeper, of a task with a leader: the lease's epoch
T_NONCE = 1  # keeper
T_FOR = 2  # keeper: which incarnation of the tasks process it is for
T_LAST = 3  # keeper: the last tick that Redis knew of when the lease was taken
T_FRESH = 4  # keeper: 1 if another host led before
T_GRANT = 5  # keeper: counts grants; written last, makes the cells above valid
T_WANTED = 6  # keeper: 0 asks the tasks process to let go
T_HELD = 7  # keeper: 1 from the grant until the lease is released
T_OVER = 8  # tasks process: the grant under which it starts nothing any more
T_SINCE = 9  # tasks process, double: when the present run began; 0 when nothing runs
T_TICK = 10  # tasks process: the last tick that is settled
T_NEXT = 11  # tasks process: when it is due next, ms of the wall clock; 0 for never
T_RUNS = 12  # tasks process: runs that ended since `up`
T_FAILED = 13  # tasks process: of these, how many failed
T_SKIPPED = 14  # tasks process: ticks left out, since it still ran
T_RAN_AT = 15  # tasks process: when the last run began, ms of the wall clock
T_TOOK_MS = 16  # tasks process: how long the last run that ended took
T_RESULT = 17  # tasks process: a RESULT_ below, of the last run that ended
T_BEGUN = 18  # tasks process: 1 once a task `on: start` has begun, under this lead if it has one; -1 if refused

RESULT_NONE, RESULT_OK, RESULT_FAILED, RESULT_TIMED_OUT, RESULT_DIED = range(5)

TEXT_BYTES = 8192


@dataclass(frozen=True, slots=True)
class Shape:
    """How many slots, units and tasks a board has."""

    slots: int
    units: int
    tasks: int = 0

    @property
    def bytes(self) -> int:
        """How large such a board is."""
        cells = HOST_CELLS + self.slots * SLOT_CELLS + self.units * UNIT_CELLS + self.tasks * TASK_CELLS
        return cells * 8 + self.slots * TEXT_BYTES


class Board:
    """Typed views on the shared memory: `q` for whole numbers, `d` for doubles, same cells."""

    def __init__(self, shape: Shape, fd: int = -1) -> None:
        """`fd`: a file of `shape.bytes` that others map as well; without one, only forked children share it."""
        self.shape, self.fd = shape, fd
        self._slots = HOST_CELLS
        self._units = self._slots + shape.slots * SLOT_CELLS
        self._tasks = self._units + shape.units * UNIT_CELLS
        cells = self._tasks + shape.tasks * TASK_CELLS
        self._texts = cells * 8
        self._map = mmap.mmap(fd, shape.bytes)
        view = memoryview(self._map)
        self.q = view[: self._texts].cast("q")
        self.d = view[: self._texts].cast("d")

    @classmethod
    def shared(cls, shape: Shape) -> Board:
        """A board that a child which executes another program can map, too: it inherits `fd`."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("runnelctl-board")
        else:
            fd, path = tempfile.mkstemp()
            os.unlink(path)  # noqa: PTH108 - it lives as long as somebody holds the descriptor
        os.ftruncate(fd, shape.bytes)
        return cls(shape, fd)

    def __reduce__(self) -> tuple[type[Board], tuple[Shape, int]]:
        """Pickled, it is the same board, for a process that has inherited `fd`."""
        return Board, (self.shape, self.fd)

    def slot(self, slot: int) -> int:
        """Index of a slot's first cell."""
        return self._slots + slot * SLOT_CELLS

    def unit(self, unit: int) -> int:
        """Index of a unit's first cell."""
        return self._units + unit * UNIT_CELLS

    def task(self, task: int) -> int:
        """Index of a task's first cell."""
        return self._tasks + task * TASK_CELLS

    def write_text(self, slot: int, text: str) -> None:
        """What the supervisor knows about a death, cut to fit; kept until the next one."""
        data = text.encode("utf-8", "replace")[: TEXT_BYTES - 8]
        start = self._texts + slot * TEXT_BYTES
        self._map[start + 8 : start + 8 + len(data)] = data
        self._map[start : start + 8] = len(data).to_bytes(8, "little")

    def read_text(self, slot: int) -> str:
        """The text of `write_text`, or an empty one."""
        start = self._texts + slot * TEXT_BYTES
        length = int.from_bytes(self._map[start : start + 8], "little")
        return self._map[start + 8 : start + 8 + length].decode("utf-8", "replace")
