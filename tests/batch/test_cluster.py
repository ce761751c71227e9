"""Many cases on workers, in processes of their own: what dies costs a retry, and never a result."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import psutil
import pytest
from distributed import KilledWorker

from batch_cases import RADII, options_for, write_scans, write_voxelwise
from cluster_work import die_always, die_once, note, tasks, wait_for_go
from lesionlens.batch import cluster, driver, run_batch, verify
from lesionlens.batch.cases import BatchCase
from lesionlens.batch.cluster import connected, run_on_cluster
from lesionlens.batch.keys import ModelHashes
from lesionlens.batch.store import Store
from lesionlens.batch.work import Outcome, Task
from lesionlens.errors import ClusterError
from lesionlens.options import RunOptions

# Sockets and processes that dask closes a moment later, in threads of its own.
pytestmark = pytest.mark.filterwarnings("default::ResourceWarning", "default::pytest.PytestUnraisableExceptionWarning")


def attempts(folder: Path, name: str) -> int:
    """Return how often a case was tried."""
    return len((folder / name).read_text().split())


def test_a_worker_that_dies_costs_a_retry(tmp_path: Path) -> None:
    """Two workers: one is killed in the middle of a case; every case has one outcome, in whatever order."""
    names = [*(f"c{n}" for n in range(8)), "fatal", "z"]
    found: list[Outcome] = []

    with connected(2, None) as client:
        run_on_cluster(tasks(tmp_path, names), client, found.append, do=die_once)

    assert sorted(one.name for one in found) == sorted(names)
    assert not any(one.error for one in found)
    assert attempts(tmp_path, "fatal") == 2


@pytest.mark.slow
def test_a_case_that_always_kills_its_worker_fails_alone(tmp_path: Path) -> None:
    """One worker: a case that needs too much memory must not end the batch, nor be tried for ever."""
    names = ["a", "fatal", "z"]
    found: list[Outcome] = []

    with connected(1, None) as client:
        run_on_cluster(tasks(tmp_path, names), client, found.append, do=die_always)

    outcomes = {one.name: one for one in found}
    assert len(found) == len(outcomes) == 3
    assert outcomes["fatal"].kind == "KilledWorker"
    assert "memory" in outcomes["fatal"].error
    assert outcomes["a"].error == outcomes["z"].error == ""
    assert attempts(tmp_path, "fatal") == 4


def test_a_case_that_killed_its_workers_is_not_tried_again_unasked(tmp_path: Path) -> None:
    """It counts as failed by what it was made from, as other cases do; else each call would lose workers to it."""
    scans, options = write_scans(tmp_path / "scans", {"a": 3}), RunOptions(Path())
    task = Task(BatchCase("a", str(scans / "a.nii.gz")), options, ModelHashes("b"), str(tmp_path))
    future = SimpleNamespace(result=Mock(side_effect=KilledWorker("a", None, 3)))

    outcome = cluster._outcome(future, task, Mock())

    assert outcome is not None
    assert outcome.kind == "KilledWorker"
    store = Store(tmp_path)
    store.failed.mkdir()
    store.note_failure("a", outcome.error, outcome.kind, outcome.key)
    assert driver._state(store, task.case, options, task.model) == "failed"
    (scans / "a.nii.gz").write_bytes(b"smaller")
    assert driver._state(store, task.case, options, task.model) == "waiting"


def test_workers_that_come_later_get_cases_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue starts workers when it has room: the batch must not go on with as few as there were at its start."""
    most, found = 0, list[Outcome]()
    client = Mock(nthreads=Mock(side_effect=[{}, {}] + [dict.fromkeys("abcde", 1)] * 99))
    client.submit.side_effect = lambda *_, **__: Mock()

    def finished(running: dict[object, Task], _: object) -> list[object]:
        nonlocal most
        most = max(most, len(running))
        return list(running)[:1] if len(found) < 25 else list(running)

    monkeypatch.setattr(cluster, "_finished", finished)
    monkeypatch.setattr(cluster, "_outcome", lambda _future, task, _client: Outcome(task.case.name))
    names = [f"c{n}" for n in range(40)]

    run_on_cluster(tasks(tmp_path, names), client, found.append, do=note)

    assert sorted(one.name for one in found) == sorted(names)
    assert most == 10, "two for each worker: one that it does, and one that waits there"


