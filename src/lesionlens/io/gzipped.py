"""Gzip and zlib streams by ISA-L, several times faster than zlib; the only place that knows the library."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from isal import igzip, isal_zlib

__all__ = ["GZIP_MAGIC", "MOST_BYTES_FROM_ONE", "GzipError", "gzip_reader", "gzip_writer", "zlib_reader"]

GZIP_MAGIC = b"\x1f\x8b"

# DEFLATE cannot unpack more bytes than this from one: a header that promises more is wrong or hostile.
MOST_BYTES_FROM_ONE = 1032

GzipError: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # annotated as an instance of itself

# Fast, and within a few percent of the size of higher levels on maps.
_LEVEL = 1

_CHUNK = 1 << 20  # compressed bytes read at a time


def gzip_reader(raw: BinaryIO) -> Any:
    """Return a binary stream of the uncompressed bytes."""
    return igzip.IGzipFile(fileobj=raw, mode="rb")  # type: ignore[no-untyped-call]  # isal has no types here


def zlib_reader(raw: BinaryIO) -> io.BufferedReader:
    """Return a binary stream of the uncompressed bytes of a bare zlib stream, as MetaImage has them."""
    return io.BufferedReader(_Zlib(raw))


def gzip_writer(raw: BinaryIO) -> Any:
    """Return a binary stream that compresses into ``raw``, without time or name: same bytes, same file."""
    options = {"filename": "", "compresslevel": _LEVEL, "mtime": 0}
    return igzip.IGzipFile(mode="wb", fileobj=raw, **options)  # type: ignore[no-untyped-call]  # likewise


class _Zlib(io.RawIOBase):
    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._inflate: Any = isal_zlib.decompressobj()

    def readable(self) -> bool:
        """Say that bytes can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as one piece reaches; 0 at the end of the stream."""
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._raw.read(_CHUNK)
            if not packed:
                raise EOFError("Compressed file ended before the end-of-stream marker was reached")
            found = self._inflate.decompress(packed, len(buffer))
            if found:
                buffer[: len(found)] = found
                return len(found)
        return 0
