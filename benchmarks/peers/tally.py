"""What a peer's handlers and senders share. Needs no package, and Python 3.8."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.records import record

#: Of the server, and which of its configurations is wanted.
URL, WAY = os.environ["PEER_URL"], os.environ["PEER_WAY"]
with Path(os.environ["PEER_TALLY"]).open("r+b") as _file:
    _seen = ctypes.c_uint64.from_buffer(mmap.mmap(_file.fileno(), 8))
_numbers = itertools.count(1)


def handled() -> None:
    """One event more: a tenth of a microsecond, in a file that the benchmark looks at."""
    _seen.value = next(_numbers)


def backlog(at_once: int) -> Iterator[list[dict[str, Any]]]:
    """The records to be sent, in lists; how many is the program's argument."""
    records = map(record, range(int(sys.argv[1])))
    while chunk := list(itertools.islice(records, at_once)):
        yield chunk
