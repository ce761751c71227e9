from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

import lesionlens as ll
from lesionlens.cli import main
from lesionlens.errors import ExplainError, InputError, OutputError
from lesionlens.heatmap import FeatureFall, Importance, LabelMap, Provenance
from lesionlens.report.importance import MOST_BARS, draw_bars
from lesionlens.rules import RegionRules
from lesionlens.volume import Grid, Volume
from orientations import ORIENTATIONS, reoriented
from tiny_bundles import CENTRE, SLIDING, blob, classifier, oblique_grid, straight_grid, write_bundle


@pytest.fixture(scope="module")
def high(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a classifier whose logit is 4 times the image's mean minus 1."""
    return ll.load_bundle(classifier(tmp_path_factory.mktemp("bundle") / "high"), trust=True)


def labelled(scan: Volume, array: Any, names: dict[int, str] | None = None) -> LabelMap:
    """Return labels on the grid of a scan."""
    return LabelMap(scan.with_array(np.asarray(array, np.int32)), "part", names or {}, Provenance())


@pytest.mark.parametrize("orientation", ORIENTATIONS[::12], ids=str)
def test_labels_fall_by_their_contrast_in_every_orientation(tmp_path: Path, high: Any, orientation: Any) -> None:
    """Two boxes brighter and darker than even tissue: 4 contrast size / N each, painted where they lie."""
    array = np.full((12, 14, 16), 5.0, dtype=np.float32)
    labels = np.zeros(array.shape, dtype=np.int32)
    labels[2:5, 3:6, 4:7], labels[8:10, 9:12, 10:13] = 3, 7
    array[labels == 3], array[labels == 7] = 7.0, 4.0
    grid = Grid(array.shape, np.diag([1.0, 1.5, 2.0, 1.0]))
    array, turned = reoriented(array, grid, orientation)
    labels, _ = reoriented(labels, grid, orientation)
    scan = Volume(array, turned)

    found = ll.feature_importance(high, scan, features=labelled(scan, labels, {3: "nucleus"}), target="high")

    expected = {3: 4 * 2 * 27 / array.size, 7: 4 * -1 * 18 / array.size}
    assert [fall.name for fall in found.falls] == ["nucleus", "part 7"]
    np.testing.assert_allclose([fall.fall for fall in found.falls], list(expected.values()), rtol=1e-3)
    np.testing.assert_allclose([fall.volume_mm3 for fall in found.falls], [27 * 3.0, 18 * 3.0], rtol=1e-6)
    assert found.heatmap.grid.same_as(turned)
    for number, fall in expected.items():
        np.testing.assert_allclose(found.heatmap.array[labels == number], fall, rtol=1e-3)
    assert not found.heatmap.array[labels == 0].any()
    assert (found.label, found.provenance.target) == ("high", "logit of 'high'")


def test_channels_of_a_bundle_with_two_modalities(tmp_path: Path) -> None:
    """Logit 2 mean(T1) + 3 mean(FLAIR): each modality takes its part with it, named as the bundle names it."""
    folder = write_bundle(
        tmp_path / "b",
        network="$torch.nn.Sequential(torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten(), torch.nn.Linear(2, 2))",
        state={"2.weight": torch.tensor([[0.0, 0.0], [2.0, 3.0]]), "2.bias": torch.zeros(2)},
        inputs={"0": "T1", "1": "FLAIR"},
        outputs={"0": "none", "1": "high"},
        output_format="classification",
        extra={"imports": ["$import torch"]},
        steps=[],
    )
    grid = Grid((8, 8, 8), np.eye(4))
    rng = np.random.default_rng(0)
    scans = [Volume(rng.random((8, 8, 8), dtype=np.float32), grid, name) for name in ("T1", "FLAIR")]

    found = ll.feature_importance(ll.load_bundle(folder, trust=True), scans, target="high", fill="zero")

    expected = [2 * scans[0].array.mean(), 3 * scans[1].array.mean()]
    assert [fall.name for fall in found.falls] == ["T1", "FLAIR"]
    np.testing.assert_allclose([fall.fall for fall in found.falls], expected, rtol=1e-4)
    assert found.heatmap is None


def test_regions_are_those_that_the_bundle_finds(tmp_path: Path) -> None:
    """The only region carries the whole margin; a sliding window changes nothing about that."""
    bundle = ll.load_bundle(write_bundle(tmp_path / "b", inferer=SLIDING), trust=True)
    scan = blob(straight_grid(), CENTRE)

    found = ll.feature_importance(bundle, scan, features="regions", fill="zero")

    region = ll.predict(bundle, scan)[0].array >= 0.5
    (fall,) = found.falls
    assert fall.name == "lesion 1"
    assert fall.fall == pytest.approx(10 * float(scan.array[region].mean()), rel=1e-4)
    assert np.array_equal(found.heatmap.array != 0, region)
    assert found.provenance.options["threshold"] == 0.5


def test_regions_follow_the_rules_of_a_run(tmp_path: Path) -> None:
    """Two specks that touch by a corner and one alone: three regions by faces, one of them when small ones are out."""
    scan = blob(straight_grid(), CENTRE)
    array = np.zeros(scan.grid.shape, dtype=np.float32)
    array[2:5, 2:5, 2:5] = array[5, 5, 5] = array[9, 9, 9] = 1.0
    scan, bundle = scan.with_array(array), ll.load_bundle(write_bundle(tmp_path / "b"), trust=True)
    voxel = scan.grid.voxel_volume_mm3

    def volumes(**rules: Any) -> list[float]:
        found = ll.feature_importance(bundle, scan, features="regions", fill="zero", rules=RegionRules(**rules))
        assert {name: found.provenance.options[name] for name in rules} == rules
        return sorted(float(fall.volume_mm3) / voxel for fall in found.falls)

    assert volumes() == pytest.approx([1, 28])
    assert volumes(connectivity=6) == pytest.approx([1, 1, 27])
    assert volumes(connectivity=6, minimum_mm3=2 * voxel) == pytest.approx([27])
    asked = RegionRules(minimum_mm3=2 * voxel)
    found = ll.feature_importance(bundle, scan, features="regions", fill="zero", rules=asked)
    assert any("1 region left out as too small" in note for note in found.provenance.notes)
    with pytest.raises(InputError, match=r"finds no region at probability 0.5 or more by the rules \(at least"):
        volumes(minimum_mm3=1e6)


def test_nothing_to_take_away_is_said(tmp_path: Path, high: Any) -> None:
    """An empty chart would look like a finding."""
    scan = blob(straight_grid(), CENTRE)
    bundle = ll.load_bundle(write_bundle(tmp_path / "b"), trust=True)

    with pytest.raises(InputError, match=r"mark no voxel"):
        ll.feature_importance(high, scan, features=labelled(scan, np.zeros(scan.grid.shape)))
    with pytest.raises(InputError, match=r"finds no region at probability 0.5"):
        ll.feature_importance(bundle, scan.with_array(scan.array / 4), features="regions")
    with pytest.raises(InputError, match=r"'channels' or 'regions'; found 'voxels'"):
        ll.feature_importance(high, scan, features="voxels")
    with pytest.raises(InputError, match=r"is a classification bundle and finds no regions; take away its channels"):
        ll.feature_importance(high, scan, features="regions")
    with pytest.raises(ExplainError, match=r"'low'"):
        ll.feature_importance(high, scan, target="low")


def test_labels_of_another_grid_are_refused(high: Any) -> None:
    """They would be taken away somewhere else."""
    scan, other = blob(straight_grid(), CENTRE), blob(oblique_grid(), CENTRE)

    with pytest.raises(InputError, match=r"do not lie on the grid of 'blob'.*read_overlay"):
        ll.feature_importance(high, scan, features=labelled(other, np.ones(other.grid.shape)))


def test_a_question_about_one_lesion_leaves_the_other_out(tmp_path: Path) -> None:
    """Logit 10 x - 5 against 0 over the largest region: without it the target falls by 10 times its mean, exactly."""
    grid = straight_grid()
    scan = blob(grid, CENTRE)
    other = blob(grid, (-2.0, 6.0, 23.0), radius_mm=4.0)
    both = scan.with_array(scan.array + other.array)
    labels = (scan.array > 0.5) + 2 * (other.array > 0.5)
    bundle = ll.load_bundle(write_bundle(tmp_path / "b"), trust=True)

    def falls(**asked: Any) -> Importance:
        return ll.feature_importance(bundle, both, features=labelled(both, labels), fill="zero", **asked)

    one, every = falls(over="largest"), falls()

    mean = both.array[labels == 1].mean()
    np.testing.assert_allclose([fall.fall for fall in one.falls], [10 * mean, 0], rtol=1e-4, atol=1e-6)
    assert min(fall.fall for fall in every.falls) > 1
    assert one.score == pytest.approx(10 * mean - 5, rel=1e-4)
    assert one.provenance.options["over"] == "1"
    assert "over the largest region" in one.provenance.target
    with pytest.raises(ExplainError, match="Against 'lesion' itself no class can be set"):
        falls(against="lesion")
    against = falls(over="largest", score="logit", against="background", gamma=0.5)
    np.testing.assert_allclose(against.score, one.score)  # the background's logit is 0
    assert (against.provenance.options["against"], against.provenance.options["gamma"]) == (["background"], 0.5)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"over": "largest"}, "is a classifier"),
        ({"against": "zebra"}, "'zebra'"),
        ({"score": "size"}, "A score is one of"),
        ({"gamma": -1.0}, "found -1"),
    ],
)
def test_a_question_that_does_not_suit_is_refused(high: Any, asked: dict[str, Any], problem: str) -> None:
    """The answer to another question would look like one."""
    with pytest.raises(ExplainError, match=problem):
        ll.feature_importance(high, blob(straight_grid(), CENTRE), **asked)


