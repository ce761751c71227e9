"""Make the pictures of the viewer in docs/images from the sample scan and the embedded bundle.

Needs a display of at least 1600 x 1000 pixels; under Xvfb:
``xvfb-run -s "-screen 0 1600x1000x24" python docs/make_screenshots.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from napari.layers import Layer
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea

from lesionlens.display import AXIAL, CORONAL
from lesionlens.io import read, read_overlay
from lesionlens.pipeline import RunOptions, run_case
from lesionlens.results import write_case
from lesionlens.sample import sample_scan
from lesionlens.sessions import CaseFiles, start_session
from lesionlens.ui.canvas import show_plane
from lesionlens.ui.compare import CompareWidget
from lesionlens.ui.layers import overlay_layer
from lesionlens.ui.open import open_viewer, save_screenshot, settle
from lesionlens.ui.plots.dock import PlotsWidget
from lesionlens.ui.review.window import open_review
from lesionlens.ui.trust import TrustWidget
from lesionlens.ui.views.dock import ViewsWidget
from lesionlens.ui.widget import LesionLensWidget
from lesionlens.volume import Volume

IMAGES = Path(__file__).parent / "images"
# Colours of a picture; 256 keep it below 300 KB without a visible difference.
COLOURS = 256
PAUSE_S = 0.02
# How far the brush goes in the picture of a correction.
STROKE_VOXELS = 6


# What is pictured of the dock Trust: all checks take minutes; these pass, and one is left out.
CHECKS = ("seen", "perturbation", "localisation")


def main() -> None:
    """Run the sample and picture everything: results, linked views, styles, checks, a comparison, a plot, a session."""
    path = sample_scan()
    volume = read(path)
    viewer = open_viewer(volume, run_case(RunOptions(path), volume=volume))
    widget = next(dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, LesionLensWidget))
    picture_results(viewer, widget)
    picture_views(viewer)
    picture_styles(viewer, widget)
    picture_checks(viewer, widget, volume)
    picture_comparison(viewer, widget)
    picture_plots(viewer, widget)
    result = widget.result
    viewer.close()
    assert result is not None
    with TemporaryDirectory() as folder:
        results = write_case(result, Path(folder, "results"))
        path = Path(folder, "trial.session")
        start_session(path, [CaseFiles(sample_scan(), results)]).close()
        picture_review(path)


def picture_results(viewer: Any, widget: LesionLensWidget) -> None:
    """Picture what a run shows."""
    kinds = widget.controls.kinds
    save(viewer, "viewer.png")
    kinds["probability"].visible.setChecked(False)
    kinds["attribution"].visible.setChecked(True)
    save(viewer, "viewer-gradcam.png")
    kinds["attribution"].visible.setChecked(False)
    kinds["probability"].visible.setChecked(True)
    show_plane(viewer, CORONAL)
    save(viewer, "viewer-coronal.png")
    show_plane(viewer, AXIAL)
    widget.table.choose_first()


def picture_views(viewer: Any) -> None:
    """Picture the three planes of the largest lesion."""
    dock = ViewsWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Views", area="right", tabify=True)
    wait(lambda: True)
    viewer.reset_view()
    save(viewer, "viewer-views.png")
    viewer.window.remove_dock_widget(dock)
    dock.shut()
    dock.deleteLater()
    settle()


def picture_styles(viewer: Any, widget: LesionLensWidget) -> None:
    """Picture a line, signed colours with their bar, the legend, and the part of the dock that they are set in."""
    kinds = widget.controls.kinds
    colours = kinds["attribution"].colours.currentText()
    kinds["probability"].contour.setChecked(True)
    kinds["attribution"].visible.setChecked(True)
    kinds["attribution"].colours.setCurrentText("blue-orange")
    kinds["regions"].visible.setChecked(False)
    widget.looking_twice.open()
    widget.glances.bars.setChecked(True)
    settle()
    widget.findChild(QScrollArea).ensureWidgetVisible(widget.glances)
    save(viewer, "viewer-styles.png")
    widget.glances.bars.setChecked(False)
    widget.looking_twice.heading.setChecked(False)
    kinds["regions"].visible.setChecked(True)
    kinds["attribution"].colours.setCurrentText(colours)
    kinds["attribution"].visible.setChecked(False)
    kinds["probability"].contour.setChecked(False)


def picture_comparison(viewer: Any, widget: LesionLensWidget) -> None:
    """Picture HiResCAM minus LayerCAM, and both side by side."""
    for method in ("layercam", "hirescam"):
        widget.form.explaining.choose(method)
        widget.form.bar.run.click()
        wait(lambda: widget.job is None)
        if method == "layercam":
            widget.controls.keep.click()
    first = next(layer.name for layer in viewer.layers if layer.name.startswith("LayerCAM"))
    dock = CompareWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Compare", area="right", tabify=True)
    dock.first.setCurrentText(first)
    dock.second.setCurrentText("HiResCAM: lesion")
    dock.bar.run.click()
    wait(lambda: dock.bar.job is None)
    widget.controls.kinds["regions"].visible.setChecked(False)
    dock.side_by_side.click()
    wait(lambda: True)
    viewer.reset_view()
    save(viewer, "viewer-compare.png")
    dock.hide_side_by_side()
    viewer.window.remove_dock_widget(dock)
    viewer.layers.remove(f"Difference: HiResCAM: lesion minus {first}")


def picture_checks(viewer: Any, widget: LesionLensWidget, volume: Volume) -> None:
    """Picture what the checks of Grad-CAM found, with the lesions that were simulated for a reader's."""
    (lesions,) = read_overlay(sample_scan().with_name("flair-sample-lesions.nii.gz"), volume, kind="mask")
    marks = viewer.add_layer(Layer.create(*overlay_layer(lesions, volume)))
    marks.contour = 1
    widget.controls.kinds["probability"].visible.setChecked(False)
    widget.controls.kinds["attribution"].visible.setChecked(True)
    dock = TrustWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Trust", area="right", tabify=True)
    dock.mask_layer.setCurrentText(marks.name)
    dock.checks.check(*CHECKS)
    dock.bar.run.click()
    wait(lambda: dock.bar.job is None)
    save(viewer, "viewer-trust.png")
    viewer.layers.remove(marks)
    viewer.window.remove_dock_widget(dock)


