"""Scans, heatmaps and regions as napari layers: shared memory, right places, everything in the metadata."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.utils.colormaps import AVAILABLE_COLORMAPS, ensure_colormap

from lesionlens.display import DisplayView
from lesionlens.errors import InputError
from lesionlens.heatmap import Heatmap, LabelMap, Provenance
from lesionlens.styles import DIVERGING, Style
from lesionlens.ui import layers as la
from lesionlens.ui.appearance import appearance, colours_for, default_styles
from lesionlens.ui.colours import diverging, sequential
from lesionlens.volume import GeometryVerdict, Grid, Source, Volume
from orientations import ORIENTATIONS, Orientation, oblique, reoriented
from ui_cases import BLOB, attribution_of, feature_of, grid, phantom, probability_of, result_of

STYLES = default_styles(threshold=0.5)


def layer_of(data: la.LayerData) -> Layer:
    """Return the layer that napari makes of layer data."""
    return Layer.create(*data)


def test_a_scan_is_shown_without_a_copy() -> None:
    """A 600-slice CT must not be held twice."""
    volume = phantom()

    layer = layer_of(la.volume_layer(volume))

    assert np.shares_memory(layer.data, volume.array)


@pytest.mark.parametrize("n_slices", [3, 4])
def test_a_few_sagittal_slices_are_no_colours(n_slices: int) -> None:
    """An array whose last axis has three or four places looks like RGB or RGBA to napari, and was refused."""
    array = np.zeros((n_slices, 64, 64), np.float32)
    volume = Volume(array, Grid(array.shape, np.eye(4)), "few", Source("nifti"))
    probability = Heatmap(volume, "probability", "lesion", False, Provenance(method="softmax"))

    layers = [la.volume_layer(volume), la.heatmap_layer(probability, volume, STYLES["probability"])]

    assert all(layer_of(layer).ndim == 3 for layer in layers)


def test_overlays_are_shown_without_copies() -> None:
    """Three overlays of a large scan must not triple what is in memory."""
    result = result_of(phantom())
    heatmap, labels = result.probabilities[0], result.labels["lesion"]

    image = layer_of(la.heatmap_layer(heatmap, result.volume, STYLES["probability"]))
    regions = layer_of(la.labels_layer(labels, "lesion", result.volume, STYLES["regions"]))

    assert np.shares_memory(image.data, heatmap.array)
    assert np.shares_memory(regions.data, labels)


@pytest.mark.parametrize(("measure", "largest"), [("entropy", np.log(2)), ("sd", 0.5), ("mean", 1.0)])
def test_uncertainty_is_coloured_by_what_it_can_reach(measure: str, largest: float) -> None:
    """A scan that is clear everywhere must not glow because its own largest value does."""
    volume = phantom()
    array = np.full(volume.grid.shape, largest / 10, np.float32)
    made = Heatmap(volume.with_array(array), "uncertainty", "lesion", False, Provenance(method=measure))

    layer = layer_of(la.uncertainty_layer(made, volume))

    assert layer.contrast_limits[1] == pytest.approx(largest)
    assert not layer.visible
    assert layer.name.endswith(": lesion")
    assert not layer.name.startswith("Uncertainty")


def test_a_difference_shows_both_signs_alike() -> None:
    """What became less is a finding too."""
    volume = phantom()
    array = np.zeros(volume.grid.shape, np.float32)
    array[BLOB] = -0.4
    made = Heatmap(volume.with_array(array), "difference", "lesion", True, Provenance())

    layer = layer_of(la.overlay_layer(made, volume))

    assert layer.colormap.name.startswith(DIVERGING)
    assert layer.contrast_limits == pytest.approx([-0.4, 0.4])


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5])
def test_every_stored_orientation_gives_the_same_picture(orientation: Orientation) -> None:
    """How a scan happens to be stored must not change what is seen, nor where napari puts it."""
    volume = phantom()
    stored = Volume(*reoriented(volume.array, volume.grid, orientation))

    expected, found = layer_of(la.volume_layer(volume)), layer_of(la.volume_layer(stored))

    np.testing.assert_array_equal(found.data, expected.data)
    np.testing.assert_allclose(found.scale, expected.scale)
    np.testing.assert_allclose(found.translate, expected.translate, atol=1e-9)


def test_positions_are_millimetres_along_head_back_and_left() -> None:
    """Napari's cursor readout is then the patient's position, up to the sign of two axes."""
    volume = phantom()
    layer = layer_of(la.volume_layer(volume))
    ras = volume.grid.world((BLOB[0].start, BLOB[1].start, BLOB[2].start))

    inside = tuple(np.rint(layer.world_to_data((ras[2], -ras[1], -ras[0]))).astype(int))
    beside = tuple(np.rint(layer.world_to_data((ras[2], -ras[1], -ras[0] + 2))).astype(int))

    assert (layer.data[inside], layer.data[beside]) == (100, 40)
    assert {str(unit) for unit in layer.units} == {"millimeter"}


@pytest.mark.parametrize("first", [-35.24371, -36.2, -37.3, -34.5, 39.9, -3.3])
def test_every_slice_can_be_reached(first: float) -> None:
    """Napari's slider ends where extent over spacing, rounded down, says: of 4 slices of 1.0000055 mm it showed 3."""
    affine = np.diag([0.9375, 0.9375, 1.0000054799849831, 1.0])
    affine[:3, 3] = (-120.00001, 80.3, first)
    volume = Volume(np.zeros((9, 8, 4), np.float32), Grid((9, 8, 4), affine))
    viewer = ViewerModel()

    viewer.add_layer(layer_of(la.volume_layer(volume)))

    assert tuple(viewer.dims.nsteps) == DisplayView(volume.grid).shape