def test_workers_that_are_all_gone_are_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask gives a worker up that dies while it starts: the batch must not wait for it for ever."""
    monkeypatch.setattr(cluster, "_ALONE_S", 1)
    monkeypatch.setattr(cluster, "_LOOK_S", 1)
    found: list[Outcome] = []

    with connected(1, None) as client:
        ours = client.cluster
        ours.sync(next(iter(ours.workers.values())).close)
        run_on_cluster(tasks(tmp_path, ["a", "b"]), client, found.append, do=note)

    assert sorted(one.name for one in found) == ["a", "b"]
    assert not any(one.error for one in found)


def test_many_tiny_cases(tmp_path: Path) -> None:
    """The driver holds few at a time, so its memory does not grow with their number; what a case costs is little.

    It listens to this machine alone.
    """
    many, warm = 400, 100
    this, seen = psutil.Process(), []

    def look(outcome: Outcome) -> None:
        seen.append((outcome.name, this.memory_info().rss, this.cpu_times().user))

    with connected(1, None) as client:
        listening = [one.laddr.ip for one in this.net_connections() if one.status == psutil.CONN_LISTEN]
        run_on_cluster(tasks(tmp_path, [f"c{n}" for n in range(many)]), client, look, do=note)

    assert listening
    assert set(listening) == {"127.0.0.1"}, "nobody else is to see what is worked on"
    assert sorted(name for name, _, _ in seen) == sorted(f"c{n}" for n in range(many))
    assert all(attempts(tmp_path, f"c{n}") == 1 for n in range(many))
    assert seen[-1][1] - seen[warm][1] < 16 * 2**20
    assert (seen[-1][2] - seen[warm][2]) / (many - warm) < 0.1, "seconds of the driver for each case"


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a scheduler in a process of its own, with one worker, and its address."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--host", "127.0.0.1"]
    started = subprocess.Popen(
        [*dask, "--no-dashboard"], stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )
    assert started.stderr is not None
    address = next(found[0] for line in started.stderr if (found := re.search(r"tcp://[\d.]+:\d+", line)))
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            address,
            "--nthreads",
            "1",
            "--no-dashboard",
            "--no-nanny",
        ],
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=tmp_path,
    )
    yield started, address
    for process in (worker, started):
        process.kill()
        process.wait()
    started.stderr.close()


def test_a_scheduler_that_dies_ends_the_batch_with_a_sentence(
    scheduler: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    """What is finished is kept, and nobody waits for ever; the same command goes on."""
    process, address = scheduler
    out = tmp_path / "out"
    out.mkdir()
    os.mkfifo(out / "go")
    found: list[Outcome] = []

    def report(outcome: Outcome) -> None:
        found.append(outcome)
        process.send_signal(signal.SIGKILL)

    with connected(None, address) as client:
        client.wait_for_workers(1, timeout=60)
        with pytest.raises(ClusterError, match="went away"):
            run_on_cluster(tasks(out, ["first", "last"]), client, report, do=wait_for_go)

    assert [one.name for one in found] == ["first"]


def test_a_scheduler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong address is said before any work."""
    monkeypatch.setattr("lesionlens.batch.cluster._ANSWER_S", 0.2)

    with pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:9"), connected(None, "tcp://127.0.0.1:9"):
        pass


def _age() -> None:
    """Make the worker that this runs on one of an older LesionLens."""
    from lesionlens.batch import work

    work.__version__ = "0.0.1"
    cluster._LOADED.clear()


def test_a_worker_that_can_do_nothing_fails_no_case(tmp_path: Path) -> None:
    """One of two has another version: it is named, and the other one does every case; where both have, it ends."""
    scans, bundle = write_scans(tmp_path / "scans"), write_voxelwise(tmp_path / "voxelwise")
    store = Store(tmp_path / "out")
    plan = driver.plan_batch(scans, options_for(bundle), store.root)
    work = [Task(case, options_for(bundle), plan.model, str(store.root), 1) for case in plan.found.cases]
    found: list[Outcome] = []

    with store.opened(), connected(2, None) as client:
        first, second = client.nthreads()
        client.run(_age, workers=[first])
        unfit = run_on_cluster(work, client, found.append)
        client.run(_age, workers=[second])
        with pytest.raises(ClusterError, match=r"No worker can do the work \(2 workers\); of tcp://.*install the same"):
            run_on_cluster(work, client, found.append)

    assert sorted(one.name for one in found) == sorted(RADII)
    assert {(one.error, one.worker) for one in found} == {("", second)}
    assert unfit.keys() == {first}
    assert "LesionLens is 0.0.1 here" in unfit[first]
    assert all(store.key_of(name) for name in RADII)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_write_what_one_process_writes(workers: int, tmp_path: Path) -> None:
    """Byte by byte, but for the times in the record and what names its bytes."""
    bundle = write_voxelwise(tmp_path / "voxelwise")
    scans = write_scans(tmp_path / "scans")
    (scans / "bad.nii.gz").write_bytes(b"nothing")
    here = run_batch(scans, options_for(bundle), tmp_path / "here")

    there = run_batch(scans, options_for(bundle), tmp_path / "there", workers=workers)

    assert (there.done, there.failed) == (here.done, here.failed) == (tuple(RADII), ("bad",))
    files = [path for path in (tmp_path / "here" / "cases").rglob("*") if path.is_file() and path.suffix != ".json"]
    assert len(files) == 5 * len(RADII)
    for path in files:
        assert path.read_bytes() == (tmp_path / "there" / path.relative_to(tmp_path / "here")).read_bytes(), path
    assert verify(tmp_path / "there").right
    assert run_batch(scans, options_for(bundle), tmp_path / "there").worked_on == 0
