"""Tests of the scores of anomaly and of their scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from scipy.spatial.distance import mahalanobis

import lesionlens as ll
from anomaly_bundles import anomaly_bundle
from lesionlens.anomaly_reference import Reference, read_reference, reference_path, write_reference
from lesionlens.cli import main
from lesionlens.errors import BundleError, ExplainError, InputError
from lesionlens.model.anomaly.fitting import coreset, fit_reference, gaussian_of
from lesionlens.model.anomaly.score import FeatureDistance, Features
from lesionlens.model.bundle import Bundle
from lesionlens.volume import Grid, Volume
from tiny_bundles import CENTRE, SLIDING, blob, centre_of_mass, oblique_grid, straight_grid, write_bundle

# Two features of each voxel: itself, and twice itself plus 1; the second layer halves the grid.
_FEATURES = "$torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.Conv3d(2, 3, 2, stride=2))"
_IMPORTS = {"imports": ["$import torch"]}


def _feature_state() -> dict[str, torch.Tensor]:
    return {
        "0.weight": torch.tensor([1.0, 2.0]).view(2, 1, 1, 1, 1),
        "0.bias": torch.tensor([0.0, 1.0]),
        "1.weight": torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.5, 0.25]]).view(3, 2, 1, 1, 1).repeat(1, 1, 2, 2, 2) / 8,
        "1.bias": torch.zeros(3),
    }


def _noise(seed: int, *, grid: Grid | None = None, sd: float = 0.1) -> Volume:
    grid = grid or straight_grid()
    array = 0.25 + sd * np.random.default_rng(seed).standard_normal(grid.shape)
    return Volume(array.astype(np.float32), grid, f"noise {seed}")


def _with_reference(path: Path, volumes: list[Volume]) -> Bundle:
    write_reference(fit_reference(ll.load_bundle(path, trust=True), volumes), reference_path(path), overwrite=True)
    return ll.load_bundle(path, trust=True)


@pytest.mark.parametrize("grid", [straight_grid(), oblique_grid()], ids=["straight", "oblique"])
def test_a_reconstruction_is_compared_in_place_and_in_units_of_the_reference(tmp_path: Path, grid: Grid) -> None:
    """Closed form: input minus 0.25, over the score that 99 % of the reference's voxels lie below."""
    spec = {"method": "reconstruction", "deviation": "brighter", "level": 0.99, "label": "bright"}
    references = [_noise(seed) for seed in range(3)]
    bundle = _with_reference(anomaly_bundle(tmp_path / "a", spec, inferer=SLIDING), references)
    unit = np.quantile(np.clip([volume.array - 0.25 for volume in references], 0, None), 0.99)

    scan = blob(grid, CENTRE)
    found = ll.score_anomaly(bundle, scan)

    assert (found.kind, found.label, found.signed) == ("anomaly", "bright", False)
    # float32 through weighted windows, and back through the affines of the reorientation
    np.testing.assert_allclose(found.array, np.clip(scan.array - 0.25, 0, None) / unit, atol=2e-5 / unit)
    away = np.linalg.norm(centre_of_mass(found.array, grid) - CENTRE)
    assert away < 0.5  # the blob is cut by the grid's edge on no side


@pytest.mark.parametrize(("deviation", "sign"), [("darker", -1), ("both", 0)])
def test_the_side_that_counts_is_the_bundles_choice(tmp_path: Path, deviation: str, sign: int) -> None:
    """A dark lesion is invisible to a bundle that looks for bright ones, and the other way round."""
    bundle = _with_reference(
        anomaly_bundle(tmp_path / "a", {"method": "reconstruction", "deviation": deviation}), [_noise(1), _noise(2)]
    )
    scan = _noise(3, sd=0.5)
    away = scan.array - 0.25
    expected = np.abs(away) if sign == 0 else np.clip(sign * away, 0, None)

    found = ll.score_anomaly(bundle, scan).array

    unit = bundle.reference.unit(0.999) if bundle.reference else 0
    np.testing.assert_allclose(found, expected / unit, atol=1e-5 / unit)


