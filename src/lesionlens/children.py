"""Processes of Python that serve this one: how they are started, and what they read from and write to.

Not ``multiprocessing``: its children run the user's script once more, which then needs a guard.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, BinaryIO

__all__ = ["own_streams", "start_child"]

# What children run first: they find modules where this program finds them, and nowhere else.
_PATHS = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "

_NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)


def start_child(
    program: str, *, environment: Mapping[str, str] | None = None, stderr: int | IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process of the Python that runs this one, with pipes to its standard input and output.

    Parameters
    ----------
    program
        Python code.
    environment
        Variables beside those of this process.
    stderr
        Where what it complains of goes, as for :class:`subprocess.Popen`.

    Raises
    ------
    OSError
        If there is none, or it cannot be started.
    """
    if not sys.executable:
        raise FileNotFoundError("sys.executable does not name a Python")
    paths = json.dumps([os.path.abspath(path) for path in sys.path])
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _PATHS + program, paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, **(environment or {})},
        creationflags=_NO_WINDOW,
    )


def own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep standard input and output of a child for its messages, and give whatever else reads or prints empty ones."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nothing, descriptor)
    return incoming, outgoing
