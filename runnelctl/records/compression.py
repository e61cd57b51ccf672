"""Records made smaller, and back again within bounds: a few bytes that unpack to gigabytes are refused, not unpacked.

What zstd, lz4 and gzip write begins with bytes that neither JSON nor a whole msgpack value can begin with. So with
these codecs each entry tells for itself whether and how it is compressed: `compression` may be changed while a stream
holds events, and a foreign sender may leave it away.
"""

from __future__ import annotations

import importlib
import threading
import zlib
from collections.abc import Callable
from typing import Any

from runnelctl.errors import HandlerError, RecordError
from runnelctl.records import imported, limits

_MODULES = {"zstd": "zstandard", "lz4": "lz4.frame"}
_MAGIC = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4", b"\x1f\x8b": "gzip"}
_ZSTD_LEVEL, _GZIP_LEVEL = 3, 6
#: zstd's own decompressor can't be told to stop: fed so little at a time, it can't grow by more than about 8 MiB.
_ZSTD_STEP = 256
_ZSTD_WINDOW = 128 * 1024 * 1024

Bytes = Callable[[bytes], bytes]


def kind_of(data: bytes) -> str | None:
    """How these bytes are compressed, by how they begin; None if they are not."""
    return _MAGIC.get(data[:4]) or ("gzip" if data[:2] == b"\x1f\x8b" else None)


def compressor(name: str, pythonpath: tuple[str, ...]) -> Bytes | None:
    """The function that makes smaller; None for `none`. Raises HandlerError for what is not installed."""
    if name == "none":
        return None
    if name == "gzip":
        return _gzip
    if name in _MODULES:
        _module(name)
        return _zstd if name == "zstd" else _lz4
    compress: Bytes = imported.load("compression", name, pythonpath).compress
    return compress


def decompressor(name: str, pythonpath: tuple[str, ...]) -> Bytes:
    """The function that undoes it, raising RecordError for what can't be undone or would be too large. Raises
    HandlerError for what is not installed."""
    if name in _OPENERS:
        _module(name)
        opener = _OPENERS[name]

        def expand(data: bytes) -> bytes:
            try:
                return opener(data)
            except RecordError:
                raise
            except Exception as error:  # each library has its own
                raise RecordError(f"not {name}: {str(error) or type(error).__name__}") from None

        return expand
    own = imported.load("compression", name, pythonpath)

    def expand_own(data: bytes) -> bytes:
        try:
            plain: bytes = own.decompress(data, limits.MAX_RECORD_BYTES)
        except Exception as error:
            raise RecordError(f"compression {name} cannot undo it: {type(error).__name__}: {error}") from error
        return plain

    return expand_own


def _module(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        return None
    try:
        return importlib.import_module(module)
    except ImportError:
        raise HandlerError(
            f"compression {name} needs the package {module.partition('.')[0]}: pip install 'runnelctl[{name}]'"
        ) from None


_own = threading.local()  # a zstd compressor serves one thread at a time


def _zstd(data: bytes) -> bytes:
    made = getattr(_own, "zstd", None)
    if made is None:
        made = _own.zstd = _module("zstd").ZstdCompressor(level=_ZSTD_LEVEL)
    packed: bytes = made.compress(data)
    return packed


def _lz4(data: bytes) -> bytes:
    packed: bytes = _module("lz4").compress(data)
    return packed


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def _open_zstd(data: bytes) -> bytes:
    unpacker = _module("zstd").ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    pieces: list[bytes] = []
    size = 0
    for start in range(0, len(data), _ZSTD_STEP):
        pieces.append(unpacker.decompress(data[start : start + _ZSTD_STEP]))
        size += len(pieces[-1])
        _refuse_bomb(size)
        if unpacker.eof:
            _refuse_rest(bool(unpacker.unused_data) or start + _ZSTD_STEP < len(data))
            break
    _refuse_cut(bool(unpacker.eof))
    return b"".join(pieces)


def _open_lz4(data: bytes) -> bytes:
    unpacker = _module("lz4").LZ4FrameDecompressor()
    plain: bytes = unpacker.decompress(data, max_length=limits.MAX_RECORD_BYTES)
    _refuse_bomb(len(plain))
    _refuse_cut(bool(unpacker.eof))
    _refuse_rest(bool(unpacker.unused_data))
    return plain


def _open_gzip(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(31)
    plain = unpacker.decompress(data, limits.MAX_RECORD_BYTES)
    _refuse_bomb(len(plain))
    _refuse_cut(unpacker.eof)
    _refuse_rest(bool(unpacker.unused_data))
    return plain


_OPENERS: dict[str, Bytes] = {"zstd": _open_zstd, "lz4": _open_lz4, "gzip": _open_gzip}


def _refuse_bomb(size: int) -> None:
    if size >= limits.MAX_RECORD_BYTES:
        raise RecordError(f"too large: over {limits.MAX_RECORD_BYTES:,} bytes once decompressed (64 MiB)")


def _refuse_cut(ended: bool) -> None:
    if not ended:
        raise RecordError("compressed and cut short: its end is missing")


def _refuse_rest(more: bool) -> None:
    if more:
        raise RecordError("compressed, with something behind its end")
