"""Modality LUT: a table that gives every stored value its meaning, where a slope and an intercept would not do.

Stored values below the first that is mapped take the first entry of the table, values beyond its end the last
(PS3.3 C.11.1.1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lesionlens.errors import ReadError
from lesionlens.io.dicom.header import scaling_of

__all__ = ["looked_up"]

_WORD = 1 << 16


def looked_up(stored: NDArray[Any], dataset: Dataset, name: str) -> NDArray[Any]:
    """Return the values that the Modality LUT of a file gives its stored values.

    Parameters
    ----------
    stored
        Integers of any shape.
    dataset
        The whole file.
    name
        File name for messages.

    Returns
    -------
    numpy.ndarray
        Unsigned integers of 8 or 16 bits.

    Raises
    ------
    ReadError
        If the table is damaged, or the file asks for rescaling too: the standard allows one of them.
    """
    if scaling_of(dataset) != (1.0, 0.0):
        raise ReadError(
            f"Expected a Modality LUT or a rescale slope in {name}, found both: what its values mean is not known. "
            "Export the series again."
        )
    item = dataset.ModalityLUTSequence[0]
    descriptor = [int(part) for part in item.LUTDescriptor]
    if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
        raise ReadError(f"The Modality LUT of {name} is damaged: its descriptor is {descriptor}. Export it again.")
    n = descriptor[0] % _WORD or _WORD
    table = _entries(item, n, little=bool(dataset.original_encoding[1]))
    if table.size != n:
        raise ReadError(
            f"The Modality LUT of {name} is damaged: expected {n} entries, found {table.size}. Export it again."
        )
    index = np.clip(stored.astype(np.int64) - _first(descriptor[1], dataset), 0, n - 1)
    values: NDArray[Any] = table[index]
    return values


def _first(value: int, dataset: Dataset) -> int:
    """Return the first value mapped: of the pixels' sign, whatever sign the file writes it with."""
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    value %= _WORD
    return value - _WORD if signed and value >= _WORD // 2 else value


def _entries(item: Dataset, n: int, *, little: bool) -> NDArray[Any]:
    data = item.LUTData
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, dtype=np.int64) % _WORD).astype(np.uint16)
    words = np.frombuffer(data[: len(data) // 2 * 2], "<u2" if little else ">u2").astype("<u2")
    # Entries of eight bits may stand two in a word, the first in its lower half.
    return words.view(np.uint8)[:n] if len(data) < 2 * n else words
