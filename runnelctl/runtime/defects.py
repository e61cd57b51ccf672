"""What happens to a process in which runnelctl itself failed: it says so, with the traceback, and ends.

Half alive it would keep its leases and do nothing. Its successor begins at the last commit.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn

EXIT_DEFECT = 70
_PACKAGE = __name__.partition(".")[0]


def die(log: logging.Logger, error: BaseException, finish: Callable[[], None] = sys.stderr.flush) -> NoReturn:
    """Say what failed and end this process at once; `finish` brings out what was said."""
    log.critical("runnelctl itself failed; this is a defect, please report it", exc_info=error)
    finish()
    os._exit(EXIT_DEFECT)


def watched(log: logging.Logger, finish: Callable[[], None] = sys.stderr.flush) -> asyncio.AbstractEventLoop:
    """A new event loop in which an exception out of a callback of ours ends the process.

    A loop only logs such an exception and goes on. Callbacks that a handler asked for are the handler's: they are
    logged, as in any loop.
    """
    import uvloop

    def failed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and "handle" in context and is_ours(error.__traceback__):
            die(log, error, finish)
        loop.default_exception_handler(context)

    loop = uvloop.new_event_loop()
    loop.set_exception_handler(failed)
    return loop


def is_ours(trace: TracebackType | None) -> bool:
    """Whether the outermost frame of a callback's traceback is of this package. The loop's own frames don't count."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith("uvloop"):
        trace = trace.tb_next
    module = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] == _PACKAGE
