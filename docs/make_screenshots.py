"""Make the pictures of the viewer in docs/images from the sample scan and the embedded bundle.

Needs a display of at least 1600 x 1000 pixels; under Xvfb:
``xvfb-run -s "-screen 0 1600x1000x24" python docs/make_screenshots.py``.
Names of pictures, such as ``viewer-trust.png``, make these alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from napari.layers import Layer
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea, QWidget

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

IMAGES = Path(__file__).parent / "images"
# Colours of a picture; 256 keep it below 300 KB without a visible difference.
COLOURS = 256
PAUSE_S = 0.02
# So many pictures of the window in a row that are equal mean that nothing waits to be drawn.
STEADY = 8
# How far the brush goes in the picture of a correction.
STROKE_VOXELS = 6


# What is pictured of the dock Trust: all checks take minutes; these pass, and one is left out.
CHECKS = ("seen", "perturbation", "localisation")


def main(names: Sequence[str]) -> None:
    """Run the sample and make the pictures of these names, with those that come along, or all."""
    if unknown := set(names).difference(OF_A_SESSION, *PICTURES.values()):
        raise SystemExit(f"There are no pictures {', '.join(sorted(unknown))}.")
    wanted = [make for make, files in PICTURES.items() if not names or set(files).intersection(names)]
    path = sample_scan()
    volume = read(path)
    viewer = open_viewer(volume, run_case(RunOptions(path), volume=volume))
    widget = next(dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, LesionLensWidget))
    for make in wanted:
        make(viewer, widget)
    result = widget.result
    viewer.close()
    assert result is not None
    if names and not set(OF_A_SESSION).intersection(names):
        return
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


def picture_views(viewer: Any, _widget: LesionLensWidget) -> None:
    """Picture the three planes of the largest lesion."""
    dock = ViewsWidget(viewer)
    add(viewer, dock, "Views")
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
    add(viewer, dock, "Compare")
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


def picture_checks(viewer: Any, widget: LesionLensWidget) -> None:
    """Picture what the checks of Grad-CAM found, with the lesions that were simulated for a reader's."""
    assert widget.result is not None
    volume = widget.result.volume
    (lesions,) = read_overlay(sample_scan().with_name("flair-sample-lesions.nii.gz"), volume, kind="mask")
    marks = viewer.add_layer(Layer.create(*overlay_layer(lesions, volume)))
    marks.contour = 1
    widget.controls.kinds["probability"].visible.setChecked(False)
    widget.controls.kinds["attribution"].visible.setChecked(True)
    dock = TrustWidget(viewer)
    add(viewer, dock, "Trust")
    dock.mask_layer.setCurrentText(marks.name)
    dock.checks.check(*CHECKS)
    dock.bar.run.click()
    wait(lambda: dock.bar.job is None)
    viewer.reset_view()
    save(viewer, "viewer-trust.png")
    viewer.layers.remove(marks)
    viewer.window.remove_dock_widget(dock)
    widget.controls.kinds["attribution"].visible.setChecked(False)
    widget.controls.kinds["probability"].visible.setChecked(True)


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
    dock = PlotsWidget(viewer)
    add(viewer, dock, "Plots")
    window, frame = viewer.window._qt_window, dock.parentWidget()
    frame.setFloating(True)  # Qt splits no tabs, and clears away their bar only now
    settle()
    window.splitDockWidget(widget.parentWidget(), frame, Qt.Orientation.Horizontal)
    frame.setFloating(False)
    viewer.window.resize(1590, 940)  # room for a canvas between the docks
    wait(lambda: not (dock.visibleRegion().isEmpty() or widget.visibleRegion().isEmpty()))
    widget.table.choose_first()
    wait(lambda: dock.view.figure is not None and dock.job is None)
    viewer.reset_view()
    save(viewer, "viewer-plots.png")
    viewer.window.remove_dock_widget(dock)


#: What makes which pictures, in this order.
PICTURES: dict[Callable[[Any, LesionLensWidget], None], tuple[str, ...]] = {
    picture_results: ("viewer.png", "viewer-gradcam.png", "viewer-coronal.png"),
    picture_views: ("viewer-views.png",),
    picture_styles: ("viewer-styles.png",),
    picture_checks: ("viewer-trust.png",),
    picture_comparison: ("viewer-compare.png",),
    picture_plots: ("viewer-plots.png",),
}
OF_A_SESSION = ("review-open.png", "review-judged.png", "review-edited.png")


def add(viewer: Any, dock: QWidget, name: str) -> None:
    """Add a dock, and wait until it has found its place: a tab beside those that are there."""
    frame = viewer.window.add_dock_widget(dock, name=name, area="right")
    wait(lambda: bool(viewer.window._qt_window.tabifiedDockWidgets(frame)) and not dock.visibleRegion().isEmpty())


def wait(until: Callable[[], bool]) -> None:
    """Let the window live until something is so, and was drawn."""
    while not until():
        settle()
        time.sleep(PAUSE_S)
    settle()


def wait_until_drawn(viewer: Any) -> None:
    """Let the window live until it looks the same several times: layout, canvas and figures each take their rounds."""
    window, same, before = viewer.window._qt_window, 0, None
    while same < STEADY:
        settle()
        time.sleep(PAUSE_S)
        now = window.grab().toImage()
        same, before = (same + 1 if now == before else 0), now


def save(viewer: Any, name: str) -> None:
    """Save the window as a small PNG."""
    wait_until_drawn(viewer)
    path = save_screenshot(viewer, IMAGES / name)
    with Image.open(path) as picture:
        # Median cut, the default, gives up colours of few pixels, such as those of verdicts.
        small = picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
