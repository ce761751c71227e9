"""Damaged files by the thousand: made from a seed, read in a child process, and judged.

A mutant must end in a valid volume (or list of series, or map) or in a :class:`~lesionlens.errors.ReadError` of one
line, soon, in little memory, and without a word on the screen. The child can crash or hang without harm: it is started
again, and the mutant that it read is the finding.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from lesionlens.errors import AmbiguousSeriesError, AmbiguousStackError, IrregularSeriesError, ReadError
from lesionlens.heatmap import LabelMap
from lesionlens.io import list_series, read, read_overlay
from lesionlens.volume import Grid, Volume
from mutant_sources import Source, sources

__all__ = ["GOOD", "MOST_BYTES", "Outcome", "judge", "make_mutant", "run", "write_mutant"]

# A volume or map came of it; or its headers could be listed and no more; or nothing.
GOOD = ("volume", "listed", "refused")

# No mutant is larger than a megabyte: what takes longer than this is stuck, not busy, on any machine.
MOST_SECONDS = 20.0

# ... and what takes more memory than this believes what a header promises.
MOST_BYTES = 256 << 20


Reader = Callable[..., Volume]

# What overlays are brought onto.
_SCAN = Volume(np.zeros((8, 7, 4), np.float32), Grid((8, 7, 4), np.diag([2.0, 2, 3, 1])))


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant: its kind (:data:`GOOD` or a fault), details, and what it cost."""

    source: str
    seed: int
    kind: str
    detail: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0


def make_mutant(source: Source, seed: int) -> dict[str, bytes]:
    """Return the files of a source, one of them damaged in one to three ways."""
    rng = Random(f"{source.name} {seed}")
    name = rng.choice(sorted(source.files))
    content = source.files[name]
    for _ in range(rng.choice((1, 1, 2, 3))):
        way = rng.choice(source.ways)
        content = way(content, rng)
    return {**source.files, name: content}


def write_mutant(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files of a mutant into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def run(
    names: list[str],
    seeds: range,
    *,
    seconds: float = float("inf"),
    reader: Reader = read,
) -> Iterator[Outcome]:
    """Read the mutants of the sources in turn, seed after seed, until the time is over."""
    started = time.monotonic()
    child = _Child(names, reader)
    try:
        for seed in seeds:
            for name in names:
                if time.monotonic() - started > seconds:
                    return
                yield child.read(name, seed)
    finally:
        child.stop()


class _Child:
    """A process that reads mutants, and another one after it was lost."""

    def __init__(self, names: list[str], reader: Reader) -> None:
        self._how = (names, reader)
        self._folder = Path(tempfile.mkdtemp(prefix="mutants-"))
        self._process: Any = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, str(self._folder), *self._how), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()  # it is ready; starting may take long on a busy machine, and is no mutant's fault

    def read(self, name: str, seed: int) -> Outcome:
        """Let the child read one mutant."""
        if self._process is None:
            self._start()
        self._pipe.send((name, seed))
        try:
            if self._pipe.poll(MOST_SECONDS):
                outcome: Outcome = self._pipe.recv()
                return outcome
            kind, detail = "hang", f"more than {MOST_SECONDS:g} s"
        except EOFError:
            self._process.join(5)
            kind, detail = "crash", f"exit code {self._process.exitcode}"
        self._end()
        return Outcome(name, seed, kind, detail, MOST_SECONDS if kind == "hang" else 0.0)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None

    def stop(self) -> None:
        """End the child and remove what it wrote."""
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)


