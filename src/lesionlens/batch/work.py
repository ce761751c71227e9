"""One case of many, in three stages that different threads can take: read, compute, write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionlens import __version__
from lesionlens.batch.cases import BatchCase
from lesionlens.batch.fetching import fetched
from lesionlens.batch.keys import ModelHashes, case_links, options_of
from lesionlens.batch.looks import Looks
from lesionlens.batch.store import Store
from lesionlens.errors import BundleError, Cancelled, ClusterError, ExplainError, LesionLensError
from lesionlens.io import read
from lesionlens.io.labels import read_labels
from lesionlens.options import RunOptions
from lesionlens.pipeline import run_case, unanswered
from lesionlens.progress import Progress, silent
from lesionlens.results import CaseResult, write_case
from lesionlens.volume import Volume

if TYPE_CHECKING:
    from lesionlens.model.bundle import Bundle

__all__ = ["Job", "Loaded", "Made", "Outcome", "Task", "compute", "load", "load_model", "sentence", "work", "write"]


@dataclass(frozen=True)
class Task:
    """What is to be done, as it travels to whoever does it.

    Parameters
    ----------
    case
        The case.
    options
        Of all cases.
    model
        Hashes of the bundles, which have to be the same wherever they are loaded.
    out
        Folder of the batch.
    threads
        That compute; another number gives other rounding errors. None leaves it as it is.
    memory_gib, device
        What a prediction may take and where it runs, where the options do not say: the share of one of several workers.
    version
        Of LesionLens where the batch was begun.
    """

    case: BatchCase
    options: RunOptions
    model: ModelHashes
    out: str
    threads: int | None = None
    memory_gib: float | None = None
    device: str | None = None
    version: str = __version__


@dataclass(frozen=True)
class Outcome:
    """What became of a case: ``error`` is empty where it is done, and ``kind`` names the class of the error.

    ``worker`` is the address of who did it, and ``unfit`` says that this one can do none of the cases.
    """

    name: str
    seconds: float = 0.0
    error: str = ""
    kind: str = ""
    key: str = ""
    worker: str = ""
    unfit: bool = False


@dataclass
class Job:
    """A case on its way: what is open for it, and since when."""

    task: Task
    open: ExitStack = field(default_factory=ExitStack)
    start: float = field(default_factory=time.perf_counter)
    key: str = ""

    def done(self, error: BaseException | None = None) -> Outcome:
        """Close what is open and say what became of it."""
        self.open.close()
        seconds = round(time.perf_counter() - self.start, 3)
        if error is None:
            return Outcome(self.task.case.name, seconds, key=self.key)
        return Outcome(self.task.case.name, seconds, sentence(error), type(error).__name__, self.key)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A case that was read."""

    job: Job
    options: RunOptions
    volume: Volume
    folder: Path
    links: dict[str, Any]
    looks: dict[str, str]
    mask: str | None


@dataclass(frozen=True, eq=False)
class Made:
    """A case that was computed."""

    loaded: Loaded
    result: CaseResult


def load(task: Task, *, progress: Progress = silent) -> Loaded | Outcome:
    """Fetch and read the scan of a case, and hash what it depends on."""
    job = Job(task)
    with _caught(job) as failed:
        store = Store(Path(task.out))
        looks = Looks()
        links = case_links(task.case, task.options, task.model, looks=looks)
        job.key = links["key"]
        if store.key_of(task.case.name) == job.key:  # whoever did it died before he could say so
            return job.done()
        folder = job.open.enter_context(store.workspace())
        places = fetched(task.case, folder / "input", progress=progress)
        options = options_of(task.case, task.options, places)
        options = _shared_out(task, options)
        volume = read(
            options.input,
            series=options.series,
            stack=options.stack,
            irregular=options.irregular,
            identified=options.identified,
            progress=progress,
        )
        mask = task.case.mask and places.get(task.case.mask, task.case.mask)
        return Loaded(job, options, volume, folder, links, looks.noted, mask)
    return failed[0]


