"""How values and suggestions are worded in messages."""

from __future__ import annotations

from collections.abc import Iterable

from runnelctl.topology.nodes import Mapping, Node, Scalar

_LONGEST = 60


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """` (did you mean 'orders'?)` for the nearest of `choices`, or nothing if none is near."""
    import difflib  # only when there is a mistake to report

    folded = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(word[:_LONGEST].lower(), folded, n=1)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""


def shown(node: Node) -> str:
    """The value of a node as a user would name it, cut to a readable length."""
    if not isinstance(node, Scalar):
        return "a mapping" if isinstance(node, Mapping) else "a list"
    if node.value is None and not node.text.strip():
        return "empty"
    if isinstance(node.value, str):
        return repr(cut(node.value))
    return cut(node.text)


def cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def hint(node: Node, wanted: str) -> str:
    """What to change in a scalar of the wrong type, where that is plain to see."""
    if not isinstance(node, Scalar):
        return ""
    if "whole number" in wanted and isinstance(node.value, str) and node.value.strip().isdecimal():
        return " (without the leading zero)" if node.value.startswith("0") else " (without the quotes)"
    if "duration" in wanted and type(node.value) in (int, float):
        return f" (did you mean '{cut(node.text)}s'?)"
    if "size" in wanted and type(node.value) in (int, float):
        return f" (did you mean '{cut(node.text)}MiB'?)"
    if isinstance(node.value, bool) and "name" in wanted:
        return " (quote it)"
    return ""