def _serve(pipe: Connection, home: str, names: list[str], reader: Reader) -> None:
    """Read mutants until the parent goes."""
    text = Path(home, "screen")
    screen = os.open(text, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(screen, 1)
    os.dup2(screen, 2)
    warnings.simplefilter("always")
    _warm_up(names, Path(home, "warm"))
    gc.freeze()  # what is loaded by now need not be looked through again and again
    pipe.send("ready")
    while True:
        try:
            name, seed = pipe.recv()
        except EOFError:
            return
        os.ftruncate(screen, 0)
        files = make_mutant(sources()[name], seed)
        outcome = judge(name, seed, files, Path(home, "mutant"), reader)
        sys.stderr.flush()
        shown = text.read_bytes()
        if shown and outcome.kind in GOOD:
            outcome = Outcome(name, seed, "text", shown.decode("utf-8", "replace")[-500:], outcome.seconds)
        pipe.send(outcome)


def _warm_up(names: list[str], folder: Path) -> None:
    """Read each source once as it is, so that what is imported on the way counts for no mutant."""
    for source in map(sources().__getitem__, names):
        write_mutant(folder, source.files)
        with contextlib.suppress(ReadError):
            read(folder / source.path)


def judge(name: str, seed: int, files: dict[str, bytes], folder: Path, reader: Reader = read) -> Outcome:
    """Write and read one mutant in this process."""
    source = sources()[name]
    write_mutant(folder, files)
    before = _peak_bytes(reset=True)
    started = time.perf_counter()
    kind, detail = "refused", ""
    try:
        for what, work in (("listed", _list), ("volume", _read), *([("volume", _overlay)] if source.overlay else [])):
            try:
                work(folder / source.path, reader)
                kind = what
            except ReadError as error:
                _check_message(error)
    except Exception as error:
        kind, detail = f"error {type(error).__name__}", f"{error} {_place(error)}"[:500]
    seconds = time.perf_counter() - started
    peak = _peak_bytes(reset=False) - before
    if peak > MOST_BYTES and kind in GOOD:
        kind, detail = "memory", f"{peak / 2**20:.0f} MiB"
    return Outcome(name, seed, kind, detail, seconds, peak)


def _read(path: Path, reader: Reader) -> None:
    """Read, and choose and allow what the refusals ask for."""
    choices: dict[str, Any] = {}
    for _ in range(4):
        try:
            _check_volume(reader(path, **choices))
            return
        except (AmbiguousStackError, AmbiguousSeriesError, IrregularSeriesError) as error:
            _check_message(error)
            word = {AmbiguousStackError: "stack", AmbiguousSeriesError: "series"}.get(type(error), "irregular")
            if word in choices:
                raise
            choices[word] = 0 if word == "stack" else "resample" if word == "irregular" else error.choices[0]


def _list(path: Path, reader: Reader) -> None:
    for info in list_series(path):
        assert info.files, "a series without files"
        assert all(part.isprintable() for part in (info.description, info.modality, info.uid, *info.stacks))
        assert "ecret" not in f"{info.description}{info.verdict}{info.uid}", "the patient's name"


def _overlay(path: Path, reader: Reader) -> None:
    for found in read_overlay(path, _SCAN, other_frame=True):
        volume = found.volume
        assert volume.grid.same_as(_SCAN.grid), "an overlay off the scan's grid"
        assert isinstance(found, LabelMap) or np.isfinite(volume.array).all(), "not finite"


def _check_volume(volume: Volume) -> None:
    assert isinstance(volume, Volume)
    assert volume.array.shape == volume.grid.shape
    assert min(volume.grid.spacing_mm) > 0
    assert np.isfinite(volume.grid.corners()).all(), "a grid beyond numbers"
    assert np.isfinite(volume.array).all(), "not finite"


def _check_message(error: ReadError) -> None:
    message = str(error)
    assert message
    assert message.isprintable(), f"a message that cannot be shown: {message!r}"
    assert "secret" not in message.casefold(), f"the patient's name: {message}"
    assert len(message) < 3000, f"a message of {len(message)} characters: {message[:200]}"


def _place(error: BaseException) -> str:
    """Return where an error came from: the last lines of the traceback."""
    trace, lines = error.__traceback__, []
    while trace:
        lines.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(reversed(lines[-6:]))


def _peak_bytes(*, reset: bool) -> int:
    """Return the highest memory of this process since the last reset, on Linux; else 0."""
    if not sys.platform.startswith("linux"):
        return 0
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
