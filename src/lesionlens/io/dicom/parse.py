"""The one way to pydicom's parser: it gets no more bytes than there are, each a few times at most, and unpacks no bomb.

pydicom believes what a file says of itself: it asks for four gigabytes where an element claims to be that long,
searches the rest of the file for the end of every element that has none, and inflates a deflated data set whatever its
size.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from math import isqrt
from typing import BinaryIO, cast

from pydicom import dcmread
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from lesionlens.io.limits import MOST_PASSES, MOST_SEARCHED, inflated_size, require_memory

__all__ = ["parse", "refuse_endless"]

_NO_END = "too many of its elements have no end"

# A length that says that an element goes on to its delimiter, and the delimiter in either byte order.
_UNDEFINED = b"\xff\xff\xff\xff"
_DELIMITERS = {True: b"\xfe\xff\xdd\xe0", False: b"\xff\xfe\xe0\xdd"}

# No sequence up to this size can take long to search: the header of an element takes eight bytes.
_SMALL = isqrt(8 * MOST_SEARCHED)


def parse(stream: BinaryIO, *, tags: Sequence[int] | None = None, stop_before_pixels: bool = False) -> Dataset:
    """Return the data set of a DICOM file.

    A file without the 128-byte preamble is still DICOM; the caller has looked at the first bytes.

    Parameters
    ----------
    stream
        The file, at its beginning.
    tags
        Read these elements only; others are skipped.
    stop_before_pixels
        Leave out the pixel data and what follows.

    Raises
    ------
    Exception
        Whatever pydicom raises on damaged bytes; ValueError where the file asks for too much.
    """
    wanted = None if tags is None else list(tags)
    counted = cast(BinaryIO, _Counted(stream))
    dataset = dcmread(counted, force=True, specific_tags=wanted, stop_before_pixels=stop_before_pixels)
    refuse_endless(dataset)
    return dataset


def refuse_endless(dataset: Dataset) -> None:
    """Refuse sequences that are not parsed yet and would keep the parser searching for the ends of their elements.

    Raises
    ------
    ValueError
        If there is one.
    """
    for element in dataset.values():
        if isinstance(element, RawDataElement) and element.length > _SMALL and _is_endless(element):
            raise ValueError(_NO_END)


def _is_endless(element: RawDataElement) -> bool:
    """Say whether a sequence that is not parsed yet would be searched too long for the ends of its elements.

    The end of an element of undefined length is looked for up to the next delimiter, from every such element.
    """
    if not element.value or element.VR not in (None, "SQ", "UN"):
        return False
    if element.VR != "SQ" and not (dictionary_has_tag(element.tag) and dictionary_VR(element.tag) == "SQ"):
        return False
    parts = element.value.split(_DELIMITERS[element.is_little_endian])
    return sum(part.count(_UNDEFINED) * len(part) for part in parts) > MOST_SEARCHED


class _Counted:
    """A stream that gives no more than the file holds, and no byte more than some times."""

    def __init__(self, raw: BinaryIO) -> None:
        self.seek, self.tell, self._read = raw.seek, raw.tell, raw.read
        start = raw.tell()
        self._size = raw.seek(0, os.SEEK_END)
        raw.seek(start)
        self._left = MOST_PASSES * self._size + io.DEFAULT_BUFFER_SIZE

    def read(self, n: int = -1) -> bytes:
        """Return the next bytes; without a number all, which pydicom asks for where they are deflated."""
        found = self._read(n if n < self._size else self._size)
        self._left -= len(found)
        if self._left < 0:
            raise ValueError(_NO_END)
        if n < 0:
            require_memory(2 * inflated_size(found), "The unpacked data set")
        return found
