"""Twenty cases in a row, and a window that closes while something runs: nothing may be left of either."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from lesionlens.ui.open import settle
from lesionlens.ui.plots.dock import PlotsWidget
from ui_cases import phantom, result_of
from ui_window import WAIT_MS, Window

# One array of a case takes 6 MB; caches of fonts and shaders fill up over the first cases.
_FIRST, _GROWTH_MB = 5, 5.0

# With a fixed limit glibc gives every large array back when it is freed. Otherwise the limit grows to the largest array
# that was freed; arrays then lie on the heap, where a small object behind one keeps its pages, in one run of two.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "131072"}

_CASES = """
import gc, json, os, sys
sys.path.insert(0, {tests!r})
import napari, numpy as np, psutil
from dataclasses import replace
from napari.layers import Layer
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication
from lesionlens.ui.layers import volume_layer
from lesionlens.ui.open import settle
from lesionlens.ui.plots.dock import PlotsWidget
from lesionlens.ui.widget import LesionLensWidget
from lesionlens.volume import Volume
from ui_cases import grid, result_of

viewer = napari.Viewer(show=False, show_welcome_screen=False)
docks = LesionLensWidget(viewer), PlotsWidget(viewer)
for dock in docks:
    viewer.window.add_dock_widget(dock, name=type(dock).__name__)
shape = (128, 128, 96)
array = np.zeros(shape, dtype=np.float32)
array[20:40, 20:40, 20:40] = 0.9
gc.freeze()  # napari collects garbage with every layer that goes: no need to look through all that is imported
sizes = []
for number in range(20):
    scan = Volume(array * (100 + number), grid(shape), f"case {{number}}")
    viewer.add_layer(Layer.create(*volume_layer(scan)))
    docks[0].show_result(result_of(scan, {{"lesion": array + 0}}))
    settle()
    while docks[1].view.figure is None or docks[1].job is not None:  # drawn in every case, not only when it is slow
        QApplication.processEvents()
    viewer.layers.clear()
    del scan
    settle()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    gc.collect()
    sizes.append(psutil.Process().memory_info().rss / 1e6)
print(json.dumps(sizes))
viewer.close()
"""

_RUN = """
import sys, threading
sys.path.insert(0, {tests!r})
import napari
from napari.layers import Layer
from qtpy.QtCore import QTimer
from lesionlens.ui import jobs, work
from lesionlens.ui.layers import volume_layer
from lesionlens.ui.widget import LesionLensWidget
from ui_cases import phantom

def run_case(options, *, volume, channels, progress):
    while True:
        progress("Predicting", 1, 8)
        threading.Event().wait(0.001)

work.run_case = run_case
viewer = napari.Viewer(show=False, show_welcome_screen=False)
dock = LesionLensWidget(viewer)
viewer.window.add_dock_widget(dock)
viewer.add_layer(Layer.create(*volume_layer(phantom())))
dock.run()
QTimer.singleShot(300, viewer.close)
from qtpy.QtWidgets import QApplication
QTimer.singleShot(1500, QApplication.instance().quit)
QApplication.instance().exec()
print(len(jobs._running.jobs), [t.name for t in threading.enumerate() if t.name.startswith("LesionLens")])
"""


def in_a_process(code: str, folder: Path, environment: dict[str, str] | None = None) -> str:
    """Run code in a process of its own, with settings of its own; return what it printed last."""
    tests = str(Path(__file__).resolve().parent.parent)
    settings = {"NAPARI_CONFIG": str(folder / "settings.yaml"), "LESIONLENS_CONFIG": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code.format(tests=tests)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **settings, **(environment or {})},
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.splitlines()[-1]


def test_closing_a_case_lets_go_of_it(window: Window, qtbot: Any) -> None:
    """Scan, maps and figures take gigabytes; a dock that keeps the last case keeps them while the next one is read."""
    plots = PlotsWidget(window.viewer)
    window.viewer.window.add_dock_widget(plots, name="LesionLens Plots")
    known = []
    for number in range(3):
        volume = phantom(name=f"case {number}")
        layer = window.open(volume)
        result = result_of(volume)
        window.widget.show_result(result)
        qtbot.waitUntil(lambda: plots.view.figure is not None and plots.job is None, timeout=WAIT_MS)
        known += [weakref.ref(one) for one in (volume, result, layer, plots.view.figure)]
        window.viewer.layers.clear()
        qtbot.waitUntil(lambda: plots.view.figure is None, timeout=WAIT_MS)
        del volume, result, layer
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    settle()
    gc.collect()

    assert window.widget.result is None
    assert "Regions appear here" in window.widget.table.caption.text()
    assert [type(one()).__name__ for one in known if one() is not None] == []


def test_results_stay_as_long_as_something_of_the_case_is_seen(window: Window) -> None:
    """Who removes the scan alone still looks at its maps; another scan that is closed changes nothing."""
    volume = phantom()
    scan, other = window.open(volume), window.open(phantom(name="other"))
    window.widget.show_result(result_of(volume))

    window.viewer.layers.remove(other)
    settle()
    window.viewer.layers.remove(scan)
    settle()
    assert window.widget.result is not None

    window.viewer.layers.clear()
    settle()
    assert window.widget.result is None


@pytest.mark.slow
@pytest.mark.xvfb
def test_twenty_cases_keep_memory_flat(tmp_path: Path) -> None:
    """A reader works through cases all day."""
    sizes = json.loads(in_a_process(_CASES, tmp_path, _ALLOCATOR))

    assert len(sizes) == 20
    assert max(sizes[_FIRST:]) - sizes[_FIRST] < _GROWTH_MB, sizes


@pytest.mark.xvfb
def test_closing_the_viewer_during_a_run_ends_the_run(tmp_path: Path) -> None:
    """No thread is left, nothing is said on the way out, and the process ends by itself."""
    assert in_a_process(_RUN, tmp_path) == "0 []"