def test_an_oblique_scan_keeps_its_true_affine() -> None:
    """The picture is straightened; the numbers must come from the real geometry."""
    volume = Volume(np.zeros((5, 6, 7)), oblique((5, 6, 7), (0.8, 1.0, 5.0)))

    layer = layer_of(la.volume_layer(volume))

    np.testing.assert_array_equal(layer.metadata[la.AFFINE_KEY], volume.grid.affine)
    np.testing.assert_array_equal(layer.affine.affine_matrix, np.eye(4))
    np.testing.assert_array_equal(layer.rotate, np.eye(3))


def test_metadata_tells_where_an_overlay_comes_from() -> None:
    """Whoever finds the layer later must be able to tell what it is, and that it is no diagnosis."""
    result = result_of(phantom())

    for heatmap in (*result.probabilities, *result.attributions):
        layer = layer_of(la.heatmap_layer(heatmap, result.volume, STYLES[heatmap.kind]))

        assert la.heatmap_of(layer) is heatmap
        assert la.scan_of(layer) is result.volume
        assert layer.metadata[la.PROVENANCE_KEY]["bundle"] == "test 1"
        assert "not a medical device" in layer.metadata[la.NOTICE_KEY]


def test_metadata_tells_how_finely_a_map_can_point() -> None:
    """A map of a coarse layer looks as smooth as one of a fine one; half a stride in mm tells them apart."""
    result = result_of(phantom())
    made = replace(result.attributions[0].provenance, resolution_mm=(4.0, 4.0, 8.0))
    heatmap = replace(result.attributions[0], provenance=made)

    layer = layer_of(la.heatmap_layer(heatmap, result.volume, STYLES["attribution"]))

    assert layer.metadata[la.PROVENANCE_KEY]["resolution_mm"] == (4.0, 4.0, 8.0)


