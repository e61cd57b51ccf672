"""How a child ended, in words; and what a forked child is."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable

import pytest

from runnelctl.runtime import child
from runnelctl.runtime.child import describe


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited with code 0"),
        (3 << 8, "exited with code 3"),
        (255 << 8, "exited with code 255"),
        (signal.SIGKILL, "was killed by SIGKILL"),
        (signal.SIGSEGV | 0x80, "was killed by SIGSEGV and dumped core"),
        (signal.SIGABRT, "was killed by SIGABRT"),
        (40, "was killed by signal 40"),
    ],
)
def test_describe(status: int, words: str) -> None:
    assert describe(status) == words


Forked = Callable[..., tuple[int, bytes, bytes]]


@pytest.fixture
def forked(capfd: pytest.CaptureFixture[str]) -> Forked:
    """Fork a body, wait for its end; its status and what it wrote. Without pytest's capture, which a child inherits."""

    def call(body: Callable[[], int], keep: tuple[int, ...] = ()) -> tuple[int, bytes, bytes]:
        with capfd.disabled():
            return wait_for(child.fork("test", body, keep))

    return call


def wait_for(made: child.Child) -> tuple[int, bytes, bytes]:
    """Read a child's output to the end and reap it."""
    texts = []
    for fd in (made.stdout, made.stderr):
        text = b""
        while True:
            select.select([fd], [], [], 20)
            data = os.read(fd, 65536)
            if not data:
                break
            text += data
        os.close(fd)
        texts.append(text)
    if made.pidfd is not None:
        select.select([made.pidfd], [], [], 20)
        os.close(made.pidfd)
    while (status := child.reap(made.pid)) is None:
        pass
    return status, texts[0], texts[1]


def test_a_childs_return_value_is_its_exit_code_and_its_output_comes_through(forked: Forked) -> None:
    def body() -> int:
        print("out")
        print("err", file=sys.stderr)
        return 7

    assert forked(body) == (7 << 8, b"out\n", b"err\n")


def test_a_child_that_raises_shows_its_traceback(forked: Forked) -> None:
    def body() -> int:
        raise ValueError("in the child")

    status, _, err = forked(body)
    assert os.waitstatus_to_exitcode(status) == 70
    assert b"ValueError: in the child" in err


@pytest.mark.parametrize(("code", "expected"), [(5, 5), (None, 1), ("words", 1)])
def test_a_child_may_exit_by_itself(forked: Forked, code: object, expected: int) -> None:
    def body() -> int:
        raise SystemExit(code)

    assert os.waitstatus_to_exitcode(forked(body)[0]) == expected


def test_a_child_inherits_only_what_it_is_given(forked: Forked) -> None:
    kept, other = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)

    def body() -> int:
        os.fstat(kept)
        try:
            os.fstat(other)
        except OSError:
            return 0
        return 1

    assert forked(body, keep=(kept,))[0] == 0
    os.close(kept)
    os.close(other)


def test_a_child_has_its_own_session_default_signals_and_nothing_to_read(forked: Forked) -> None:
    def body() -> int:
        assert os.getsid(0) == os.getpid()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGTERM, signal.SIGINT}
        assert os.read(0, 1) == b""
        return 0

    assert forked(body)[0] == 0


def test_the_whole_session_goes_with_a_child(forked: Forked) -> None:
    read, write = os.pipe()

    def body() -> int:
        if os.fork() == 0:
            os.close(1)
            os.close(2)
            signal.pause()
        return 0

    status, _, _ = forked(body, keep=(write,))
    assert status == 0
    os.close(write)
    assert select.select([read], [], [], 20)[0], "the grandchild held the pipe until it was killed"
    assert os.read(read, 1) == b""
    os.close(read)