@pytest.mark.parametrize("features", ["channels", "regions", "labels"])
def test_a_place_outside_the_scan_is_refused_before_the_work(tmp_path: Path, features: Any) -> None:
    """Nobody waits for a prediction, and a pass for each feature, to read that a place was mistyped."""

    def refused(stage: str, done: int, total: int) -> None:
        raise AssertionError(f"{stage} was begun")

    bundle = ll.load_bundle(write_bundle(tmp_path / "voxelwise"), trust=True)
    scan = blob(straight_grid(), CENTRE)
    asked = labelled(scan, scan.array > 0.5) if features == "labels" else features

    with pytest.raises(ExplainError, match="lies outside the scan, which spans"):
        ll.feature_importance(bundle, scan, features=asked, over="region:500,0,0", progress=refused)


def made(n: int, sd: float = 0.0) -> Importance:
    """Return an importance of n features, the last one the strongest."""
    falls = tuple(FeatureFall(f"feature {i}", (-1) ** i * float(i), sd) for i in range(n))
    return Importance(falls, 3.0, "lesion", None, Provenance(bundle="test 1", target="logit of 'lesion'"))


def test_bars_are_as_long_as_the_falls() -> None:
    """The largest is on top, its colour says for or against, and no more are drawn than can be read."""
    axes = draw_bars(made(4, sd=0.5)).axes[0]

    assert [bar.get_width() for bar in axes.patches] == [-3.0, 2.0, -1.0, 0.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"feature {i}" for i in (3, 2, 1, 0)]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor() == axes.patches[3].get_facecolor()
    assert axes.yaxis_inverted()
    many = draw_bars(made(MOST_BARS + 5)).axes[0]
    assert len(many.patches) == MOST_BARS
    assert f"{MOST_BARS} of {MOST_BARS + 5} features" in many.get_title()


