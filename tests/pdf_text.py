"""The text of a PDF as WeasyPrint writes it, page by page: enough to see that words and numbers are there.

No reader of PDF is among the packages of the tests; the file format is taken apart here, without the program.
"""

from __future__ import annotations

import re
import zlib

_OBJECT = re.compile(rb"(\d+) 0 obj\b(.*?)endobj", re.DOTALL)
_STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)


def pdf_pages(content: bytes) -> list[str]:
    """Return the text of each page, without the spaces that are only distances."""
    objects = {int(number): body for number, body in _OBJECT.findall(content)}
    for body in [body for body in objects.values() if b"/ObjStm" in body]:
        objects |= _packed(body)
    letters = {name: _letters(objects, font) for name, font in _fonts(objects)}
    pages = [body for body in objects.values() if re.search(rb"/Type\s*/Page\b", body)]
    return [_text(b"".join(_stream(objects[n]) for n in _refs(page, b"Contents")), letters) for page in pages]


def _packed(body: bytes) -> dict[int, bytes]:
    """Return the objects that a stream of objects holds."""
    n, first = (int(re.search(rb"/" + key + rb"\s+(\d+)", body).group(1)) for key in (b"N", b"First"))  # type: ignore[union-attr]
    content = _stream(body)
    numbers = [int(word) for word in content[:first].split()[: 2 * n]]
    starts = [first + offset for offset in numbers[1::2]]
    ends = [*starts[1:], len(content)]
    return {name: content[a:b] for name, a, b in zip(numbers[::2], starts, ends, strict=True)}


def _refs(body: bytes, key: bytes) -> list[int]:
    found = re.search(rb"/" + key + rb"\s*(\[[^\]]*\]|\d+ 0 R)", body)
    return [int(n) for n in re.findall(rb"(\d+) 0 R", found.group(1))] if found else []


def _stream(body: bytes) -> bytes:
    found = _STREAM.search(body)
    if found is None:
        return b""
    return zlib.decompress(found.group(1)) if b"FlateDecode" in body else found.group(1)


def _fonts(objects: dict[int, bytes]) -> list[tuple[bytes, int]]:
    held = {number for number, body in objects.items() if b"/ToUnicode" in body}
    pairs = [pair for body in objects.values() for pair in re.findall(rb"/([\w.-]+)\s+(\d+) 0 R", body)]
    return [(name, int(number)) for name, number in pairs if int(number) in held]


def _letters(objects: dict[int, bytes], font: int) -> dict[int, str]:
    """Return the text of each glyph of a font."""
    table = _stream(objects[_refs(objects[font], b"ToUnicode")[0]]).decode("latin-1")
    found: dict[int, str] = {}
    for glyph, text in re.findall(r"<([0-9a-fA-F]+)>\s*<([0-9a-fA-F]+)>\s*\n", table):
        found[int(glyph, 16)] = bytes.fromhex(text).decode("utf-16-be")
    return found


def _text(stream: bytes, letters: dict[bytes, dict[int, str]]) -> str:
    words, font = [], {}
    for name, shown in re.findall(rb"/([\w.-]+)\s+[\d.]+\s+Tf|(\[[^\]]*\]\s*TJ|<[0-9a-fA-F]+>\s*Tj)", stream):
        if name:
            font = letters.get(name, {})
            continue
        glyphs = b"".join(re.findall(rb"<([0-9a-fA-F]*)>", shown)).decode()
        numbers = [int(glyphs[n : n + 4], 16) for n in range(0, len(glyphs), 4)]
        words.append("".join(font.get(number, "\N{REPLACEMENT CHARACTER}") for number in numbers))
    return " ".join(words)
