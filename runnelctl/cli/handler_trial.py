"""Tries handlers in a child process: importing them runs the user's code, which may print, hang, fork or exit.

The child writes a line after each handler to a file of its own, so that a death is put down to the handler
that it happened in, and the rest are tried in another child.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runnelctl import errors, handling

TIMEOUT_S = 30.0


def verdicts(
    handlers: Sequence[str], pythonpath: Sequence[str], timeout_s: float = TIMEOUT_S, *, tasks: bool = False
) -> dict[str, str | None]:
    """Handler -> what is wrong with it, or None. A module that takes longer than `timeout_s` to import is given up.
    `tasks`: these are what tasks run, and must be fit for that."""
    found: dict[str, str | None] = {}
    pending = list(dict.fromkeys(handlers))
    while pending:
        answers, end = _run(pending, pythonpath, timeout_s, tasks)
        done = {answer["handler"]: answer["message"] for answer in answers if "message" in answer}
        found |= done
        pending = [handler for handler in pending if handler not in done]
        if not pending or (done and end is None):
            continue  # with some done, a timeout may be nobody's fault: the next starts with a full allowance
        culprit = pending[0].partition(":")[0]
        message = f"module {culprit} {end or f'is still importing after {timeout_s:g} s'}"
        found |= {handler: message for handler in pending if handler.partition(":")[0] == culprit}
        pending = [handler for handler in pending if handler not in found]
    return found


def _run(
    handlers: list[str], pythonpath: Sequence[str], timeout_s: float, tasks: bool
) -> tuple[list[dict[str, Any]], str | None]:
    """What one child answered, and how it ended: a phrase, or None if it ran out of time."""
    with tempfile.TemporaryFile() as request, tempfile.TemporaryFile() as answer:
        request.write(json.dumps({"pythonpath": list(pythonpath), "handlers": handlers, "tasks": tasks}).encode())
        request.seek(0)
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(request.fileno()), str(answer.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(request.fileno(), answer.fileno()),
            start_new_session=True,
            env=_environ(),
        )
        try:
            end: str | None = _phrase(child.wait(timeout_s))
        except subprocess.TimeoutExpired:
            end = None
        finally:
            _kill_group(child)
        answer.seek(0)
        return [json.loads(line) for line in answer.read().splitlines()], end


def _environ() -> dict[str, str]:
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
    """Runs in the child: try each handler, write a line when it is done, and leave without running exit hooks."""
    with os.fdopen(request_fd) as stream:
        request = json.load(stream)
    handling.put_on_path(request["pythonpath"])
    for handler in request["handlers"]:
        message = _verdict(handler, request["tasks"])
        os.write(answer_fd, json.dumps({"handler": handler, "message": message}).encode() + b"\n")
    os._exit(0)


def _verdict(handler: str, is_task: bool) -> str | None:
    try:
        target = handling.resolve(handler)
        (handling.describe_task if is_task else handling.describe)(target)
    except errors.HandlerError as error:
        return str(error)
    except BaseException as error:  # the user's code runs while it is looked at, too: properties, metaclasses
        return f"examining {handler} raised {type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    child(int(sys.argv[1]), int(sys.argv[2]))
