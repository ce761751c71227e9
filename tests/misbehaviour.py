"""Readers that do what no reader must do, for tests of the judge of mutants; a child process imports them by name."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from lesionlens.errors import ReadError
from lesionlens.io import read
from lesionlens.volume import Volume

__all__ = ["chatter", "die", "fail", "greedy", "hang", "leak", "not_finite"]


def die(path: Path, **choices: Any) -> Volume:
    """End the process, as a C library does on a bad pointer."""
    os._exit(7)


def hang(path: Path, **choices: Any) -> Volume:
    """Never come back; whoever waits ends this process."""
    while True:
        time.sleep(1)


def chatter(path: Path, **choices: Any) -> Volume:
    """Write to the screen, past Python."""
    os.write(2, b"a word on the screen")
    return read(path, **choices)


def fail(path: Path, **choices: Any) -> Volume:
    """Raise what a parser raises."""
    raise KeyError("x")


def leak(path: Path, **choices: Any) -> Volume:
    """Name the patient."""
    raise ReadError("Cannot read the scan of Secret^Patient.")


def not_finite(path: Path, **choices: Any) -> Volume:
    """Return a volume that holds no numbers."""
    volume = read(path, **choices)
    return volume.with_array(np.full(volume.grid.shape, np.nan))


def greedy(path: Path, **choices: Any) -> Volume:
    """Take much memory, and give it back."""
    np.ones(1 << 26)
    return read(path, **choices)
