"""Virtual X displays: one for each test process, as a display has only one keyboard.

A window that is activated takes the keyboard from the window that had it, whichever process that belongs to. Where two
test processes share a display, keys that one presses end where the other has just opened a window, and do nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

__all__ = ["Screen", "can_open", "open_screen"]

_SIZE = "1600x1000x24"


@dataclass(frozen=True)
class Screen:
    """A virtual display that is running, and its name as ``DISPLAY`` holds it."""

    name: str
    process: subprocess.Popen[bytes]

    def close(self) -> None:
        """End it, with whatever is shown on it."""
        self.process.terminate()
        self.process.wait()


def can_open() -> bool:
    """Say whether virtual displays can be had here."""
    return shutil.which("Xvfb") is not None


def open_screen() -> Screen:
    """Start a display with a name that no other has."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", _SIZE, "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=(writing,), stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as stream:
        number = stream.readline().strip()  # comes when it is ready
    if not number:
        process.wait()
        raise OSError(f"Xvfb ended with exit code {process.returncode} before it was ready.")
    return Screen(f":{number}", process)
