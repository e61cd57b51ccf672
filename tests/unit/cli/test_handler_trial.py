"""Handlers that hang, exit, crash or make a noise while they are imported cost their own verdict, nothing else."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runnelctl.cli import handler_trial

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
    handlers = [
        "tried.leaves:f",
        "tried.fine:f",
        "tried.leaves:g",
        "tried.crashes:f",
        "tried.reads:f",
        "tried.raises:f",
        "tried.fine:g",
    ]
    assert handler_trial.verdicts(handlers, [str(tmp_path)]) == {
        "tried.leaves:f": "module tried.leaves ended the process that imported it (exit code 0)",
        "tried.leaves:g": "module tried.leaves ended the process that imported it (exit code 0)",
        "tried.fine:f": None,
        "tried.fine:g": "a handler must be callable; this is of type int",
        "tried.crashes:f": "module tried.crashes killed the process that imported it (SIGSEGV)",
        "tried.reads:f": "module tried.reads raised while importing: EOFError: EOF when reading a line"
        f" ({tmp_path}/tried/reads.py:1)",
        "tried.raises:f": "examining tried.raises:f raised KeyboardInterrupt: ",
    }


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
    found = handler_trial.verdicts(["tried.fine:f", "tried.hangs:f", "tried.hangs:g"], [str(tmp_path)], timeout_s=3)
    assert found["tried.fine:f"] is None
    assert found["tried.hangs:f"] == found["tried.hangs:g"] == "module tried.hangs is still importing after 3 s"
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # granted once the child and what it started are both gone


def test_the_python_path_comes_first(write: Write, tmp_path: Path) -> None:
    write("colorsys.py", "def ours(event): ...\n")
    assert handler_trial.verdicts(["colorsys:ours"], [str(tmp_path)]) == {"colorsys:ours": None}


def test_no_handlers_start_no_child() -> None:
    assert handler_trial.verdicts([], []) == {}
