"""Children's output: whole lines with a prefix, whatever the children write and whoever does not read."""

from __future__ import annotations

import fcntl
import os
import pty
import selectors
from collections.abc import Iterator
from pathlib import Path

import pytest

from runnelctl.runtime import output as module
from runnelctl.runtime.output import LINE_LIMIT, PENDING_LIMIT, TAIL_LINES, Output, Sink, Source


class Desk:
    """An Output whose stdout and stderr are pipes (or what is given), and one child's pipes."""

    def __init__(self, out: int | None = None, err: int | None = None) -> None:
        self.selector = selectors.DefaultSelector()
        self.fds: list[int] = []
        self.out_read, self.out_write = self.pipe() if out is None else (-1, out)
        self.err_read, self.err_write = self.pipe() if err is None else (-1, err)
        self.output = Output(self.selector, 10, color=True, log=Path("/nowhere"))
        self.output._out = Sink(self.out_write, self.selector)
        self.output._err = Sink(self.err_write, self.selector)

    def pipe(self) -> tuple[int, int]:
        read, write = os.pipe()
        os.set_blocking(read, False)
        self.fds += [read, write]
        return read, write

    def child(self, label: str = "billing.0", number: int = 0) -> Child:
        return Child(self, label, number)

    def turn(self) -> None:
        """What the supervisor's loop does with everything that is ready."""
        for key, _ in self.selector.select(0):
            if isinstance(key.data, Source):
                self.output.read(key.data)
            elif isinstance(key.data, Sink):
                key.data.flush()

    def settle(self, turns: int = 400) -> None:
        for _ in range(turns):
            if not self.selector.select(0):
                return
            self.turn()

    def read(self, fd: int | None = None) -> bytes:
        """All that has come out by now; relays meanwhile."""
        whole = b""
        while True:
            self.settle(20)
            try:
                data = os.read(self.out_read if fd is None else fd, 1 << 20)
            except BlockingIOError:
                return whole
            whole += data

    def close(self) -> None:
        self.selector.close()
        for fd in self.fds:
            try:
                os.close(fd)
            except OSError:
                pass  # Output closes what it has read to the end


class Child:
    """The writing ends of a child's pipes."""

    def __init__(self, desk: Desk, label: str, number: int) -> None:
        out_read, self.out = os.pipe()
        err_read, self.err = os.pipe()
        for fd in (out_read, err_read):
            os.set_blocking(fd, False)
        desk.fds += [self.out, self.err]
        self.reads = (out_read, err_read)
        self.tail = desk.output.attach(label, number, out_read, err_read)
        self.desk = desk

    def write(self, data: bytes, fd: int | None = None) -> None:
        """Write it all, relaying while the pipe is full."""
        fd = self.out if fd is None else fd
        os.set_blocking(fd, False)
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                self.desk.turn()

    def end(self) -> None:
        os.close(self.out)
        os.close(self.err)
        self.desk.fds.remove(self.out)
        self.desk.fds.remove(self.err)
        self.desk.output.finish(self.reads)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


def test_lines_get_a_prefix_and_keep_their_stream(desk: Desk) -> None:
    child = desk.child()
    child.write(b"one\ntwo\n")
    child.write(b"bad\n", child.err)
    assert desk.read() == "billing.0  │ one\nbilling.0  │ two\n".encode()
    assert desk.read(desk.err_read) == "billing.0  │ bad\n".encode()
    assert list(child.tail) == ["one", "two", "bad"]


def test_a_line_is_shown_when_it_is_whole(desk: Desk) -> None:
    child = desk.child()
    child.write(b"half")
    assert desk.read() == b""
    child.write(b" and half\r\nrest")
    assert desk.read() == "billing.0  │ half and half\n".encode()
    child.end()
    assert desk.read() == "billing.0  │ rest\n".encode()


def test_a_last_line_without_its_end_is_shown_when_the_child_ends(desk: Desk) -> None:
    child = desk.child()
    child.write(b"Traceback")
    child.write(b"dying words", child.err)
    child.end()
    assert desk.read() == "billing.0  │ Traceback\n".encode()
    assert desk.read(desk.err_read) == "billing.0  │ dying words\n".encode()
    assert list(child.tail) == ["Traceback", "dying words"]


def test_what_is_left_in_the_pipes_is_taken_when_the_child_ends(desk: Desk) -> None:
    child = desk.child()
    os.write(child.out, b"line\n" * 5_000)
    child.end()
    assert desk.read().count(b"line\n") == 5_000


def test_a_grandchild_that_keeps_the_pipe_open_holds_up_nobody(desk: Desk) -> None:
    child = desk.child()
    os.write(child.out, b"last\n")
    held = os.dup(child.out)
    child.end()
    assert desk.read() == "billing.0  │ last\n".encode()
    with pytest.raises(BrokenPipeError):
        os.write(held, b"x")
    os.close(held)


