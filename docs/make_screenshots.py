"""Make the pictures of the viewer in docs/images from the sample scan and the embedded bundle.

Needs a display of at least 1600 x 1000 pixels; under Xvfb:
``xvfb-run -s "-screen 0 1600x1000x24" python docs/make_screenshots.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from lesionlens.display import CORONAL
from lesionlens.io import read
from lesionlens.pipeline import RunOptions, run_case
from lesionlens.sample import sample_scan
from lesionlens.ui.canvas import show_plane
from lesionlens.ui.open import open_viewer, save_screenshot
from lesionlens.ui.widget import LesionLensWidget

IMAGES = Path(__file__).parent / "images"
# Colours of a picture; 256 keep it below 300 KB without a visible difference.
COLOURS = 256


def main() -> None:
    """Run the sample and picture probability, Grad-CAM and a coronal view."""
    path = sample_scan()
    volume = read(path)
    viewer = open_viewer(volume, run_case(RunOptions(path), volume=volume))
    widget = next(dock for dock in viewer.window.dock_widgets.values() if isinstance(dock, LesionLensWidget))
    kinds = widget.controls.kinds
    save(viewer, "viewer.png")
    kinds["probability"].visible.setChecked(False)
    kinds["attribution"].visible.setChecked(True)
    save(viewer, "viewer-gradcam.png")
    kinds["attribution"].visible.setChecked(False)
    kinds["probability"].visible.setChecked(True)
    show_plane(viewer, CORONAL)
    save(viewer, "viewer-coronal.png")
    viewer.close()


def save(viewer: Any, name: str) -> None:
    """Save the window as a small PNG."""
    path = save_screenshot(viewer, IMAGES / name)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(COLOURS)
    small.save(path, optimize=True)


if __name__ == "__main__":
    main()
