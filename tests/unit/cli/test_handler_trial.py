"""Handlers that hang, exit, crash or make a noise while they are imported cost their own verdict, nothing else."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runnelctl.cli import handler_trial
from runnelctl.cli.handler_trial import Subject, Verdict

Write = Callable[[str, str], Any]


def test_every_handler_gets_its_own_verdict(write: Write, tmp_path: Path) -> None:
    write(
        "tried/fine.py",
        "import sys\nprint('x' * 100_000)\nprint('x' * 100_000, file=sys.stderr)\ndef f(event): ...\ng = 3\n",
    )
    write("tried/leaves.py", "import os\nos._exit(0)\n")
    write("tried/crashes.py", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    write("tried/reads.py", "input()\n")
    write("tried/raises.py", "raise KeyboardInterrupt\n")
    specs = [
        "tried.leaves:f",
        "tried.fine:f",
        "tried.leaves:g",
        "tried.crashes:f",
        "tried.reads:f",
        "tried.raises:f",
        "tried.fine:g",
    ]
    assert problems(specs, str(tmp_path)) == {
        "tried.leaves:f": "module tried.leaves ended the process that imported it (exit code 0)",
        "tried.leaves:g": "module tried.leaves ended the process that imported it (exit code 0)",
        "tried.fine:f": None,
        "tried.fine:g": "a handler must be callable; this is of type int",
        "tried.crashes:f": "module tried.crashes killed the process that imported it (SIGSEGV)",
        "tried.reads:f": "module tried.reads raised while importing: EOFError: EOF when reading a line"
        f" ({tmp_path}/tried/reads.py:1)",
        "tried.raises:f": "examining tried.raises:f raised KeyboardInterrupt: ",
    }


FORMS = """\
async def loops(events):
    async for event in events: ...
async def does_not(events): ...
async def one(event): ...
def plain(events): ...
async def lists(events: list): ...
async def around(events):
    async for event in events: yield event
"""


def test_one_that_may_be_meant_otherwise_is_told_its_form(write: Write, tmp_path: Path) -> None:
    write("tried/forms.py", FORMS)
    asked = [
        *(Subject(f"tried.forms:{name}") for name in ("loops", "does_not", "one", "plain", "lists")),
        *(Subject(f"tried.forms:{name}", "batch") for name in ("loops", "does_not", "lists")),
        *(Subject(f"tried.forms:{name}", "middleware") for name in ("around", "loops")),
        *(Subject(f"tried.forms:{name}", "handler", True) for name in ("loops", "one")),
        Subject("tried.forms:around", "middleware", True),
    ]
    found = list(handler_trial.verdicts(asked, [str(tmp_path)]).values())
    assert [verdict.problem is not None for verdict in found] == [False] * 4 + [True] + [False] * 4 + [
        True,
        True,
        False,
        True,
    ]
    assert found[0] == found[2] == found[6] == found[7] == found[8] == Verdict()
    assert "does_not is taken for the iterator form" in str(found[1].doubt)
    assert "plain is a plain function: it gets one event at a time" in str(found[3].doubt)
    assert "lists takes a list (events: list), but its processor has no `batch:`" in str(found[4].problem)
    assert "loops gets a list, since its processor has batch:" in str(found[5].doubt)
    assert "it yields nothing: a middleware is" in str(found[9].problem)
    assert "needs order: partition" in str(found[10].problem) and found[10] == found[12]


def problems(specs: list[str], pythonpath: str, **how: Any) -> dict[str, str | None]:
    found = handler_trial.verdicts([Subject(spec) for spec in specs], [pythonpath], **how)
    return {subject.spec: verdict.problem for subject, verdict in found.items()}


HANGS = """\
import fcntl, subprocess, time
lock = open({lock!r}, "w")
fcntl.flock(lock, fcntl.LOCK_EX)
subprocess.Popen(["sleep", "600"], pass_fds=[lock.fileno()])
time.sleep(600)
"""


def test_a_module_that_hangs_is_given_up_and_leaves_nothing_behind(write: Write, tmp_path: Path) -> None:
    write("tried/fine.py", "def f(event): ...\n")
    write("tried/hangs.py", HANGS.format(lock=str(tmp_path / "lock")))
    found = problems(["tried.fine:f", "tried.hangs:f", "tried.hangs:g"], str(tmp_path), timeout_s=3)
    assert found["tried.fine:f"] is None
    assert found["tried.hangs:f"] == found["tried.hangs:g"] == "module tried.hangs is still importing after 3 s"
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # granted once the child and what it started are both gone


def test_the_python_path_comes_first(write: Write, tmp_path: Path) -> None:
    write("colorsys.py", "def ours(event): ...\n")
    assert problems(["colorsys:ours"], str(tmp_path)) == {"colorsys:ours": None}


def test_no_handlers_start_no_child() -> None:
    assert handler_trial.verdicts([], []) == {}
