"""Functions that tests call in another process, which imports them from here."""

from __future__ import annotations

import os
import signal
import time
from types import MappingProxyType
from typing import Any

import numpy as np

from lesionlens.errors import AmbiguousSeriesError
from lesionlens.progress import Progress


def double(array: Any, *, progress: Progress) -> Any:
    """Return twice an array, the process, and a read-only dictionary."""
    progress("Doubling", 1, 2)
    print("what a library prints is no message")
    return 2 * array, os.getpid(), MappingProxyType({"a": 1})


def memory(n_bytes: int, *, progress: Progress) -> int:
    """Take memory for a moment; return the process."""
    progress("Filling", 0, 1)
    np.ones(n_bytes, np.uint8).sum()
    return os.getpid()


def choose(*, progress: Progress) -> None:
    """Fail as reading does where a choice is needed."""
    raise AmbiguousSeriesError("Choose one.", choices=("a", "b"))


class OddError(Exception):
    """An error that cannot be built anew from its message."""

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


def fail_oddly(*, progress: Progress) -> None:
    """Fail as some library does."""
    raise OddError("as libraries do", code=7)


def sleep(folder: str, *, progress: Progress) -> None:
    """Tell one step and then nothing for minutes; leave the number of the process in a file."""
    with open(os.path.join(folder, "pid"), "w") as file:
        file.write(str(os.getpid()))
    progress("Sleeping", 1, 9)
    time.sleep(600)


def crash(number: int, *, progress: Progress) -> None:
    """End the process as the system does when memory runs out, or as bad code does."""
    os.kill(os.getpid(), signal.Signals(number))


def unreadable(*, progress: Progress) -> Any:
    """Return what cannot be carried."""
    return lambda: None
