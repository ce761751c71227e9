"""The dock Plots, used as a person would: choose, look, drag, paint, save."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from napari.utils.notifications import Notification
from napari.utils.theme import get_theme
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtWidgets import QApplication, QFileDialog

from lesionlens.calibration import Calibration, scores
from lesionlens.checks import Chart, Check, Curve, TrustReport
from lesionlens.report.plots import THRESHOLD_MARK
from lesionlens.rules import RegionRules
from lesionlens.ui.plots import subjects
from lesionlens.ui.plots.dock import PlotsWidget
from lesionlens.ui.trust import TrustWidget
from ui_cases import BLOB, SMALL_BLOB, phantom, result_of
from ui_window import WAIT_MS, Window

BLOB_ML, BOTH_ML = 8 * 16 * 3 / 100, (8 * 16 * 3 + 3 * 6 * 2) / 100


@pytest.fixture
def plots(window: Window) -> Iterator[PlotsWidget]:
    """Return the dock beside the LesionLens dock, over a scan with results."""
    window.open(phantom())
    window.widget.show_result(result_of(phantom()))
    dock = PlotsWidget(window.viewer)
    window.viewer.window.add_dock_widget(dock, name="LesionLens Plots", area="right")
    yield dock
    window.viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


@pytest.fixture
def drawn(plots: PlotsWidget, qtbot: Any) -> Callable[..., Any]:
    """Return a way to choose a plot and wait for its axes."""

    def choose(name: str) -> Any:
        plots.choose(name)
        qtbot.waitUntil(lambda: plots.view.figure is not None and plots.job is None, timeout=WAIT_MS)
        return plots.view.figure.axes

    return choose


def mark_of(axes: Any) -> float:
    """Return where the line at the threshold stands."""
    return float(next(line for line in axes.lines if line.get_gid() == THRESHOLD_MARK).get_xdata()[0])


def drag(plots: PlotsWidget, qtbot: Any, *thresholds: float) -> None:
    """Press the mouse on the upper picture at the first threshold, move it to the others, and let go."""
    canvas = plots.view.canvas
    canvas.draw()
    axes = plots.view.figure.axes[0]
    height = axes.get_window_extent().y0 + axes.get_window_extent().height / 2

    def place(threshold: float) -> QPoint:
        x, _ = axes.transData.transform((threshold, 1))
        ratio = canvas.device_pixel_ratio
        return QPoint(round(x / ratio), round(canvas.height() - height / ratio))

    qtbot.mousePress(canvas, Qt.MouseButton.LeftButton, pos=place(thresholds[0]))
    for threshold in thresholds[1:]:
        qtbot.mouseMove(canvas, place(threshold))
    qtbot.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=place(thresholds[-1]))


def test_the_curve_says_what_the_threshold_gives(plots: PlotsWidget, drawn: Any) -> None:
    """Two lesions at 0.5, with the volume of the table."""
    above, _ = drawn("threshold")

    assert f"At 0.50: {BOTH_ML:.2f} mL in 2 regions" in plots.note.text()
    assert mark_of(above) == 0.5


def test_dragging_the_line_moves_the_threshold_of_everything(
    window: Window, plots: PlotsWidget, drawn: Any, qtbot: Any
) -> None:
    """The slider, the layer, the table and the line are one threshold, while the mouse still moves."""
    above, below = drawn("threshold")

    drag(plots, qtbot, 0.5, 0.6, 0.7)

    controls = window.widget.controls
    assert controls.threshold == pytest.approx(0.7, abs=0.011)
    moved = controls.threshold
    assert mark_of(above) == mark_of(below) == moved
    assert window.layer("Probability: lesion").contrast_limits[0] == pytest.approx(moved)
    assert f"At {moved:.2f}: {BLOB_ML:.2f} mL in 1 region." in plots.note.text()
    qtbot.waitUntil(lambda: len(window.widget.table.regions) == 1, timeout=WAIT_MS)


def test_the_words_say_what_a_threshold_does_not_decide(
    window: Window, plots: PlotsWidget, drawn: Any, qtbot: Any
) -> None:
    """Where rules leave regions out of the table, the plot counts more of them, and says why."""
    drawn("threshold")
    assert "before anything" not in plots.note.text()

    result = replace(window.widget.result, rules=RegionRules(minimum_mm3=1000))
    window.widget.show_result(result)

    words = "in 2 regions, before anything is filled, merged or left out."
    qtbot.waitUntil(lambda: words in plots.note.text() and plots.job is None, timeout=WAIT_MS)


def test_the_slider_moves_the_line(window: Window, plots: PlotsWidget, drawn: Any) -> None:
    """Whichever of the two is moved, the other follows, without counting anew."""
    above, _ = drawn("threshold")

    window.widget.controls.kinds["probability"].threshold.setValue(0.95)

    assert mark_of(above) == 0.95
    assert "0.00 mL in 0 regions" in plots.note.text()
    assert plots.job is None


def test_histograms_tell_inside_from_outside(plots: PlotsWidget, drawn: Any) -> None:
    """The bright blobs are inside, the grey tissue outside; the probabilities likewise."""
    axes = drawn("intensity")[0]
    edges, inside = axes.patches[2].get_data().edges, axes.patches[2].get_data().values
    assert edges[inside.argmax()] <= 100 < edges[inside.argmax() + 1]
    assert inside.max() == 100

    axes = drawn("probability")[0]
    inside = axes.patches[2].get_data()
    assert inside.edges[np.flatnonzero(inside.values)].tolist() == pytest.approx([0.6, 0.9], abs=0.011)
    assert "probability ≥ 0.5" in plots.note.text()


def test_regions_measured_anew_are_counted_anew(window: Window, plots: PlotsWidget, drawn: Any, qtbot: Any) -> None:
    """Inside means inside of the regions that are seen."""
    drawn("intensity")

    window.widget.controls.set_threshold(0.7)

    qtbot.waitUntil(lambda: "≥ 0.7" in plots.note.text() and plots.job is None, timeout=WAIT_MS)
    legend = plots.view.figure.legends[0].get_texts()
    assert legend[1].get_text() == f"inside regions: {8 * 16 * 3} voxels"


def test_a_mask_is_set_against_the_model_while_it_is_painted(
    window: Window, plots: PlotsWidget, drawn: Any, qtbot: Any
) -> None:
    """Rows are what the reader marked, columns what the model found; a stroke counts at once."""
    plots.choose("confusion")
    assert "Choose a mask" in plots.note.text()
    scan = window.layer("phantom")
    place = {"scale": scan.scale, "translate": scan.translate, "units": scan.units}
    mask = window.viewer.add_labels(np.zeros(scan.data.shape, dtype=np.uint8), name="reader", **place)
    offered = [plots.truth.masks.itemText(i) for i in range(plots.truth.masks.count())]
    assert offered == ["none", "reader"]  # what the model found is no truth
    plots.truth.masks.setCurrentIndex(1)
    axes = drawn("confusion")[0]
    found = 8 * 16 * 3 + 3 * 6 * 2
    assert [text.get_text() for text in axes.texts] == [f"{40 * 80 * 12 - found:,}", f"{found}", "0", "0"]

    with mask.block_history():  # as one stroke of the brush does
        mask.data_setitem(np.nonzero(mask.data == 0), 1)

    qtbot.waitUntil(lambda: plots.view.figure.axes[0].texts[3].get_text() == f"{found}", timeout=WAIT_MS)


def test_reliability_is_shown_of_a_mask_and_of_a_calibration(
    window: Window, plots: PlotsWidget, drawn: Any, tmp_path: Path
) -> None:
    """One case against a mask, or what was found on labelled cases."""
    scan = window.layer("phantom")
    regions = window.layer("Regions: lesion")
    place = {"scale": scan.scale, "translate": scan.translate, "units": scan.units}
    window.viewer.add_labels((np.asarray(regions.data) == 1).astype(np.uint8), **place)
    plots.choose("reliability")
    plots.truth.masks.setCurrentIndex(1)
    (dots,) = drawn("reliability")[0].collections
    np.testing.assert_allclose(dots.get_offsets()[[2, 12, 18]], [(0.1, 0), (0.6, 0), (0.9, 1)], atol=1e-6)

    logits, truth = np.array([[-1.0], [2.0]] * 50), np.array([[0], [1]] * 50)
    found = {when: scores(logits, truth, "sigmoid", t) for when, t in (("before", 1.0), ("after", 2.0))}
    file = tmp_path / "calibration.json"
    file.write_text(Calibration("flair 1", "00", "sigmoid", 2.0, 7, 100, {"all": found}).to_json())
    plots.truth.read_calibration(str(file))
    plots.refresh()

    drawn("reliability")
    assert "7 labelled cases" in plots.note.text()
    assert "temperature 2" in plots.view.figure.get_suptitle()


def test_all_maps_are_correlated(plots: PlotsWidget, drawn: Any) -> None:
    """Letters stand for names that a cell has no room for."""
    axes = drawn("correlation")[0]

    assert [text.get_text() for text in axes.texts] == ["1.00"] * 4  # the attribution is the probability minus 0.5
    assert "<b>A:</b> Grad-CAM: lesion" in plots.note.text()


def test_the_checks_of_the_dock_trust_are_drawn(window: Window, plots: PlotsWidget, drawn: Any) -> None:
    """Deletion and insertion come from the other dock, as soon as it has them."""
    plots.choose("perturbation")
    assert "Check a map in the dock Trust" in plots.note.text()
    chart = Chart("Deletion", "share of the voxels", "score", (Curve("this map", (0.0, 1.0), (1.0, 0.0)),))
    check = Check("perturbation", "passes", "The target falls.", charts=(chart,))
    assert window.widget.result is not None
    report = TrustReport(window.widget.result.attributions[0], (check,))
    trust = TrustWidget(window.viewer)

    trust.show_checked(_checked(report))
    trust.deleteLater()

    (axes,) = drawn("perturbation")
    assert axes.lines[0].get_ydata()[0] == 1.0
    assert plots.note.text() == "The target falls."


def _checked(report: TrustReport) -> Any:
    from lesionlens.ui.checking import Checked

    missing = dict.fromkeys(("seen", "randomisation", "stability", "localisation", "agreement"), "It was left out.")
    return Checked(report, {}, missing)


def test_without_results_every_plot_says_what_to_do(window: Window, plots: PlotsWidget) -> None:
    """An empty figure would leave a reader guessing; results that are gone are not shown any more."""
    window.viewer.layers.clear()
    window.widget.current.forget()
    plots.refresh()

    for name in subjects.PLOTS:
        plots.choose(name)
        assert plots.note.text(), name
        assert plots.view.figure is None, name
        assert not plots.save.isEnabled(), name


def test_figures_are_saved_for_paper(
    plots: PlotsWidget, drawn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: Any
) -> None:
    """A dark figure in a paper would be a black box; without an ending it is a PNG."""
    drawn("threshold")
    plots.choose("probability")
    assert not plots.save.isEnabled()  # while it is being counted
    drawn("threshold")
    names = iter([str(tmp_path / "curve.svg"), str(tmp_path / "curve"), ""])
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (next(names), ""))

    for _ in range(3):
        qtbot.mouseClick(plots.save, Qt.MouseButton.LeftButton)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "curve.svg"]
    assert "fill: #ffffff" in (tmp_path / "curve.svg").read_text("utf-8")


def test_a_figure_that_cannot_be_saved_says_so(
    plots: PlotsWidget, drawn: Any, tmp_path: Path, notifications: list[Notification]
) -> None:
    """Nothing is lost in silence."""
    drawn("threshold")

    plots.save_figure(str(tmp_path / "missing" / "curve.png"))

    assert any("Cannot write" in str(one.message) for one in notifications)


def test_figures_have_the_colours_of_the_window(window: Window, plots: PlotsWidget, drawn: Any) -> None:
    """In the dark and in the light, words are read; a change of the theme is followed."""
    drawn("threshold")
    before = window.viewer.theme
    try:
        for theme in ("light", "dark"):
            window.viewer.theme = theme
            figure = plots.view.figure
            assert to_hex(figure.get_facecolor()) == get_theme(theme).background.as_hex(format="long")
            assert to_hex(figure.axes[0].yaxis.label.get_color()) == get_theme(theme).text.as_hex(format="long")
    finally:
        window.viewer.theme = before


def test_a_class_without_a_map_says_so(window: Window, plots: PlotsWidget, qtbot: Any) -> None:
    """A classification bundle has nothing to cut."""
    from ui_cases import classification_of

    window.widget.show_result(classification_of(phantom(), {"severe": 0.9}))
    plots.choose("threshold")

    qtbot.waitUntil(lambda: "no probability map" in plots.note.text(), timeout=WAIT_MS)


def test_small_lesions_are_there() -> None:
    """The phantom has what the numbers above count."""
    assert phantom().array[BLOB].size == 8 * 16 * 3
    assert phantom().array[SMALL_BLOB].size == 3 * 6 * 2
