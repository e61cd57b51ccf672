"""Lines from files, pipes and stdin."""

from __future__ import annotations

import gzip
import io
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from runnelctl.cli import jsonlines
from runnelctl.errors import RunnelctlError, UsageError


def read(file: Path | str, *, twice: bool = True) -> list[tuple[int, bytes]]:
    with jsonlines.opened(str(file), twice=twice) as source:
        first = list(source.lines())
        if twice:
            assert list(source.lines()) == first
        return first


TEXT = b'\xef\xbb\xbf{"a":1}\n\n  {"b":2}  \r\n{"c":3}'
LINES = [(1, b'{"a":1}'), (3, b'{"b":2}'), (4, b'{"c":3}')]


def test_lines_keep_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(TEXT)
    assert read(file) == LINES
    file.write_bytes(b"")
    assert read(file) == []


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(gzip.compress(TEXT))
    assert read(file) == LINES


def test_a_cut_gzip_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.gz"
    file.write_bytes(gzip.compress(os.urandom(100_000))[:50_000])
    with pytest.raises(RunnelctlError, match=r"cannot read .*x\.gz to its end"):
        read(file)


@pytest.mark.parametrize("data", [TEXT, gzip.compress(TEXT)], ids=["plain", "gzip"])
@pytest.mark.parametrize("twice", [True, False])
def test_stdin(monkeypatch: pytest.MonkeyPatch, data: bytes, twice: bool) -> None:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=pipe))
        assert read("-", twice=twice) == LINES


def test_a_pipe_by_name_can_be_read_twice_too(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(TEXT,))
    writer.start()
    assert read(fifo) == LINES
    writer.join()


def test_a_line_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonlines, "MAX_RECORD_BYTES", 10)
    file = tmp_path / "x.jsonl"
    file.write_bytes(b"x" * 1_000 + b"\n1\n" + b"y" * 11 + b"\n" + b"z" * 10 + b"\n2\n")
    assert read(file) == [(1, b"x" * 11), (2, b"1"), (3, b"y" * 11), (4, b"z" * 10), (5, b"2")]


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_what_cannot_be_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read(tmp_path / name)


def test_position_moves_to_the_end(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(b"1\n" * 100_000)
    with jsonlines.opened(str(file), twice=True) as source:
        lines = source.lines()
        next(lines)
        assert source.size == 200_000
        assert 0 < source.position < source.size
        list(lines)
        assert source.position == source.size


def test_the_type_of_a_spool_is_what_lines_need() -> None:
    assert hasattr(io.BufferedRandom, "peek")