def test_the_scale_never_comes_from_the_scan(tmp_path: Path) -> None:
    """A map stretched to its own maximum makes a healthy brain look ill: here it stays below 1 but for its share."""
    bundle = _with_reference(
        anomaly_bundle(tmp_path / "a", {"method": "reconstruction", "level": 0.99}), [_noise(n) for n in range(4)]
    )

    healthy = ll.score_anomaly(bundle, _noise(9)).array
    quieter = ll.score_anomaly(bundle, _noise(9, sd=0.01)).array

    # 36,480 voxels: the share above the 99th percentile has a standard deviation of 0.0005
    assert np.mean(healthy > 1) == pytest.approx(0.01, abs=0.002)
    np.testing.assert_allclose(quieter, healthy / 10, atol=1e-4)
    assert quieter.max() < 1


def test_what_is_air_is_neither_judged_nor_counted(tmp_path: Path) -> None:
    """Half a volume of air would move every percentile of the reference."""
    spec = {"method": "reconstruction", "above": -0.5, "level": 0.9}

    def half(volume: Volume) -> Volume:
        array = volume.array.copy()
        array[:20] = -1
        return volume.with_array(array)

    bundle = _with_reference(anomaly_bundle(tmp_path / "a", spec), [half(_noise(n)) for n in range(2)])
    judged = np.abs([half(_noise(n)).array[20:] - 0.25 for n in range(2)])

    found = ll.score_anomaly(bundle, half(_noise(5))).array

    assert bundle.reference is not None
    assert bundle.reference.n_voxels == judged.size
    assert bundle.reference.unit(0.9) == pytest.approx(np.quantile(judged, 0.9), rel=1e-5)
    assert not found[:20].any()
    assert (found[20:] > 0).mean() > 0.99


def test_smoothing_is_in_mm_along_each_axis(tmp_path: Path) -> None:
    """One bright voxel becomes a Gaussian that is as wide in mm along slices as across."""
    spec = {"method": "reconstruction", "smooth_mm": 3.0, "deviation": "brighter"}
    bundle = _with_reference(anomaly_bundle(tmp_path / "a", spec), [_noise(1), _noise(2)])
    array = np.full(straight_grid().shape, 0.25, np.float32)
    array[20, 18, 12] = 1

    found = ll.score_anomaly(bundle, Volume(array, straight_grid(), "point")).array.astype(np.float64)

    spread = []
    for axis, spacing in enumerate(straight_grid().spacing_mm):
        along = found.sum(axis=tuple(a for a in range(3) if a != axis))
        at = (np.arange(len(along)) - (20, 18, 12)[axis]) * spacing
        spread.append(np.sqrt((along * at**2).sum() / along.sum()))
    np.testing.assert_allclose(spread, 3.0, rtol=0.02)  # scipy cuts the Gaussian at four standard deviations


def test_features_are_compared_with_a_gaussian_as_scipy_does(tmp_path: Path) -> None:
    """Mahalanobis distances of every voxel's features, by an independent implementation."""
    spec = {"method": "gaussian", "layers": ["0"]}
    path = anomaly_bundle(
        tmp_path / "a", spec, network=_FEATURES, state=_feature_state(), extra=_IMPORTS, inferer=SLIDING
    )
    bundle = _with_reference(path, [_noise(1), _noise(2)])
    assert bundle.reference is not None
    mean, precision = (bundle.reference.arrays[name].astype(np.float64) for name in ("mean", "precision"))
    scan = blob(straight_grid(), CENTRE)

    found = ll.score_anomaly(bundle, scan).array * bundle.reference.unit(0.999)

    for at in [(20, 18, 12), (0, 0, 0), (39, 37, 23), (22, 19, 11)]:
        value = float(scan.array[at])
        expected = mahalanobis([value, 2 * value + 1], mean, precision)
        assert found[at] == pytest.approx(expected, rel=1e-3)


def test_features_are_compared_with_the_nearest_kept_one() -> None:
    """A k-d tree in double precision finds the same neighbours."""
    generator = np.random.default_rng(0)
    kept = coreset(generator.standard_normal((500, 2)).astype(np.float32) * (1, 5), 40, generator)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.Conv3d(2, 3, 2, stride=2))
    network.load_state_dict(_feature_state())
    image = torch.from_numpy(generator.standard_normal((1, 1, 6, 5, 4)).astype(np.float32))

    with torch.no_grad():
        found = FeatureDistance(Features(network, ["0"]), kept)(image)[0, 0].numpy()

    rows = np.stack([image[0, 0], 2 * image[0, 0] + 1], axis=-1).reshape(-1, 2)
    expected, _ = cKDTree(kept["features"].astype(np.float64)).query((rows - kept["mean"]) / kept["sd"])
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-4)  # cdist takes differences of squares in float32


