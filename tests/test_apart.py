"""Work in a process of its own: its results arrive whole, it ends at once, and its end is only an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

import apart_jobs
from lesionlens import apart
from lesionlens.apart import run_apart
from lesionlens.errors import AmbiguousSeriesError, Cancelled, InputError, ProcessError


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    apart._spare.end()
    yield
    apart._spare.end()


def ended(pid: int) -> bool:
    """Say whether a process is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_results_steps_and_the_process_for_the_next_call() -> None:
    """Large arrays and read-only dictionaries arrive as they are, what is printed does not disturb, and one serves."""
    steps: list[tuple[str, int, int]] = []
    array = np.arange(3_000_000, dtype=np.float32).reshape(100, -1)

    doubled, pid, table = run_apart(apart_jobs.double, array, progress=lambda *step: steps.append(step))

    assert doubled.dtype == np.float32
    assert np.array_equal(doubled, 2 * array)
    assert (type(table), dict(table)) == (MappingProxyType, {"a": 1})
    assert pid != os.getpid()
    assert steps[-1] == ("Doubling", 1, 2)
    assert run_apart(apart_jobs.double, array)[1] == pid
    apart._spare.end()
    assert ended(pid)


def test_errors_arrive_with_what_they_carry_and_where_they_were() -> None:
    """A question needs its choices, a report the place; and the process is as good as before."""
    with pytest.raises(AmbiguousSeriesError, match=r"Choose one\.") as caught:
        run_apart(apart_jobs.choose)
    assert caught.value.choices == ("a", "b")
    assert "apart_jobs.py" in "".join(caught.value.__notes__)

    with pytest.raises(RuntimeError, match="OddError: as libraries do"):
        run_apart(apart_jobs.fail_oddly)


def test_cancelling_ends_it_within_one_step(tmp_path: Path) -> None:
    """A step may take minutes: whoever cancels must not wait for its end."""

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "Sleeping":
            raise Cancelled("Stopped by the user.")

    start = time.monotonic()
    with pytest.raises(Cancelled, match="Stopped"):
        run_apart(apart_jobs.sleep, str(tmp_path), progress=stop)
    assert time.monotonic() - start < 60
    assert ended(int((tmp_path / "pid").read_text()))
    assert apart._spare.taken() is None


def test_progress_is_asked_although_nothing_is_told(tmp_path: Path) -> None:
    """The step that takes minutes was told once; the user presses Cancel afterwards."""
    told: list[str] = []

    def stop_later(stage: str, done: int, total: int) -> None:
        told.append(stage)
        if told.count("Sleeping") > 3:
            raise Cancelled("Stopped by the user.")

    with pytest.raises(Cancelled, match="Stopped"):
        run_apart(apart_jobs.sleep, str(tmp_path), progress=stop_later)
    assert ended(int((tmp_path / "pid").read_text()))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals of this kind")
def test_the_end_of_the_process_is_an_error() -> None:
    """Memory that runs out in a network must not take the reader's window with it."""
    with pytest.raises(ProcessError, match="memory ran out"):
        run_apart(apart_jobs.crash, int(signal.SIGKILL))
    with pytest.raises(ProcessError, match=f"exit code -{int(signal.SIGABRT)}"):
        run_apart(apart_jobs.crash, int(signal.SIGABRT))
    with pytest.raises(ProcessError, match="exit code 1"):
        run_apart(apart_jobs.unreadable)
    assert run_apart(apart_jobs.memory, 1000)


def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that embeds Python may have none to start."""
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(ProcessError, match="Cannot start"):
        run_apart(apart_jobs.memory, 1)


def test_memory_comes_back() -> None:
    """What a network needed is the system's again."""
    psutil = pytest.importorskip("psutil")
    pid = run_apart(apart_jobs.memory, 1)
    before = psutil.Process(pid).memory_info().rss
    assert run_apart(apart_jobs.memory, 300 << 20) == pid
    assert psutil.Process(pid).memory_info().rss - before < 50 << 20


def test_nothing_is_left_when_its_parent_is_killed(tmp_path: Path) -> None:
    """A window that crashes must not leave a network behind that computes for hours."""
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        f"import apart_jobs; from lesionlens.apart import run_apart; run_apart(apart_jobs.sleep, {str(tmp_path)!r})"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    mark = tmp_path / "pid"
    until = time.monotonic() + 120
    while not (mark.exists() and mark.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    while not ended(int(mark.read_text())):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_call_that_cannot_be_read_fails_alone() -> None:
    """A function from a script of the user is not there in the other process."""
    with pytest.raises(Exception, match=r"pickle|attribute"):
        run_apart(lambda progress: None)
    with pytest.raises(InputError, match="again"):
        run_apart(raise_again)


def raise_again(*, progress: object) -> None:
    """Fail; it stands in a file of tests, which the other process can import."""
    raise InputError("again")
