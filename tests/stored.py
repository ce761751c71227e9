"""The stored values of a DICOM file as the reader takes them from it: before any rescaling, noise removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.io.boundary import quiet
from lesionlens.io.dicom.pixels import pictures_in


def stored_values(path: str | Path) -> NDArray[Any]:
    """Return (frame, row, column) integers."""
    with quiet():
        return np.stack([picture.decode() for picture in pictures_in(Path(path).read_bytes(), Path(path).name)])
