"""Mosaics: all slices of a volume as tiles of one picture, read by the maker's private header.

What the standard's attributes say of a Siemens mosaic is wrong: ImagePositionPatient is the place that the first pixel
would have if the first slice were as large as the whole picture (with its centre where it is). The number of tiles, and
the direction in which they follow each other, stand in the "CSA" header alone; without it a mosaic is refused.

United Imaging gives the picture no place, and lists the places of its slices in a private sequence.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lesionlens.errors import ReadError
from lesionlens.io.dicom.header import Frame, Instance, numbers, text
from lesionlens.io.limits import MOST_TILES
from lesionlens.volume import MOST_MM

__all__ = ["csa_header", "tiles_of", "with_tiles"]

_GROUP, _CREATOR, _IMAGE_HEADER = 0x0029, "SIEMENS CSA HEADER", 0x10

_UNITED_GROUP, _UNITED_CREATOR, _UNITED_SLICES = 0x0065, "Image Private Header", 0x51

# Cosine of the angle between the images' normal and the direction of the slices: they are the same line, written with
# some six decimals.
NORMAL_TOLERANCE = 1e-3

# Real headers hold about a hundred elements; a count beyond this is damage.
_MOST_ELEMENTS = 1000

_ELEMENT = struct.Struct("<64si4siii")  # name, multiplicity, VR, type, number of items, mark
_ITEM = struct.Struct("<4i")


def with_tiles(instance: Instance, dataset: Dataset) -> Instance:
    """Return a mosaic as the file of several small images that it stands for.

    Parameters
    ----------
    instance
        The file as its standard attributes describe it: one large image.
    dataset
        Its whole header.

    Returns
    -------
    Instance
        With the size of a tile and one frame for each; without frames and with ``flaw`` where they cannot be placed.
    """
    of_siemens = "MOSAIC" in instance.image_type
    try:
        return _of_siemens(instance, dataset) if of_siemens else _of_united_imaging(instance, dataset)
    except ReadError as error:
        maker = "Siemens" if of_siemens else "United Imaging"
        return replace(instance, frames=(), flaw=f"expected one slice per image, found a {maker} mosaic {error}")


def _of_united_imaging(instance: Instance, dataset: Dataset) -> Instance:
    try:
        element = dataset.private_block(_UNITED_GROUP, _UNITED_CREATOR)[_UNITED_SLICES]
    except KeyError:
        raise ReadError("without its private list of slices, which says where they lie") from None
    slices = list(element.value or []) if element.VR == "SQ" else []
    positions = [numbers(item, "ImagePositionPatient", 3) for item in slices]
    if not 0 < len(positions) <= MOST_TILES or None in positions:
        raise ReadError("whose private list of slices does not say where they lie")
    across = int(np.ceil(np.sqrt(len(positions))))
    tiles = across, -(-len(positions) // across)
    rows, columns = _tile_size(instance, tiles, len(positions))
    (whole,) = instance.frames
    frames = tuple(replace(whole, index=k, position=position) for k, position in enumerate(positions))
    return replace(instance, rows=rows, columns=columns, n_frames=len(frames), frames=_numbered(frames, dataset),
                   tiles=tiles)  # fmt: skip


def _tile_size(instance: Instance, tiles: tuple[int, int], n: int) -> tuple[int, int]:
    """Return the rows and columns of each of so many tiles side by side and below each other."""
    across, down = tiles
    if instance.rows % down or instance.columns % across:
        raise ReadError(f"of {instance.columns}x{instance.rows} pixels that {n} tiles do not divide")
    return instance.rows // down, instance.columns // across


def _of_siemens(instance: Instance, dataset: Dataset) -> Instance:
    n, direction = _number_and_direction(dataset)
    side = int(np.ceil(np.sqrt(n)))
    rows, columns = _tile_size(instance, (side, side), n)
    step, note = _step(dataset)
    (whole,) = instance.frames
    if whole.position is None or whole.orientation is None or whole.spacing is None:
        raise ReadError("without position, orientation or pixel spacing")
    row, column = np.array(whole.orientation[:3]), np.array(whole.orientation[3:])
    normal = np.cross(row, column)
    cosine = float(normal @ direction)
    if abs(abs(cosine) - 1) > NORMAL_TOLERANCE:
        raise ReadError(f"whose SliceNormalVector is not the normal of its images (cosine {cosine:.4g})")
    between_rows, between_columns = whole.spacing
    first = np.array(whole.position) + row * between_columns * (instance.columns - columns) / 2
    first += column * between_rows * (instance.rows - rows) / 2
    # The cross product is the more exact of the two; the header's vector says which way it goes.
    forward = normal * np.sign(cosine) * step
    frames = tuple(replace(whole, index=k, position=tuple((first + k * forward).tolist())) for k in range(n))
    return replace(instance, rows=rows, columns=columns, n_frames=n, frames=_numbered(frames, dataset),
                   tiles=(side, side), note=" ".join(filter(None, (instance.note, note))))  # fmt: skip


def _numbered(frames: tuple[Frame, ...], dataset: Dataset) -> tuple[Frame, ...]:
    """Add the number of the mosaic in its series to the traits: each mosaic is a volume, whatever else it says."""
    number = text(dataset, "InstanceNumber")
    return tuple(
        replace(frame, traits={**frame.traits, **({"instance": number} if number else {})}) for frame in frames
    )


def _number_and_direction(dataset: Dataset) -> tuple[int, NDArray[np.float64]]:
    try:
        content = dataset.private_block(_GROUP, _CREATOR)[_IMAGE_HEADER].value
    except KeyError:
        raise ReadError("without its CSA header, which says how many slices it holds and where they lie") from None
    header = csa_header(content)
    number, normal = header.get("NumberOfImagesInMosaic", ()), header.get("SliceNormalVector", ())
    n = int(number[0]) if number and number[0].isdecimal() else 0
    if not 1 <= n <= MOST_TILES:
        raise ReadError("whose CSA header does not say how many slices it holds")
    if len(normal) != 3:
        raise ReadError("whose CSA header does not say in which direction its slices follow each other")
    return n, np.array([float(part) for part in normal])


def _step(dataset: Dataset) -> tuple[float, str]:
    """Return the distance between slices in mm, and what had to be assumed for it."""
    spacing, thickness = (float(dataset.get(k) or 0) for k in ("SpacingBetweenSlices", "SliceThickness"))
    if 0 < spacing <= MOST_MM:
        return spacing, ""
    if 0 < thickness <= MOST_MM:
        return thickness, f"The mosaic gives no distance between slices; its slice thickness of {thickness:g} mm is it."
    raise ReadError("without SpacingBetweenSlices or SliceThickness")


def csa_header(content: bytes) -> dict[str, tuple[str, ...]]:
    """Return the elements of a CSA header, format 1 or 2, as texts.

    Raises
    ------
    ReadError
        If it is damaged.
    """
    try:
        return dict(_elements(content))
    except struct.error as error:
        raise ReadError("whose CSA header ends too early") from error


def _elements(content: bytes) -> Iterator[tuple[str, tuple[str, ...]]]:
    second = content[:4] == b"SV10"
    place = 8 if second else 0
    (count,) = struct.unpack_from("<I", content, place)
    place += 8
    if not 0 < count <= _MOST_ELEMENTS:
        raise ReadError(f"whose CSA header promises {count} elements")
    offset = 0
    for number in range(count):
        name, _, _, _, n_items, _ = _ELEMENT.unpack_from(content, place)
        place += _ELEMENT.size
        if number == 0:
            offset = n_items  # format 1 adds this to every length
        items = []
        for _ in range(n_items):
            lengths = _ITEM.unpack_from(content, place)
            place += _ITEM.size
            length = lengths[1] if second else lengths[0] - offset
            if length < 0 or place + length > len(content):
                if not second:
                    break  # format 1 fills elements up with items that have no length
                raise ReadError("whose CSA header is damaged")
            items.append(_until_zero(content[place : place + length]))
            place += -(-length // 4) * 4  # items begin at multiples of four bytes
        yield _until_zero(name), tuple(item for item in items if item)


def _until_zero(content: bytes) -> str:
    return content.partition(b"\0")[0].decode("latin-1").strip()


def tiles_of(picture: NDArray[np.generic], tiles: tuple[int, int], n: int) -> NDArray[np.generic]:
    """Cut a mosaic into its tiles.

    Parameters
    ----------
    picture
        (row, column) values.
    tiles
        Tiles side by side, and below each other.
    n
        Tiles that hold slices; the rest is filled up.

    Returns
    -------
    numpy.ndarray
        (slice, row, column), in the order of reading: along the first line of tiles, then the next.
    """
    across, down = tiles
    rows, columns = picture.shape[0] // down, picture.shape[1] // across
    cut = picture.reshape(down, rows, across, columns).swapaxes(1, 2)
    return cut.reshape(down * across, rows, columns)[:n]
