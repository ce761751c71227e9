"""Several predictions of one scan: proper inverses, dropout alone, and bundles against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lesionlens as ll
from lesionlens.errors import BundleError, Cancelled, InputError
from lesionlens.model import load_bundle, predict, uncertainty
from lesionlens.model.preprocess import prepare
from lesionlens.model.sampling import dropout_modules, dropping
from lesionlens.spread import SAME_TWICE
from lesionlens.volume import Volume
from orientations import COVERING, reoriented
from tiny_bundles import (
    CENTRE,
    RAS,
    SLIDING,
    VOXELWISE_STATE,
    blob,
    classifier,
    oblique_grid,
    straight_grid,
    write_bundle,
)
from tiny_networks import state_of

SPACING = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 1.5], "mode": "bilinear"}
P = 0.4


@pytest.fixture(scope="module")
def voxelwise(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the voxelwise network behind a resampling to RAS: it answers alike however the scan is turned."""
    return load_bundle(write_bundle(tmp_path_factory.mktemp("b") / "voxelwise", steps=[RAS, SPACING]), trust=True)


def dropping_bundle(folder: Path, *, p: float = P, norm: bool = False) -> Any:
    """Return a voxelwise network of 8 equal channels, a dropout, and their weighted sum as the lesion's logit."""
    middle = "torch.nn.BatchNorm3d(8), " if norm else ""
    network = f"$torch.nn.Sequential(torch.nn.Conv3d(1, 8, 1), {middle}torch.nn.Dropout({p}), torch.nn.Conv3d(8, 2, 1))"
    state = {"0.weight": torch.ones(8, 1, 1, 1, 1), "0.bias": torch.zeros(8)}
    if norm:
        ones, zeros = torch.ones(8), torch.zeros(8)
        state |= {"1.weight": ones, "1.bias": zeros, "1.running_mean": zeros, "1.running_var": ones}
        state["1.num_batches_tracked"] = torch.tensor(5)
    last = 3 if norm else 2
    weights = torch.stack([torch.zeros(8), WEIGHTS]).view(2, 8, 1, 1, 1)
    state |= {f"{last}.weight": weights, f"{last}.bias": torch.zeros(2)}
    bundle = write_bundle(folder, network=network, state=state, steps=[], extra={"imports": ["$import torch"]})
    return load_bundle(bundle, trust=True)


WEIGHTS = torch.tensor([0.5, -0.3, 0.2, 0.4, -0.1, 0.3, 0.6, -0.2])


def logits_of(bundle: Any, scan: Volume, *, seed: int) -> Any:
    """Return the lesion's logit with dropout on."""
    with torch.no_grad(), dropping(bundle.network, seed=seed, device=bundle.device):
        return bundle.network(prepare(bundle, scan).tensor)[0, 1].numpy()


@pytest.mark.parametrize("orientation", COVERING, ids=str)
@pytest.mark.parametrize("make_grid", [straight_grid, oblique_grid])
def test_flips_of_an_equivariant_network_have_no_spread_at_all(
    voxelwise: Any, orientation: Any, make_grid: Any
) -> None:
    """A wrong inverse would look like doubt at every edge: the spread is exactly 0, the mean the plain prediction."""
    scan = blob(make_grid(), CENTRE)
    array, grid = reoriented(scan.array, scan.grid, orientation)
    turned = Volume(array, grid)

    found = uncertainty(voxelwise, turned)

    (plain,) = predict(voxelwise, turned)
    np.testing.assert_array_equal(found.map_of("mean", "lesion").array, plain.array)
    assert (found.map_of("sd", "lesion").array == 0).all()
    assert (found.map_of("mutual information", "lesion").array == 0).all()
    assert len(set(found.samples)) == 8
    (lesion,) = found.volumes("lesion")
    assert (lesion.cov, lesion.found) == (0, 1)


def test_a_network_that_knows_its_sides_has_a_spread(tmp_path: Path) -> None:
    """The check above could answer with 0 to anything; here every flip of the first axis gives another answer."""
    network = "$torch.nn.Conv3d(1, 2, (3, 1, 1), padding=(1, 0, 0))"
    weight = torch.zeros(2, 1, 3, 1, 1)
    weight[1, 0, 0] = 10.0  # looks at the left neighbour alone
    state = {"weight": weight, "bias": torch.tensor([0.0, -5.0])}
    folder = write_bundle(tmp_path / "b", network=network, state=state, extra={"imports": ["$import torch"]})

    found = uncertainty(load_bundle(folder, trust=True), blob(straight_grid(), CENTRE))

    assert found.map_of("sd", "lesion").array.max() > 0.1
    assert 0 < found.map_of("mutual information", "lesion").array.max() <= np.log(2)


