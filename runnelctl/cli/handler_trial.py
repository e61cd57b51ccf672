"""Tries handlers and middleware in a child process: importing them runs the user's code, which may print, hang, fork
or exit.

The child writes a line after each to a file of its own, so that a death is put down to the one that it happened in, and
the rest are tried in another child.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runnelctl import errors, handling, layering
from runnelctl.runtime import taskcalls

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Subject:
    """What `module:attribute` is named in the file, and as what: a handler, one of batches, a middleware, a task.
    `side_by_side`: of a processor with `order: key`."""

    spec: str
    what: Literal["handler", "batch", "middleware", "task"] = "handler"
    side_by_side: bool = False

    @property
    def module(self) -> str:
        return self.spec.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with it, or what is odd about it without being wrong."""

    problem: str | None = None
    doubt: str | None = None


def verdicts(
    subjects: Sequence[Subject], pythonpath: Sequence[str], timeout_s: float = TIMEOUT_S
) -> dict[Subject, Verdict]:
    """The verdict on each. A module that takes longer than `timeout_s` to import is given up."""
    found: dict[Subject, Verdict] = {}
    pending = list(dict.fromkeys(subjects))
    while pending:
        answers, end = _run(pending, pythonpath, timeout_s)
        found |= zip(pending, answers, strict=False)
        done, pending = bool(answers), pending[len(answers) :]
        if not pending or (done and end is None):
            continue  # with some done, a timeout may be nobody's fault: the next starts with a full allowance
        culprit = pending[0].module
        verdict = Verdict(f"module {culprit} {end or f'is still importing after {timeout_s:g} s'}")
        found |= {subject: verdict for subject in pending if subject.module == culprit}
        pending = [subject for subject in pending if subject not in found]
    return found


def _run(subjects: list[Subject], pythonpath: Sequence[str], timeout_s: float) -> tuple[list[Verdict], str | None]:
    """What one child answered, in order, and how it ended: a phrase, or None if it ran out of time."""
    with tempfile.TemporaryFile() as request, tempfile.TemporaryFile() as answer:
        asked = [[subject.spec, subject.what, subject.side_by_side] for subject in subjects]
        request.write(json.dumps({"pythonpath": list(pythonpath), "subjects": asked}).encode())
        request.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(request.fileno()), str(answer.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(request.fileno(), answer.fileno()),
            start_new_session=True,
            env=environ(),
        )
        try:
            end: str | None = _phrase(child.wait(timeout_s))
        except subprocess.TimeoutExpired:
            end = None
        finally:
            _kill_group(child)
        answer.seek(0)
        return [Verdict(*json.loads(line)) for line in answer.read().splitlines()], end


def environ() -> dict[str, str]:
    """This process's environment, so that the child finds this package however it was found here."""
    root = str(Path(handling.__file__).parent.parent)
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{before}{os.pathsep}{root}" if before else root}


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """End the child, and whatever a module left running beside it."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    child.wait()


def _phrase(code: int) -> str:
    if code < 0:
        return f"killed the process that imported it ({signal.Signals(-code).name})"
    return f"ended the process that imported it (exit code {code})"


def child(request_fd: int, answer_fd: int) -> None:
    """Runs in the child: try each, write a line when it is done, and leave without running exit hooks."""
    with os.fdopen(request_fd) as stream:
        request = json.load(stream)
    handling.put_on_path(request["pythonpath"])
    for spec, what, side_by_side in request["subjects"]:
        verdict = _verdict(spec, what, side_by_side)
        os.write(answer_fd, json.dumps([verdict.problem, verdict.doubt]).encode() + b"\n")
    os._exit(0)


def _verdict(spec: str, what: str, side_by_side: bool) -> Verdict:
    try:
        if what == "middleware":
            iterates = layering.find(spec).kind == "events"
            return Verdict(handling.NEEDS_ORDER if iterates and side_by_side else None)
        target = handling.resolve(spec)
        if what == "task":
            taskcalls.describe(target)
            return Verdict()
        form = handling.describe(target, what == "batch")
        if form.kind == "events" and side_by_side:
            return Verdict(handling.NEEDS_ORDER)
        return Verdict(doubt=handling.doubt(target, what == "batch"))
    except errors.HandlerError as error:
        return Verdict(str(error))
    except BaseException as error:  # the user's code runs while it is looked at, too: properties, metaclasses
        return Verdict(f"examining {spec} raised {type(error).__name__}: {error}")


if __name__ == "__main__":
    child(int(sys.argv[1]), int(sys.argv[2]))
