"""Trials: what killed its process is tried alone in its slice, and one at a time on a machine."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runnelctl.core.model import Policy
from runnelctl.event import Event
from runnelctl.runtime import board as cells
from tests.bench import Bench, entry, session

MakeBench = Callable[..., Bench]

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


async def handler(_: Event) -> None:
    pass


def test_the_others_go_on_once_the_suspect_is_committed_though_nothing_follows_it(bench: MakeBench) -> None:
    made = bench(handler, at=session(suspect=1, tries=1))
    made.drive(entry(1), until=lambda: made.lane.ledger.committed == 1 and made.slice.trial.lane is None)


def test_a_suspect_has_the_slice_until_it_is_committed(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the machine lost with it done and another at work, it would be charged."""
    tried = []
    made = bench(handler, at=session(suspect=1, tries=1))
    take = made.store.take

    def seen(commit: Any) -> list[Any]:
        tried.append((commit.n, made.slice.trial.lane is made.lane))
        return take(commit)

    monkeypatch.setattr(made.store, "take", seen)
    made.drive(entry(1), entry(2), until=lambda: made.lane.ledger.committed == 2)
    assert tried[:2] == [(0, True), (1, True)], "announced, then committed"


@pytest.mark.parametrize("at", [session(suspect=3, tries=1), session(suspect=1, tries=3, sure=True)])
def test_while_a_commit_is_awaited_before_or_after_a_suspect_nothing_counts_as_being_in_the_handler(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch, at: Any
) -> None:
    """Redis may be away for longer than a handler may take: that would be one more death, and put down to the last
    event that ran."""
    since = []
    made = bench(handler, at=at, policy=Policy.IGNORE)
    made.slice.board.d[made.lane.base + cells.U_SINCE] = 5.0  # an event ran before
    take = made.store.take

    def seen(commit: Any) -> list[Any]:
        since.append(made.slice.board.d[made.lane.base + cells.U_SINCE])
        return take(commit)

    monkeypatch.setattr(made.store, "take", seen)
    made.lane.check_at = math.inf
    made.drive(entry(1), entry(2), entry(3), lag=5)
    assert since[:2] == [0.0, 0.0]


def test_while_there_is_no_room_for_what_a_suspect_emitted_the_others_go_on(bench: MakeBench) -> None:
    """They may be who makes it."""
    made = bench(handler, at=session(suspect=1, tries=1))
    made.store.replies = [[b"OK"], [b"FULL", b"{shop:out:0}:events"]]

    def others_go_on() -> bool:
        if not made.store.replies:
            made.lane.ledger.ask()  # as the committer does after a pause
        return made.lane.ledger.seq == 1 and made.lane.ledger.done == 1 and made.slice.trial.lane is None

    made.drive(entry(1), until=others_go_on)
    assert made.lane.ledger.committed == 1


def test_a_suspect_is_tried_when_no_other_process_of_the_machine_tries_one(bench: MakeBench, tmp_path: Path) -> None:
    directory = tmp_path / "hosts" / "member"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "turn"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin is not None and other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    handled, rests = [], 0

    async def handler(event: Event) -> None:
        handled.append((event.id, other.poll() is not None))

    made = bench(handler, at=session(suspect=2, tries=1), directory=str(directory))
    rest = made.slice.trial.rest

    async def resting(lane: Any) -> None:
        nonlocal rests
        rests += 1
        if rests == 3:
            other.kill()  # a death gives its turn back
            other.wait()
        await rest(lane)

    made.slice.trial.rest = resting  # type: ignore[method-assign]
    made.drive(entry(1), entry(2))
    other.stdin.close()
    other.stdout.close()
    assert handled == [("1-0", False), ("2-0", True)]
    assert rests >= 3