def test_windows_blend_alike_however_the_scan_is_flipped(tmp_path: Path) -> None:
    """Through a sliding window only the rounding of the blending is left."""
    bundle = load_bundle(write_bundle(tmp_path / "b", inferer=SLIDING), trust=True)

    found = uncertainty(bundle, blob(straight_grid(), CENTRE))

    assert found.map_of("sd", "lesion").array.max() < 1e-6  # float32 sums of weighted windows


def test_samples_beyond_the_flips_have_noise_from_the_seed(voxelwise: Any) -> None:
    """More than eight samples are worth their time, and the same seed gives the same maps."""
    scan = blob(straight_grid(), CENTRE)
    before = torch.get_rng_state()

    first, again, other = (uncertainty(voxelwise, scan, samples=10, seed=seed) for seed in (1, 1, 2))

    assert torch.equal(before, torch.get_rng_state())
    assert first.samples[:9] == (*uncertainty(voxelwise, scan).samples, "as it is, with noise")
    sd = first.map_of("sd", "lesion").array
    assert sd.max() > 0.001
    np.testing.assert_array_equal(sd, again.map_of("sd", "lesion").array)
    assert (sd != other.map_of("sd", "lesion").array).any()


def test_variance_under_dropout_is_that_of_the_linear_network(tmp_path: Path) -> None:
    """Var = sum of w² x² p / (1 - p), within four standard errors of so many samples."""
    bundle = dropping_bundle(tmp_path / "b")
    scan = blob(straight_grid(), CENTRE)
    inside = scan.array > 0.3
    x = scan.array[inside].astype(np.float64)

    logits = np.stack([logits_of(bundle, scan, seed=seed)[inside] for seed in range(200)])

    exact = float((WEIGHTS**2).sum()) * x**2 * P / (1 - P)
    ratio = (logits.var(axis=0, ddof=1) / exact).mean()
    # Voxels are independent draws; the variance of n draws has a relative error of about sqrt(2 / n) at most here.
    assert ratio == pytest.approx(1, abs=4 * np.sqrt(2 / 200 / x.size) + 1e-3)
    np.testing.assert_allclose(logits.mean(), float(WEIGHTS.sum()) * x.mean(), rtol=0.02)


def test_dropout_leaves_norms_and_the_network_as_they_are(tmp_path: Path) -> None:
    """train() would let the norm learn from the scan; nothing but dropout may change, and that not for long."""
    bundle = dropping_bundle(tmp_path / "b", norm=True)
    before = state_of(bundle.network)

    found = uncertainty(bundle, blob(straight_grid(), CENTRE), method="dropout", samples=5, seed=7)

    assert state_of(bundle.network) == before
    assert found.map_of("sd", "lesion").array.max() > 0.01
    assert found.samples == tuple(f"dropout, seed {n}" for n in range(7, 12))


def test_a_stopped_sampling_leaves_no_dropout_on(tmp_path: Path) -> None:
    """The next prediction must not be random because the last one was cancelled."""
    bundle = dropping_bundle(tmp_path / "b")
    before = state_of(bundle.network)

    def stop(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled, match="stopped"):
        uncertainty(bundle, blob(straight_grid(), CENTRE), method="dropout", progress=stop)

    assert state_of(bundle.network) == before


def test_the_same_seed_drops_the_same_units(tmp_path: Path) -> None:
    """A run can be repeated from its record."""
    bundle = dropping_bundle(tmp_path / "b")
    scan = blob(straight_grid(), CENTRE)

    a, b = (uncertainty(bundle, scan, method="dropout", samples=3, seed=5) for _ in range(2))

    np.testing.assert_array_equal(a.map_of("entropy", "lesion").array, b.map_of("entropy", "lesion").array)


@pytest.mark.parametrize("make", [lambda folder: write_bundle(folder), lambda folder: None])
def test_without_dropout_it_is_not_available(tmp_path: Path, make: Any) -> None:
    """A flat map of zeros would say that the network is sure."""
    folder = make(tmp_path / "b")
    bundle = load_bundle(folder, trust=True) if folder else dropping_bundle(tmp_path / "b", p=0.0)

    with pytest.raises(BundleError, match="not available for b: its network has no dropout module"):
        uncertainty(bundle, blob(straight_grid(), CENTRE), method="dropout")