def test_metadata_tells_the_geometry_verdict_of_a_scan() -> None:
    """An irregular series may be shown, but never silently."""
    layer = layer_of(la.volume_layer(phantom()))

    assert layer.metadata[la.GEOMETRY_KEY] == "regular"
    assert "not a medical device" in layer.metadata[la.NOTICE_KEY]
    kept = replace(phantom(), source=Source(verdict=GeometryVerdict(("tilt: 14 degrees",), 0.0, "as-is")))
    assert layer_of(la.volume_layer(kept)).metadata[la.GEOMETRY_KEY].startswith("irregular: tilt: 14 degrees")


def test_what_a_layer_is_can_be_told_apart() -> None:
    """A heatmap offered as a scan would be predicted on."""
    result = result_of(phantom())
    scan = layer_of(la.volume_layer(result.volume))
    overlay = layer_of(la.heatmap_layer(result.probabilities[0], result.volume, STYLES["probability"]))
    foreign, flat = Image(np.zeros((3, 4, 5))), Image(np.zeros((3, 4)))
    colour, labels = Image(np.zeros((3, 4, 5, 3)), rgb=True), Labels(np.zeros((3, 4, 5), dtype=int))

    assert la.volume_of(scan) is result.volume
    assert [la.volume_of(layer) for layer in (overlay, foreign, labels)] == [None] * 3
    assert la.heatmap_of(overlay) is result.probabilities[0]
    assert la.heatmap_of(scan) is None
    assert la.scan_of(scan) is None
    assert [la.is_foreign_image(layer) for layer in (foreign, scan, overlay, flat, colour, labels)] == [True] + [
        False
    ] * 5


def test_a_plain_image_becomes_the_scan_it_looks_like() -> None:
    """What is on the left of the screen is taken for the patient's right, in mm of the layer's scale."""
    array = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    layer = Image(array, scale=(5, 1, 2), translate=(10, 20, 30))

    volume = la.volume_from_image(layer)
    again = layer_of(la.volume_layer(volume))

    np.testing.assert_array_equal(again.data, array)
    np.testing.assert_allclose(again.scale, (5, 1, 2))
    np.testing.assert_allclose(again.translate, (10, 20, 30))
    np.testing.assert_allclose(volume.grid.world((1, 0, 0)), (-30, -20, 15))
    assert "napari layer" in volume.source.decisions[0]
    assert volume.source.decisions[1] == "The layer names no unit of length: its pixels were taken for mm."


@pytest.mark.parametrize(
    ("units", "note"),
    [
        (("um", "um", "um"), ("Lengths were converted to mm from micrometer.",)),
        (("mm", "cm", "m"), ("Lengths were converted to mm from millimeter, centimeter, meter.",)),
        (("mm", "mm", "mm"), ()),
    ],
)
def test_the_lengths_of_a_plain_image_are_converted(units: tuple[str, ...], note: tuple[str, ...]) -> None:
    """A volume in cubic micrometres, taken for cubic millimetres, would be wrong by nine digits."""
    mm = {"um": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1000.0}
    scale, translate = [(size / mm[u]) for size, u in zip((5, 1, 2), units, strict=True)], [1 / mm[u] for u in units]

    volume = la.volume_from_image(Image(np.zeros((2, 3, 4)), scale=scale, translate=translate, units=units))

    np.testing.assert_allclose(volume.grid.spacing_mm, (5, 1, 2))
    np.testing.assert_allclose(volume.grid.world((1, 0, 0)), (-1, -1, 6))
    assert volume.source.decisions[1:] == note


def test_an_axis_of_time_is_refused() -> None:
    """A film of flat images has no volume."""
    layer = Image(np.zeros((3, 4, 5)), name="film", units=("s", "um", "um"))

    with pytest.raises(InputError, match=r"axes of layer 'film' in a unit of length; found second\. Give its units"):
        la.volume_from_image(layer)


