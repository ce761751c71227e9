"""The region table as the scripts that read it see it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lesionlens.heatmap import Heatmap, LabelMap, Provenance
from lesionlens.regions import Region, measure
from lesionlens.report import COLUMN_NAMES, region_rows, write_table
from lesionlens.volume import Grid, Volume
from orientations import oblique

# Written out: renaming a column breaks the scripts of others and must break a test first.
EXPECTED_COLUMNS = [
    "class",
    "label",
    "n_voxels",
    "volume_mm3",
    "centroid_r_mm",
    "centroid_a_mm",
    "centroid_s_mm",
    "centroid_i",
    "centroid_j",
    "centroid_k",
    "bbox_i_min",
    "bbox_j_min",
    "bbox_k_min",
    "bbox_i_max",
    "bbox_j_max",
    "bbox_k_max",
    "bbox_r_min_mm",
    "bbox_a_min_mm",
    "bbox_s_min_mm",
    "bbox_r_max_mm",
    "bbox_a_max_mm",
    "bbox_s_max_mm",
    "peak_r_mm",
    "peak_a_mm",
    "peak_s_mm",
    "peak_i",
    "peak_j",
    "peak_k",
    "intensity_mean",
    "intensity_sd",
    "intensity_min",
    "intensity_median",
    "intensity_max",
    "probability_mean",
    "probability_max",
    "attribution_mean",
    "attribution_share",
    "touches_border",
    "volume_mean_mm3",
    "volume_sd_mm3",
    "volume_cov",
    "intensity_p10",
    "intensity_p90",
    "centroid_weighted_r_mm",
    "centroid_weighted_a_mm",
    "centroid_weighted_s_mm",
    "probability_integral_mm3",
    "volume_at_p50_mm3",
    "volume_at_p70_mm3",
    "volume_at_p90_mm3",
    "attribution_peak",
    "uncertainty_mean",
    "mesh_volume_mm3",
    "surface_mm2",
    "sphericity",
    "axis_major_mm",
    "axis_minor_mm",
    "axis_least_mm",
    "elongation",
    "flatness",
    "diameter_mm",
    "diameter_r_start_mm",
    "diameter_a_start_mm",
    "diameter_s_start_mm",
    "diameter_r_end_mm",
    "diameter_a_end_mm",
    "diameter_s_end_mm",
    "axial_diameter_mm",
    "axial_diameter_r_start_mm",
    "axial_diameter_a_start_mm",
    "axial_diameter_s_start_mm",
    "axial_diameter_r_end_mm",
    "axial_diameter_a_end_mm",
    "axial_diameter_s_end_mm",
    "axial_perpendicular_mm",
    "axial_perpendicular_r_start_mm",
    "axial_perpendicular_a_start_mm",
    "axial_perpendicular_s_start_mm",
    "axial_perpendicular_r_end_mm",
    "axial_perpendicular_a_end_mm",
    "axial_perpendicular_s_end_mm",
    "n_slices",
    "surroundings_mean",
    "surroundings_sd",
    "shell_contrast",
    "shell_contrast_to_noise",
    "anatomy",
    "one_slice",
    "few_voxels",
    "resampled",
    "smooth_surface_mm2",
    "smooth_sphericity",
    "below_attribution_cell",
    "anomaly_mean",
    "anomaly_max",
]


@pytest.fixture
def regions(rng: np.random.Generator) -> list[Region]:
    """Two measured regions of a random scan on an oblique grid, without attribution."""
    grid = oblique((8, 9, 10), (0.7, 1.1, 3.0))
    probability = np.zeros(grid.shape, dtype=np.float32)
    probability[1:3, 2:5, 3:7] = 0.75
    probability[5, 5, 9] = 0.9
    volume = Volume(rng.normal(size=grid.shape), grid)
    return measure(volume, Heatmap(Volume(probability, grid), "probability", "lesion", False, Provenance()))


def read(path: Path) -> list[dict[str, str]]:
    """Read a table as any program would."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_column_names_are_stable() -> None:
    """The header is an interface."""
    assert list(COLUMN_NAMES) == EXPECTED_COLUMNS


def test_numbers_survive_the_file_exactly(tmp_path: Path, regions: list[Region]) -> None:
    """Every number read back is the number that was measured, to the last bit, under its own name."""
    path = write_table({"lesion": regions}, tmp_path / "regions.csv")

    for row, region in zip(read(path), regions, strict=True):
        assert row["class"] == "lesion"
        assert int(row["label"]) == region.label
        assert int(row["n_voxels"]) == region.n_voxels
        assert float(row["volume_mm3"]) == region.volume_mm3
        for n, (i, r) in enumerate(zip("ijk", "ras", strict=True)):
            assert float(row[f"centroid_{i}"]) == region.centroid_ijk[n]
            assert float(row[f"centroid_{r}_mm"]) == region.centroid_ras[n]
            assert int(row[f"peak_{i}"]) == region.peak_ijk[n]
            assert float(row[f"peak_{r}_mm"]) == region.peak_ras[n]
            for end, which in enumerate(("min", "max")):
                assert int(row[f"bbox_{i}_{which}"]) == region.bbox_ijk[end][n]
                assert float(row[f"bbox_{r}_{which}_mm"]) == region.bbox_ras[end][n]
        for name in ("mean", "sd", "min", "median", "max"):
            assert float(row[f"intensity_{name}"]) == getattr(region.intensity, name)
        assert float(row["probability_mean"]) == region.probability_mean
        assert float(row["probability_max"]) == region.probability_max