def picture_review(path: Path) -> None:
    """Picture a session: as it opens, with some verdicts, and with an outline that was corrected."""
    viewer, dock = open_review(path, "Ann")
    wait(lambda: dock.reviewer.ready)
    viewer.window._qt_viewer.canvas.native.setFocus()
    save(viewer, "review-open.png")
    for action in ("confidence_5", "accept", "confidence_3", "accept", "reject", "confidence_2", "unsure"):
        dock.actor.do(action)
    dock.reviewer.say("comment", "vessel?")
    save(viewer, "review-judged.png")
    dock.actor.do("brush")
    view = dock.reviewer.view
    assert view is not None
    layer = view.drawing.layer
    middle = layer.world_to_data(viewer.dims.point)
    with layer.block_history():
        for step in range(STROKE_VOXELS):
            layer.paint([middle[0], middle[1] - step, middle[2] + step], 1)
    wait(lambda: not dock.reviewer.unsaved)
    save(viewer, "review-edited.png")
    viewer.close()


def picture_plots(viewer: Any, widget: LesionLensWidget) -> None:
    """Picture what every threshold would give, beside the dock whose threshold it moves."""
    viewer.window.resize(1590, 940)  # room for a canvas between the docks
    dock = PlotsWidget(viewer)
    viewer.window.add_dock_widget(dock, name="Plots", area="right")
    viewer.window._qt_window.splitDockWidget(widget.parentWidget(), dock.parentWidget(), Qt.Orientation.Horizontal)
    widget.table.choose_first()
    wait(lambda: dock.view.figure is not None and dock.job is None)
    save(viewer, "viewer-plots.png")
    viewer.window.remove_dock_widget(dock)


def wait(until: Callable[[], bool]) -> None:
    """Let the window live until something is so, and was drawn."""
    while not until():
        settle()
        time.sleep(PAUSE_S)
    settle()


def save(viewer: Any, name: str) -> None:
    """Save the window as a small PNG."""
    path = save_screenshot(viewer, IMAGES / name)
    with Image.open(path) as picture:
        # Median cut, the default, gives up colours of few pixels, such as those of verdicts.
        small = picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main()
