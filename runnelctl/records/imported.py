"""Codecs, compressors and partitioners of the user's own: named by `module:attribute`, or by an entry point.

codec        encode(value) -> bytes, decode(data) -> value
compressor   compress(data) -> bytes, decompress(data, limit) -> bytes, at most `limit` of them
partitioner  a callable of (key: bytes, partitions: int) -> int
"""

from __future__ import annotations

import functools
import inspect
from importlib import metadata
from typing import Any

from runnelctl import handling
from runnelctl.errors import HandlerError

#: What each kind must be able to do; a partitioner is called.
_METHODS = {"codec": ("encode", "decode"), "compression": ("compress", "decompress"), "partitioner": ("__call__",)}


def group(kind: str) -> str:
    """The group of entry points for `codec`, `compression` or `partitioner`."""
    return f"runnelctl.{ {'compression': 'compressors'}.get(kind, f'{kind}s') }"


def names(kind: str) -> list[str]:
    """What packages that are installed here offer."""
    return sorted(metadata.entry_points(group=group(kind)).names)


@functools.cache
def load(kind: str, name: str, pythonpath: tuple[str, ...]) -> Any:
    """What `name` stands for; a class is made an instance of, without arguments. Raises HandlerError, with the user's
    own exception as its cause where there is one."""
    if ":" in name:
        handling.put_on_path(pythonpath)
        try:
            found = handling.resolve(name)
        except HandlerError as error:
            raise HandlerError(f"{kind} {name}: {error}") from error.__cause__
    else:
        found = _installed(kind, name)
    if inspect.isclass(found):
        try:
            found = found()
        except Exception as error:
            raise HandlerError(f"{kind} {name}() raised {type(error).__name__}: {error}") from error
    missing = [method for method in _METHODS[kind] if not callable(getattr(found, method, None))]
    if missing:
        what = "is not callable" if missing == ["__call__"] else f"has no {' and no '.join(missing)}"
        raise HandlerError(f"{kind} {name} is of type {type(found).__name__}, which {what}")
    return found


def _installed(kind: str, name: str) -> Any:
    for entry in metadata.entry_points(group=group(kind), name=name):
        try:
            return entry.load()
        except Exception as error:
            raise HandlerError(f"{kind} {name} ({entry.value}) raised {type(error).__name__}: {error}") from error
    raise HandlerError(f"{kind} {name} is not installed here: no package has an entry point of it in {group(kind)}")
