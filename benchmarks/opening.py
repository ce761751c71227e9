"""Opening a series of 200 slices in napari: how soon there is a picture, when the whole scan is there, what stalls.

A real window is opened, without a display on a virtual one:

    xvfb-run -a python benchmarks/opening.py [--rounds 3] [--json result.json]

"first picture" is the time until a slice of the scan has been drawn, "whole scan" until its values are there, "longest
stall" the longest time for which the window did not answer. "reading alone" is the same series read without a window.
The first round of a process is listed as "cold": it also loads what napari draws with.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path

import napari
import pydicom
from pydicom.uid import JPEG2000Lossless
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from reading import write_dicom

import lesionlens as ll
from lesionlens.ui.opening import Opening
from lesionlens.ui.scans import Request
from lesionlens.ui.widget import LesionLensWidget

N_SLICES, SIZE = 200, 512
# How often the window is asked whether it answers.
TICK_MS = 5
TITLES = {"first": "first picture", "whole": "whole scan", "stall": "longest stall", "alone": "reading alone"}


def packed(folder: Path) -> Path:
    """Pack every slice of a series in place as lossless JPEG 2000."""
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.compress(JPEG2000Lossless)
        dataset.save_as(path)
    return folder


def open_once(viewer: napari.Viewer, folder: Path) -> dict[str, float]:
    """Open a series in a window and return when what was there, in seconds."""
    ticks, found = [time.perf_counter()], {}
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start(TICK_MS)
    over: list[str] = []
    begin = time.perf_counter()
    opening = Opening(viewer, Request(folder))
    opening.ended.connect(lambda: over.append("over"))
    while not over:
        QApplication.processEvents()
        if "first" not in found and viewer.layers:
            viewer.screenshot(canvas_only=True, flash=False)  # returns when the canvas was drawn
            found["first"] = time.perf_counter() - begin
    viewer.screenshot(canvas_only=True, flash=False)
    found["whole"] = time.perf_counter() - begin
    QApplication.processEvents()
    ticks.append(time.perf_counter())
    timer.stop()
    if len(viewer.layers) != 1:
        raise SystemExit(f"{folder.name} was not opened")
    found.setdefault("first", found["whole"])
    found["stall"] = max(b - a for a, b in itertools.pairwise(ticks))
    viewer.layers.clear()
    return found


def measure(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return the figures of the first round, and the medians of the others."""
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(1500, 940)
    viewer.window.add_dock_widget(LesionLensWidget(viewer), name="LesionLens", area="right")
    for _ in range(5):
        QApplication.processEvents()
    runs = []
    for _ in range(rounds + 1):
        found = open_once(viewer, folder)
        begin = time.perf_counter()
        ll.read(folder)
        runs.append({**found, "alone": time.perf_counter() - begin})
    viewer.close()
    return {"cold": runs[0], "warm": {name: statistics.median(run[name] for run in runs[1:]) for name in TITLES}}


def main(argv: list[str] | None = None) -> None:
    """Measure both series, print a line for each, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="besides the cold one")
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args(argv)
    results = {}
    with tempfile.TemporaryDirectory() as name:
        series = {
            "uncompressed": write_dicom(Path(name, "plain"), N_SLICES, SIZE),
            "JPEG 2000": packed(write_dicom(Path(name, "packed"), N_SLICES, SIZE)),
        }
        for title, folder in series.items():
            results[title] = measure(folder, options.rounds)
            for state, figures in results[title].items():
                told = ", ".join(f"{TITLES[key]} {value:.2f} s" for key, value in figures.items())
                print(f"{title:13} {state:5} {told}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
