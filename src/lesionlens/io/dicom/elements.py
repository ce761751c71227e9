"""Find the elements of an ordinary DICOM file by their lengths alone, several times faster than a parser.

Ordinary means: with preamble, little endian, elements in order, everything there that is promised, up to the pixel
data. Of any other file nothing is said here; it is left to pydicom, which also turns the bytes found here into values.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ImplicitVRLittleEndian

__all__ = ["PIXEL_DATA", "Elements", "find_elements", "value_of"]

PIXEL_DATA = 0x7FE00010

_PREAMBLE = 132  # with the letters DICM

# The first of the elements that hold pixels; the header ends before it.
_FIRST_PIXELS = 0x7FE00008

_MEDIA_CLASS, _TRANSFER_SYNTAX, _CHARACTER_SET = 0x00020002, 0x00020010, 0x00080005
_ITEM, _END_OF_ITEM, _END_OF_SEQUENCE = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

_UNDEFINED_LENGTH = 0xFFFFFFFF

# Deflated, and big endian.
_UNUSUAL_SYNTAXES = frozenset({"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})

# A DICOMDIR, which holds no image.
_UNUSUAL_CLASS = b"1.2.840.10008.1.3.10"

_SHORT = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()  # lengths of two bytes
)
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # of four, after two blank ones

_EXPLICIT, _IMPLICIT, _U32 = struct.Struct("<HH2sH"), struct.Struct("<HHI"), struct.Struct("<I")

# Sequences within sequences: real files have four or five.
_DEEPEST = 16


class _UnusualError(Exception):
    """The file is not ordinary."""


@dataclass(frozen=True)
class Elements:
    """Where the elements of a file stand.

    Parameters
    ----------
    content
        The file, or the part from its beginning that was looked at.
    syntax
        Transfer syntax UID.
    places
        (beginning, beginning of the value, end) of every element before the pixel data, by tag.
    pixels
        Of the first element with pixels: tag, beginning of its value, and its length; None where it has none.
    """

    content: bytes
    syntax: str
    places: dict[int, tuple[int, int, int]]
    pixels: tuple[int, int, int | None]

    @property
    def implicit(self) -> bool:
        """True when value representations are left out."""
        return self.syntax == str(ImplicitVRLittleEndian)

    def value(self, tag: int) -> bytes:
        """Return the bytes of a value; none where the element is absent."""
        _, begin, end = self.places.get(tag, (0, 0, 0))
        return self.content[begin:end]

    def dataset(self, tags: Collection[int]) -> Dataset:
        """Return some of the elements, parsed by pydicom."""
        wanted = (p for tag, p in self.places.items() if tag in tags or tag == _CHARACTER_SET)
        chosen = b"".join(self.content[begin:end] for begin, _, end in wanted)
        return read_dataset(BytesIO(chosen), self.implicit, True)


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def value_of(dataset: Dataset, keyword: str) -> Any:
    """Return a value, or None when absent, which takes pydicom several times longer to say."""
    tag = _tag(keyword)
    return dataset[tag].value if tag in dataset.keys() else None  # noqa: SIM118 - Dataset's own "in" is slow, too


def find_elements(content: bytes) -> Elements | None:
    """Find the elements in a file, or in its beginning.

    Returns
    -------
    Elements or None
        None where the file is not ordinary, or its header goes on behind what was given.
    """
    try:
        if content[_PREAMBLE - 4 : _PREAMBLE] != b"DICM":
            return None
        syntax, start = _meta_information(content)
        return _data_set(content, start, syntax)
    except (_UnusualError, struct.error):
        return None


def _meta_information(content: bytes) -> tuple[str, int]:
    """Return the transfer syntax, and where the data set begins."""
    position, syntax = _PREAMBLE, b""
    while content[position : position + 2] == b"\x02\x00":
        tag, _, value, length = _element(content, position, implicit=False)
        position = value + _defined(length)
        if tag == _MEDIA_CLASS and content[value:position].rstrip(b"\0 ") == _UNUSUAL_CLASS:
            raise _UnusualError
        if tag == _TRANSFER_SYNTAX:
            syntax = content[value:position]
    # A file that says nothing, or something longer than a UID may be, is not ordinary.
    if not 0 < len(syntax) <= 64 or not syntax.isascii():
        raise _UnusualError
    return syntax.decode("ascii").rstrip(" \0"), position


def _data_set(content: bytes, position: int, syntax: str) -> Elements:
    if syntax in _UNUSUAL_SYNTAXES:
        raise _UnusualError
    implicit = syntax == str(ImplicitVRLittleEndian)
    if implicit and content[position + 4 : position + 6].isalpha():
        raise _UnusualError  # explicit, whatever it says
    places: dict[int, tuple[int, int, int]] = {}
    last = 0x00070000  # commands and meta information do not belong here
    while True:
        tag, vr, value, length = _element(content, position, implicit=implicit)
        if tag >= _FIRST_PIXELS:
            break
        if tag <= last:
            raise _UnusualError
        end = value + length if length != _UNDEFINED_LENGTH else _after_sequence(content, value, vr, implicit=implicit)
        if end > len(content):
            raise _UnusualError
        places[tag] = (position, value, end)
        position, last = end, tag
    if tag > PIXEL_DATA:
        raise _UnusualError
    return Elements(content, syntax, places, (tag, value, None if length == _UNDEFINED_LENGTH else length))


def _element(content: bytes, position: int, *, implicit: bool) -> tuple[int, bytes, int, int]:
    """Return tag, value representation, beginning of the value, and length of the element at a position."""
    if implicit:
        group, number, length = _IMPLICIT.unpack_from(content, position)
        return group << 16 | number, b"", position + 8, length
    group, number, vr, length = _EXPLICIT.unpack_from(content, position)
    if vr in _SHORT:
        return group << 16 | number, vr, position + 8, length
    if vr in _LONG:
        return group << 16 | number, vr, position + 12, _U32.unpack_from(content, position + 8)[0]
    raise _UnusualError


def _defined(length: int) -> int:
    if length == _UNDEFINED_LENGTH:
        raise _UnusualError
    return length


def _after_sequence(content: bytes, position: int, vr: bytes, *, implicit: bool, depth: int = 0) -> int:
    """Return where a sequence of undefined length ends."""
    if depth > _DEEPEST or vr not in (b"SQ", b""):
        raise _UnusualError
    while True:
        group, number, length = _IMPLICIT.unpack_from(content, position)
        tag, position = group << 16 | number, position + 8
        if tag == _END_OF_SEQUENCE:
            return position
        if tag != _ITEM:
            raise _UnusualError
        if length == _UNDEFINED_LENGTH:
            position = _after_item(content, position, implicit=implicit, depth=depth)
        else:
            position += length


def _after_item(content: bytes, position: int, *, implicit: bool, depth: int) -> int:
    """Return where an item of undefined length ends."""
    while True:
        if _IMPLICIT.unpack_from(content, position)[:2] == (_END_OF_ITEM >> 16, _END_OF_ITEM & 0xFFFF):
            return position + 8
        _, vr, position, length = _element(content, position, implicit=implicit)
        if length == _UNDEFINED_LENGTH:
            position = _after_sequence(content, position, vr, implicit=implicit, depth=depth + 1)
        else:
            position += length
