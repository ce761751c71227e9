"""What is read out under the cursor: the raw values of the voxel, however the scan is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from lesionlens.heatmap import LabelMap, Provenance
from lesionlens.styles import ATTRIBUTION, PROBABILITY, REGIONS
from lesionlens.ui.appearance import default_styles
from lesionlens.ui.canvas import annotate
from lesionlens.ui.layers import heatmap_layer, labels_layer, overlay_layer, volume_layer
from lesionlens.ui.slab import set_slab
from lesionlens.ui.under_cursor import spot_at
from lesionlens.volume import Grid, Volume
from orientations import ORIENTATIONS, oblique, reoriented
from ui_cases import attribution_of, phantom, probability_of, result_of
from ui_window import Window, point

STYLES = default_styles(threshold=0.5)
SIGNS = {"R": 1, "L": -1, "A": 1, "P": -1, "S": 1, "I": -1}
# Positions are written with one decimal.
ROUNDING_MM = 0.051


def shown(volume: Volume) -> tuple[ViewerModel, dict[str, Any]]:
    """Return a viewer with a scan whose voxels all differ, and its maps; and the arrays by layer name."""
    rng = np.random.default_rng(3)
    probability = rng.random(volume.grid.shape, dtype=np.float32)
    cam = rng.normal(size=volume.grid.shape).astype(np.float32)
    regions = rng.integers(1, 200, volume.grid.shape, dtype=np.int32)
    viewer = ViewerModel()
    for layer in (
        volume_layer(volume),
        heatmap_layer(attribution_of(volume.with_array(cam, unit=""), cam), volume, STYLES[ATTRIBUTION]),
        heatmap_layer(probability_of(volume, probability), volume, STYLES[PROBABILITY]),
        labels_layer(regions, "lesion", volume, STYLES[REGIONS]),
    ):
        viewer.add_layer(Layer.create(*layer))
    return viewer, {"Grad-CAM: lesion": cam, "Probability: lesion": probability, "Regions: lesion": regions}


def distinct(grid: Grid) -> Volume:
    """Return a scan in which no two voxels have the same value."""
    return Volume(np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape), grid, "scan", "HU")


def check(volume: Volume, ijk: tuple[int, int, int]) -> None:
    """Put the cursor on a voxel that is looked for in what napari shows, and compare with the arrays."""
    viewer, arrays = shown(volume)
    (index,) = np.argwhere(viewer.layers[0].data == volume.array[ijk])

    spot = spot_at(viewer, viewer.layers[0].data_to_world(index + np.array([0.3, -0.3, 0.2])))

    assert spot is not None
    assert spot.value == f"{volume.array[ijk]:.6g} HU"
    assert {one.name: one.text for one in spot.overlays} == {
        name: str(array[ijk]) if "Regions" in name else f"{array[ijk]:.3g}" for name, array in arrays.items()
    }


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_values_are_those_of_the_voxel_in_all_orientations(orientation: Any) -> None:
    """A probability read out beside the lesion that it belongs to would be believed."""
    grid = Grid((4, 3, 5), np.diag([2.0, 3.0, 4.0, 1.0]))
    array, stored = reoriented(distinct(grid).array, grid, orientation)

    check(Volume(array, stored, "scan", "HU"), (0, stored.shape[1] - 1, 1))


@pytest.mark.parametrize("ijk", [(0, 0, 0), (3, 0, 4), (1, 2, 2)])
def test_values_are_those_of_the_voxel_of_an_oblique_scan(ijk: tuple[int, int, int]) -> None:
    """The place goes through the affine, the values through the array."""
    volume = distinct(oblique((4, 3, 5), (2.0, 3.0, 4.0)))
    viewer, _ = shown(volume)
    (index,) = np.argwhere(viewer.layers[0].data == volume.array[ijk])
    spot = spot_at(viewer, viewer.layers[0].data_to_world(index))

    check(volume, ijk)
    assert spot is not None
    ras = [SIGNS[side[0]] * float(side.split()[1]) for side in spot.sides]
    np.testing.assert_allclose(ras, volume.grid.affine[:3, :3] @ ijk + volume.grid.affine[:3, 3], atol=ROUNDING_MM)


def test_the_canvas_lists_probabilities_of_all_classes_and_what_is_seen(window: Window) -> None:
    """Which class is shown is no reason not to say how probable another is; a hidden map would crowd the canvas."""
    volume = phantom()
    window.open(volume)
    low, high = (np.full(volume.grid.shape, p, dtype=np.float32) for p in (0.2, 0.7))
    least = np.full(volume.grid.shape, 6e-8, dtype=np.float32)
    window.widget.show_result(result_of(volume, {"core": high, "halo": low, "rest": least}))
    text = window.viewer.canvas.overlays["lesionlens_readout"]

    point(window.viewer, (0.0, 0.0, 0.0))

    lines = text.text.strip().splitlines()[4:]
    seen = ["Probability: core = 0.7", "Probability: halo = 0.2", "Probability: rest < 0.001"]
    assert lines == [*seen, "Regions: core = 1"]
    window.layer("Regions: core").visible = False  # napari draws no outlines in 3D, and warns
    window.viewer.dims.ndisplay = 3
    point(window.viewer, (0.0, 1.0, 0.0))
    assert text.text == ""  # in 3D no voxel is under the cursor


def test_a_named_region_of_a_mask_and_a_drawn_one_are_read_out() -> None:
    """Masks from elsewhere tell what their numbers mean; what is being painted counts as it is now."""
    volume = phantom()
    marked = np.zeros(volume.grid.shape, dtype=np.int32)
    marked[20, 40, 6] = 3
    mask = LabelMap(volume.with_array(marked), "anatomy", {3: "thalamus"}, Provenance())
    viewer = ViewerModel()
    scan = viewer.add_layer(Layer.create(*volume_layer(volume)))
    viewer.add_layer(Layer.create(*overlay_layer(mask, volume)))
    drawn = viewer.add_labels(np.zeros(scan.data.shape, dtype=np.int32), name="drawn", scale=scan.scale)
    drawn.translate, drawn.units = scan.translate, scan.units
    (index,) = np.argwhere(np.asarray(viewer.layers[1].data) == 3)
    drawn.data[tuple(index)] = 5

    found = spot_at(viewer, scan.data_to_world(index))
    beside = spot_at(viewer, scan.data_to_world(index + np.array([0, 1, 0])))

    assert found is not None
    assert beside is not None
    assert [one.text for one in found.overlays] == ["3 thalamus", "5"]
    assert [one.text for one in beside.overlays] == ["", ""]


def test_an_overlay_of_another_scan_is_not_read_out() -> None:
    """Two patients in one window: values belong to their own scan."""
    volume, other = phantom(), phantom(name="other")
    viewer = ViewerModel()
    viewer.add_layer(Layer.create(*volume_layer(volume)))
    array = np.full(volume.grid.shape, 0.5, dtype=np.float32)
    viewer.add_layer(Layer.create(*heatmap_layer(probability_of(other, array), other, STYLES[PROBABILITY])))

    spot = spot_at(viewer, (0.0, 0.0, 0.0))

    assert spot is not None
    assert spot.overlays == ()


def test_a_value_under_a_slab_says_which_slice_it_is_of() -> None:
    """The bright voxel of a slab is not the one that is read out."""
    viewer = ViewerModel()
    annotate(viewer)
    viewer.add_layer(Layer.create(*volume_layer(phantom())))
    set_slab([viewer], "max", 15.0)

    point(viewer, (0.0, 0.0, 0.0))
    thick = viewer.canvas.overlays["lesionlens_readout"].text
    set_slab([viewer], "none", 0.0)
    point(viewer, (0.0, 1.0, 0.0))
    thin = viewer.canvas.overlays["lesionlens_readout"].text

    assert thick.endswith("40 in the central slice")
    assert thin.endswith("40")
