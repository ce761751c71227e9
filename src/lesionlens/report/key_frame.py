"""A picture of a finding on a slice of the scan as it was acquired: for archives, where it lies among the images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionlens.report import paint
from lesionlens.volume import Volume

__all__ = ["key_frame"]

# Pictures have at least so many pixels along their longer side: a finding's outline would hide it in fewer.
_LEAST_SIDE = 512
_OUTLINE = tuple(int(paint.OUTLINE_COLOUR[n : n + 2], 16) for n in (1, 3, 5))
_LETTERS, _EDGE = 14, 4
_NOTICE = "Research use only - not a medical device"

Mask = NDArray[np.bool_]


def key_frame(volume: Volume, mask: Mask, title: str) -> tuple[int, int, NDArray[np.uint8]]:
    """Draw the slice that shows most of a finding, with its outline, its title and the notice.

    Parameters
    ----------
    volume
        The scan.
    mask
        (i, j, k) Boolean: the finding, not empty.
    title
        What is written above.

    Returns
    -------
    k, factor, picture
        The slice, how many pixels of the picture stand side by side for one of the scan, and the (row, column, 3)
        colours.
    """
    k = int(np.count_nonzero(mask, axis=(0, 1)).argmax())
    factor = -(-_LEAST_SIDE // max(mask.shape[:2]))
    low, high = paint.scan_window(volume)
    grey = np.clip((volume.array[:, :, k].T.astype(np.float64) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    picture = np.repeat(_enlarged(grey, factor)[..., np.newaxis], 3, axis=-1)
    drawn = _enlarged(mask[:, :, k].T, factor)
    picture[drawn & ~ndimage.binary_erosion(drawn)] = _OUTLINE
    return k, factor, _lettered(picture, title)


def _enlarged(image: NDArray[Any], factor: int) -> NDArray[Any]:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _lettered(picture: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(picture)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=_LETTERS)
    for text, place, anchor in ((title, (_EDGE, _EDGE), "la"), (_NOTICE, (_EDGE, image.height - _EDGE), "ld")):
        draw.text(place, text, fill="white", font=font, anchor=anchor, stroke_width=1, stroke_fill="black")
    return np.asarray(image)
