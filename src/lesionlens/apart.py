"""Long work in a process of its own: it can be ended at once, its memory comes back, and its crash is only an error.

Functions, what they are given and what they return go through pipes, so that they must be such as :mod:`pickle` can
carry: functions of a module, not inner ones. The process serves one call after the other; for a while it is kept for
the next one, which then need not wait until torch is loaded.
"""

from __future__ import annotations

import atexit
import queue
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, cast

from lesionlens.apart_child import receive, send
from lesionlens.children import start_child
from lesionlens.errors import ProcessError
from lesionlens.progress import Progress, silent

__all__ = ["run_apart"]

_SERVE = "from lesionlens.apart_child import serve; serve()"

# How often progress is told although there is none: whoever stops the work does it there.
_LOOK_S = 0.1

# How long a process without work is kept. It holds the code of torch, a few hundred MiB.
_KEEP_S = 60.0

_NOT_STARTED = "Cannot start the process that runs the model"


def run_apart(function: Callable[..., Any], *arguments: Any, progress: Progress = silent, **named: Any) -> Any:
    """Call a function in a process of its own and return what it returns.

    Parameters
    ----------
    function
        Of a module; it is called with ``arguments``, ``named`` and a ``progress`` of its own.
    progress
        Told what the function tells, and its last step again some times a second; what it raises ends the process.

    Raises
    ------
    ProcessError
        If the process cannot be started, or ends before the work does.
    Exception
        Whatever the function raises, with a note of where.
    """
    child = _spare.taken() or _Child()
    try:
        kind, value = child.ask((function, arguments, named), progress)
    except BaseException:
        child.end()
        raise
    _spare.keep(child)
    if kind == "error":
        raise value
    return value


class _Child:
    """One process, and a thread that listens to it."""

    def __init__(self) -> None:
        try:
            self._process = start_child(_SERVE)
        except OSError as error:
            raise ProcessError(f"{_NOT_STARTED}: {error}. Close other programs and try again.") from error
        self._heard: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="LesionLens: listening", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, job: tuple[Any, ...], progress: Progress) -> tuple[str, Any]:
        """Return the answer to a job: ``"result"`` or ``"error"``, and which."""
        with suppress(OSError):  # it has ended, which shows below
            send(cast(BinaryIO, self._process.stdin), job)
        step = ("Starting", 0, 1)
        while True:
            try:
                message = self._heard.get(timeout=_LOOK_S)
            except queue.Empty:
                progress(*step)
                continue
            if message is None:
                raise ProcessError(f"The process that ran the model ended before its work did{self._how()}")
            if message[0] != "step":
                return cast(tuple[str, Any], message)
            step = message[1:]
            progress(*step)

    def end(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _listen(self) -> None:
        try:
            while True:
                self._heard.put(receive(cast(BinaryIO, self._process.stdout)))
        except Exception:  # the end of the stream, or of a message that was cut: whatever it is, nothing follows
            self._heard.put(None)

    def _how(self) -> str:
        """Return how the process ended, and what to do about it."""
        code = self._process.wait()
        if code == -getattr(signal, "SIGKILL", 9):
            return (
                ": the system ended it, most likely as memory ran out. Close other programs, or allow it less memory."
            )
        return f" (exit code {code}). Run it on the command line to see what it prints."


class _Spare:
    """The process that waits for the next call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._timer: threading.Timer | None = None

    def taken(self) -> _Child | None:
        """Return it, if there is one; it is the caller's then."""
        with self._lock:
            child, self._child = self._child, None
            if self._timer is not None:
                self._timer.cancel()
        return child if child is not None and child.alive else None

    def keep(self, child: _Child) -> None:
        """Keep a process for a while, unless there is one."""
        with self._lock:
            if self._child is None:
                self._child = child
                self._timer = threading.Timer(_KEEP_S, self.end)
                self._timer.daemon = True
                self._timer.start()
                return
        child.end()

    def end(self) -> None:
        """End it."""
        child = self.taken()
        if child is not None:
            child.end()


_spare = _Spare()
atexit.register(_spare.end)
