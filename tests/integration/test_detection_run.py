"""A detection bundle through the command line and back: tables, maps, pictures and the record."""

from __future__ import annotations

import csv
import json
from itertools import chain
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

import lesionlens as ll
from detection_networks import write_detection
from lesionlens.cli import main
from lesionlens.report.montage import draw_montage
from lesionlens.report.table import DETECTION_COLUMNS
from lesionlens.results import read_case
from lesionlens.volume import Grid, Volume
from tiny_bundles import RAS, straight_grid


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return a bundle, a scan and the results of a run."""
    folder = tmp_path_factory.mktemp("case")
    array = np.full((40, 38, 24), 0.01, dtype=np.float32)
    array[12:16, 8:12, 10:12] = 1
    array[28:32, 20:24, 4:6] = 0.8
    ll.write(Volume(array, straight_grid(), name="cells"), folder / "scan.nii.gz")
    bundle = write_detection(folder / "cubes", classes=2, steps=[RAS])
    out = folder / "results"
    arguments = ["run", str(folder / "scan.nii.gz"), "--bundle", str(bundle), "--trust", "--out", str(out), "--quiet"]
    assert main([*arguments, "--method", "hirescam"]) == 0
    return bundle, folder / "scan.nii.gz", out


def test_a_run_writes_tables_and_maps(case: tuple[Path, Path, Path]) -> None:
    """Location and confidence of every box, as numbers and as a heatmap."""
    bundle, scan, out = case
    expected = ll.detect(ll.load_bundle(bundle, trust=True), ll.read(scan))

    rows = list(csv.DictReader((out / "detections.csv").read_text(encoding="utf-8").splitlines()))
    boxes = nib.load(out / "detection_boxes_nodule.nii.gz")

    assert tuple(rows[0]) == DETECTION_COLUMNS
    assert [row["class"] for row in rows] == ["nodule", "nodule"]
    for row, one in zip(rows, expected, strict=True):
        assert float(row["confidence"]) == one.confidence
        assert [float(row[f"centre_{axis}_mm"]) for axis in "ras"] == list(one.centre_ras)
        assert [float(row[f"edge_{number}_mm"]) for number in (1, 2, 3)] == list(one.size_mm)
        ends = [float(row[f"bbox_{axis}_{end}_mm"]) for end in ("min", "max") for axis in "ras"]
        assert ends == list(chain(*one.bbox_ras))
        place = np.linalg.solve(boxes.affine, [*one.centre_ras, 1])[:3]
        assert np.asarray(boxes.dataobj)[tuple(np.floor(place).astype(int))] == pytest.approx(one.confidence)
    assert sorted(path.name for path in out.iterdir()) == [
        "attribution_hirescam_nodule.nii.gz",
        "detection_boxes_mass.nii.gz",
        "detection_boxes_nodule.nii.gz",
        "detections.csv",
        "overlay_mass.png",
        "overlay_nodule.png",
        "record.json",
    ]


def test_results_come_back_as_they_were(case: tuple[Path, Path, Path]) -> None:
    """The viewer shows what was found without running anything."""
    bundle, scan, out = case
    volume = ll.read(scan)

    found = read_case(out, volume)

    assert found.detections is not None
    assert list(found.detections) == ll.detect(ll.load_bundle(bundle, trust=True), volume)
    conclusion, attribution = found.conclusion_of("nodule"), found.attribution_of("nodule")
    assert conclusion is not None
    assert attribution is not None
    assert (conclusion.kind, attribution.kind) == ("detection", "attribution")
    assert found.attribution_of("mass") is None
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    assert record["bundle"]["task"] == "detection"
    assert record["detections"][0]["confidence"] == found.detections[0].confidence
    assert {one["kind"] for one in record["maps"]} == {"attribution", "detection"}


def test_the_picture_shows_sure_boxes_alone(case: tuple[Path, Path, Path]) -> None:
    """Of a class without a box at the threshold nothing has colours but the notice at the bottom."""
    _, _, out = case

    def coloured(name: str) -> int:  # the colour bars on the right and the notice aside
        pixels = np.asarray(Image.open(out / f"overlay_{name}.png").convert("RGB")).astype(int)
        tiles = pixels[:-80, : int(0.85 * pixels.shape[1])]
        return int((tiles.max(axis=2) - tiles.min(axis=2) > 60).sum())

    assert coloured("nodule") > 1000
    assert coloured("mass") == 0


def test_the_picture_shows_the_middle_of_a_box(case: tuple[Path, Path, Path]) -> None:
    """A box of slices 9 to 12 is as bright in all of them; the object lies in 10 and 11, at 20 and 22 mm."""
    _, scan, out = case
    volume = ll.read(scan)

    figure = draw_montage(volume, read_case(out, volume).conclusion_of("nodule"), threshold=0.99)

    shown = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert shown & {"S 20.0 mm", "S 22.0 mm"}
    assert not shown & {"S 18.0 mm", "S 24.0 mm"}


def test_the_terminal_lists_the_boxes(case: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever runs it without a viewer wants places and confidences, and how many are sure."""
    bundle, scan, out = case
    arguments = ["run", str(scan), "--bundle", str(bundle), "--trust", "--out", str(out.parent / "again"), "--quiet"]

    assert main([*arguments, "--method", "score_map", "--threshold", "0.99"]) == 0

    shown = capsys.readouterr().out
    assert "2 box(es), 1 with a confidence of 0.99 or more, the surest first" in shown
    assert "+5.5  -20.6  +21.0" in shown
    assert "score_map: confidence of 'nodule'" in shown


def test_a_scan_without_boxes_gives_a_table_without_rows(
    case: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing found is a result, and must be told from a run that failed."""
    bundle, _, _ = case
    dark = np.random.default_rng(0).normal(0, 0.001, (32, 32, 16)).astype(np.float32)
    ll.write(Volume(dark, Grid(dark.shape, np.eye(4)), name="dark"), tmp_path / "dark.nii.gz")
    arguments = ["run", str(tmp_path / "dark.nii.gz"), "--bundle", str(bundle), "--trust", "--quiet"]

    assert main([*arguments, "--method", "boxes", "--out", str(tmp_path / "out")]) == 0

    rows = list(csv.reader((tmp_path / "out" / "detections.csv").read_text(encoding="utf-8").splitlines()))
    assert rows == [list(DETECTION_COLUMNS)]
    found = read_case(tmp_path / "out", ll.read(tmp_path / "dark.nii.gz"))
    assert found.detections == ()
    assert "no box was found" in capsys.readouterr().out
    assert not any("does not see" in note for one in found.attributions for note in one.provenance.notes)