def test_two_children_never_mix_within_a_line(desk: Desk) -> None:
    one, two = desk.child("one", 0), desk.child("two", 1)
    for number in range(200):
        one.write(b"a" * number)
        two.write(b"b" * number)
        one.write(b"\n")
        two.write(b"\n")
        desk.turn()
    lines = desk.read().decode().splitlines()
    assert len(lines) == 400
    assert {len(set(line.partition("│ ")[2])) for line in lines} <= {0, 1}


def test_a_very_long_line_comes_in_pieces_and_costs_little_memory(desk: Desk) -> None:
    child = desk.child()
    child.write(b"x" * 1_000_000 + b"\n")
    whole = desk.read()
    lines = [line.partition("│ ")[2] for line in whole.decode().splitlines()]
    assert sum(map(len, lines)) == 1_000_000
    assert max(map(len, lines)) <= LINE_LIMIT + module.CHUNK
    assert sum(len(line) for line in child.tail) <= TAIL_LINES * (LINE_LIMIT + module.CHUNK)


def test_bytes_that_are_no_text_are_shown_somehow(desk: Desk) -> None:
    child = desk.child()
    child.write(bytes(range(256)) + b"\n\xff\xfe\x00\n")
    shown = desk.read()
    shown.decode()
    assert shown.count("billing.0  │ ".encode()) == 3
    assert len(child.tail) == 3


def test_the_tail_keeps_the_last_lines(desk: Desk) -> None:
    child = desk.child()
    child.write(b"".join(b"%d\n" % number for number in range(1_000)))
    desk.read()
    assert list(child.tail) == [str(number) for number in range(1_000 - TAIL_LINES, 1_000)]


def test_a_flood_nobody_reads_is_dropped_and_counted(desk: Desk) -> None:
    child = desk.child()
    line = b"y" * 99 + b"\n"
    written = 50_000
    for _ in range(written // 500):
        child.write(line * 500)
    desk.settle()
    sink = desk.output._out
    assert sink._size <= PENDING_LIMIT + 200
    whole = desk.read()
    shown = whole.count(b"yyy\n")
    assert shown < written
    notes = [text.partition("│ ")[2] for text in whole.decode().splitlines() if "dropped" in text]
    assert notes
    dropped = sum(int(note.split()[0].replace(",", "")) for note in notes)
    assert shown + dropped == written, "also of what was dropped last, though nothing is written after it"
    assert len(child.tail) == TAIL_LINES


def test_a_reader_that_hung_up_costs_the_output_and_nothing_else(desk: Desk) -> None:
    os.close(desk.out_read)
    desk.fds.remove(desk.out_read)
    child = desk.child()
    child.write(b"one\n" * 10_000)
    child.write(b"still here\n", child.err)
    assert desk.read(desk.err_read) == "billing.0  │ still here\n".encode()
    assert len(child.tail) == TAIL_LINES
    desk.output.flush()


def test_flush_writes_everything(desk: Desk) -> None:
    child = desk.child()
    os.write(child.out, b"z\n" * 1_000)
    child.end()
    fcntl.fcntl(desk.out_write, 1031, 1 << 20)  # F_SETPIPE_SZ: room for all of it
    desk.output.flush()
    whole = b""
    try:
        while data := os.read(desk.out_read, 1 << 20):
            whole += data
    except BlockingIOError:
        pass
    assert whole.count(b"z\n") == 1_000


def test_a_regular_file_is_written_at_once(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_CREAT | os.O_WRONLY)
    desk = Desk(out=fd)
    child = desk.child()
    child.write(b"to a file\n" * 3)
    desk.settle()
    assert (tmp_path / "log").read_text() == "billing.0  │ to a file\n" * 3
    desk.close()
    os.close(fd)


def test_a_word_of_our_own_goes_to_stderr(desk: Desk) -> None:
    desk.output.say("first\nsecond")
    desk.output.say("")
    assert desk.read(desk.err_read) == "runnelctl  │ first\nrunnelctl  │ second\nrunnelctl  │ \n".encode()


def test_on_a_terminal_there_are_colours_and_a_footer_below() -> None:
    leader, follower = pty.openpty()
    os.set_blocking(leader, False)
    desk = Desk(out=follower, err=follower)
    desk.output._err = desk.output._out  # one terminal
    desk.output.footer("half done")
    child = desk.child()
    child.write(b"hello\n")
    shown = b""
    for _ in range(50):
        desk.settle(5)
        try:
            shown += os.read(leader, 65536)
        except BlockingIOError:
            continue
    text = shown.decode()
    assert "\x1b[36mbilling.0  │ \x1b[0mhello" in text
    assert text.rstrip().endswith("half done"), "the footer stays last"
    assert text.count("half done") == 2
    desk.output.footer("half done")
    desk.output.footer("")
    desk.settle()
    assert os.read(leader, 65536).endswith(b"\r\x1b[K")
    desk.close()
    os.close(leader)
    os.close(follower)


def test_off_a_terminal_there_is_no_footer_and_no_colour(desk: Desk) -> None:
    desk.output.footer("half done")
    desk.child().write(b"hello\n")
    assert desk.read(desk.err_read) == b""
    assert b"\x1b" not in desk.read()
