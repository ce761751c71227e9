"""Decode codestreams in child processes, so that a decoder's crash is an error like any other.

The decoders of JPEG and its relatives are C code. On damaged data it may crash, hang, print, or ask for all memory; in
a process of its own it does so to nobody. Children are started when they are first needed, serve all threads, and end
with this process, because their input does.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from lesionlens.children import start_child
from lesionlens.errors import ReadError
from lesionlens.io.boundary import one_line
from lesionlens.io.dicom.decoder_child import receive, send
from lesionlens.io.limits import MOST_PIXELS

__all__ = ["DecoderError", "Decoders", "decoders"]

# Seconds for starting Python and numpy from a slow disk, and for decoding an image, which takes milliseconds; the
# slowest decoder here does twenty times as many pixels in a second. Whoever takes longer hangs.
_START = 120.0
_PATIENCE = 60.0
_VALUES_PER_SECOND = 250_000

# More children than this are not faster: one thread hands them their work.
_MOST_CHILDREN = 8

# A child that lost its pipe gets this long to say why it ended, and this much longer than its parent waits.
_GRACE = 2.0

# A longer answer comes from a decoder that wrote where it must not.
_MOST_BYTES = 8  # of a value

# What the children run.
_SERVE = "from lesionlens.io.dicom.decoder_child import serve; serve()"

_NOT_STARTED = "Cannot start a process that decodes compressed images"
_UNCOMPRESSED = "Export the series uncompressed."


class DecoderError(RuntimeError):
    """A codestream was not decoded; the message is the reason alone."""


class Decoders:
    """Child processes that decode.

    Parameters
    ----------
    most
        Children at a time; as many as there are processors by default, and two at least.
    patience
        Seconds for one image before its child is ended, besides what its size needs.
    program
        Python code that the children run.
    """

    def __init__(self, most: int | None = None, *, patience: float = _PATIENCE, program: str = _SERVE) -> None:
        self._program, self._patience = program, patience
        self.most = most or max(2, min(_MOST_CHILDREN, os.cpu_count() or 1))
        self._free = threading.Semaphore(self.most)
        self._lock = threading.Lock()
        self._idle: list[_Child] = []

    def decode(self, codestream: bytes, syntax: str, options: dict[str, Any]) -> NDArray[Any]:
        """Return the image of a codestream.

        Parameters
        ----------
        codestream
            One frame.
        syntax
            Transfer syntax UID.
        options
            What pydicom's decoders want to know of the header: ``rows``, ``columns``, ``bits_allocated`` and others.

        Returns
        -------
        numpy.ndarray
            (row, column), and a third axis where there are several values to a pixel.

        Raises
        ------
        DecoderError
            If it is damaged, its decoder crashed, or took too long.
        ReadError
            If no process can be started.
        """
        rows, columns = options["rows"], options["columns"]
        n_values = rows * columns * options["samples_per_pixel"]
        if not 0 < n_values <= MOST_PIXELS:
            raise DecoderError(f"expected at most {MOST_PIXELS} values in an image, found {columns} x {rows} pixels")
        seconds = self._patience + n_values / _VALUES_PER_SECOND
        job = {"syntax": syntax, "options": options, "seconds": seconds + _GRACE}
        with self._free:
            child = self._take()
            try:
                reply, body = child.ask(job, codestream, seconds, n_values * _MOST_BYTES)
                if "error" not in reply:
                    values: NDArray[Any] = np.frombuffer(body, reply["dtype"]).reshape(reply["shape"])
            except BaseException:
                child.end()
                raise
            self._idle.append(child)
        if "error" in reply:
            raise DecoderError(reply["error"])
        return values

    def _take(self) -> _Child:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive:
                    return child
                child.end()
        return _Child(self._program)

    def close(self) -> None:
        """End the children that have nothing to do."""
        with self._lock:
            while self._idle:
                self._idle.pop().end()


class _Child:
    """One process that decodes one codestream after the other."""

    def __init__(self, program: str) -> None:
        try:
            self._process = start_child(
                program,
                environment={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise ReadError(f"{_NOT_STARTED}: {one_line(error)}. {_UNCOMPRESSED}") from error
        self._in, self._out = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        try:
            self._within(_START, lambda: receive(self._out, 0))
        except BaseException:
            self.end()
            raise

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, job: dict[str, Any], codestream: bytes, seconds: float, most: int) -> tuple[dict[str, Any], bytes]:
        """Return the answer to a job: its head, and its body of so many bytes at most."""

        def exchange() -> tuple[dict[str, Any], bytes]:
            send(self._in, job, codestream)
            return receive(self._out, most)

        return self._within(seconds, exchange)

    def _within(self, seconds: float, work: Callable[[], tuple[dict[str, Any], bytes]]) -> tuple[dict[str, Any], bytes]:
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, stop)  # ends a blocked read on every system, as no time-out of a pipe does
        timer.daemon = True
        timer.start()
        try:
            return work()
        except (OSError, EOFError, ValueError) as error:
            if late.is_set():
                raise DecoderError(f"its decoder did not come to an end within {seconds:.3g} seconds") from error
            raise DecoderError(f"its decoder crashed ({self._end()})") from error
        finally:
            timer.cancel()

    def _end(self) -> str:
        """Return how the process ended."""
        try:
            code = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            return "its answer makes no sense"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def end(self) -> None:
        """End the process and wait for its end."""
        self._process.kill()
        for stream in (self._in, self._out):
            with suppress(OSError):  # what was still to be written
                stream.close()
        self._process.wait()


_shared = Decoders()
_inherited: list[Decoders] = []


def decoders() -> Decoders:
    """Return the decoders of this process."""
    return _shared


def _renew() -> None:
    """Leave the children to the process that started them: after a fork both would talk to them."""
    global _shared
    _inherited.append(_shared)  # kept, because an end of its pipes would be an end of the children
    _shared = Decoders()


atexit.register(lambda: decoders().close())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
