"""Tracebacks as the user needs them: the frames of their own code, without ours and the import system's around them."""

from __future__ import annotations

import concurrent.futures
import importlib
import traceback
from pathlib import Path

import runnelctl

_OURS = (
    str(Path(runnelctl.__file__).parent),
    "<frozen importlib",
    str(Path(importlib.__file__)),
    str(Path(concurrent.futures.__file__).parent),
)


def text(error: BaseException) -> str:
    """The traceback of `error` and of what caused it. One that never touched the user's code is its last line only."""
    whole = traceback.TracebackException.from_exception(error)
    pending, seen = [whole], set[int]()
    while pending:
        each = pending.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        theirs = [frame for frame in each.stack if not frame.filename.startswith(_OURS)]
        each.stack = traceback.StackSummary.from_list(theirs)
        pending += [nested for nested in (each.__cause__, each.__context__, *(each.exceptions or ())) if nested]
    lines = list(whole.format())
    if not whole.stack and lines[0].startswith("Traceback"):
        lines = lines[1:]
    return "".join(lines)
