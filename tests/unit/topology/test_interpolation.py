"""Variables inside one text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnelctl.topology import interpolation

ENVIRON = {"A": "a", "EMPTY": "", "TRICKY": "${A}$$"}
GOOD = {
    "plain": "plain",
    "${A}": "a",
    "x${A}y${A}z": "xayaz",
    "$$": "$",
    "$${A}": "${A}",
    "$$$${A}": "$${A}",
    "$$${A}": "$a",
    "5$": "5$",
    "$5": "$5",
    "${EMPTY}": "",
    "${EMPTY:-x}": "x",
    "${GONE:-x}": "x",
    "${GONE:-}": "",
    "${GONE:-${A}-${GONE:-b}}": "a-b",
    "${GONE:-{x}": "{x",
    "${A:?no}": "a",
    "${TRICKY}": "${A}$$",
    "${GONE:-$$}": "$",
    "${GONE:-redis://h:1/0?a=b}": "redis://h:1/0?a=b",
}
BAD = {
    "${GONE}": "variable GONE is not set (${GONE:-...} gives it a default)",
    "${GONE:?say so}": "variable GONE is not set: say so",
    "${EMPTY:?}": "variable EMPTY is not set: it must be",
    "${": "is not closed",
    "${A": "is not closed",
    "${}": "must be followed by a variable's name",
    "${A-b}": "${A...} can be followed by :-default or :?message only",
    "$A": "write ${NAME} with braces",
    "${G:-" * 20 + "}" * 20: "nested more than 8 deep",
}


@pytest.mark.parametrize("text", GOOD)
def test_expanded(text: str) -> None:
    assert interpolation.expand(text, ENVIRON) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_refused(text: str) -> None:
    with pytest.raises(interpolation.Refused) as caught:
        interpolation.expand(text, ENVIRON)
    assert BAD[text] in str(caught.value)


@given(st.text(alphabet="${}A:-?x"))
def test_any_text_expands_or_is_refused(text: str) -> None:
    try:
        interpolation.expand(text, ENVIRON)
    except interpolation.Refused:
        pass


@given(st.text())
def test_doubled_dollars_give_the_text_back(text: str) -> None:
    assert interpolation.expand(text.replace("$", "$$"), {}) == text
