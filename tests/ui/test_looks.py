"""Equal values have equal colours, and a line runs around what would be coloured: in every map of the viewer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Layer
from scipy import ndimage

from lesionlens.display import DisplayView
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.results import CaseResult
from lesionlens.styles import DIVERGING, UNCERTAINTY
from lesionlens.ui.layers import heatmap_of, overlay_layer, volume_of
from lesionlens.ui.open import settle
from ui_cases import BLOB, SMALL_BLOB, attribution_of, phantom, result_of
from ui_window import Window, close_dock, dock_into


def colour_of(layer: Any, value: float) -> Any:
    """Return the colour that a layer gives a value."""
    low, high = layer.contrast_limits
    return layer.colormap.map([(value - low) / (high - low)])[0]


def two_classes(first: float, second: float, *, method: str = "gradcam") -> CaseResult:
    """Return a result whose attributions have two largest values."""
    volume = phantom()
    arrays = {}
    for label, largest in (("tumour", first), ("oedema", second)):
        arrays[label] = np.where(volume.array == 100, largest, -largest / 4)
    result = result_of(volume, {label: np.zeros(volume.grid.shape, np.float32) + 0.6 for label in arrays})
    cams = [attribution_of(volume, array, label) for label, array in arrays.items()]
    cams = [replace(cam, provenance=replace(cam.provenance, method=method)) for cam in cams]
    return replace(result, attributions=tuple(cams))


def test_equal_values_have_equal_colours_in_every_class(window: Window) -> None:
    """A class whose evidence is three times weaker must look three times weaker."""
    window.open(phantom())
    window.widget.show_result(two_classes(9.0, 3.0))
    tumour, oedema = window.layer("Grad-CAM: tumour"), window.layer("Grad-CAM: oedema")

    for colours in ("viridis", DIVERGING):
        window.widget.controls.kinds["attribution"].colours.setCurrentText(colours)
        assert tuple(tumour.contrast_limits) == tuple(oedema.contrast_limits)
        np.testing.assert_array_equal(colour_of(tumour, 3.0), colour_of(oedema, 3.0))
    assert tumour.contrast_limits[0] == -9
    assert tumour.contrast_limits[1] == 9


def test_maps_that_were_kept_follow_what_comes_after(window: Window) -> None:
    """Two models, or two time points, are compared by having both."""
    window.open(phantom())
    window.widget.show_result(two_classes(1.0, 0.5))
    window.click(window.widget.controls.keep)
    window.widget.show_result(two_classes(4.0, 2.0))
    old, new = window.layer("Grad-CAM: tumour (test 1)"), window.layer("Grad-CAM: tumour")

    assert tuple(old.contrast_limits) == tuple(new.contrast_limits)
    assert old.contrast_limits[1] == 4
    window.widget.controls.kinds["attribution"].colours.setCurrentText("magma")
    assert old.colormap.name == new.colormap.name
    np.testing.assert_array_equal(colour_of(old, 3.9), colour_of(new, 3.9))


def test_scans_of_another_time_share_the_limits(window: Window) -> None:
    """A second scan has a grid and a largest value of its own."""
    first, second = two_classes(2.0, 1.0), two_classes(6.0, 1.0)
    for result in (first, second):
        window.open(result.volume)
        window.widget.show_result(result)
    limits = {tuple(layer.contrast_limits) for layer in window.viewer.layers if layer.name.startswith("Grad-CAM")}

    assert len(limits) == 1
    assert limits.pop()[1] == 6


def test_maps_of_another_method_keep_a_scale_of_their_own(window: Window) -> None:
    """Attributions of two methods have no common unit; one limit for both would hide one of them."""
    window.open(phantom())
    window.widget.show_result(two_classes(1.0, 0.5))
    window.click(window.widget.controls.keep)
    window.widget.show_result(two_classes(800.0, 400.0, method="occlusion"))

    assert window.layer("Grad-CAM: tumour (test 1)").contrast_limits[1] == 1
    assert window.layer("Occlusion: tumour").contrast_limits[1] == 800


def test_limits_shrink_again_when_the_largest_map_goes(window: Window) -> None:
    """What is no more in the viewer has no colours to compare with."""
    window.open(phantom())
    window.widget.show_result(two_classes(9.0, 3.0))

    window.viewer.layers.remove("Grad-CAM: tumour")

    assert window.layer("Grad-CAM: oedema").contrast_limits[1] == 3


def test_a_class_that_is_not_seen_does_not_fade_the_others(window: Window) -> None:
    """Its map shows what comes closest, in dull colours of its own, and may be large."""
    result = two_classes(2.0, 50.0)
    tumour, oedema = result.attributions
    unseen = replace(oedema, provenance=replace(oedema.provenance, options={"seen": False}))
    window.open(phantom())
    window.widget.show_result(replace(result, attributions=(tumour, unseen)))

    assert window.layer("Grad-CAM: tumour").contrast_limits[1] == 2


def test_a_change_of_style_slices_nothing_again(window: Window) -> None:
    """To slice large maps takes longer than all else; only what is switched on has to be."""
    window.open(phantom())
    window.widget.show_result(result_of(phantom()))
    sliced: list[str] = []
    for layer in window.viewer.layers:
        layer.events.set_data.connect(lambda event: sliced.append(event.source.name))
    controls = window.widget.controls.kinds

    window.widget.controls.set_threshold(0.4)
    controls["probability"].opacity.setValue(0.3)
    controls["attribution"].colours.setCurrentText("blue-orange")
    assert sliced == []

    controls["attribution"].visible.setChecked(True)
    assert set(sliced) == {"Grad-CAM: lesion"}


def test_styling_copies_and_computes_nothing(window: Window) -> None:
    """Every change is one of properties; the arrays of scan and maps are those of the result throughout."""
    result = result_of(phantom())
    window.open(result.volume)
    window.widget.show_result(result)
    heatmaps = {layer.name: heatmap_of(layer) for layer in window.viewer.layers if heatmap_of(layer) is not None}

    for kind, controls in window.widget.controls.kinds.items():
        controls.contour.toggle()
        controls.contour.toggle()
        controls.opacity.setValue(0.3)
        if kind in ("probability", "attribution"):
            controls.colours.setCurrentText("magma")
            controls.threshold.setValue(0.4)

    for name, heatmap in heatmaps.items():
        assert heatmap is not None
        assert np.shares_memory(window.layer(name).data, heatmap.array)
    (scan,) = [layer for layer in window.viewer.layers if volume_of(layer) is not None]
    assert np.shares_memory(scan.data, result.volume.array)
    assert np.shares_memory(window.layer("Regions: lesion").data, result.labels["lesion"])


def hand_made(window: Window, threshold: float = 0.5) -> tuple[Any, Any]:
    """Show a cross of probability 0.8 as a line; return its display mask in the shown slice, and the lines."""
    volume = phantom()
    array = np.full(volume.grid.shape, 0.1, np.float32)
    array[10:30, 30:50, 5] = 0.8
    array[16:24, 20:60, 5] = 0.8
    array[18:22, 38:42, 5] = 0.2  # a hole
    window.open(volume)
    window.widget.show_result(result_of(volume, {"lesion": array}, threshold=threshold))
    view = DisplayView(volume.grid)
    window.viewer.dims.set_current_step(0, int(view.display_index([0, 0, 5])[0]))
    window.widget.controls.kinds["probability"].contour.setChecked(True)
    mask = view.to_display(array >= 0.5)[window.viewer.dims.current_step[0]]
    return mask, window.layer("Contour of Probability: lesion")


def drawn_labels(lines: Any) -> Any:
    """Return the voxels of the shown slice that napari draws."""
    settle()
    return np.asarray(lines._slice.image.view) > 0


def test_a_line_runs_along_the_outermost_voxels(window: Window) -> None:
    """Its outer edge is the edge of the voxels at or above the threshold: nothing beside them, nothing within."""
    mask, lines = hand_made(window)

    inner = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(2, 1))
    np.testing.assert_array_equal(drawn_labels(lines), mask & ~inner)
    assert mask.sum() > 0
    assert (mask & inner).any()


def test_a_line_takes_the_place_of_colours_and_gives_it_back(window: Window) -> None:
    """Both at once would hide the scan that the line lets through."""
    _, lines = hand_made(window)
    probability = window.layer("Probability: lesion")
    box = window.widget.controls.kinds["probability"]

    assert (probability.opacity, probability.visible, lines.visible) == (0, True, True)
    box.opacity.setValue(0.8)
    assert (probability.opacity, lines.opacity) == (0, 0.8)
    box.visible.setChecked(False)
    assert not lines.visible
    box.visible.setChecked(True)
    box.contour.setChecked(False)
    assert not lines.visible
    assert probability.opacity == 0.8
    box.visible.setChecked(False)
    box.visible.setChecked(True)
    assert not lines.visible


def test_a_line_follows_the_threshold(window: Window) -> None:
    """What it runs around is what would be coloured."""
    mask, lines = hand_made(window)

    window.widget.controls.set_threshold(0.15)

    assert lines.data.threshold == 0.15
    assert drawn_labels(lines).sum() != 0
    window.widget.controls.set_threshold(0.85)
    assert drawn_labels(lines).sum() == 0
    assert mask.any()


def test_lines_of_signed_maps_have_two_colours(window: Window) -> None:
    """Evidence against the class is blue in lines as in colours."""
    window.open(phantom())
    window.widget.show_result(result_of(phantom()))
    controls = window.widget.controls.kinds["attribution"]
    controls.colours.setCurrentText(DIVERGING)
    controls.visible.setChecked(True)
    controls.contour.setChecked(True)
    lines = window.layer("Contour of Grad-CAM: lesion")

    assert set(np.unique(np.asarray(lines.data))) == {0, 1, 2}
    above, below = (lines.colormap.map(np.array([label]))[0] for label in (1, 2))
    assert above[0] > above[2]
    assert below[2] > below[0]
    controls.colours.setCurrentText("viridis")
    assert set(np.unique(np.asarray(lines.data))) == {0, 1}


def test_lines_go_with_their_map(window: Window) -> None:
    """A new result, a removed layer and a cleared viewer leave no line behind, and no error."""
    hand_made(window)
    assert window.widget.result is not None
    again = result_of(window.widget.result.volume)
    window.widget.show_result(again)
    assert window.names.count("Contour of Probability: lesion") == 1
    assert window.viewer.layers.selection.active is None or "Contour" not in window.viewer.layers.selection.active.name

    window.viewer.layers.remove("Probability: lesion")
    assert not any(name.startswith("Contour") for name in window.names)
    window.widget.show_result(again)
    window.viewer.layers.clear()
    assert window.names == []


def test_a_map_that_comes_later_looks_like_the_others(window: Window) -> None:
    """One from elsewhere is drawn as a line as well, above its map, and goes with it."""
    volume = phantom()
    hand_made(window)
    other = result_of(volume).probabilities[0]

    window.viewer.add_layer(Layer.create(*overlay_layer(replace(other, label="reader"), volume)))
    settle()

    place = window.names.index("Probability: reader")
    assert window.names[place + 1] == "Contour of Probability: reader"
    window.viewer.layers.remove("Probability: reader")
    assert "Contour of Probability: reader" not in window.names


def test_a_line_that_is_removed_leaves_the_colours(window: Window) -> None:
    """A map that nobody can see, and no control brings back, would be lost."""
    hand_made(window)

    window.viewer.layers.remove("Contour of Probability: lesion")

    assert window.layer("Probability: lesion").opacity > 0


def test_a_dock_that_was_closed_styles_no_more(window: Window) -> None:
    """Its styles are nobody's; with those of the next dock they would take turns."""
    hand_made(window)
    old = window.widget
    close_dock(window)
    again = dock_into(window.viewer, window.qtbot)
    window.viewer.layers.clear()

    again.open(phantom())
    again.widget.show_result(result_of(phantom()))

    assert not any(name.startswith("Contour") for name in again.names)
    assert again.layer("Probability: lesion").opacity == 0.5
    assert old.overlays.styles["probability"].contour
    close_dock(again)