@pytest.mark.parametrize("turned", [{"rotate": 30}, {"shear": (0.1, 0, 0)}, {"affine": np.diag([2.0, 1, 1, 1])}])
def test_a_turned_image_is_refused(turned: dict[str, object]) -> None:
    """Guessing left and right from a rotated layer would be worse than an error."""
    layer = Image(np.zeros((3, 4, 5)), name="turned", **turned)

    with pytest.raises(InputError, match=r"'turned' is rotated or sheared"):
        la.volume_from_image(layer)


def test_probability_colours_do_not_depend_on_the_threshold() -> None:
    """A colour that changed its meaning with the slider would mislead."""
    heatmap = result_of(phantom()).probabilities[0]
    seen = []
    for threshold in (0.1, 0.5, 0.8):
        style = Style("plasma", threshold, 1.0, visible=True)
        colormap, (low, high) = appearance(heatmap, style)
        seen.append(colormap.map([(0.9 - low) / (high - low)])[0])

    np.testing.assert_allclose(seen, [seen[0]] * 3, atol=0.005)  # the colour table has 256 steps


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.5, 0.7, 0.99])
def test_a_voxel_is_shown_exactly_when_it_belongs_to_a_region(threshold: float) -> None:
    """What is coloured and what is counted must be the same voxels, to the last bit."""
    at = np.float32(threshold)
    values = np.array([0, np.nextafter(at, np.float32(0)), at, np.nextafter(at, np.float32(1)), 1], dtype=np.float32)
    heatmap = probability_of(Volume(np.zeros((5, 1, 1)), grid((5, 1, 1), (1, 1, 1))), values.reshape(5, 1, 1))

    colormap, limits = appearance(heatmap, Style("plasma", threshold, 1.0, visible=True))
    low, high = (np.float32(limit) for limit in limits)
    shown = colormap.map((np.clip(values, low, high) - low) / (high - low))[:, 3] > 0

    np.testing.assert_array_equal(shown, values >= threshold)


def test_attribution_colours_end_at_the_largest_value_of_the_volume() -> None:
    """Attributions have no unit: colours compare between slices only on one scale for the volume."""
    volume = phantom()
    heatmap = attribution_of(volume, np.where(volume.array == 100, 8.0, -2.0))

    _, sequential = appearance(heatmap, Style("viridis", 0.25, 1.0, visible=True))
    _, diverging = appearance(heatmap, Style(DIVERGING, 0.25, 1.0, visible=True))

    assert sequential == (pytest.approx(2.0), 8.0)
    assert diverging == (-8.0, 8.0)


def test_signed_colours_hide_the_middle_only() -> None:
    """Evidence against the class is blue, for it orange, and what says little is not painted."""
    volume = phantom()
    heatmap = attribution_of(volume, np.where(volume.array == 100, 8.0, -2.0))
    colormap, (low, high) = appearance(heatmap, Style(DIVERGING, 0.25, 1.0, visible=True))

    colours = colormap.map((np.array([-8.0, -2.1, -1.9, 0.0, 1.9, 2.1, 8.0]) - low) / (high - low))

    assert (colours[:, 3] > 0).tolist() == [True, True, False, False, False, True, True]
    assert (colours[[0, 1], 2] > colours[[0, 1], 0]).all()
    assert (colours[[5, 6], 0] > colours[[5, 6], 2]).all()


def test_an_attribution_that_is_nowhere_positive_shows_nothing() -> None:
    """No evidence for the class must not look like evidence."""
    volume = phantom()
    heatmap = attribution_of(volume, np.full(volume.grid.shape, -1.0))

    colormap, (low, high) = appearance(heatmap, Style("viridis", 0.3, 1.0, visible=True))

    assert low > -1
    assert colormap.map([max(0.0, (-1.0 - low) / (high - low))])[0, 3] == 0


def test_layer_names_say_what_they_show() -> None:
    """The layer list is what a reader sees first."""
    result = result_of(phantom())

    assert la.heatmap_name(result.probabilities[0]) == "Probability: lesion"
    assert la.heatmap_name(result.attributions[0]) == "Grad-CAM: lesion"
    assert la.heatmap_name(feature_of(phantom(), phantom().array)) == "Mean activation: layer 0"