def test_dropout_that_never_runs_is_not_available(tmp_path: Path) -> None:
    """A network may keep modules for training alone, or fuse its layers in evaluation; all samples were the same."""
    bundle = dropping_bundle(tmp_path / "b", p=0.0)
    bundle.network[2].spare = torch.nn.Dropout(P)
    before = state_of(bundle.network)

    with pytest.raises(BundleError, match="not available for b: no dropout module of its network runs in a prediction"):
        uncertainty(bundle, blob(straight_grid(), CENTRE), method="dropout")

    assert state_of(bundle.network) == before


@pytest.mark.parametrize(
    "kind", ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"]
)
def test_every_kind_of_dropout_is_found(kind: str) -> None:
    """Segmentation networks mostly drop whole channels."""
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), getattr(torch.nn, kind)(0.2), getattr(torch.nn, kind)(0.0))

    assert dropout_modules(network) == [network[1]]


def test_a_bundle_and_itself_agree_exactly(voxelwise: Any) -> None:
    """The same answer twice holds no information about which bundle gave it."""
    scan = blob(oblique_grid(), CENTRE)

    found = uncertainty([voxelwise, voxelwise], scan, method="ensemble")

    assert (found.map_of("mutual information", "lesion").array == 0).all()
    assert (found.map_of("sd", "lesion").array == 0).all()
    assert SAME_TWICE in found.notes


def test_an_ensemble_has_the_closed_form_of_its_two_bundles(tmp_path: Path) -> None:
    """Mean and spread of sigmoid(10 x - 5) and sigmoid(10 x - 3), on grids of different spacing."""
    shifted = {**VOXELWISE_STATE, "bias": torch.tensor([0.0, -3.0])}
    folders = write_bundle(tmp_path / "a"), write_bundle(tmp_path / "b", state=shifted)
    scan = blob(straight_grid(), CENTRE)

    found = uncertainty([load_bundle(f, trust=True) for f in folders], scan, method="ensemble")

    x = scan.array.astype(np.float64)
    p, q = 1 / (1 + np.exp(-(10 * x - 5))), 1 / (1 + np.exp(-(10 * x - 3)))
    np.testing.assert_allclose(found.map_of("mean", "lesion").array, (p + q) / 2, atol=1e-6)
    np.testing.assert_allclose(found.map_of("sd", "lesion").array, abs(p - q) / np.sqrt(2), atol=1e-6)
    made = found.map_of("entropy", "lesion")
    assert (made.kind, made.volume.unit, made.name) == ("uncertainty", "nats", "uncertainty_entropy_lesion")
    assert made.provenance.bundle == "a 1.2.3 + b 1.2.3"
    assert SAME_TWICE not in found.notes
    lesion = found.volumes("lesion")[0]
    volumes = np.array([(p >= 0.5).sum(), (q >= 0.5).sum()]) * scan.grid.voxel_volume_mm3
    assert lesion.cov == pytest.approx(volumes.std(ddof=1) / volumes.mean())


def test_a_classifier_has_numbers_in_place_of_maps(tmp_path: Path) -> None:
    """Its mean over the scan does not know flips."""
    bundle = load_bundle(classifier(tmp_path / "b"), trust=True)

    found = uncertainty(bundle, blob(straight_grid(), CENTRE))

    assert found.maps == ()
    assert found.class_spreads["high"]["mean"] == pytest.approx(
        ll.classify(bundle, blob(straight_grid(), CENTRE))["high"], abs=1e-6
    )
    assert found.class_spreads["high"]["sd"] < 1e-6  # sums over space run in another order


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "no kind of uncertainty 'magic'; choose one of: tta, dropout, ensemble"),
        ({"method": "ensemble"}, "at least two bundles; found 1.*--ensemble BUNDLE"),
        ({"samples": 1}, "at least 2 samples; found 1"),
        ({"threshold": 0.0}, "above 0 and at most at 1; found 0"),
    ],
)
def test_what_cannot_be_sampled_is_refused(voxelwise: Any, options: dict[str, Any], message: str) -> None:
    """Before any network runs."""
    with pytest.raises(InputError, match=message):
        uncertainty(voxelwise, blob(straight_grid(), CENTRE), **options)


def test_bundles_of_other_classes_are_no_ensemble(voxelwise: Any, tmp_path: Path) -> None:
    """The mean of lesion and tumour means nothing."""
    other = load_bundle(write_bundle(tmp_path / "t", outputs={"0": "background", "1": "tumour"}), trust=True)

    with pytest.raises(BundleError, match="same task and classes: voxelwise is a segmentation with lesion, t a"):
        uncertainty([voxelwise, other], blob(straight_grid(), CENTRE), method="ensemble")
