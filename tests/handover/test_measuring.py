"""What a reader changed is measured as the run measured it: same maps, same surroundings, same anatomy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lesionlens.handover.measuring import measure_reads
from lesionlens.heatmap import Heatmap, LabelMap, Provenance
from lesionlens.regions import label_regions, measure_class
from lesionlens.results import CaseResult
from lesionlens.review import Act, CaseEntry, Finding, Session
from lesionlens.review.voxels import labelled, pack
from lesionlens.spread import VolumeSpread
from lesionlens.volume import Grid, Volume

GRID = Grid((16, 10, 10), np.diag([-1.0, 2.0, 1.5, 1.0]))
# Two boxes with a gap of one voxel: each lies in the shell of the other, if it did not belong to a region.
NEAR = {1: np.s_[2:7, 3:7, 3:7], 2: np.s_[8:11, 3:7, 3:7]}


def result(kind: str = "probability") -> CaseResult:
    """Return a case with two boxes that lie near each other, on a map of a kind."""
    array = np.zeros(GRID.shape, dtype=np.float32)
    for place in NEAR.values():
        array[place] = 0.75
    rng = np.random.default_rng(2)
    scan = Volume((100 + 500 * array + rng.normal(0, 5, GRID.shape)).astype(np.float32), GRID, name="scan")
    heatmap = Heatmap(scan.with_array(array), kind, "lesion", False, Provenance())  # type: ignore[arg-type]  # a Kind
    anatomy = LabelMap(scan.with_array(np.full(GRID.shape, 4)), "atlas", {4: "pons"}, Provenance())
    labels = label_regions(heatmap, threshold=0.5)
    found = tuple(measure_class(scan, heatmap, [heatmap], labels, anatomy=anatomy))
    maps = ((heatmap,), ()) if kind == "probability" else ((), (heatmap,))
    spread = tuple(VolumeSpread(number, 10.0 * number, 2.0, 0.1, 1.0) for number in (1, 2))
    return replace(
        CaseResult(scan, "boxes 1.0", *maps, {"lesion": found}, {"lesion": labels}, {}, 0.5, {}),
        anatomy=anatomy,
        volume_spreads={"lesion": spread},
    )


def read_by_ann(path: Path, case: CaseResult, acts: list[Act]) -> dict[str, dict[str, object]]:
    """Return the rows of a case after some acts of one reader."""
    findings = tuple(Finding(f"lesion-{n}", "lesion", n, {}) for n in NEAR)
    with Session.create(path / "s", [CaseEntry("a", "a", "", "", {}, findings)]) as session:
        session.record("Ann", "a", acts)
        (read,) = measure_reads(session, "a", case)
    return {name: dict(row) for name, row in read.rows.items()}


@pytest.mark.parametrize("kind", ["probability", "anomaly"])
def test_a_change_of_one_voxel_leaves_everything_else_as_it_was(tmp_path: Path, kind: str) -> None:
    """The oracle is the run itself, on labels in which that voxel is missing."""
    case = result(kind)
    (heatmap,) = (*case.probabilities, *case.attributions)
    labels = case.labels["lesion"].copy()
    corner = labelled(labels, 1)[:1]
    labels.reshape(-1)[corner] = 0
    ours = read_by_ann(tmp_path, case, [Act("edit", "lesion-1", {}, pack(corner, GRID.shape))])["lesion-1"]

    theirs, _ = measure_class(case.volume, heatmap, [heatmap], labels, anatomy=case.anatomy)

    assert ours["surroundings_mean"] == theirs.surroundings.mean  # the other box is no surroundings of this one
    assert ours["anatomy"] == "pons 1.000"
    assert ours["probability_mean"] == theirs.probability_mean
    assert ours["anomaly_mean"] == theirs.anomaly_mean
    assert {theirs.probability_mean is None, theirs.anomaly_mean is None} == {True, False}


def test_what_nobody_changed_keeps_the_spread_of_its_volume(tmp_path: Path) -> None:
    """The predictions were of the model's regions: an edited one has no spread, the others have theirs."""
    corner = labelled(result().labels["lesion"], 1)[:1]
    rows = read_by_ann(tmp_path, result(), [Act("edit", "lesion-1", {}, pack(corner, GRID.shape))])

    assert rows["lesion-1"]["volume_mean_mm3"] is None
    assert (rows["lesion-2"]["volume_mean_mm3"], rows["lesion-2"]["volume_cov"]) == (20.0, 0.1)


def test_what_lies_where_there_are_no_data_is_not_measured(tmp_path: Path) -> None:
    """Padding has no values: a finding that was drawn in it has none either, and the others have theirs."""
    valid = np.ones(GRID.shape, dtype=bool)
    valid[:, :, -1] = False
    case = replace(result(), volume=replace(result().volume, valid=valid))
    drawn = np.arange(9, 40, 10)  # the last voxels of four rows
    rows = read_by_ann(tmp_path, case, [Act("added", "own", {"statistics": {}}, pack(drawn, GRID.shape))])

    assert set(rows) == {"lesion-1", "lesion-2"}
