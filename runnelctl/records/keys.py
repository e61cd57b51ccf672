"""The routing key of a record, the partition that it leads to, and the headers beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from runnelctl.core import routing
from runnelctl.core.model import Imported, Stream
from runnelctl.errors import RecordError
from runnelctl.records import classes, imported, limits, wording


def key_at(path: tuple[str, ...] | None, value: Any) -> str:
    """The routing key inside a decoded record, as text: strings as they are, integers in decimal, true and false,
    floats as in JSON (`1.0`, `1e16`). "" if the stream has no key field. Raises RecordError if there is none."""
    if path is None:
        return ""
    node = value
    try:
        for part in path:
            node = node[part]
    except (KeyError, TypeError, IndexError):
        if not isinstance(value, dict | list | str | int | float | bytes | None):
            return key_at(path, classes.plain(value))  # an instance: by the names that the wire has
        raise RecordError(wording.missing_key(path, value)) from None
    if type(node) is str and node:
        return node
    return _key_text(node, f"key field {'.'.join(path)!r}")


def placing(stream: Stream) -> Callable[[bytes], int]:
    """From a key's bytes to its partition. Raises HandlerError if the stream's own partitioner can't be loaded."""
    partitioner, partitions = stream.partitioner, stream.partitions
    if not isinstance(partitioner, Imported):
        return routing.placing(partitioner, partitions)
    own = imported.load("partitioner", partitioner.value, stream.pythonpath)

    def place(key: bytes) -> int:
        try:
            found = own(key, partitions)
        except Exception as error:
            raise RecordError(f"partitioner {partitioner.value} raised {type(error).__name__}: {error}") from error
        if type(found) is not int or not 0 <= found < partitions:
            raise RecordError(f"partitioner {partitioner.value} answered {found!r}, not 0 to {partitions - 1}")
        return found

    return place


def header_fields(headers: Mapping[str, str | bytes] | None) -> tuple[str | bytes, ...]:
    """Headers as entry fields (`h:<name>`, value, …). Raises RecordError for a name or a value that can't be one."""
    if not headers:
        return ()
    if len(headers) > limits.MAX_HEADERS:
        raise RecordError(f"{len(headers)} headers, the limit is {limits.MAX_HEADERS}")
    fields: list[str | bytes] = []
    for name, value in headers.items():
        if not isinstance(name, str) or not name:
            raise RecordError(f"a header's name must be a non-empty text, not {name!r}")
        if not isinstance(value, str | bytes):
            raise RecordError(f"header {name!r} must be text or bytes, not {type(value).__name__}")
        _refuse_surrogates(name, "a header's name")
        if isinstance(value, str):
            _refuse_surrogates(value, f"header {name!r}")
        fields += (f"h:{name}", value)
    return tuple(fields)


def _key_text(node: Any, what: str) -> str:
    kind = type(node)
    if kind is bool:
        return "true" if node else "false"
    if kind is int:
        return str(node)
    if kind is float:
        return msgspec.json.encode(node).decode()
    if node is None or node == "":
        raise RecordError(f"{what} is {'null' if node is None else 'empty'}: give the record a key, or pass one")
    raise RecordError(f"{what} is {wording.kind(node)}: a key is a text, a number, true or false")


def given_key(key: str) -> str:
    if not isinstance(key, str) or not key:
        raise RecordError(f"the key given must be a non-empty text, not {key!r}")
    _refuse_surrogates(key, "the key given")
    return key


def _refuse_surrogates(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RecordError(f"{what} holds half of a surrogate pair") from None
