"""A disk that fills up while results are written, at whichever write: the run fails and nothing else is lost."""

from __future__ import annotations

import builtins
import errno
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lesionlens import pipeline
from lesionlens.cli import main
from lesionlens.io import write
from lesionlens.pipeline import RunOptions, run_case
from tiny_bundles import CENTRE, blob, oblique_grid, write_bundle

# Places at which the disk fills up, spread over all writes of a run.
PLACES = 6


@dataclass
class Disk:
    """A disk below a folder, with room for so many writes; every file that is written there goes through it."""

    root: Path
    room: int | None = None
    writes: int = 0
    refused: list[str] = field(default_factory=list)

    def open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return an ``open`` that asks this disk."""
        disk = self

        class File(io.FileIO):
            def write(self, data: Any) -> int:
                disk.writes += 1
                if disk.room is not None and disk.writes > disk.room:
                    disk.refused.append(str(self.name))
                    raise OSError(errno.ENOSPC, "No space left on device")
                return super().write(data)

            def fileno(self) -> int:  # what writes to it directly would pass by
                raise io.UnsupportedOperation("fileno")

        def opened(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            inside = isinstance(file, str | Path) and Path(file).is_relative_to(disk.root)
            if not inside or not set(mode) & set("wxa+"):
                return real(file, mode, *rest, **named)
            raw = File(file, mode.replace("b", "").replace("t", ""))
            buffer: Any = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            texts = {key: named.get(key) for key in ("encoding", "errors", "newline")}
            return buffer if "b" in mode else io.TextIOWrapper(buffer, **texts)

        return opened


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder, by name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_disk_that_fills_up_costs_the_run_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 1, earlier results byte for byte as they were, no new folder, and nothing half-written."""
    scan = write(blob(oblique_grid(), CENTRE), tmp_path / "scan.nii.gz")
    bundle = write_bundle(tmp_path / "b")
    result = run_case(RunOptions(scan, bundle=str(bundle)))
    monkeypatch.setattr(pipeline, "run_case", lambda *_, **__: result)
    home = tmp_path / "disk"
    home.mkdir()
    disk = Disk(home)
    for module in (builtins, io):
        monkeypatch.setattr(module, "open", disk.open(io.open if module is io else builtins.open))

    def run(name: str, *options: str) -> int:
        disk.writes = 0
        return main(["run", str(scan), "--bundle", str(bundle), "--out", str(home / name), "--quiet", *options])

    assert run("earlier") == 0
    earlier, total = contents(home / "earlier"), disk.writes
    assert len(earlier) > 4
    assert total >= len(earlier), "every file went through the disk"
    capsys.readouterr()
    for room in range(0, total, max(1, total // PLACES)):
        for name, options in (("earlier", ("--overwrite",)), ("new/folder", ())):
            disk.room = room
            assert run(name, *options) == 1
            said = capsys.readouterr().err.strip()
            assert "No space left on device" in said
            assert said.count("Error:") == 1
            assert len(said.splitlines()) == 1
            assert [one.name for one in home.iterdir()] == ["earlier"]
            assert contents(home / "earlier") == earlier
    assert len({Path(name).name for name in disk.refused}) > 3, "several files met the full disk"

    disk.room = None
    assert run("earlier", "--overwrite") == 0
