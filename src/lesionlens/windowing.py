"""Windows of a scan: which values are shown black and white, as presets, as stored in DICOM, and as dragged.

A window is stated as DICOM states it, by centre, width and function (PS3.3 C.11.2.1.2). With the centre c, the width w
and a stored value x, black is shown up to the lower limit, white from the upper one, and grey in proportion between:

========================  ===========  ===============
function                  lower limit  upper limit
========================  ===========  ===============
LINEAR (C.11.2.1.2.1)     c - w / 2    c + w / 2 - 1
LINEAR_EXACT (.3.2)       c - w / 2    c + w / 2
SIGMOID (.3.1)            c - w / 2    c + w / 2
========================  ===========  ===============

The first two are exact. The curve of SIGMOID is not applied: its tangent at the centre is, which a note says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import InputError

__all__ = ["CT_WINDOWS", "Window", "WindowFunction", "dragged", "percentile_windows", "presets", "window_of"]

WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]

# LINEAR counts the steps between whole values, so that one value is its smallest width (C.11.2.1.2.1).
_LEAST_LINEAR_WIDTH: Final = 1.0

SIGMOID_NOTE: Final = "the file asks for a sigmoid; its tangent at the centre is shown"

# Percentiles of so many values are those of the scan to a fraction of a grey level, and take some hundredths of a
# second instead of a second for a large scan.
_MOST_SAMPLES: Final = 1_000_000

# Two limits that differ by less than this part of the width look the same on a screen with 256 or 1024 grey levels.
_SAME: Final = 1e-4

# A drag over so many pixels doubles the width, or moves the centre by a whole width: an ordinary canvas is two or
# three times as wide, so that one movement reaches any window of use and a small one changes little.
_DRAG_PIXELS: Final = 250.0


@dataclass(frozen=True)
class Window:
    """Which values of a scan are shown black and white.

    Parameters
    ----------
    name
        What people call it: ``"brain"``; empty for one that was set by hand.
    centre, width
        As stated, in the unit of the scan.
    function
        What they mean; see :mod:`lesionlens.windowing`.
    origin
        Where the numbers come from.
    note
        What a reader must know of how it is shown.

    Raises
    ------
    InputError
        If a number is not finite, the function unknown, or the width smaller than the function allows.
    """

    name: str
    centre: float
    width: float
    function: WindowFunction = "LINEAR_EXACT"
    origin: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.function not in get_args(WindowFunction):
            known = ", ".join(get_args(WindowFunction))
            raise InputError(f"The function of a window is one of {known}; found {self.function!r}.")
        if not (isfinite(self.centre) and isfinite(self.width)):
            raise InputError(f"A window has a finite centre and width; found {self.centre} and {self.width}.")
        least = _LEAST_LINEAR_WIDTH if self.function == "LINEAR" else 0.0
        if self.width < least or self.width <= 0:
            allowed = "at least 1" if least else "above 0"
            raise InputError(f"The width of a {self.function} window is {allowed}; found {self.width:g}.")

    @property
    def limits(self) -> tuple[float, float]:
        """Highest value that is black and lowest that is white; a step has two neighbouring values."""
        low = self.centre - self.width / 2
        high = self.centre + self.width / 2 - (1.0 if self.function == "LINEAR" else 0.0)
        return (low, high) if high > low else (low, float(np.nextafter(np.float32(low), np.float32(np.inf))))

    def shows(self, limits: tuple[float, float]) -> bool:
        """Say whether these limits are those of the window, as far as can be seen."""
        low, high = self.limits
        slack = _SAME * (high - low)
        return abs(limits[0] - low) <= slack and abs(limits[1] - high) <= slack

    def in_words(self, unit: str = "") -> str:
        """Say centre and width as readers do, with limits: ``"C 40 W 80 (0 to 80 HU)"``."""
        low, high = (_short(value, self.width) for value in self.limits)
        ends = f"{low} to {high} {unit}".rstrip()
        return f"C {_short(self.centre, self.width)} W {_short(self.width, self.width)} ({ends})"


_RADIOPAEDIA = "Murphy A, Baba Y, et al., Windowing (CT), Radiopaedia.org, https://doi.org/10.53347/rID-52108"
_LEV = "Lev MH et al., Radiology 1999; 213:150-155 (centre 32, width 8)"

#: Windows for CT in HU. Where the source gives a range, the numbers lie within it.
CT_WINDOWS: Final[tuple[Window, ...]] = (
    Window("brain", 40, 80, origin=_RADIOPAEDIA),
    Window("stroke", 40, 40, origin=_RADIOPAEDIA),
    Window("stroke, narrow", 32, 8, origin=f"{_LEV}; {_RADIOPAEDIA}"),
    Window("subdural", 75, 215, origin=f"{_RADIOPAEDIA} (centre 50 to 100, width 130 to 300)"),
    Window("temporal bone", 600, 2800, origin=_RADIOPAEDIA),
    Window("head and neck", 40, 375, origin=f"{_RADIOPAEDIA} (soft tissue: centre 20 to 60, width 350 to 400)"),
    Window("lung", -600, 1500, origin=_RADIOPAEDIA),
    Window("mediastinum", 50, 350, origin=_RADIOPAEDIA),
    Window("abdomen, soft tissue", 50, 400, origin=_RADIOPAEDIA),
    Window("liver", 30, 150, origin=_RADIOPAEDIA),
    Window("spine, soft tissue", 50, 250, origin=_RADIOPAEDIA),
    Window("bone", 400, 1800, origin=_RADIOPAEDIA),
)

# Percentiles that black and white lie at, for scans whose values have no scale in common.
_PERCENTILES: Final = ((0.0, 100.0), (0.5, 99.5), (1.0, 99.0), (2.0, 98.0), (5.0, 95.0), (25.0, 99.9))
# In PET nothing is known to lie below 0 and lesions are the few brightest voxels.
_PET_PERCENTILES: Final = (90.0, 99.0, 99.9, 100.0)


def window_of(limits: tuple[float, float], name: str = "", *, origin: str = "") -> Window:
    """Return the window with these limits.

    Raises
    ------
    InputError
        If the upper one is not above the lower one.
    """
    low, high = limits
    return Window(name, (low + high) / 2, high - low, origin=origin)


def presets(
    values: NDArray[Any], *, modality: str = "", unit: str = "", stored: Sequence[Window] = ()
) -> tuple[Window, ...]:
    """Return the windows that suit a scan: those of its files first.

    Parameters
    ----------
    values
        (i, j, k) of the scan.
    modality
        As DICOM names it, or empty.
    unit
        ``"HU"`` has the windows of CT; everything else percentiles.
    stored
        The windows of the files.
    """
    return (*stored, *(CT_WINDOWS if unit == "HU" else percentile_windows(values, pet=modality == "PT")))


def percentile_windows(values: NDArray[Any], *, pet: bool = False) -> tuple[Window, ...]:
    """Return windows between percentiles of all finite values.

    Up to a million voxels count all; of more, every n-th along each axis.

    Parameters
    ----------
    values
        (i, j, k) of the scan.
    pet
        Black is 0, as nothing lies below in PET.
    """
    samples = _samples(values)
    ends = [(0.0, high) for high in _PET_PERCENTILES] if pet else list(_PERCENTILES)
    wanted = sorted({value for pair in ends for value in pair})
    found = dict(zip(wanted, np.percentile(samples, wanted), strict=True)) if samples.size else {}
    windows = []
    for low, high in ends:
        limits = (0.0 if pet else float(found.get(low, 0.0)), float(found.get(high, 0.0)))
        if limits[1] > limits[0]:  # a constant scan, or one that is constant so far, has no such window
            windows.append(window_of(limits, _name(low, high, pet=pet), origin="percentiles of all values"))
    return tuple(windows)


def dragged(start: Window, *, right: float, down: float) -> Window:
    """Return the window that dragging leads to: to the right wider, downwards darker.

    Parameters
    ----------
    start
        Where the drag began.
    right, down
        Pixels since then.
    """
    low, high = start.limits
    width = (high - low) * 2.0 ** (right / _DRAG_PIXELS)
    return Window("", (low + high) / 2 + (high - low) * down / _DRAG_PIXELS, width)


def _samples(values: NDArray[Any]) -> NDArray[Any]:
    step = max(1, int(np.ceil((values.size / _MOST_SAMPLES) ** (1 / values.ndim))))
    chosen = values[(slice(None, None, step),) * values.ndim]
    return np.asarray(chosen[np.isfinite(chosen)])


def _name(low: float, high: float, *, pet: bool) -> str:
    if pet:
        return f"0 to {high:g} %"
    return "full range" if (low, high) == (0.0, 100.0) else f"{low:g} to {high:g} %"


def _short(value: float, width: float) -> str:
    """Write a value as finely as the window needs, without digits that mean nothing."""
    decimals = max(0, int(np.ceil(2 - np.log10(width))))
    return f"{round(value, decimals):.{decimals}f}".rstrip("0").rstrip(".") if decimals else f"{value:.0f}"