def test_the_command_writes_all_or_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers, chart, heatmap and record agree, and a folder that is in use is refused before the work."""
    scan = blob(oblique_grid(), CENTRE)
    ll.write(scan, tmp_path / "scan.nii.gz")
    labels = np.zeros(scan.grid.shape, dtype=np.uint8)
    labels[scan.array > 0.5] = 2
    labels[:4] = 1
    nib.save(nib.Nifti1Image(labels, scan.grid.affine), tmp_path / "anatomy.nii.gz")
    folder, out = write_bundle(tmp_path / "b"), tmp_path / "out"
    command = ["importance", str(tmp_path / "scan.nii.gz"), "--bundle", str(folder), "--trust", "-o", str(out)]

    assert main([*command, "--labels", str(tmp_path / "anatomy.nii.gz"), "--json", "-q"]) == 0

    record = json.loads(capsys.readouterr().out)
    rows = list(csv.DictReader((out / "importance.csv").read_text(encoding="utf-8").splitlines()))
    heat = ll.read(out / "importance.nii.gz")
    assert [float(row["fall"]) for row in rows] == [feature["fall"] for feature in record["features"]]
    assert [row["name"] for row in rows] == ["anatomy 1", "anatomy 2"]
    written = json.loads((out / "record.json").read_text(encoding="utf-8"))
    assert record == {key: value for key, value in written.items() if key not in ("files", "seal")}
    assert record["features"][1]["fall"] > 1 > abs(record["features"][0]["fall"])
    np.testing.assert_allclose(heat.array[labels == 2], record["features"][1]["fall"], rtol=1e-5)
    assert (out / "importance.png").stat().st_size > 10_000
    assert main([*command, "-q"]) == 1
    assert "not empty" in capsys.readouterr().err
    assert main([*command, "--features", "regions", "--how", "permute", "--overwrite", "-q"]) == 0
    assert "lesion 1" in capsys.readouterr().out
    mask = np.asarray(labels == 2, np.uint8)
    nib.save(nib.Nifti1Image(mask, scan.grid.affine), tmp_path / "mask.nii.gz")
    assert main([*command, "--over", str(tmp_path / "mask.nii.gz"), "--score", "logit", "--overwrite", "-q"]) == 0
    options = json.loads((out / "record.json").read_text(encoding="utf-8"))["options"]
    assert (options["over"], options["score_kind"]) == ("mask mask", "logit")


def test_a_used_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    """Hours of work must not end at a folder that cannot be written."""
    (tmp_path / "file.txt").touch()

    def work() -> Importance:
        raise AssertionError("the work was begun")

    with pytest.raises(OutputError, match="not empty"):
        ll.write_importance(work, blob(straight_grid(), CENTRE), tmp_path)
