"""A series as it arrives: every image is looked at and written, and at the end it must be all of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from lesionlens.errors import OutputError, PacsError
from lesionlens.io.boundary import counted
from lesionlens.pacs.query import uid_of
from lesionlens.progress import Progress

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Arriving"]

_UNDEFINED = 0xFFFFFFFF
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


class Arriving:
    """Takes the images of one series into a folder.

    Parameters
    ----------
    folder
        Where to; it is there.
    series
        SeriesInstanceUID of what was asked for.
    expected
        SOPInstanceUIDs of the images that the archive has listed.
    progress
        Called with each.
    """

    def __init__(self, folder: Path, series: str, expected: Collection[str], progress: Progress) -> None:
        self._folder, self._series, self._progress = folder, series, progress
        self._expected, self._came = set(expected), set[str]()
        progress("Fetching", 0, len(self._expected))

    def __call__(self, image: Dataset) -> None:
        """Take an image.

        Raises
        ------
        PacsError
            If it is not whole, or of another series.
        OutputError
            If it cannot be written.
        """
        if _is_cut_off(image):
            raise PacsError("The archive sent a part of an image; nothing was kept. Try again.", why="incomplete")
        uid = uid_of(image, "SOPInstanceUID")
        if uid_of(image, "SeriesInstanceUID") != self._series:
            raise PacsError("The archive sent an image of another series; nothing was kept.", why="answer")
        try:
            image.save_as(self._folder / f"{uid}.dcm", enforce_file_format=True)
        except OSError as error:
            raise OutputError(f"An image cannot be written: {error.strerror}. Choose a disk with free space.") from None
        self._came.add(uid)
        self._progress("Fetching", len(self._came), max(len(self._expected), len(self._came)))

    def check(self) -> None:
        """Make sure that everything is there, and nothing else.

        Raises
        ------
        PacsError
            If it is not.
        """
        if self._came != self._expected:
            came = counted(len(self._came & self._expected), "image")
            raise PacsError(
                f"The archive sent {came} of {len(self._expected)} that it lists, and"
                f" {len(self._came - self._expected)} others; nothing was kept. The series may still be arriving there:"
                " try again later.",
                why="incomplete",
            )


def _is_cut_off(image: Dataset) -> bool:
    """Say whether an image ends early; the parser gives what there is of its last element, and says nothing."""
    for tag in image.keys():  # noqa: SIM118 - iterating over it would decode every element
        element = image.get_item(tag)
        length, value = getattr(element, "length", _UNDEFINED), getattr(element, "value", None)
        if length not in (_UNDEFINED, 0) and isinstance(value, bytes) and len(value) != length:
            return True
    return "Rows" in image and "Columns" in image and not any(name in image for name in _PIXELS)