def test_shapes_and_surroundings_have_their_own_columns(tmp_path: Path, rng: np.random.Generator) -> None:
    """Each number stands under its name, lines with both of their ends; nothing is measured unless asked for."""
    grid = oblique((8, 9, 10), (0.7, 1.1, 3.0))
    labels = np.zeros(grid.shape, np.uint8)
    labels[1:5, 2:5, 3:7] = 1
    volume = Volume(rng.normal(size=grid.shape), grid)
    mask = LabelMap(volume.with_array(labels), "mask", {}, Provenance())
    (region,) = measure(volume, mask, shapes=True)
    assert region.shape is not None
    assert region.surroundings is not None

    (row,) = read(write_table({"lesion": [region]}, tmp_path / "regions.csv"))
    (bare,) = read(write_table({"lesion": measure(volume, mask)}, tmp_path / "bare.csv"))

    names = ("mesh_volume_mm3", "surface_mm2", "sphericity", "elongation", "flatness", "n_slices", "smooth_surface_mm2")
    for name in (*names, "smooth_sphericity"):
        assert float(row[name]) == getattr(region.shape, name), name
        assert bare[name] == ""
    for name in ("diameter", "axial_diameter", "axial_perpendicular"):
        line = getattr(region.shape, name)
        assert float(row[f"{name}_mm"]) == line.length_mm
        for word, end in zip(("start", "end"), line.ends_ras, strict=True):
            assert tuple(float(row[f"{name}_{axis}_{word}_mm"]) for axis in "ras") == end
    assert float(row["shell_contrast"]) == region.surroundings.contrast
    assert float(row["surroundings_sd"]) == region.surroundings.sd
    assert float(row["intensity_p90"]) == region.intensity.p90


def test_what_was_not_measured_is_empty_and_truth_is_lower_case(tmp_path: Path, regions: list[Region]) -> None:
    """An empty cell is no zero; spreadsheets and pandas read true and false."""
    rows = read(write_table({"lesion": regions}, tmp_path / "regions.csv"))

    assert [(row["attribution_mean"], row["attribution_share"]) for row in rows] == [("", "")] * 2
    assert [row["touches_border"] for row in rows] == ["false", "true"]


def test_classes_follow_each_other_and_may_have_any_name(tmp_path: Path, regions: list[Region]) -> None:
    """A comma in a class name is not a column."""
    rows = read(write_table({'a "small", old one': regions[:1], "b": [], "c": regions}, tmp_path / "regions.csv"))

    assert [row["class"] for row in rows] == ['a "small", old one', "c", "c"]


@pytest.mark.parametrize("regions", [{}, {"lesion": []}])
def test_no_region_gives_the_header_alone(tmp_path: Path, regions: dict[str, list[Region]]) -> None:
    """Scripts find the same columns whether or not there is a finding."""
    path = write_table(regions, tmp_path / "regions.csv")

    assert path.read_text(encoding="utf-8").splitlines() == [",".join(EXPECTED_COLUMNS)]


def test_rows_are_plain_values_for_json(regions: list[Region]) -> None:
    """JSON takes the rows as they are, without numpy types, and gives them back unchanged."""
    rows = region_rows({"lesion": regions})

    assert json.loads(json.dumps(rows)) == rows
    assert [list(row) for row in rows] == [EXPECTED_COLUMNS] * 2
    assert rows[0]["attribution_mean"] is None
    assert rows[1]["touches_border"] is True


def test_the_table_is_replaced_not_appended_to(tmp_path: Path, regions: list[Region]) -> None:
    """Writing twice leaves one table."""
    path = tmp_path / "regions.csv"
    for _ in range(2):
        write_table({"lesion": regions}, path)

    assert len(read(path)) == 2


def test_one_voxel_grids_make_rows_too(tmp_path: Path) -> None:
    """The smallest scan there is has a region, a spread of 0 and a border."""
    grid = Grid((1, 1, 1), np.eye(4))
    probability = Heatmap(Volume(np.ones((1, 1, 1), np.float32), grid), "probability", "lesion", False, Provenance())

    (row,) = read(write_table({"x": measure(probability.volume, probability)}, tmp_path / "regions.csv"))

    assert (row["intensity_sd"], row["touches_border"], row["bbox_r_max_mm"]) == ("0.0", "true", "0.5")
