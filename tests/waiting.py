"""Waiting for a condition, instead of sleeping for a time and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout_s: float = 20, message: str = "the condition") -> T:
    """Call `condition` until it returns something true and give that back; fail the test after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {message}; last seen: {result!r}")
        time.sleep(0.005)
