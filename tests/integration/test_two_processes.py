"""The same scan, bundle and options in two fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from batch_cases import write_scans, write_voxelwise

pytestmark = pytest.mark.slow

_TIMES = ("created", "seconds", "seal")


def test_two_processes_leave_the_same_bytes(tmp_path: Path) -> None:
    """Tables, masks, maps and pictures byte by byte, and the record but for its times, whatever Python's hashes are."""
    scan = write_scans(tmp_path / "scans", {"a": 4}) / "a.nii.gz"
    bundle = write_voxelwise(tmp_path / "voxelwise")
    asked = ["--bundle", str(bundle), "--trust", "--layer", "0", "--uncertainty", "tta", "--samples", "2", "-q"]
    for name, seed in (("one", "1"), ("two", "2")):
        command = [sys.executable, "-m", "lesionlens", "run", str(scan), *asked, "--out", str(tmp_path / name)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True)

    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert {"regions.csv", "regions_lesion.nii.gz", "overlay_lesion.png"} < set(files)
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in set(files) - {"record.json"}:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    one, two = (json.loads((tmp_path / name / "record.json").read_text()) for name in ("one", "two"))
    assert one["chain"] == two["chain"]
    for record in (one, two):
        del record["computing"]["budget_bytes"]  # of the memory that is free just then
    assert {**one, **dict.fromkeys(_TIMES)} == {**two, **dict.fromkeys(_TIMES)}
