"""Many cases in one process: the next scan is read and the last result written while the network computes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from lesionlens.batch.work import Loaded, Outcome, Task, compute, load, load_model, write
from lesionlens.errors import Cancelled
from lesionlens.progress import Progress, silent

__all__ = ["run_here"]


def run_here(tasks: Iterable[Task], report: Callable[[Outcome], None], *, progress: Progress = silent) -> None:
    """Work on cases one after the other; three are in memory at most: one ahead, one computed, one being written.

    One thread alone runs the network, so that results are those of ``lesionlens run``.

    Parameters
    ----------
    tasks
        In their order.
    report
        Called with what became of each.
    progress
        Called as the network advances; raise ``Cancelled`` from it to stop. What is computed by then is still written.
    """
    waiting = iter(tasks)
    first = next(waiting, None)
    if first is None:
        return
    bundle = load_model(first)
    stop = threading.Event()

    def reading(stage: str, done: int, total: int) -> None:  # noqa: ARG001 - as Progress is called
        if stop.is_set():
            raise Cancelled("stopped.")

    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:

        def start(task: Task | None) -> Future[Loaded | Outcome] | None:
            return None if task is None else reader.submit(load, task, progress=reading)

        ahead, behind = start(first), None
        try:
            while ahead is not None:
                loaded = ahead.result()
                ahead = start(next(waiting, None))
                made = compute(loaded, bundle, progress=progress)
                written, behind = behind, writer.submit(write, made)
                if written is not None:
                    report(written.result())
        finally:
            stop.set()
            _abandon(ahead)
            if behind is not None:
                report(behind.result())


def _abandon(ahead: Future[Loaded | Outcome] | None) -> None:
    """Give up a case that was read and will not be computed."""
    if ahead is None or ahead.cancel():
        return
    try:
        loaded = ahead.result()
    except Cancelled:
        return
    if isinstance(loaded, Loaded):
        loaded.job.done()
