"""A reader at the real window who never stops: keys, text and strokes at random, until the process is killed.

    python benchmarks/review_window.py SESSION SEED

Prints a line of JSON for each thing that the screen acknowledges, after the screen has said it: the event, and for a
stroke the voxels that were seen. ``killed_sessions.py --window`` compares these lines with the session.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lesionlens.display import DisplayView
from lesionlens.ui.open import settle
from lesionlens.ui.review.keys import KEYS
from lesionlens.ui.review.window import open_review

READER = "Ann"
ACTIONS = (
    "accept", "reject", "unsure", "confidence_2", "confidence_5", "next_finding", "previous_finding", "flag", "undo",
    "comment", "stroke", "stroke",
)  # fmt: skip
# Keys that end in nothing but a movement are not what this is about; a stroke has some radius in voxels.
RADIUS = 3


def seen(dock: Any) -> str:
    """Return a digest of the (i, j, k) voxels that the screen marks."""
    view = dock.reviewer.view
    marked = DisplayView(view.volume.grid).from_display(np.asarray(view.drawing.layer.data)) > 0
    return digest(marked)


def digest(mask: Any) -> str:
    """Return a digest of an (i, j, k) mask."""
    return hashlib.sha256(np.packbits(np.ascontiguousarray(mask)).tobytes()).hexdigest()


def say(dock: Any, event: Any, words: str) -> None:
    """Print what the screen says to be saved."""
    if words and words in dock.saved.text():
        line = {"id": event.id, "kind": event.act.kind, "finding": event.act.finding, "value": dict(event.act.value)}
        if event.act.kind in ("edit", "added"):
            line["seen"] = seen(dock)
        print(json.dumps(line), flush=True)


def stroke(dock: Any, rng: random.Random) -> None:
    """Draw a stroke as napari's brush does, near the middle of what is seen."""
    layer = dock.reviewer.view.drawing.layer
    layer.brush_size = RADIUS
    middle = np.rint(layer.world_to_data(dock.viewer.dims.point)).astype(int)
    with layer.block_history():
        for _ in range(3):
            place = [int(middle[0]), *(int(n + rng.randint(-6, 6)) for n in middle[1:])]
            layer.paint(np.clip(place, 0, np.array(layer.data.shape) - 1).tolist(), rng.choice((0, 1, 1)))


def read_on(path: Path, seed: int) -> None:
    """Open the session and go on for ever."""
    from PySide6.QtGui import QKeySequence
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication

    rng = random.Random(seed)
    viewer, dock = open_review(path, READER)
    window = viewer.window._qt_window
    window.activateWindow()
    dock.reviewer.stored.connect(lambda event, words: say(dock, event, words))
    while not (dock.reviewer.ready and window.isActiveWindow()):
        settle()
    print("ready", flush=True)
    while True:
        action = rng.choice(ACTIONS)
        if action == "stroke":
            stroke(dock, rng)
        else:
            QTest.keySequence(QApplication.focusWidget() or window, QKeySequence(KEYS[action]))
        if action == "comment":
            QTest.keyClicks(QApplication.focusWidget(), f"comment {rng.random()}")
            QTest.keySequence(QApplication.focusWidget(), QKeySequence("Return"))
        QApplication.processEvents()


if __name__ == "__main__":
    read_on(Path(sys.argv[1]), int(sys.argv[2]))
