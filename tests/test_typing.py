"""What a type checker says to those who use the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent

USE = """\
from typing import assert_type
import lesionlens as ll

bundle = ll.load_bundle("flair-lesions")
scan = ll.read("scan.nii.gz")
assert_type(ll.explain(bundle, scan), ll.Heatmap)
assert_type(ll.explain(bundle, scan, target="lesion", method="layercam"), ll.Heatmap)
assert_type(ll.explain(bundle, scan, target=1), ll.Heatmap)
assert_type(ll.explain(bundle, scan, target=None), ll.Heatmap)
assert_type(ll.explain(bundle, scan, target="all"), list[ll.Heatmap])
assert_type(ll.explain(bundle, scan, target=["lesion", 0]), list[ll.Heatmap])
assert_type(ll.explain(bundle, scan, target=(1,)), list[ll.Heatmap])
assert_type(ll.read_overlay("a.nii", scan), list[ll.Heatmap | ll.LabelMap])
assert_type(ll.read_overlay("a.nii", scan, kind="mask"), list[ll.LabelMap])
assert_type(ll.read_overlay("a.nii", scan, kind="probability"), list[ll.Heatmap])
ll.write(ll.explain(bundle, scan), "a.nii.gz")
"""


@pytest.mark.slow  # mypy reads torch's hints
def test_a_type_checker_knows_one_map_from_several(tmp_path: Path) -> None:
    """Without it every use of a map needs a cast, or an assert; the wrong one is found."""
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(USE, encoding="utf-8")
    wrong.write_text(USE.replace('target="all"), list[ll.Heatmap]', 'target="all"), ll.Heatmap'), encoding="utf-8")
    # With the cache of `make lint`, which reads the same packages: whichever comes second has them already.
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(PROJECT / "pyproject.toml")]

    done, refused = (
        subprocess.run([*command, str(file)], cwd=PROJECT, capture_output=True, text=True, check=False)
        for file in (right, wrong)
    )

    assert done.returncode == 0, done.stdout
    assert 'Expression is of type "list[Heatmap]", not "Heatmap"' in refused.stdout
