"""What is under the cursor: the place in the patient, and the raw values that scan, maps and regions hold there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.display import DisplayView
from lesionlens.ui.layers import heatmap_of, scan_of, volume_of
from lesionlens.ui.masks import labels_on
from lesionlens.ui.navigation import mm_per_unit_of
from lesionlens.ui.slab import slab_of
from lesionlens.volume import Volume

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["Spot", "Value", "canvas_words", "spot_at"]

# Letters of the directions in which R, A and S grow, and of their opposites.
_SIDES = (("R", "L"), ("A", "P"), ("S", "I"))
_OUTSIDE = 0
# Nobody reads more digits of a probability that small off a screen.
_LEAST_PROBABILITY = 0.001


@dataclass(frozen=True)
class Value:
    """What one overlay holds.

    Parameters
    ----------
    name
        Of its layer.
    text
        Raw value with unit, or the number of the region; empty outside of all regions.
    on_canvas
        Whether it belongs on the canvas: probabilities of all classes, and whatever is seen.
    """

    name: str
    text: str
    on_canvas: bool


@dataclass(frozen=True)
class Spot:
    """A place in a scan.

    Parameters
    ----------
    sides
        How far it is to the right or left, front or back, head or feet, in mm, through the affine.
    scan
        Name of the scan.
    value
        What the scan's voxel holds, with its unit.
    overlays
        What the overlays of that scan hold, lowest layer first.
    """

    sides: tuple[str, str, str]
    scan: str
    value: str
    overlays: tuple[Value, ...]


def spot_at(viewer: ViewerModel, position: Any) -> Spot | None:
    """Return what is at a display position in the viewer's units, in the topmost visible scan that reaches there.

    Values are those of the voxel, whatever is projected or interpolated on the screen.
    """
    place = np.array(position, dtype=np.float64)[-3:]
    if place.shape != (3,):
        return None
    place = place * mm_per_unit_of(viewer)
    for layer in reversed(viewer.layers):
        volume = volume_of(layer)
        if volume is not None and layer.visible:
            ijk = DisplayView(volume.grid).voxel_at(place)
            ras = volume.grid.world(ijk)
            if volume.grid.contains(ras):
                overlays = tuple(value for other in viewer.layers if (value := _overlay(other, layer, volume, ijk)))
                return Spot(_sides(ras), layer.name, _value(volume, ijk), overlays)
    return None


def canvas_words(viewer: ViewerModel) -> str:
    """Say what is under the cursor in a 2D picture; empty beside all scans.

    One line below the other, to keep clear of the letter at the top.
    """
    spot = spot_at(viewer, viewer.cursor.position) if viewer.dims.ndisplay == 2 else None
    if spot is None:
        return ""
    shown = [one for one in spot.overlays if one.on_canvas and one.text]
    values = [f"{one.name} {one.text}" if one.text[0] == "<" else f"{one.name} = {one.text}" for one in shown]
    central = "" if slab_of(viewer) is None else " in the central slice"
    return "\n".join([*spot.sides, f"{spot.value}{central}", *values])


def _sides(ras: NDArray[np.float64]) -> tuple[str, str, str]:
    r, a, s = (f"{letters[int(mm < 0)]} {abs(mm):.1f} mm" for letters, mm in zip(_SIDES, ras, strict=True))
    return r, a, s


def _overlay(layer: Layer, scan_layer: Layer, scan: Volume, ijk: NDArray[np.float64]) -> Value | None:
    """Return what a layer over a scan holds at a voxel of it; None for any other layer."""
    of_scan = scan_of(layer)
    if of_scan is None and labels_on([layer], scan_layer):  # drawn by the user
        of_scan = scan
    if of_scan is None or not (of_scan is scan or np.may_share_memory(of_scan.array, scan.array)):
        return None
    heatmap = heatmap_of(layer)
    if heatmap is not None:
        grid = heatmap.grid
        there = ijk if grid.same_as(scan.grid) else grid.voxel(scan.grid.world(ijk))
        inside = bool(grid.contains(grid.world(there)))
        value = _value(heatmap.volume, there, digits=3) if inside else "no data"
        return Value(layer.name, value, bool(layer.visible) or heatmap.kind == "probability")
    label = _label(layer, scan, ijk)
    return None if label is None else Value(layer.name, label, bool(layer.visible))


def _label(layer: Layer, scan: Volume, ijk: NDArray[np.float64]) -> str | None:
    """Return the number, and the name if it has one, that a labels layer holds right now; painting changes it."""
    view = DisplayView(scan.grid)
    if type(layer).__name__ != "Labels" or tuple(layer.data.shape) != view.shape:
        return None
    number = int(layer.data[tuple(np.rint(view.display_index(_nearest(ijk, scan))).astype(int))])
    if number == _OUTSIDE:
        return ""
    names = dict(zip(layer.features.get("index", ()), layer.features.get("name", ()), strict=True))
    return f"{number} {names[number]}" if number in names else str(number)


def _value(volume: Volume, ijk: NDArray[np.float64], *, digits: int = 6) -> str:
    i, j, k = _nearest(ijk, volume)
    if volume.valid is not None and not volume.valid[i, j, k]:
        return "no data"
    unit = "" if volume.unit == "probability" else volume.unit  # the name says so
    value = volume.array[i, j, k]
    if volume.unit == "probability" and 0 < value < _LEAST_PROBABILITY:
        return f"< {_LEAST_PROBABILITY}"
    return f"{value:.{digits}g} {unit}".rstrip()


def _nearest(ijk: NDArray[np.float64], volume: Volume) -> NDArray[np.int_]:
    nearest: NDArray[np.int_] = np.clip(np.rint(ijk).astype(int), 0, np.array(volume.grid.shape) - 1)
    return nearest
