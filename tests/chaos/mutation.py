"""Deliberate defects: a copy of the package with a line or two changed, to see that the checker finds each of them.

`MUTANTS` says what is changed, in which run it must come out, and which points may say so.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.backend import ROOT


@dataclass(frozen=True, slots=True)
class Edit:
    """`old`, which must be there exactly once, becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """`run`: options of the run that catches it; a `duel` instead drives the scripts by hand, see duels.py."""

    what: str
    edits: tuple[Edit, ...]
    points: frozenset[str]
    run: dict[str, Any] = field(default_factory=dict)
    duel: str = ""


def _lua(name: str, old: str, new: str) -> Edit:
    return Edit(f"store/lua/{name}.lua", old, new)


def _py(module: str, old: str, new: str) -> Edit:
    return Edit(f"runtime/{module}.py", old, new)


def _run(*nemeses: str, **options: Any) -> dict[str, Any]:
    """A short run of few nemeses at a quick pace."""
    return {"nemeses": nemeses, "minutes": 0.25, "pace_s": 2.5, "seed": 1, **options}


_FENCE = "if h[1] ~= ARGV[1] or h[2] ~= ARGV[2] then return {'FENCED', h[1] or '', h[3] or ''} end"
_EPOCH = "if h[1] ~= ARGV[1] then return {'FENCED', h[1] or '', h[3] or ''} end"
_SLOW = {"sleep_ms": 700.0, "rate": 4.0, "warm_events": 8, "minutes": 0.5, "pace_s": 7.0, "settle_s": 60.0}

