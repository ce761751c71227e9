"""Many cases: what there is to do, doing it, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lesionlens.batch.cases import BatchCase, FoundCases, find_cases
from lesionlens.batch.keys import ModelHashes, case_links, model_hashes
from lesionlens.batch.looks import Looks
from lesionlens.batch.reports import remove_reports, write_reports
from lesionlens.batch.store import Store
from lesionlens.batch.work import Outcome, Task
from lesionlens.errors import InputError, LesionLensError, OutputError
from lesionlens.options import RunOptions
from lesionlens.progress import Progress, silent

__all__ = ["BatchPlan", "BatchResult", "plan_batch", "run_batch"]

#: done: results of this input, model and options are there. failed: it was tried with these. stale: there are results
#: of others. waiting: it is to be done.
State = Literal["done", "failed", "stale", "waiting"]


@dataclass(frozen=True)
class BatchPlan:
    """What there is, and what is to be done.

    Parameters
    ----------
    found
        All cases, and what is none.
    states
        By name.
    model
        Hashes of the bundles.
    """

    found: FoundCases
    states: dict[str, State]
    model: ModelHashes

    def to_do(
        self, *, retry_failed: bool = False, overwrite: bool = False, limit: int | None = None
    ) -> list[BatchCase]:
        """Return the cases to work on, in their order."""
        wanted = {"waiting", *(("failed",) if retry_failed else ()), *(("stale",) if overwrite else ())}
        return [case for case in self.found.cases if self.states[case.name] in wanted][:limit]

    def count(self, state: State) -> int:
        """Return how many cases are in a state."""
        return Counter(self.states.values())[state]


@dataclass(frozen=True)
class BatchResult:
    """What came of a batch: the names of cases that are done, that failed, and that were not tried yet.

    ``unfit`` has the address of each worker that could do none of them, and why; others did its cases.
    """

    out: Path
    done: tuple[str, ...]
    failed: tuple[str, ...]
    waiting: tuple[str, ...]
    worked_on: int
    unfit: Mapping[str, str] = field(default_factory=dict)


def plan_batch(
    inputs: str | Path,
    options: RunOptions,
    out: str | Path,
    *,
    pattern: str = "*",
    rehash: bool = False,
    progress: Progress = silent,
) -> BatchPlan:
    """Find the cases and see which are done; nothing is written.

    Parameters
    ----------
    inputs, pattern
        See :func:`~lesionlens.batch.cases.find_cases`.
    options
        Of all cases; ``input`` is not looked at, and what a manifest says of a case goes first.
    out
        Folder of the batch; it need not exist.
    rehash
        Read the files of finished cases again, even where size and times are those of when they were read.
    progress
        Called as headers are read, and as results of earlier runs are compared.

    Raises
    ------
    LesionLensError
        If there are no cases, no such bundle, or the folder holds something else.
    """
    store = Store(Path(out))
    store.check()
    model = model_hashes(options)
    found = find_cases(inputs, pattern=pattern, series=options.series, progress=progress)
    states: dict[str, State] = {}
    for done, case in enumerate(found.cases):
        progress("Looking for results", done, len(found.cases))
        states[case.name] = _state(store, case, options, model, rehash=rehash)
    progress("Looking for results", len(found.cases), len(found.cases))
    return BatchPlan(found, states, model)


def _state(store: Store, case: BatchCase, options: RunOptions, model: ModelHashes, *, rehash: bool = False) -> State:
    """Compare hashes where there is something to compare; what was never tried is not read for it."""
    made, failure = store.key_of(case.name), store.failure_of(case.name)
    if made is None and failure is None:
        return "waiting"
    looks = Looks({} if rehash else store.looks_of(case.name))
    try:
        key = case_links(case, options, model, looks=looks)["key"]
    except LesionLensError:
        key = ""  # it cannot be read now either
    if made is not None:
        return "done" if made == key else "stale"
    return "failed" if failure is not None and failure.get("key") == key else "waiting"


def run_batch(
    inputs: str | Path,
    options: RunOptions,
    out: str | Path,
    *,
    pattern: str = "*",
    workers: int | None = None,
    scheduler: str | None = None,
    threads: int | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
    rehash: bool = False,
    limit: int | None = None,
    progress: Progress = silent,
) -> BatchResult:
    """Run a bundle on many scans, as :func:`~lesionlens.run_case` does on each; what is done already stays.

    A case that fails stops no other. Killed at any moment, the same call goes on where it was.

    Parameters
    ----------
    inputs, options, out, pattern
        See :func:`plan_batch`.
    workers
        Processes on this machine; by default the cases go through this one.
    scheduler
        Address of a dask scheduler, such as ``"tcp://host:8786"``.
    threads
        Threads for each network; by default as many as here. Another number gives other rounding errors.
    retry_failed
        Try again what failed.
    overwrite
        Make again what was made from another input, model or options.
    rehash
        As for :func:`plan_batch`.
    limit
        Work on so many cases at most.
    progress
        Called as cases are done; raise ``Cancelled`` from it to stop.

    Raises
    ------
    OutputError
        If the folder holds results of another input, model or options, another process works in it, or it cannot be
        written.
    ClusterError
        If the machines cannot be reached or go away.
    LesionLensError
        As :func:`plan_batch`.
    """
    if workers is not None and scheduler is not None:
        raise InputError("Workers are started here, or belong to a scheduler that exists; give one of the two.")
    store = Store(Path(out))
    store.check()
    with store.opened():
        plan = plan_batch(inputs, options, out, pattern=pattern, rehash=rehash, progress=progress)
        _refuse_stale(plan, store, overwrite=overwrite)
        todo = plan.to_do(retry_failed=retry_failed, overwrite=overwrite, limit=limit)
        remove_reports(store)
        counted = _Counted(store, len(todo), progress)
        tasks = _tasks(todo, options, plan.model, store, threads, workers)
        unfit = _work(tasks, counted, workers, scheduler) if todo else {}
        names = [case.name for case in plan.found.cases]
        states = write_reports(store, names, plan.found.left_out, progress=progress)
    done, failed, waiting = (tuple(states[state]) for state in ("done", "failed", "waiting"))
    return BatchResult(store.root, done, failed, waiting, counted.done, unfit)


def _refuse_stale(plan: BatchPlan, store: Store, *, overwrite: bool) -> None:
    stale = [name for name, state in plan.states.items() if state == "stale"]
    if stale and not overwrite:
        raise OutputError(
            f"{len(stale)} case(s) in {store.root} were made from another input, model or options, such as"
            f" {stale[0]!r}. Choose another folder, or allow it with --overwrite (overwrite=True in Python)."
        )


class _Counted:
    """Takes note of what became of each case."""

    def __init__(self, store: Store, total: int, progress: Progress) -> None:
        self._store, self._total, self._progress = store, total, progress
        self.done = 0
        progress("Cases", 0, total)

    def __call__(self, outcome: Outcome) -> None:
        self.done += 1
        if outcome.error:
            self._store.note_failure(outcome.name, outcome.error, outcome.kind, outcome.key)
        self._progress("Cases", self.done, self._total)

    def still(self, stage: str, done: int, total: int) -> None:  # noqa: ARG002 - as Progress is called
        """Let whoever watches stop the work between two cases."""
        self._progress("Cases", self.done, self._total)


def _tasks(
    todo: list[BatchCase],
    options: RunOptions,
    model: ModelHashes,
    store: Store,
    threads: int | None,
    workers: int | None,
) -> Iterator[Task]:
    import torch

    memory = None
    if workers is not None and options.memory_gib is None:
        from lesionlens.model.free import free_gib

        free = free_gib()
        memory = None if free is None else free / workers
    count, out = threads or torch.get_num_threads(), str(store.root.resolve())
    return (Task(case, options, model, out, count, memory) for case in todo)


def _work(
    tasks: Iterator[Task],
    counted: _Counted,
    workers: int | None,
    scheduler: str | None,
) -> dict[str, str]:
    """Work on cases; return which workers could do none of them, and why."""
    if workers is None and scheduler is None:
        from lesionlens.batch.local import run_here

        run_here(tasks, counted, progress=counted.still)
        return {}
    from lesionlens.batch.cluster import connected, run_on_cluster

    with connected(workers, scheduler) as client:
        return run_on_cluster(tasks, client, counted, progress=counted.still)