def test_each_kept_feature_is_the_one_farthest_from_the_others() -> None:
    """The greedy choice covers what a random draw leaves out; brute force finds the same."""
    rows = np.random.default_rng(4).standard_normal((200, 3)).astype(np.float32)
    kept = coreset(rows, 12, np.random.default_rng(1))
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0)

    for number in range(1, 12):
        away = np.linalg.norm(scaled[:, None] - kept["features"][None, :number], axis=-1).min(axis=1)
        chosen = np.linalg.norm(kept["features"][number] - kept["features"][:number], axis=-1).min()
        assert chosen == pytest.approx(away.max(), rel=1e-4)


def test_coarse_features_lie_where_their_cells_lie(tmp_path: Path) -> None:
    """A layer of stride 2 marks a blob where it is, not half a cell beside it."""
    spec = {"method": "gaussian", "layers": ["0", "1"]}
    path = anomaly_bundle(tmp_path / "a", spec, network=_FEATURES, state=_feature_state(), extra=_IMPORTS)
    bundle = _with_reference(path, [_noise(1, sd=0.02), _noise(2, sd=0.02)])
    grid = straight_grid()
    scan = blob(grid, CENTRE)

    found = ll.score_anomaly(bundle, scan.with_array(scan.array + 0.25))

    high = np.where(found.array > 0.3 * found.array.max(), found.array, 0)
    np.testing.assert_allclose(centre_of_mass(high, grid), CENTRE, atol=0.25)  # half a cell is 1 to 2 mm


def test_a_template_is_compared_at_its_place_in_the_world(tmp_path: Path) -> None:
    """Z-scores in closed form, on a scan whose grid is turned and shifted against the template's."""
    path = anomaly_bundle(tmp_path / "a", {"method": "template"}, network={"_target_": "torch.nn.Identity"}, state={})
    volumes = [_noise(n) for n in range(6)]
    bundle = _with_reference(path, volumes)
    stack = np.stack([volume.array for volume in volumes[:3]]).astype(np.float64)
    scan = _noise(9)
    flipped = Volume(scan.array[::-1], Grid(scan.grid.shape, _flipped(scan.grid)), "flipped")

    found = ll.score_anomaly(bundle, flipped).array[::-1]

    assert bundle.reference is not None
    expected = np.abs(scan.array - stack.mean(axis=0)) / stack.std(axis=0, ddof=1)
    expected /= bundle.reference.unit(0.999)
    # relative: a small standard deviation of three scans makes large scores, in float32
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4)


def _flipped(grid: Grid) -> np.ndarray[Any, Any]:
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (grid.shape[0] - 1)
    affine[:3, 0] *= -1
    return affine


def test_a_gaussian_is_that_of_numpy() -> None:
    """The precision is the inverse of the covariance, but for the ridge that keeps it invertible."""
    rows = np.random.default_rng(0).standard_normal((5000, 3)).astype(np.float32) @ np.diag([1, 2, 3]).astype(
        np.float32
    )
    covariance = np.cov(rows.T)
    ridge = 0.01 * np.trace(covariance) / 3

    found = gaussian_of(rows)["precision"]

    np.testing.assert_allclose(np.linalg.inv(found), covariance + ridge * np.eye(3), rtol=1e-3, atol=1e-3)


def test_a_bundle_without_reference_has_no_scale(tmp_path: Path) -> None:
    """Without one any map would be a guess."""
    bundle = ll.load_bundle(anomaly_bundle(tmp_path / "a", {"method": "reconstruction"}), trust=True)
    with pytest.raises(BundleError, match="has no reference, so its scores have no scale"):
        ll.score_anomaly(bundle, _noise(1))


