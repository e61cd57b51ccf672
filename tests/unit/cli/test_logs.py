"""Reading a log that is being written, renamed and cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runnelctl.cli import logs

LINES = [
    "runnelctl │ up\n",
    "bill.0    │ a\n",
    "bill.10   │ b\n",
    "bill.x.0  │ c\n",
    "bill      │ d\n",
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "up.log").write_bytes(b"one\ntw")
    return tmp_path / "up.log"


@pytest.fixture
def tail(log: Path) -> Iterator[logs.Tail]:
    tail = logs.Tail(log)
    yield tail
    tail.close()


def append(log: Path, text: bytes) -> None:
    with log.open("ab") as file:
        file.write(text)


def test_half_a_line_waits_for_its_other_half(log: Path, tail: logs.Tail) -> None:
    assert list(tail.read()) == [b"one\n"]
    append(log, b"o\nthr")
    assert list(tail.read()) == [b"two\n"]
    assert list(tail.read(last=True)) == [b"thr\n"]


def test_a_renamed_log_is_read_to_its_end_and_the_new_one_from_its_start(log: Path, tail: logs.Tail) -> None:
    assert list(tail.read()) == [b"one\n"]
    append(log, b"o\n")
    log.rename(log.with_name("up.log.1"))
    log.write_bytes(b"three\n")
    assert list(tail.read()) == [b"two\n", b"three\n"]
    append(log, b"four\n")
    assert list(tail.read()) == [b"four\n"]


def test_a_cut_log_is_read_from_its_start(log: Path, tail: logs.Tail) -> None:
    append(log, b"o\n")
    assert list(tail.read()) == [b"one\n", b"two\n"]
    log.write_bytes(b"new\n")
    assert list(tail.read()) == [b"new\n"]


def test_a_removed_log_ends(log: Path, tail: logs.Tail) -> None:
    assert list(tail.read()) == [b"one\n"]
    log.unlink()
    assert list(tail.read(last=True)) == [b"tw\n"]


@pytest.mark.parametrize(
    ("target", "wanted"),
    [(None, "upabcd"), ("bill", "abd"), ("bill.0", "a"), ("bill.1", ""), ("bill.x", "c"), ("bill.x.0", "c")],
)
def test_lines_are_chosen_by_their_label(target: str | None, wanted: str) -> None:
    chosen = logs.matching([line.encode() for line in LINES], target)
    assert "".join(line.decode().partition("│ ")[2].strip() for line in chosen) == wanted
