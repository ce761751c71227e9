"""Every explanation method through the command line, on a network of which it is known what the map must be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.networks.nets import AttentionUnet
from numpy.typing import NDArray
from typer.testing import CliRunner

import lesionlens as ll
from detection_networks import write_detection
from lesionlens.cli import app
from lesionlens.methods import METHODS
from lesionlens.volume import Volume
from tiny_bundles import CENTRE, blob, straight_grid, write_bundle

Floats = NDArray[np.float64]
Says = Callable[[Floats, Floats], bool]

# float32 sums of tens of thousands of voxels, relative to the largest value.
CLOSE = 1e-4
GATES: dict[str, Any] = {
    "_target_": "AttentionUnet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 2,
    "channels": [4, 8],
    "strides": [2],
}


def pooling(folder: Path) -> Path:
    """Write a classifier of two channels x and x / 2, averaged over space: the logit of 'high' is 4 mean(x) + 1."""
    return write_bundle(
        folder,
        network="$torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool3d(1),"
        " torch.nn.Flatten(), torch.nn.Linear(2, 2))",
        state={
            "0.weight": torch.tensor([1.0, 0.5]).view(2, 1, 1, 1, 1),
            "0.bias": torch.zeros(2),
            "4.weight": torch.tensor([[0.0, 0.0], [3.0, 2.0]]),
            "4.bias": torch.tensor([0.0, 1.0]),
        },
        outputs={"0": "none", "1": "high"},
        output_format="classification",
        extra={"imports": ["$import torch"]},
        steps=[],
    )


def tokens(folder: Path) -> Path:
    """Write a classifier of tokens, cells of 4 x 4 x 4 voxels that look at the brightest of them."""
    return write_bundle(
        folder,
        network={"_target_": "token_networks.Bright"},
        state={"block.attn.gain": torch.tensor(12.0)},
        steps=[{"_target_": "DivisiblePadd", "keys": "image", "k": 4}],
        outputs={"0": "none", "1": "bright"},
        output_format="classification",
    )


def gates(folder: Path) -> Path:
    """Write an Attention U-Net with one gate and seeded weights."""
    torch.manual_seed(0)
    network = AttentionUnet(**{key: value for key, value in GATES.items() if key != "_target_"})
    return write_bundle(folder, network=GATES, state=network.state_dict(), steps=[])


def cubes(folder: Path) -> Path:
    """Write a detection network that finds bright cells of 4 x 4 x 2 voxels."""
    return write_detection(folder, steps=[])


def times(factor: float) -> Says:
    """Return a check that a map is a factor times the image."""
    return lambda found, image: bool(np.allclose(found, factor * image, atol=CLOSE * abs(factor)))


def proportional(found: Floats, image: Floats) -> bool:
    """Say whether a map is the image times some positive number."""
    return found.max() > 0 and np.allclose(found / found.max(), image / image.max(), atol=CLOSE)


def slope(found: Floats, image: Floats) -> bool:
    """Say whether a map is the slope of the logit: 4 / n at every voxel above 0."""
    return np.allclose(found * image.size, 4, rtol=CLOSE)


def smoothed(found: Floats, image: Floats) -> bool:
    """Say whether slopes lie between those below and above 0, and are those above where noise reaches no zero."""
    slopes = found * image.size
    return slopes.min() >= -CLOSE and slopes.max() <= 4 + CLOSE and np.allclose(slopes[image > 0.5], 4, rtol=CLOSE)


def completes(found: Floats, image: Floats) -> bool:
    """Say whether a map adds up to the logit minus that of the darkest image, voxel by voxel."""
    return np.allclose(found * image.size, 4 * (image - image.min()), atol=CLOSE)


def peaks(found: Floats, image: Floats) -> bool:
    """Say whether the brightest voxel is in the few cells or boxes that are above half of the map's largest value."""
    high = found > found.max() / 2
    return bool(high[np.unravel_index(image.argmax(), image.shape)] and high.mean() < 0.1)


def component(found: Floats, image: Floats) -> bool:
    """Say whether a map is the image but for its scale and where its zero lies."""
    return float(np.corrcoef(found.ravel(), image.ravel())[0, 1]) > 1 - CLOSE


def open_gates(found: Floats, image: Floats) -> bool:
    """Say whether a map is one of sigmoids."""
    return 0 < found.min() < found.max() < 1


