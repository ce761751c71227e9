"""What decoding the pixels of a DICOM file would take, compared with what is there, before any decoder sees them."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.uid import UID, RLELossless

from lesionlens.errors import ReadError
from lesionlens.io.boundary import reading
from lesionlens.io.dicom.codestream import codestream_size
from lesionlens.io.dicom.header import PYDICOM_ERRORS
from lesionlens.io.limits import MOST_PIXELS, MOST_RLE_RATIO, require_memory

__all__ = ["refuse_size"]

_AGAIN = "Export the series again."


def refuse_size(dataset: Dataset, syntax: UID, name: str) -> None:
    """Refuse images that would take more memory than there is, or than their bytes can hold.

    Parameters
    ----------
    dataset
        A whole file.
    syntax
        Its transfer syntax.
    name
        File name for messages.

    Raises
    ------
    ReadError
        If the header promises too much, or another size than the compressed images have.
    """
    with reading(f"Cannot read {name}", *PYDICOM_ERRORS, todo=_AGAIN):
        rows, columns, samples, bits = (
            int(dataset.get(keyword) or 0) for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
        )
        n_frames = int(dataset.get("NumberOfFrames") or 1)
        if min(rows, columns, samples, bits, n_frames) < 1:
            raise ReadError(
                f"{name} promises {n_frames} images of {columns} x {rows} pixels with {samples} samples of {bits} "
                f"bits, which cannot be. {_AGAIN}"
            )
        if rows * columns * samples > MOST_PIXELS:
            raise ReadError(
                f"{name} promises images of {columns} x {rows} pixels, more than {MOST_PIXELS:,} values each. {_AGAIN}"
            )
        need = n_frames * rows * columns * samples * -(-bits // 8)
        require_memory(need, f"The images of {name}")
        present = len(dataset.PixelData)
        if syntax == RLELossless and need > MOST_RLE_RATIO * present:
            raise ReadError(f"{name} promises {need:,} bytes of pixels, which {present:,} of RLE cannot hold. {_AGAIN}")
        if syntax.is_encapsulated and syntax != RLELossless:
            _refuse_other_size(dataset.PixelData, (rows, columns), name)
        promised = -(-n_frames * rows * columns * samples * bits // 8)
        if not syntax.is_encapsulated and present - promised >= max(2, min(rows, columns) * samples * bits // 8):
            raise ReadError(
                f"{name} holds {present:,} bytes of pixels, where its header promises {promised:,}: its size or number "
                f"of images is wrong. {_AGAIN}"
            )


def _refuse_other_size(pixel_data: bytes, expected: tuple[int, int], name: str) -> None:
    for fragment in generate_fragments(pixel_data):
        found = codestream_size(fragment)
        if found and found != expected:
            raise ReadError(
                f"The header of {name} promises images of {expected[1]} x {expected[0]} pixels, its compressed data "
                f"{found[1]} x {found[0]}. {_AGAIN}"
            )
