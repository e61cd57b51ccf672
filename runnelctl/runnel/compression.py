"""Runnel's two compressors; here they only name a `compression:` of the topology file."""

from __future__ import annotations

import gzip
from typing import Any

from runnelctl.runnel.interfaces import Compressor


class Gzip(Compressor):
    """`compression: gzip`."""

    def compress(self, value: bytes) -> bytes:
        """`value` as a gzip file."""
        return gzip.compress(value)

    def decompress(self, value: bytes) -> bytes:
        """What is in a gzip file."""
        return gzip.decompress(value)


class LZ4(Compressor):
    """`compression: lz4`."""

    def compress(self, value: bytes) -> bytes:
        """`value` as an LZ4 frame."""
        result: bytes = _lz4().compress(value)
        return result

    def decompress(self, value: bytes) -> bytes:
        """What is in an LZ4 frame."""
        result: bytes = _lz4().decompress(value)
        return result


def _lz4() -> Any:
    import importlib

    return importlib.import_module("lz4.frame")
