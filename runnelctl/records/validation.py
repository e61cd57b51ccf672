"""Records held against a JSON Schema.

The compiled validator decides and words alike. Python's would reword the message, but runs `pattern` without a limit on
backtracking: one hostile record could hold a sender or a slice for hours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runnelctl.errors import RecordError
from runnelctl.records.wording import dotted, short

_SHOWN_ERRORS = 3


def checker(schema: Any, about: str) -> Callable[[Any], None]:
    """A function that raises RecordError, naming the first errors with their paths, for a value that does not fit.
    References to other documents are refused: a schema must not fetch anything. `about`: whose schema it is."""
    import jsonschema_rs

    def refuse(uri: str) -> Any:
        raise ValueError(f"{uri} is another document; put its definitions under $defs")

    try:
        validator = jsonschema_rs.validator_for(True if schema is None else schema, retriever=refuse)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        message = getattr(error, "message", None) or str(error)
        raise RecordError(f"the schema of {about} is not usable: {short(message)}") from None

    def check(value: Any) -> None:
        if not validator.is_valid(value):
            raise RecordError(_worded(validator, value))

    return check


def _worded(validator: Any, value: Any) -> str:
    errors = list(validator.iter_errors(value))
    shown = []
    for error in errors[:_SHOWN_ERRORS]:
        path = dotted(error.instance_path)
        shown.append(f"{path}: {short(error.message)}" if path else short(error.message))
    more = len(errors) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