def test_regions_are_lines_or_filled(window: Window) -> None:
    """Both are one click apart."""
    window.open(phantom())
    window.widget.show_result(result_of(phantom()))
    regions = window.layer("Regions: lesion")
    assert regions.contour == 1

    window.widget.controls.kinds["regions"].contour.setChecked(False)

    assert regions.contour == 0


def test_uncertainty_and_anomaly_have_controls_as_soon_as_there_are_maps(window: Window) -> None:
    """Most results have none: their controls would only take room."""
    volume = phantom()
    controls = window.widget.controls.kinds
    window.open(volume)
    window.widget.show_result(result_of(volume))
    assert controls["uncertainty"].isHidden()
    array = np.where(volume.array == 100, 0.4, 0.0).astype(np.float32)
    made = Heatmap(volume.with_array(array), "uncertainty", "lesion", False, Provenance(method="sd"))

    window.widget.show_result(replace(result_of(volume), uncertainties=(made,)))
    layer = window.layer("SD of probability: lesion")
    assert not controls["uncertainty"].isHidden()
    controls["uncertainty"].threshold.setValue(0.5)
    controls["uncertainty"].opacity.setValue(0.9)
    assert layer.contrast_limits == pytest.approx([0.25, 0.5])
    assert layer.opacity == 0.9
    assert window.widget.overlays.styles[UNCERTAINTY].threshold == 0.5

    odd = Heatmap(volume.with_array(array), "anomaly", "", False, Provenance(method="flow"))
    assert controls["anomaly"].isHidden()
    window.viewer.add_layer(Layer.create(*overlay_layer(odd, volume)))
    assert not controls["anomaly"].isHidden()