def compute(loaded: Loaded | Outcome, bundle: Bundle, *, progress: Progress = silent) -> Made | Outcome:
    """Run the bundle on a scan that was read, as ``lesionlens run`` does it."""
    if isinstance(loaded, Outcome):
        return loaded
    with _caught(loaded.job) as failed:
        result = run_case(loaded.options, volume=loaded.volume, bundle=bundle, progress=progress)
        why = unanswered(result, loaded.options)
        if why:
            raise ExplainError(f"What --over asks could not be answered: {why}")
        return Made(loaded, result)
    return failed[0]


def write(made: Made | Outcome, *, progress: Progress = silent) -> Outcome:
    """Write the results of a case, as ``lesionlens run`` does it, and give them their place."""
    if isinstance(made, Outcome):
        return made
    loaded = made.loaded
    job, case = loaded.job, loaded.job.task.case
    with _caught(job) as failed:
        agreement = _agreement(made) if loaded.mask else None
        folder = write_case(made.result, loaded.folder / "results" / case.name, progress=progress)
        seconds = round(time.perf_counter() - job.start, 3)
        more = {"mask": agreement, "seconds": seconds, "looks": loaded.looks}
        Store(Path(job.task.out)).commit(folder, case.name, loaded.links, more)
        return job.done()
    return failed[0]


def _shared_out(task: Task, options: RunOptions) -> RunOptions:
    """Return options with what this worker may take of the machine."""
    memory = task.memory_gib if options.memory_gib is None else options.memory_gib
    return replace(options, memory_gib=memory, device=options.device or task.device)


def load_model(task: Task) -> Bundle:
    """Load the bundle of a batch, the same one as where the batch was begun.

    Raises
    ------
    BundleError
        If it is another one.
    ClusterError
        If LesionLens is another one.
    """
    if task.version != __version__:
        raise ClusterError(
            f"LesionLens is {__version__} here and {task.version} where the batch was begun; install the same version."
        )
    import torch

    from lesionlens.model.bundle import load_bundle

    if task.threads is not None:
        torch.set_num_threads(task.threads)
    options = _shared_out(task, task.options)
    bundle = load_bundle(
        options.bundle,
        trust=options.trust,
        device=options.device,
        classes=options.classes,
        through_affine=options.through_affine,
    )
    if bundle.bundle_sha256 != task.model.bundle:
        raise BundleError(f"{bundle.name} is another bundle here than where the batch was begun; install the same one.")
    return bundle


def work(task: Task, bundle: Bundle, *, progress: Progress = silent) -> Outcome:
    """Do all stages of a case, one after the other."""
    return write(compute(load(task, progress=progress), bundle, progress=progress), progress=progress)


@contextmanager
def _caught(job: Job) -> Iterator[list[Outcome]]:
    """Turn whatever stops one case into its outcome, so that it stops no other; only a user's stop goes on."""
    failed: list[Outcome] = []
    try:
        yield failed
    except Cancelled:
        job.done()
        raise
    except Exception as error:  # the loop over cases: it is on record, and the others go on
        failed.append(job.done(error))
    except BaseException:
        job.done()
        raise


def sentence(error: BaseException) -> str:
    """Return what went wrong in one line, without the folders that lead to the scan: they may name the patient."""
    if isinstance(error, LesionLensError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "out of memory; use a machine with more memory, or a smaller scan."
    text = error.strerror if isinstance(error, OSError) else error
    return " ".join(f"unexpected {type(error).__name__}: {text}".split())


def _agreement(made: Made) -> dict[str, float | int]:
    """Return how far all regions together agree with what a reader marked."""
    loaded, volume = made.loaded, made.result.volume
    marked = read_labels(Path(str(loaded.mask)), volume, identified=loaded.options.identified).array > 0
    found = np.zeros(volume.grid.shape, dtype=bool)
    for labels in made.result.labels.values():
        found |= labels > 0
    both, total = int((marked & found).sum()), int(marked.sum()) + int(found.sum())
    size = volume.grid.voxel_volume_mm3
    return {"volume_mm3": float(marked.sum() * size), "dice": 2 * both / total if total else 1.0}
