"""Overlays on a large scan: how long a change of style takes, and what opening and scrolling cost against plain napari.

A real window is opened, without a display on a virtual one:

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/styling.py [--rounds 9] [--json result.json]

Styles are changed in the dock on a scan of 512 x 512 x 300 with three overlays. "layer" is the time until the layers
have their new properties, "drawn" until the window shows the slice with them. "plain" is "drawn" for the same change of
plain image layers in a window without the dock, where there is such a change: what napari, Qt and the graphics card
need in any case. "idle" draws the same picture again. Medians. Without a graphics card most of it is the drawing.

Opening and scrolling compare a CT of 512 x 512 x 600 with three overlays, shown by LesionLens, with napari showing the
same four arrays as plain image layers in a window without the dock. Both are drawn after every step, into the window
and as a picture that was asked for at once; the two take turns, and the ratio is that of the medians. The windows stand
before the clock runs: "window" is what that takes. Arrays are in memory: reading is measured elsewhere.

With --cpu the processor time of this process counts instead of the clock, drawing included where there is no graphics
card: for machines that do something else as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import napari
import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QApplication

import lesionlens as ll
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.results import CaseResult
from lesionlens.styles import SEQUENTIAL
from lesionlens.ui.layers import volume_layer
from lesionlens.ui.open import settle
from lesionlens.ui.views.linkage import canvas_of
from lesionlens.ui.widget import LesionLensWidget
from lesionlens.volume import Grid

SIZE = 512
STYLE_SLICES = 300
LARGEST_MS, LARGEST_RATIO = 100.0, 1.3
SCROLL_STEPS = 20
_WINDOW = (1500, 940)

Arrays = tuple[NDArray[Any], ...]
Clock = Callable[[], float]


def made(n_slices: int) -> Arrays:
    """Return a CT and three maps, (slice, row, column) as scanners write them: balls of several sizes and noise."""
    generator = np.random.default_rng(0)
    noise = generator.integers(-20, 20, (SIZE, SIZE), dtype=np.int16)
    row, column = np.ogrid[:SIZE, :SIZE]
    across = (np.hypot(row - SIZE / 2, column - SIZE / 2) / (0.3 * SIZE)).astype(np.float32)
    ct = np.empty((n_slices, SIZE, SIZE), np.int16)
    maps = [np.empty(ct.shape, np.float32) for _ in range(3)]
    for k in range(n_slices):
        away = across + np.float32(abs(k - n_slices / 2) / n_slices)
        ct[k] = noise + np.where(away < 1.2, np.int16(40), np.int16(-1000))
        for n, one in enumerate(maps):
            np.clip(np.float32(1.1 - 0.1 * n) - away, 0, 1, out=one[k])
    return ct, *maps


def result_of(arrays: Arrays) -> CaseResult:
    """Return the arrays as a scan with probability, Grad-CAM and uncertainty; nothing is copied."""
    ct, probability, cam, sd = (array.transpose(2, 1, 0) for array in arrays)
    grid = Grid(ct.shape, np.diag([-0.7, -0.7, 1.0, 1.0]))
    volume = ll.Volume(ct, grid, "ct", unit="HU")

    def heatmap(array: NDArray[Any], kind: Any, method: str) -> Heatmap:
        return Heatmap(volume.with_array(array), kind, "lesion", kind == "attribution", Provenance(method=method))

    result = CaseResult(
        volume, "made 1", (heatmap(probability, "probability", "softmax"),),
        (heatmap(cam, "attribution", "gradcam"),), {}, {}, {}, 0.5, {},
    )  # fmt: skip
    return replace(result, uncertainties=(heatmap(sd / 2, "uncertainty", "sd"),))


def drawn(viewer: Any) -> None:
    """Return when the canvas was drawn into the window, and as a picture."""
    QApplication.processEvents()
    viewer.screenshot(canvas_only=True, flash=False)


class Painted:
    """Waits until the window shows the canvas as it is now.

    Parameters
    ----------
    viewer
        Whose canvas.

    Attributes
    ----------
    count : int
        How many times it was drawn.
    """

    def __init__(self, viewer: Any) -> None:
        self.count = 0
        self._canvas = canvas_of(viewer).canvas
        self._canvas._scene_canvas.events.draw.connect(self._drawn, position="last")  # napari has no public event

    def wait(self) -> None:
        """Let Qt draw; where nothing has changed, the same again."""
        before = self.count
        self._canvas.native.update()
        while self.count == before:
            QApplication.processEvents()
        QApplication.processEvents()  # what else has changed: the dock, the list of layers

    def _drawn(self, _event: Any) -> None:
        self.count += 1


def window(*, dock: bool) -> tuple[Any, LesionLensWidget | None]:
    """Open a window, with the dock or as napari has it."""
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(*_WINDOW)
    widget = LesionLensWidget(viewer) if dock else None
    if widget is not None:
        viewer.window.add_dock_widget(widget, name="LesionLens", area="right")
    settle()
    return viewer, widget


def show(viewer: Any, widget: LesionLensWidget, result: CaseResult) -> None:
    """Open a scan with its overlays, all of them switched on."""
    viewer.add_layer(napari.layers.Layer.create(*volume_layer(result.volume)))
    widget.show_result(result)
    for layer in viewer.layers:
        if not layer.visible:
            layer.visible = True
    viewer.reset_view()
    drawn(viewer)


def show_plain(viewer: Any, arrays: Arrays) -> None:
    """Show the same arrays as plain layers."""
    for n, array in enumerate(arrays):
        colours = ("gray", "plasma", "viridis", "inferno")[n]
        viewer.add_image(array, colormap=colours, opacity=0.5 if n else 1.0, scale=(1.0, 0.7, 0.7), rgb=False)
    viewer.reset_view()
    drawn(viewer)


def changes(widget: LesionLensWidget) -> Mapping[str, Callable[[int], None]]:
    """Return what a reader changes, each as the n-th change of its kind."""
    kinds = widget.controls.kinds
    probability, cam, sd = kinds["probability"], kinds["attribution"], kinds["uncertainty"]

    def threshold(n: int) -> None:
        probability.threshold.setValue(0.3 + 0.02 * (n % 20))  # type: ignore[union-attr]  # this kind has one

    return {
        "threshold of the probability": threshold,
        "opacity of the attribution": lambda n: cam.opacity.setValue(0.3 + 0.02 * (n % 20)),
        "colours of the uncertainty": lambda n: sd.colours.setCurrentIndex(n % sd.colours.count()),
        "colours of the attribution, signed": lambda n: cam.colours.setCurrentText(("viridis", "blue-orange")[n % 2]),
        "line instead of colours": lambda n: probability.contour.setChecked(n % 2 == 0),
        "line, threshold": lambda n: (probability.contour.setChecked(True), threshold(n))[1],
        "visible": lambda n: cam.visible.setChecked(n % 2 == 0),
        "hide all": lambda n: (widget.glances.curtain.draw, widget.glances.curtain.open)[n % 2](),
        "window": lambda n: setattr(widget.viewer.layers[0], "contrast_limits", (0, 80 + n)),
    }


def plain_changes(viewer: Any) -> Mapping[str, Callable[[int], None]]:
    """Return the same changes of plain layers, as far as these have them."""
    scan, probability, cam, sd = viewer.layers

    def signed(n: int) -> None:
        cam.colormap = ("viridis", "twilight")[n % 2]
        cam.contrast_limits = (-float(n % 2), 1.0)

    def hide(n: int) -> None:
        for layer in viewer.layers[1:]:
            layer.visible = n % 2 == 1

    return {
        "threshold of the probability": lambda n: setattr(probability, "contrast_limits", (0.3 + 0.02 * (n % 20), 1.0)),
        "opacity of the attribution": lambda n: setattr(cam, "opacity", 0.3 + 0.02 * (n % 20)),
        "colours of the uncertainty": lambda n: setattr(sd, "colormap", SEQUENTIAL[n % len(SEQUENTIAL)]),
        "colours of the attribution, signed": signed,
        "visible": lambda n: setattr(cam, "visible", n % 2 == 0),
        "hide all": hide,
        "window": lambda n: setattr(scan, "contrast_limits", (0, 80 + n)),
    }


def measure_styles(arrays: Arrays, rounds: int, clock: Clock) -> dict[str, dict[str, float]]:
    """Return the medians of every change in ms."""
    viewer, widget = window(dock=True)
    assert widget is not None
    show(viewer, widget, result_of(arrays))
    widget.measurer.request = lambda *_: None  # type: ignore[method-assign]  # regions are measured when sliders rest
    for controls in widget.controls.kinds.values():
        controls.visible.setChecked(True)
    ours = medians_ms(changes(widget), viewer, rounds, clock)
    viewer.close()
    settle()
    viewer, _ = window(dock=False)
    show_plain(viewer, arrays)
    plain = medians_ms(plain_changes(viewer), viewer, rounds, clock)
    viewer.close()
    settle()
    return {
        name: figures if name not in plain else {**figures, "plain": plain[name]["drawn"]}
        for name, figures in ours.items()
    }


def medians_ms(
    changes: Mapping[str, Callable[[int], None]], viewer: Any, rounds: int, clock: Clock
) -> dict[str, dict[str, float]]:
    """Return how long changes take in ms, and how many times the canvas was drawn for one; first times left out."""
    painted = Painted(viewer)
    found = {}
    for name, change in {"idle": lambda _: None, **changes}.items():
        layer, whole = [], []
        for n in range(rounds + 1):
            if n == 1:
                first = painted.count
            begin = clock()
            change(n)
            changed = clock()
            painted.wait()
            layer.append(1000 * (changed - begin))
            whole.append(1000 * (clock() - begin))
        medians = {"layer": statistics.median(layer[1:]), "drawn": statistics.median(whole[1:])}
        found[name] = {**medians, "draws": (painted.count - first) / rounds}
    return found


def measure_scale(arrays: Arrays, rounds: int, clock: Clock) -> dict[str, dict[str, float]]:
    """Return the medians of opening and of one step of scrolling in s, of LesionLens and of plain napari."""
    seconds: dict[str, dict[str, list[float]]] = {
        name: {"window": [], "open": [], "scroll": []} for name in ("LesionLens", "plain napari")
    }
    for round_number in range(rounds + 1):
        for name, found in seconds.items():
            taken = open_and_scroll(arrays, clock, dock=name == "LesionLens")
            for what, one in taken.items() if round_number else ():
                found[what].append(one)
    medians = {
        name: {what: statistics.median(times) for what, times in found.items()} for name, found in seconds.items()
    }
    ours, plain = medians["LesionLens"], medians["plain napari"]
    return {**medians, "ratio": {what: ours[what] / plain[what] for what in ours}}


def open_and_scroll(arrays: Arrays, clock: Clock, *, dock: bool) -> dict[str, float]:
    """Return how long a new window takes, opening in it, and one step of scrolling, in s."""
    result = result_of(arrays) if dock else None  # its values are checked when they are read or computed
    begin = clock()
    viewer, widget = window(dock=dock)
    ready = clock() - begin
    begin = clock()
    if widget is not None and result is not None:
        show(viewer, widget, result)
    else:
        show_plain(viewer, arrays)
    opened = clock() - begin
    first = len(arrays[0]) // 3
    begin = clock()
    for step in range(SCROLL_STEPS):
        viewer.dims.set_current_step(0, first + step)
        drawn(viewer)
    scrolled = (clock() - begin) / SCROLL_STEPS
    viewer.close()
    settle()
    return {"window": ready, "open": opened, "scroll": scrolled}


def in_words(figures: Mapping[str, float]) -> str:
    """Return the figures of one change of style in one line."""
    words = f"layer {figures['layer']:6.1f} ms   drawn {figures['drawn']:6.1f} ms, {figures['draws']:.1f} times"
    if "plain" in figures:
        words += f"   plain {figures['plain']:6.1f} ms, ratio {figures['drawn'] / figures['plain']:.2f}"
    return words if figures["drawn"] < LARGEST_MS else f"{words}   more than {LARGEST_MS:g} ms"


def main(argv: list[str] | None = None) -> None:
    """Measure both, print a line for each figure, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="besides the first; opening takes a third of them")
    parser.add_argument("--slices", type=int, default=600, help="of the CT that is opened and scrolled")
    parser.add_argument("--cpu", action="store_true", help="count processor time")
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args(argv)
    clock = time.process_time if options.cpu else time.perf_counter
    arrays = made(max(options.slices, STYLE_SLICES))
    styles = measure_styles(tuple(array[:STYLE_SLICES] for array in arrays), options.rounds, clock)
    for name, figures in styles.items():
        print(f"{name:36} {in_words(figures)}", flush=True)
    scale = measure_scale(tuple(array[: options.slices] for array in arrays), max(1, options.rounds // 3), clock)
    for name, figures in scale.items():
        unit = "" if name == "ratio" else " s"
        times = ", ".join(f"{what} {time:.3f}{unit}" for what, time in figures.items())
        print(f"{name:14} {times}")
    if max(scale["ratio"][what] for what in ("open", "scroll")) > LARGEST_RATIO:
        print(f"more than {LARGEST_RATIO:g} times plain napari")
    if options.json:
        options.json.write_text(json.dumps({"styles": styles, "scale": scale}, indent=2) + "\n")


if __name__ == "__main__":
    main()