def test_a_bundle_with_classes_scores_no_anomaly(tmp_path: Path) -> None:
    """And says what to call instead; an anomaly bundle says so the other way round."""
    with pytest.raises(BundleError, match="segmentation bundle and scores no anomaly"):
        ll.score_anomaly(ll.load_bundle(write_bundle(tmp_path / "b"), trust=True), _noise(1))
    bundle = ll.load_bundle(anomaly_bundle(tmp_path / "a", {"method": "reconstruction"}), trust=True)
    with pytest.raises(BundleError, match=r"Use score_anomaly\(\)"):
        ll.predict(bundle, _noise(1))
    with pytest.raises(ExplainError, match="has no classes"):
        ll.explain(bundle, _noise(1))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"method": "magic"}, "method in metadata.json is one of reconstruction"),
        ({"deviation": "both"}, "an object with a method"),
        ({"method": "gaussian"}, "needs layers"),
        ({"method": "reconstruction", "layers": ["0"]}, "no use for layers"),
        ({"method": "reconstruction", "deviation": "left"}, "one of both, brighter, darker"),
        ({"method": "reconstruction", "level": 1.5}, "level in metadata.json lies in"),
        ({"method": "reconstruction", "smooth_mm": "wide"}, "no numbers where they belong"),
        ({"method": "reconstruction", "sigma": 1}, "may have above"),
    ],
)
def test_what_a_bundle_states_wrongly_is_said(tmp_path: Path, spec: dict[str, Any], words: str) -> None:
    """A misspelt option that is ignored makes a map of something else."""
    with pytest.raises(BundleError, match=words):
        ll.load_bundle(anomaly_bundle(tmp_path / "a", spec), trust=True)


def test_a_layer_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """With those that do."""
    spec = {"method": "gaussian", "layers": ["7"]}
    path = anomaly_bundle(tmp_path / "a", spec, network=_FEATURES, state=_feature_state(), extra=_IMPORTS)
    with pytest.raises(BundleError, match="7"):
        fit_reference(ll.load_bundle(path, trust=True), [_noise(1), _noise(2)])


def test_one_scan_is_no_reference(tmp_path: Path) -> None:
    """Nor are none."""
    bundle = ll.load_bundle(anomaly_bundle(tmp_path / "a", {"method": "reconstruction"}), trust=True)
    with pytest.raises(InputError, match="at least 2 scans"):
        fit_reference(bundle, [_noise(1)])


def test_a_reference_survives_writing_and_reading(tmp_path: Path) -> None:
    """What is read scales as what was written; a pickle in its place is refused."""
    reference = Reference(np.array([0.5, 0.9]), np.array([1.0, 3.0]), 2, 10, {"mean": np.arange(3.0)})
    (tmp_path / "models").mkdir()
    write_reference(reference, reference_path(tmp_path))

    found = read_reference(tmp_path)

    assert (found.n_scans, found.n_voxels, found.unit(0.7)) == (2, 10, pytest.approx(2.0))
    np.testing.assert_array_equal(found.arrays["mean"], np.arange(3.0))
    np.savez(reference_path(tmp_path), schema=np.array(1), levels=np.array([{}], dtype=object))
    with pytest.raises(BundleError, match="is no anomaly reference"):
        read_reference(tmp_path)
    with pytest.raises(BundleError, match=r"knows levels from 0\.5 to 0\.9"):
        found.unit(0.95)


def test_a_run_writes_the_map_and_reads_it_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the command line: a reference, a run, and the same map as the Python interface gives."""
    path = anomaly_bundle(tmp_path / "mine", {"method": "reconstruction", "label": "odd"})
    for number in range(2):
        ll.write(_noise(number), tmp_path / f"healthy{number}.nii.gz")
    scan = blob(straight_grid(), CENTRE)
    ll.write(scan, tmp_path / "scan.nii.gz")
    healthy = [str(tmp_path / f"healthy{number}.nii.gz") for number in range(2)]

    assert main(["bundles", "reference", str(path), *healthy, "--trust", "--quiet"]) == 0
    assert "72,960 voxels of 2 scans set the scale" in capsys.readouterr().out.replace("\n", " ")
    assert (
        main(["run", str(tmp_path / "scan.nii.gz"), "--bundle", str(path), "--trust", "--out", f"{tmp_path}/out"]) == 0
    )

    volume = ll.read(tmp_path / "scan.nii.gz")
    found = ll.read_case(tmp_path / "out", volume)
    (heatmap,) = found.attributions
    assert (tmp_path / "out" / "anomaly_reconstruction_odd.nii.gz").is_file()
    assert (tmp_path / "out" / "overlay_odd.png").is_file()
    assert (heatmap.kind, heatmap.volume.unit, found.warnings) == ("anomaly", "reference units", ())
    expected = ll.score_anomaly(ll.load_bundle(path, trust=True), volume)
    np.testing.assert_array_equal(heatmap.array, expected.array)
    assert found.record["options"]["method"] is None
