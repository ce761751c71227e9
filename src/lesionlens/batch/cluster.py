"""Many cases on many processes or machines: dask.distributed hands them out, and again where a worker dies."""

from __future__ import annotations

import threading
import time
from asyncio import CancelledError as AsyncCancelled
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from lesionlens.batch.keys import case_links
from lesionlens.batch.work import Outcome, Task, load_model, sentence, work
from lesionlens.errors import ClusterError, LesionLensError, MissingPackageError, counted
from lesionlens.progress import Progress, silent

if TYPE_CHECKING:
    from distributed import Client

    from lesionlens.model.bundle import Bundle

__all__ = ["connected", "run_on_cluster"]

# Cases that wait at each worker: it need not ask for the next one, and the scheduler holds few at a time.
_WAITING: Final = 2
# How long the scheduler may take to answer, seconds.
_ANSWER_S: Final = 30
# How long to wait for a case to end, or for its outcome to come, before looking at the others again, seconds.
_LOOK_S: Final = 5
# How long no worker is there, although cases wait, before new ones are started, or it is given up, seconds.
_ALONE_S: Final = 15
# How often they are started again in one batch.
_REVIVALS: Final = 20
# How long a worker that can do none of the cases keeps each from those that can, seconds: a fit one that is free has it
# sooner, and where all are busy the case does not go round and round.
_UNFIT_S: Final = 2
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
                    LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        dashboard_address="127.0.0.1:0",  # None would be port 8787, with a warning where it is taken
                        scheduler_kwargs={"dashboard": False},
                        silence_logs=50,
                    )
                )
            client = stack.enter_context(Client(address, timeout=_ANSWER_S))
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            where = scheduler or f"{counted(workers or 0, 'worker')} on this machine"
            raise ClusterError(f"Cannot work with {where}: {error}. Check the address and that it runs.") from error
        yield client


def run_on_cluster(
    tasks: Iterable[Task],
    client: Client,
    report: Callable[[Outcome], None],
    *,
    do: Callable[[Task], Outcome] | None = None,
    progress: Progress = silent,
) -> dict[str, str]:
    """Let the workers of a cluster do cases; few are handed out at a time, and nothing large comes back.

    A worker that can do none of the cases, as its bundle or LesionLens is another one, fails none of them: others do
    them.

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

    Returns
    -------
    dict
        The address of each worker that could do nothing, and why.

    Raises
    ------
    ClusterError
        If the scheduler goes away, or no worker can do anything; what is finished stays.
    """
    again, unfit = deque[Task](), dict[str, str]()
    waiting = iter(tasks)
    running: dict[Any, Task] = {}

    def hand_out(workers: int) -> None:
        while len(running) < max(1, _WAITING * workers):
            task = again.popleft() if again else next(waiting, None)
            if task is None:
                return
            running[client.submit(do or _work, task, pure=False)] = task

    hand_out(len(client.nthreads()))
    watch = _Watch(client)
    while running:
        workers = watch.look()  # those of a queue come one by one, long after the first cases were handed out
        for future in _finished(running, client):
            outcome = _outcome(future, running[future], client)
            if outcome is None:
                continue
            task = running.pop(future)
            future.release()
            if outcome.unfit:
                unfit[outcome.worker] = outcome.error
                again.append(task)
                _refuse_none(client, unfit)
            else:
                unfit.pop(outcome.worker, None)
                report(outcome)
        hand_out(workers)
        progress("Cases", 0, 1)
    return unfit


def _refuse_none(client: Client, unfit: Mapping[str, str]) -> None:
    """Give up where every worker that is there can do nothing: cases would go round for ever."""
    there = set(client.nthreads())
    if there and there <= unfit.keys():
        address = next(one for one in unfit if one in there)
        raise ClusterError(
            f"No worker can do the work ({counted(len(there), 'worker')}); of {address}: {unfit[address]}"
            " Finished cases are kept."
        )


class _Watch:
    """Sees to it that there are workers: dask starts none again that died before they had quite started."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen = time.monotonic()
        self._revived = 0

    def look(self) -> int:
        """Return how many workers there are.

        Those of this machine are started again where all are gone; for those of others some minutes are waited.
        """
        try:
            there = len(self._client.nthreads())
        except (OSError, CancelledError, AsyncCancelled) as error:
            raise _gone() from error
        if there:
            self._seen = time.monotonic()
            return there
        alone = time.monotonic() - self._seen
        ours = self._client.cluster
        if ours is not None and alone > _ALONE_S and self._revived < _REVIVALS:
            self._revived += 1
            count = len(ours.worker_spec)
            ours.scale(0)
            ours.scale(count)
            self._seen = time.monotonic()
        elif alone > _ALONE_S * _REVIVALS:
            raise ClusterError("No worker is left; finished cases are kept. Start some, and give the same command.")
        return 0


def _finished(running: Iterable[Any], client: Client) -> list[Any]:
    """Return what ended by now, or after a while nothing, so that nobody waits for ever for what was lost."""
    from distributed import wait

    try:
        return list(wait(list(running), timeout=_LOOK_S, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        if client.status != "running":
            raise _gone() from None
        return []
    except (CancelledError, AsyncCancelled) as error:
        raise _gone() from error


def _gone() -> ClusterError:
    return ClusterError("The scheduler went away; finished cases are kept. Start it again, and give the same command.")


def _outcome(future: Any, task: Task, client: Client) -> Outcome | None:
    """Return what became of a case; None where its worker died before it could say so, and it is done again."""
    from distributed import KilledWorker

    try:
        found: Outcome = future.result(timeout=_LOOK_S)
    except TimeoutError:
        return None
    except KilledWorker:
        died = (
            f"The worker died {_DEATHS + 1} times on this case, perhaps of too little memory; give workers more memory,"
            " or start fewer, then --retry-failed."
        )
        return Outcome(task.case.name, error=died, kind="KilledWorker", key=_key(task))
    except (Exception, AsyncCancelled) as error:
        if future.cancelled() or client.status != "running":
            raise _gone() from error
        return Outcome(task.case.name, error=sentence(error), kind=type(error).__name__)
    return found


def _key(task: Task) -> str:
    """Return what a case depends on, so that it is not tried again before its worker can live through it."""
    try:
        return str(case_links(task.case, task.options, task.model)["key"])
    except LesionLensError:
        return ""


def _work(task: Task) -> Outcome:
    """Do a case on a worker, with the bundle that it loaded before."""
    from distributed import get_worker

    address = get_worker().address
    with _TURN:
        task = replace(task, device=_device())
        try:
            bundle = _bundle(task)
        except Exception as error:  # whoever hands the cases out says so, and gives this one to another worker
            time.sleep(_UNFIT_S)
            return Outcome(task.case.name, 0.0, sentence(error), type(error).__name__, worker=address, unfit=True)
        return replace(work(task, bundle), worker=address)


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