def test_features_of_both_signs_start_with_both_colours() -> None:
    """Below 0 is no less than above for a layer; evidence against a class stays hidden until it is asked for."""
    scan = phantom()

    assert colours_for(feature_of(scan, scan.array - 50)) == "blue-orange"
    assert colours_for(feature_of(scan, scan.array)) == "viridis"
    assert colours_for(attribution_of(scan, scan.array - 50)) == "viridis"


def test_a_mask_from_elsewhere_lies_where_its_voxels_are() -> None:
    """Numbers, names and places of a mask are those of its file; nothing can be painted into a copy."""
    scan = phantom()
    labels = np.zeros(scan.grid.shape, np.int32)
    labels[BLOB] = 7
    mask = LabelMap(scan.with_array(labels), "liver", {7: "liver"}, Provenance(notes=("Resampled.",)))

    layer, scan_layer = layer_of(la.overlay_layer(mask, scan)), layer_of(la.volume_layer(scan))

    assert isinstance(layer, Labels)
    assert layer.name == "Mask: liver"
    assert np.shares_memory(layer.data, labels)
    np.testing.assert_array_equal(layer.data == 7, DisplayView(scan.grid).to_display(labels == 7))
    np.testing.assert_array_equal(layer.scale, scan_layer.scale)
    np.testing.assert_array_equal(layer.translate, scan_layer.translate)
    assert layer.features["name"].tolist() == ["outside", "liver"]
    assert layer.metadata["provenance"]["notes"] == ("Resampled.",)
    assert la.scan_of(layer) is scan


def test_a_probability_map_from_elsewhere_is_shown_by_its_kind() -> None:
    """It looks like a map of ours, and its name says what it holds."""
    scan = phantom()
    heatmap = probability_of(scan, np.clip(scan.array / scan.array.max(), 0, 1))

    layer = layer_of(la.overlay_layer(heatmap, scan))

    assert isinstance(layer, Image)
    assert (layer.name, layer.visible) == (f"Probability: {heatmap.label}", True)
    assert la.heatmap_of(layer) is heatmap


def test_the_map_of_a_class_that_is_not_seen_looks_so() -> None:
    """It looks like any other map, and shows what comes closest: name, colours and opacity have to say so."""
    volume = phantom()
    seen = attribution_of(volume, volume.array)
    unseen = replace(seen, provenance=replace(seen.provenance, options={"seen": False, "class_probability": 0.03}))
    style = Style("viridis", 0.3, 0.5, visible=True)

    (_, plain, _), (_, muted, _) = (la.heatmap_layer(heatmap, volume, style) for heatmap in (seen, unseen))

    assert (plain["name"], muted["name"]) == ("Grad-CAM: lesion", "Grad-CAM: lesion (not seen)")
    assert muted["opacity"] < plain["opacity"]
    vivid, dull = (np.ptp(options["colormap"].map([1.0])[0, :3]) for options in (plain, muted))
    assert dull < 0.2 < vivid


def test_names_of_colour_maps_are_not_numbered() -> None:
    """One name of other colours gets a number from napari, which keeps them all: "blue-orange (12)"."""
    for threshold, limit in ((0.05, 1.0), (0.3, 1.0), (0.1234, 7.3), (0.3, 7.3), (0.3, 1.0)):
        signed, _ = diverging(limit, threshold=threshold * limit)
        positive, _ = sequential("plasma", limit, threshold=threshold * limit)
        names = signed.name, positive.name
        assert (ensure_colormap(signed).name, ensure_colormap(positive).name) == names

    assert [name for name in AVAILABLE_COLORMAPS if name.startswith(("blue-orange", "plasma")) and "(" in name] == []
    assert diverging(2.0, threshold=0.1)[0].name == "blue-orange 5%"