MUTANTS: dict[str, Mutant] = {
    "no-fence": Mutant(
        "commit does not look at epoch and nonce",
        (_lua("commit", _FENCE, ""),),
        frozenset({"fence"}),
        _run("stop-newcomer", **_SLOW),
    ),
    "no-nonce": Mutant(
        "commit looks at the epoch only",
        (_lua("commit", _FENCE, _EPOCH),),
        frozenset({"fence"}),
        duel="same-epoch",
    ),
    "no-seq": Mutant(
        "commit does not count commits",
        (
            _lua("commit", "if seq == tonumber(h[6]) then return already() end", ""),
            _lua("commit", "if seq ~= tonumber(h[6]) + 1 or h[4] ~= ARGV[4]", "if h[4] ~= ARGV[4]"),
        ),
        frozenset({"loss", "fence", "repeats"}),
        _run("lose-replies"),
    ),
    "no-cursor": Mutant(
        "commit does not compare the cursor",
        (_lua("commit", " or h[4] ~= ARGV[4] then return {'CURSOR'", " then return {'CURSOR'"),),
        frozenset({"fence"}),
        duel="stale-cursor",
    ),
    "no-trim-check": Mutant(
        "commit does not notice what a stranger removed",
        (_lua("commit", "if gone > 0 then return {'TRIMMED', string.format('%.0f', gone)} end", ""),),
        frozenset({"loss", "counts", "leftovers"}),
        _run("xdel", pace_s=8.0),
    ),
    "no-allow-oom": Mutant(
        "commit is refused when Redis is full",
        (_lua("commit", "#!lua flags=allow-oom", "#!lua"),),
        frozenset({"leftovers"}),
        _run("full", pace_s=8.0, rate=2_000.0),
    ),
    "same-epoch": Mutant(
        "a lease does not raise the epoch",
        (_lua("lease_acquire", "math.max(tonumber(epoch) + 1, ms)", "math.max(tonumber(epoch), 1)"),),
        frozenset({"epochs", "fence", "repeats"}),
        _run("kill-host"),
    ),
    "no-reaping": Mutant(
        "the leases of a dead slice are not released",
        (_py("tenure", "            await self._bury(wire, slot, units)\n", ""),),
        frozenset({"loss", "leftovers", "counts", "recovery"}),
        _run("kill-slice"),
    ),
    "same-lease": Mutant(
        "whoever stands in for a dead slice goes on under its lease",
        (
            _py(
                "tenure",
                "(leases.release(wire, self.topology.name, *each, due.get(each[0].index), death) for each in held)",
                "(asyncio.sleep(0, True) for each in held)",
            ),
            _py(
                "tenure",
                "[secrets.randbits(62) | 1 for _ in wishes]",
                "[int(wish.dead or 0) or secrets.randbits(62) | 1 for wish in wishes]",
            ),
        ),
        frozenset({"epochs", "fence", "repeats"}),
        _run("kill-slice"),
    ),
    "no-pdeathsig": Mutant(
        "children do not die with their supervisor",
        (_py("child", "_LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)", "pass"),),
        frozenset({"leftovers"}),
        _run("kill-supervisor"),
    ),
    "commit-first": Mutant(
        "an event counts as done before its handler has run",
        (
            _py(
                "calls",
                "await handler(event, context)",
                "(setattr(ledger, 'done', ordinal), ledger.mark_dirty(now), await handler(event, context))",
            ),
        ),
        frozenset({"loss", "inside", "order"}),
        _run("kill-slice", sleep_ms=20.0, rate=150.0, handler="relay"),
    ),
    "cursor-at-end": Mutant(
        "after a failure the cursor goes to the end of what was fetched",
        (_py("ledger", "self.run[index - 1]._id", "self.run[-1]._id"),),
        frozenset({"loss", "inside", "counts"}),
        _run("handlers", "rolling", "restart", "stop-beats", sleep_ms=4.0, minutes=0.4),
    ),
    "no-deadline": Mutant(
        "a slice goes on after its host's lease has run out",
        (
            _py("lane", "elif now >= deadline:", "elif False:"),
            _py("lane", "min(monotonic() + self._turn_s, deadline)", "monotonic() + self._turn_s"),
        ),
        frozenset({"epochs", "overlap", "repeats"}),
        _run("stop-beats", minutes=0.5, pace_s=12.0, seed=6),
    ),
    "stale-prefetch": Mutant(
        "what was fetched is kept over a reconnect",
        (
            _py("lane", "        intake.restart(intake.fetched)\n", ""),
            _py("lane", "        self.intake.restart(session.cursor)\n", ""),
        ),
        frozenset({"loss", "counts", "inside", "repeats", "order", "leftovers"}),
        _run("failover"),
    ),
    "stale-state": Mutant(
        "states are kept over a reconnect",
        (_py("lane", "        self.states.clear()\n", ""),),
        frozenset({"inside"}),
        _run("failover"),
    ),
    "blind-retries": Mutant(
        "a sender's chunk is stored anew at every attempt",
        (_lua("produce", "local last = redis.call('GET', producer)", "local last = false"),),
        frozenset({"loss"}),
        _run("lose-replies"),
    ),
    "leaking-files": Mutant(
        "the keeper leaves a file open at every beat",
        (
            _py(
                "keeper",
                "        self._counter += 1\n",
                "        self._counter += 1\n        self.leak = [*getattr(self, 'leak', []), open(os.devnull)]\n",
            ),
        ),
        frozenset({"leftovers"}),
        _run("script-flush", minutes=0.9),
    ),
    "shown-password": Mutant(
        "the address of Redis is shown as it is",
        (Edit("store/endpoint.py", "def shown(self) -> str:", "def shown(self) -> str:\n        return self.url\n"),),
        frozenset({"secrets"}),
        _run("script-flush", minutes=0.1),
    ),
}


def made(name: str, directory: Path) -> Path:
    """A directory to put on the path before the repository, with the package as this mutant has it."""
    copy = directory / "runnelctl"
    shutil.copytree(ROOT / "runnelctl", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in MUTANTS[name].edits:
        file = copy / edit.file
        file.write_text(edited(file.read_text(), edit))
    return directory


def edited(text: str, edit: Edit) -> str:
    """Raises ValueError if the text to change is not there just once: then the mutant has to follow the code."""
    if text.count(edit.old) != 1:
        raise ValueError(f"{edit.file} has this {text.count(edit.old)} times, not once: {edit.old!r}")
    return text.replace(edit.old, edit.new)
