"""The classes that a Runnel app derives its own parts from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any


class Compressor:
    """Bytes to fewer bytes and back."""

    def compress(self, value: bytes) -> bytes:
        """`value`, smaller."""
        raise NotImplementedError

    def decompress(self, value: bytes) -> bytes:
        """What `compress` was given."""
        raise NotImplementedError


class Serializer:
    """A record's plain values to bytes and back."""

    def __init__(self, compressor: Compressor | None = None) -> None:
        self.compressor = compressor

    def dumps(self, value: Any) -> bytes:
        """`value` as bytes."""
        raise NotImplementedError

    def loads(self, value: bytes) -> Any:
        """What `dumps` was given."""
        raise NotImplementedError


class Middleware:
    """An object whose `handler` stands between the events and the processor."""

    def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
        """Yield the events of `parent`, or fewer, or others."""
        raise NotImplementedError
