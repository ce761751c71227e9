"""Where the cursor is in the patient, and what the scan holds there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_factory import Plan, make_series, oblique, voxel_ras
from lesionlens.io import read
from lesionlens.volume import Grid, Volume
from orientations import ORIENTATIONS, reoriented
from ui_cases import phantom
from ui_window import Window, point

SIGNS = {"R": 1, "L": -1, "A": 1, "P": -1, "S": 1, "I": -1}
# Positions are written with one decimal.
ROUNDING_MM = 0.051


def point_at(window: Window, layer: Any, volume: Volume, ijk: tuple[int, int, int]) -> str:
    """Put the cursor on a voxel, found in what the layer shows, and return what is written on the canvas."""
    marked = np.zeros(volume.grid.shape, dtype=bool)
    marked[ijk] = True
    # Not by DisplayView, which is what is tested: the marked voxel is looked for in the picture that napari shows.
    (shown,) = np.argwhere(np.isin(layer.data, volume.array[ijk]))
    point(window.viewer, tuple(layer.data_to_world(shown)))
    return str(window.viewer.canvas.overlays["lesionlens_readout"].text)


def parsed(text: str) -> tuple[list[float], str]:
    """Return position in RAS mm and the rest of a readout."""
    found = re.fullmatch(r"([RL]) ([\d.]+) mm\n([AP]) ([\d.]+) mm\n([SI]) ([\d.]+) mm\n(.*)", text)
    assert found is not None, text
    parts = found.groups()
    return [SIGNS[letter] * float(mm) for letter, mm in zip(parts[:6:2], parts[1:6:2], strict=True)], parts[6]


@pytest.mark.parametrize("ijk", [(0, 0, 0), (6, 0, 0), (2, 3, 1), (6, 5, 4)])
def test_an_oblique_scan_is_read_out_at_its_true_place(
    window: Window, tmp_path: Path, ijk: tuple[int, int, int]
) -> None:
    """The oracle is the formula of the DICOM standard; the axes of the screen are those of the scan."""

    def hounsfield(dataset: Any, _: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024

    plan = Plan(orientation=oblique((25, -10, 15)), modality="CT", change=hounsfield)
    make_series(tmp_path, plan)
    volume = read(tmp_path)

    ras, value = parsed(point_at(window, window.open(volume), volume, ijk))

    np.testing.assert_allclose(ras, voxel_ras(plan, ijk), atol=ROUNDING_MM)
    assert value == f"{plan.values()[ijk] - 1024} HU"


@pytest.mark.parametrize("orientation", ORIENTATIONS[::7])
def test_however_a_scan_is_stored_its_readout_is_the_same(window: Window, orientation: Any) -> None:
    """Flips and exchanges of axes are undone: the same place, the same value."""
    grid = Grid((4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0]))
    array, stored = reoriented(np.arange(120.0).reshape(grid.shape), grid, orientation)
    volume = Volume(array, stored, "scan")
    i, j, k = np.rint(stored.voxel(grid.world((1, 2, 3)))).astype(int).tolist()

    ras, value = parsed(point_at(window, window.open(volume), volume, (i, j, k)))

    np.testing.assert_allclose(ras, (2, 6, 12), atol=ROUNDING_MM)
    assert value == "45"


def test_beside_the_scan_nothing_is_read_out(window: Window) -> None:
    """A value where there is no voxel would be made up."""
    window.open(phantom())

    point(window.viewer, (0.0, 0.0, 0.0))
    inside = window.viewer.canvas.overlays["lesionlens_readout"].visible
    point(window.viewer, (0.0, 0.0, 500.0))
    beside = window.viewer.canvas.overlays["lesionlens_readout"].visible

    assert (inside, beside) == (True, False)


def test_voxels_without_data_have_no_value(window: Window) -> None:
    """What fills the room beside tilted slices was not measured."""
    volume = phantom()
    held = np.ones(volume.grid.shape, dtype=bool)
    held[20:] = False
    window.open(Volume(volume.array, volume.grid, valid=held))
    texts = []

    for right in (-10.0, 10.0):
        point(window.viewer, (0.0, 0.0, -right))
        texts.append(window.viewer.canvas.overlays["lesionlens_readout"].text)

    assert texts == ["L 10.0 mm\nA 0.0 mm\nS 0.0 mm\n40", "R 10.0 mm\nA 0.0 mm\nS 0.0 mm\nno data"]


def test_a_hidden_scan_is_not_read_out(window: Window) -> None:
    """The value belongs to the picture that is seen."""
    layers = [window.open(volume) for volume in (phantom(), phantom().with_array(np.full((40, 80, 12), 7.0)))]
    texts = []

    for visible in (True, False):
        layers[1].visible = visible
        point(window.viewer, (0.0, float(visible), 10.0))
        texts.append(window.viewer.canvas.overlays["lesionlens_readout"].text.split()[-1])

    assert texts == ["7", "40"]


def test_only_a_mouse_that_points_is_read_out(window: Window) -> None:
    """Where napari's cursor lies before the mouse has moved, or after it left, nobody points; a picture of it lies."""
    window.open(phantom())
    text = window.viewer.canvas.overlays["lesionlens_readout"]
    window.viewer.mouse_over_canvas = True
    window.viewer.dims.current_step = (3, 0, 0)  # napari moves its cursor along
    before = text.text

    point(window.viewer, (0.0, 1.0, 10.0))
    pointed = text.text
    window.viewer.dims.current_step = (4, 0, 0)
    followed = text.text
    window.viewer.dims.order = (1, 0, 2)
    turned = text.text
    window.viewer.cursor.position = (2.0, 1.0, 3.0)
    again = text.text
    window.viewer.mouse_over_canvas = False

    assert before == ""
    assert pointed.startswith("L 10.0 mm\nP 1.0 mm")
    assert followed.startswith("L 10.0 mm\nP 1.0 mm")
    assert followed != pointed
    assert turned == ""
    assert again.startswith("L 3.0 mm\nP 1.0 mm\nS 2.0 mm")
    assert (text.text, text.visible) == ("", False)