def test_styles_are_kept_and_come_back(window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a style, change everything, choose it: controls and layers are as they were."""
    monkeypatch.setenv("LESIONLENS_CONFIG", str(tmp_path))
    window.open(phantom())
    window.widget.show_result(result_of(phantom()))
    kinds, form = window.widget.controls.kinds, window.widget.glances
    window.widget.looking_twice.open()
    kinds["probability"].colours.setCurrentText("magma")
    kinds["probability"].contour.setChecked(True)
    kinds["attribution"].opacity.setValue(0.9)
    before = dict(window.widget.overlays.styles)
    form.names.setCurrentText("morning")
    window.click(form.save)

    kinds["probability"].colours.setCurrentText("viridis")
    kinds["probability"].contour.setChecked(False)
    kinds["attribution"].opacity.setValue(0.1)
    form.names.setCurrentIndex(form.names.findText("morning"))
    form.names.activated.emit(form.names.currentIndex())

    assert window.widget.overlays.styles == before
    assert window.layer("Grad-CAM: lesion").opacity == 0.9
    assert "Contour of Probability: lesion" in window.names
    window.click(form.remove)
    assert form.names.count() == 0
    assert form._kept == {}


def test_a_damaged_file_of_styles_is_said_and_kept(
    window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notifications: list[Any]
) -> None:
    """A message with the file's name, now and when something would be written over it."""
    monkeypatch.setenv("LESIONLENS_CONFIG", str(tmp_path))
    file = tmp_path / "overlay-styles.json"
    file.write_text("{ damaged")

    window.widget.looking_twice.open()
    window.widget.glances.names.setCurrentText("new")
    window.click(window.widget.glances.save)

    assert [file.name in one.message for one in notifications] == [True, True]
    assert file.read_text() == "{ damaged"


def test_colour_bars_belong_to_maps_in_colours(window: Window) -> None:
    """A line has one colour, so that a bar beside it would mean nothing."""
    window.open(phantom())
    window.widget.show_result(result_of(phantom()))
    probability = window.layer("Probability: lesion")
    assert not probability.colorbar.visible

    window.widget.glances.bars.setChecked(True)
    assert probability.colorbar.visible
    assert probability.name_overlay.visible
    window.widget.controls.kinds["probability"].contour.setChecked(True)
    assert not probability.colorbar.visible
    window.widget.controls.kinds["probability"].contour.setChecked(False)
    window.widget.glances.bars.setChecked(False)
    assert not probability.colorbar.visible


@pytest.mark.parametrize("part", [BLOB, SMALL_BLOB])
def test_probabilities_of_two_models_have_one_scale(window: Window, part: Any) -> None:
    """0.6 looks the same beside a largest value of 0.6 as beside one of 0.99."""
    volume = phantom()
    arrays = [np.zeros(volume.grid.shape, np.float32) for _ in range(2)]
    arrays[0][part], arrays[1][part] = 0.6, 0.99
    window.open(volume)
    window.widget.show_result(result_of(volume, {"one": arrays[0], "two": arrays[1]}))

    one, two = window.layer("Probability: one"), window.layer("Probability: two")
    np.testing.assert_array_equal(colour_of(one, 0.6), colour_of(two, 0.6))