def finds(found: Floats, image: Floats) -> bool:
    """Say whether the brightest cell, whose logit is 6, is found, and the corner of the image is not."""
    at = np.unravel_index(image.argmax(), image.shape)
    return abs(found[at] - 1 / (1 + np.exp(-6))) < CLOSE and found[0, 0, 0] < 0.01


@dataclass(frozen=True)
class Case:
    """A bundle that suits a method, and what its map must be there, voxel (i, j, k) by voxel of the image."""

    says: Says
    write: Callable[[Path], Path] = pooling
    options: Mapping[str, int | str] = field(default_factory=dict)
    layer: str | None = None


N = int(np.prod(straight_grid().shape))
CASES = {
    "gradcam": Case(times(4 / N)),
    "gradcampp": Case(proportional),
    "hirescam": Case(times(4 / N)),
    "layercam": Case(times(4 / N)),
    "xgradcam": Case(times(4 / N)),
    "ablationcam": Case(proportional),
    "cam": Case(times(4)),
    "eigencam": Case(proportional),
    "scorecam": Case(proportional),
    "saliency": Case(slope),
    "smoothgrad": Case(smoothed, options={"samples": 3}),
    "input_x_gradient": Case(times(4 / N)),
    "integrated_gradients": Case(completes, options={"steps": 4}),
    "guided_backprop": Case(slope),
    "occlusion": Case(peaks, options={"size": "8", "fill": "zero"}),
    "activation_mean": Case(times(0.75), layer="1"),
    "activation_channel": Case(times(0.5), options={"channel": 1}, layer="1"),
    "activation_strongest": Case(times(0.5), options={"rank": 2}, layer="0"),
    "activation_components": Case(component),
    "attention": Case(peaks, tokens),
    "attention_rollout": Case(peaks, tokens),
    "attention_relevance": Case(peaks, tokens),
    "attention_gates": Case(open_gates, gates),
    "score_map": Case(finds, cubes),
    "boxes": Case(finds, cubes),
}


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Path]:
    """Return what gives the path of the scan for a case: a blob, or for detection one bright cell."""
    folder = tmp_path_factory.mktemp("scans")
    cell = np.zeros(straight_grid().shape, dtype=np.float32)
    cell[12:16, 8:12, 10:12] = 1
    ll.write(Volume(cell, straight_grid(), name="cell"), folder / "cell.nii.gz")
    ll.write(blob(straight_grid(), CENTRE), folder / "blob.nii.gz")
    return lambda case: folder / ("cell.nii.gz" if case.write is cubes else "blob.nii.gz")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Case], Path]]:
    """Return what gives the bundle of a case, each written once."""
    folder, known = tmp_path_factory.mktemp("bundles"), dict[str, Path]()

    def bundle(case: Case) -> Path:
        name = case.write.__name__
        if name not in known:
            known[name] = case.write(folder / name)
        return known[name]

    return bundle


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_and_means_what_it_says(
    method: str, scans: Callable[[Case], Path], written: Callable[[Case], Path], tmp_path: Path
) -> None:
    """A method that works in Python but not from the command line, or writes another map, would be seen by no other."""
    assert method in CASES, f"give {method!r} a network of which its map is known"
    case = CASES[method]
    scan, bundle, out = scans(case), written(case), tmp_path / "results"
    words = ["run", str(scan), "--bundle", str(bundle), "--trust", "--out", str(out), "--quiet", "--method", method]
    words += [word for name, value in case.options.items() for word in ("--option", f"{name}={value}")]
    words += ["--layer", case.layer] if case.layer else []

    result = CliRunner().invoke(app, words, catch_exceptions=False)

    assert result.exit_code == 0, result.output
    expected = ll.explain(
        ll.load_bundle(bundle, trust=True), ll.read(scan), method=method, layer=case.layer, options=case.options
    )
    image, source = nib.load(out / f"{expected.name}.nii.gz"), nib.load(scan)
    found = np.asarray(image.dataobj, dtype=np.float64)
    assert np.array_equal(found.astype(np.float32), expected.array)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(image.affine, source.affine)
    assert case.says(found, np.asarray(source.dataobj, dtype=np.float64))
    record = json.loads((out / "record.json").read_text(encoding="utf-8"))
    (made,) = (one for one in record["maps"] if one["file"] == f"{expected.name}.nii.gz")
    assert (record["options"]["method"], made["method"], made["kind"]) == (method, method, METHODS[method].kind)


def test_no_case_is_left_of_a_method_that_is_gone() -> None:
    """The list is that of the registry, in its order."""
    assert list(CASES) == list(METHODS)
