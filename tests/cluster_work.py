"""What workers do in tests: as little as possible, so that what is measured is the cluster."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from lesionlens.batch.cases import BatchCase
from lesionlens.batch.keys import ModelHashes
from lesionlens.batch.work import Outcome, Task
from lesionlens.options import RunOptions


def tasks(folder: Path, names: list[str]) -> list[Task]:
    """Return a task for each name; those that do them leave a line in a file of its name."""
    return [Task(BatchCase(name, ""), RunOptions(Path()), ModelHashes(""), str(folder)) for name in names]


def note(task: Task) -> Outcome:
    """Leave a line that says which process did it."""
    with (Path(task.out) / task.case.name).open("a") as file:
        file.write(f"{os.getpid()}\n")
    return Outcome(task.case.name)


def die_once(task: Task) -> Outcome:
    """Kill the worker in the middle of the case called ``fatal``, the first time."""
    outcome = note(task)
    if task.case.name == "fatal" and len((Path(task.out) / "fatal").read_text().split()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return outcome


def die_always(task: Task) -> Outcome:
    """Kill the worker in the middle of the case called ``fatal`` whenever it is tried."""
    outcome = note(task)
    if task.case.name == "fatal":
        os.kill(os.getpid(), signal.SIGKILL)
    return outcome


def wait_for_go(task: Task) -> Outcome:
    """Do not end before somebody writes to the pipe called ``go``."""
    outcome = note(task)
    if task.case.name == "last":
        (Path(task.out) / "go").read_text()
    return outcome
