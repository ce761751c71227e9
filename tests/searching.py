"""The search for tokens in whatever a program leaves: files of any kind taken apart, every way of writing tried."""

from __future__ import annotations

import gzip
import html
import io
import re
import sqlite3
import zipfile
import zlib
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

from pdf_text import pdf_pages
from planting import SCRIPTS, pattern

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")
_ZLIB = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_TOKEN = pattern()
#: Kanji and kana as other encodings have them.
_ENCODED = {
    word.encode(name): word
    for word in SCRIPTS
    for name in ("utf-16-le", "utf-16-be", "iso2022_jp", "shift_jis", "euc_jp")
} | {repr(word.encode("unicode_escape"))[2:-1].replace("\\\\", "\\").encode(): word for word in SCRIPTS}


def tokens_in(content: bytes, name: str = "") -> set[str]:
    """Return the tokens that bytes hold, however they are packed or written."""
    found: set[str] = set()
    for part in _parts(content, name):
        found |= _tokens(part)
    return found


def _tokens(content: bytes) -> set[str]:
    found = {word for encoded, word in _ENCODED.items() if encoded in content}
    for text in (content, content.replace(b"\0", b"")):  # the latter is what two bytes a letter come to
        found |= set(_TOKEN.findall(html.unescape(text.decode("utf-8", "replace")).lower()))
        found |= set(_TOKEN.findall(text.decode("latin-1").lower()))
    return {token.replace("-", "") if token[:1] == "1" and "." not in token else token for token in found}


def _parts(content: bytes, name: str) -> Iterator[bytes]:
    """Yield bytes as they are, and again for everything that is packed in them."""
    yield content
    if content[:2] == b"\x1f\x8b":
        yield from _parts(gzip.decompress(content), "")
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for inner in archive.namelist():
                yield inner.encode()
                yield from _parts(archive.read(inner), inner)
    elif content[:8] == b"\x89PNG\r\n\x1a\n":
        yield from _chunks(content)
    elif content[:16] == b"SQLite format 3\0":
        yield from _cells(content)
    elif content[:5] == b"%PDF-":
        yield "\n".join(pdf_pages(content)).encode()
        for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL):
            yield from _inflated(stream)
    elif content[:2] in _ZLIB:
        yield from _inflated(content)
    else:
        for run in _BASE64.findall(content):
            yield from _parts(b64decode(run[: len(run) // 4 * 4], validate=False), "")


def _inflated(content: bytes) -> Iterator[bytes]:
    try:
        yield zlib.decompress(content)
    except zlib.error:
        return


def _chunks(content: bytes) -> Iterator[bytes]:
    """Yield the texts of a PNG, unpacked; pixels are none."""
    place = 8
    while place < len(content):
        length, kind = int.from_bytes(content[place : place + 4]), content[place + 4 : place + 8]
        data = content[place + 8 : place + 8 + length]
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            for start in range(min(len(data), 100)):
                if data[start : start + 2] in _ZLIB:
                    yield from _inflated(data[start:])
        place += 12 + length


def _cells(content: bytes) -> Iterator[bytes]:
    """Yield every value of a database, packed ones unpacked."""
    connection = sqlite3.connect(":memory:")
    connection.deserialize(content[:18] + b"\1\1" + content[20:])  # a log beside it is a file of its own
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    if isinstance(value, bytes | str):
                        yield from _parts(value if isinstance(value, bytes) else value.encode(), "")
    finally:
        connection.close()


def tokens_in_files(folder: Path) -> dict[str, set[str]]:
    """Return the tokens in the names and bytes of all files below a folder, by file; files without any are left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        tokens = _tokens(path.name.encode())
        if path.is_file():
            tokens |= tokens_in(path.read_bytes(), path.name)
        if tokens:
            found[name] = tokens
    return found
