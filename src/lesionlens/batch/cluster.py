"""Many cases on many processes or machines: dask.distributed hands them out, and again where a worker dies."""

from __future__ import annotations

import threading
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from lesionlens.batch.work import Outcome, Task, load_model, work
from lesionlens.errors import ClusterError, MissingPackageError
from lesionlens.progress import Progress, silent

if TYPE_CHECKING:
    from distributed import Client

    from lesionlens.model.bundle import Bundle

__all__ = ["connected", "run_on_cluster"]

# Cases that wait at each worker: it need not ask for the next one, and the scheduler holds few at a time.
_WAITING: Final = 2
# How long the scheduler may take to answer, seconds.
_ANSWER_S: Final = 30
# So often a case may take its worker down before it counts as failed.
_DEATHS: Final = 3

# One case at a time in each worker, however many threads it has: a GPU holds one, and a network takes all cores.
_TURN = threading.Lock()
_LOADED: dict[tuple[Any, ...], Bundle] = {}


@contextmanager
def connected(workers: int | None, scheduler: str | None) -> Iterator[Client]:
    """Yield a client of a scheduler that exists, or of workers that are started here and stopped afterwards.

    Raises
    ------
    ClusterError
        If there is none, or workers do not start.
    MissingPackageError
        If dask.distributed is not installed.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise MissingPackageError(
            "Workers and schedulers need dask.distributed; install it with: pip install 'lesionlens[cluster]'.",
            package="distributed",
            extra="cluster",
        ) from None
    settings = {
        "distributed.scheduler.allowed-failures": _DEATHS,
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.comm.timeouts.connect": f"{_ANSWER_S}s",
    }
    with dask.config.set(settings), ExitStack() as stack:
        address: Any = scheduler
        try:
            if scheduler is None:
                address = stack.enter_context(
                    LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50)
                )
            client = stack.enter_context(Client(address, timeout=_ANSWER_S))
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            where = scheduler or f"{workers} workers on this machine"
            raise ClusterError(f"Cannot work with {where}: {error}. Check the address and that it runs.") from error
        yield client


def run_on_cluster(
    tasks: Iterable[Task],
    client: Client,
    report: Callable[[Outcome], None],
    *,
    do: Callable[[Task], Outcome] | None = None,
    progress: Progress = silent,
) -> None:
    """Let the workers of a cluster do cases; few are handed out at a time, and nothing large comes back.

    Parameters
    ----------
    tasks
        In their order.
    client
        Of :func:`connected`.
    report
        Called with what became of each.
    do
        What a worker does with each; by default all stages of the case.
    progress
        Called between cases; raise ``Cancelled`` from it to stop.

    Raises
    ------
    ClusterError
        If the scheduler goes away; what is finished stays.
    """
    from distributed import as_completed

    waiting, names = iter(tasks), {}
    running = as_completed(loop=client.loop)

    def hand_out() -> None:
        task = next(waiting, None)
        if task is not None:
            future = client.submit(do or _work, task, pure=False)
            names[future.key] = task.case.name
            running.add(future)

    for _ in range(max(1, _WAITING * len(client.nthreads()))):
        hand_out()
    for future in running:
        report(_outcome(future, names.pop(future.key), client))
        future.release()
        hand_out()
        progress("Cases", 0, 1)


def _outcome(future: Any, name: str, client: Client) -> Outcome:
    from distributed import KilledWorker

    try:
        found: Outcome = future.result()
    except KilledWorker:
        sentence = (
            f"The worker died {_DEATHS + 1} times on this case, perhaps of too little memory; give workers more memory,"
            " or start fewer, then --retry-failed."
        )
        return Outcome(name, error=sentence, kind="KilledWorker")
    except (Exception, CancelledError) as error:
        if future.cancelled() or client.status != "running":
            raise ClusterError(
                "The scheduler went away; finished cases are kept. Start it again, and give the same command."
            ) from error
        return Outcome(name, error=f"unexpected {type(error).__name__}: {error}", kind=type(error).__name__)
    return found


def _work(task: Task) -> Outcome:
    """Do a case on a worker, with the bundle that it loaded before."""
    with _TURN:
        task = replace(task, device=_device())
        try:
            bundle = _bundle(task)
        except Exception as error:  # the loop over cases: it is on record, and the others go on
            return Outcome(task.case.name, error=" ".join(str(error).split()), kind=type(error).__name__)
        return work(task, bundle)


def _bundle(task: Task) -> Bundle:
    options = task.options
    device = options.device or task.device
    key = (task.model.bundle, options.bundle, device, options.classes, options.through_affine)
    if key not in _LOADED:
        _LOADED.clear()
        _LOADED[key] = load_model(task)
    import torch

    if task.threads is not None:  # counts for the thread that calls it
        torch.set_num_threads(task.threads)
    return _LOADED[key]


def _device() -> str | None:
    """Give each worker that was started here a GPU of its own, where there are several."""
    import torch
    from distributed import get_worker

    number = get_worker().name
    if not isinstance(number, int) or torch.cuda.device_count() < 2:
        return None
    return f"cuda:{number % torch.cuda.device_count()}"
