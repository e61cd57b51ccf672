"""The board's cells: each its own, shared with forked children, with room for a death's text."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from runnelctl.runtime import board as cells
from runnelctl.runtime.board import TEXT_BYTES, Board, Shape


def test_no_two_cells_share_a_place() -> None:
    board = Board(Shape(slots=3, units=5))
    places = [*range(cells.HOST_CELLS)]
    for slot in range(3):
        places += [board.slot(slot) + cell for cell in range(cells.SLOT_CELLS)]
    for unit in range(5):
        places += [board.unit(unit) + cell for cell in range(cells.UNIT_CELLS)]
    assert sorted(places) == list(range(len(board.q)))
    assert len(board.d) == len(board.q)


def test_names_of_cells_are_different_and_within_their_block() -> None:
    blocks = {"H_": cells.HOST_CELLS, "S_": cells.SLOT_CELLS, "U_": cells.UNIT_CELLS}
    for prefix, size in blocks.items():
        numbers = [value for name, value in vars(cells).items() if name.startswith(prefix)]
        assert len(set(numbers)) == len(numbers)
        assert all(0 <= number < size for number in numbers)
    named = [value for name, value in vars(cells).items() if name.startswith("U_") and name != "U_LATENCY"]
    assert max(named) < cells.U_LATENCY
    assert cells.U_LATENCY + cells.LATENCY_BUCKETS <= cells.UNIT_CELLS


def test_whole_numbers_and_doubles_are_kept_exactly() -> None:
    board = Board(Shape(1, 1))
    base = board.unit(0)
    for number in (0, 1, -1, 2**62 + 1, -(2**63), 2**63 - 1):
        board.q[base + cells.U_NONCE] = number
        assert board.q[base + cells.U_NONCE] == number
    board.d[base + cells.U_SINCE] = 12345.678901234
    assert board.d[base + cells.U_SINCE] == 12345.678901234


def test_a_forked_child_writes_and_the_parent_reads() -> None:
    board = Board(Shape(2, 2))
    pid = os.fork()
    if pid == 0:
        board.q[board.unit(1) + cells.U_STARTED] = 42
        board.write_text(1, "from the child")
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.q[board.unit(1) + cells.U_STARTED] == 42
    assert (board.read_text(0), board.read_text(1)) == ("", "from the child")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=500), st.text(max_size=20))
def test_texts_come_back_and_stay_in_their_place(text: str, other: str) -> None:
    board = Board(Shape(2, 1))
    board.write_text(1, "neighbour")
    board.write_text(0, "x" * 20_000)
    board.write_text(0, text)
    assert board.read_text(0) == text
    assert board.read_text(1) == "neighbour"
    board.write_text(0, other)  # lone surrogates must not raise
    board.read_text(0)


def test_a_text_that_is_too_long_is_cut_and_touches_nobody() -> None:
    board = Board(Shape(2, 1))
    board.write_text(1, "neighbour")
    board.write_text(0, "é" * TEXT_BYTES)
    assert board.read_text(1) == "neighbour"
    text = board.read_text(0)
    assert text.rstrip("\ufffd") == "é" * ((TEXT_BYTES - 8) // 2)
