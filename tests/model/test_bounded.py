"""What a config asks for is stopped before the memory is taken: the system would end the program that takes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.transforms import SpatialPad
from torch import nn

from lesionlens.errors import BundleError, InputError
from lesionlens.model import inference, load_bundle, predict
from lesionlens.model.bounded import TooMuchMemoryError, bounded, check_padding
from lesionlens.model.check import check_bundle
from tiny_bundles import CENTRE, SLIDING, blob, straight_grid, write_bundle

# More than any machine has, and more at a time than systems promise, so that even an unguarded run does no harm.
HUGE = 100_000


def _made_of(nodes: int) -> nn.Module:
    return nn.Linear(nodes, nodes, bias=False)


def test_bytes_are_counted_exactly_up_to_the_limit() -> None:
    """A layer of 100 x 100 numbers of four bytes has room in 40,000 bytes, and not in one less."""
    with bounded(40_000):
        _made_of(100)
    with pytest.raises(TooMuchMemoryError, match="it would take"), bounded(39_999):
        _made_of(100)


def test_what_was_let_go_counts_no_more() -> None:
    """Only what is alive at a time takes memory; views of it take none."""
    with bounded(40_000):
        for _ in range(3):
            _made_of(100)
        torch.zeros(100, 100).view(50, 200).expand(3, 50, 200)


def test_results_are_the_same_inside() -> None:
    """Watching neither draws random numbers nor changes any."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        expected = _made_of(7).weight
        torch.manual_seed(3)
        with bounded(2**20):
            found = _made_of(7).weight
    assert torch.equal(found, expected)


def test_many_small_tensors_are_stopped_too() -> None:
    """Each of them has a price that is not in its bytes."""
    with bounded(2**20, most_tensors=5):
        [torch.zeros(1) for _ in range(5)]
    with pytest.raises(TooMuchMemoryError, match="more tensors"), bounded(2**20, most_tensors=5):
        [torch.zeros(1) for _ in range(6)]


@pytest.mark.parametrize("mode", ["constant", "mean"])
def test_paddings_are_foretold(mode: str) -> None:
    """10 x 12 x 20 float32 are 9,600 bytes, by torch or by numpy."""
    image, step = torch.zeros(1, 10, 10, 10), SpatialPad((10, 12, 20), mode=mode)
    check_padding(step, image, 9_600)
    with pytest.raises(TooMuchMemoryError, match="SpatialPad: it would take"):
        check_padding(step, image, 9_599)


NETWORKS: dict[str, dict[str, Any]] = {
    "wide": {"channels": [HUGE, HUGE], "strides": [2]},
    "wide in half": {"channels": [HUGE // 4, HUGE // 4], "strides": [2]},
    "long": {"channels": [30_000] * 20, "strides": [1] * 19},
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("repeated", [False, True])
def test_networks_far_larger_than_their_weights_are_refused(tmp_path: Path, name: str, repeated: bool) -> None:
    """Also where a weight of one number claims a huge shape."""
    network = {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, **NETWORKS[name]}
    state = {"x": torch.zeros(1).expand(HUGE, HUGE)} if repeated else None
    bundle = write_bundle(tmp_path / "b", network=network, state=state)

    with pytest.raises(BundleError, match=r"'network_def'.*was stopped: it would take .*as large as its weights"):
        load_bundle(bundle)
    assert "was stopped" in check_bundle(bundle).problem


STEPS: dict[str, dict[str, Any]] = {
    "RepeatChanneld": {"repeats": 10**9},
    "SpatialPadd": {"spatial_size": [HUGE] * 3},
    "BorderPadd": {"spatial_border": [HUGE], "mode": "maximum"},
    "DivisiblePadd": {"k": HUGE, "mode": "mean"},
    "ResizeWithPadOrCropd": {"spatial_size": [HUGE] * 3, "mode": "median"},
    "Resized": {"spatial_size": [HUGE] * 3},
    "Zoomd": {"zoom": 1000, "keep_size": False},
    "Affined": {"spatial_size": [HUGE] * 3},
    "GaussianSmoothd": {"sigma": 1e12},
    "CropForegroundd": {"source_key": "image", "k_divisible": HUGE},
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_that_take_more_than_is_free_are_refused_by_name(tmp_path: Path, name: str) -> None:
    """A number of the config decides how much that is."""
    bundle = load_bundle(write_bundle(tmp_path / "b", steps=[{"_target_": name, "keys": "image", **STEPS[name]}]))

    with pytest.raises(BundleError, match=rf"was stopped at \w*{name.removesuffix('d')}\w*: it would take .* GiB"):
        predict(bundle, blob(straight_grid(), CENTRE))


def test_torch_s_compiler_is_not_imported_for_it(tmp_path: Path) -> None:
    """It takes seconds, in the first scan of every process; the image is too large to be passed over."""
    bundle = write_bundle(tmp_path / "b")
    code = (
        "import sys, numpy as np, lesionlens as ll;"
        "from lesionlens.model.preprocess import prepare;"
        "from lesionlens.volume import Grid, Volume;"
        f"bundle = ll.load_bundle({str(bundle)!r});"
        "array = np.random.default_rng(0).random((120, 120, 120), dtype=np.float32);"
        "prepare(bundle, Volume(array, Grid(array.shape, np.diag([1.0, 1.0, 1.2, 1.0]))));"
        "print(bundle.info.embedded, 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.split() == ["False", "False"], done.stderr


def test_what_fits_runs_as_before(tmp_path: Path) -> None:
    """The guard must be able to say yes."""
    steps = [{"_target_": "SpatialPadd", "keys": "image", "spatial_size": [48] * 3, "mode": "mean"}]
    found = predict(load_bundle(write_bundle(tmp_path / "b", steps=steps)), blob(straight_grid(), CENTRE))
    assert found[0].volume.array.max() > 0.99


def test_a_prediction_that_needs_more_than_there_is_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without harm: no way of running it would fit."""
    bundle = load_bundle(write_bundle(tmp_path / "b", inferer=SLIDING))
    scan = blob(straight_grid(), CENTRE)
    assert predict(bundle, scan, memory_gib=1.0)
    monkeypatch.setattr(inference, "available_bytes", lambda: 1000.0)

    with pytest.raises(InputError, match="ran out of memory"):
        predict(bundle, scan, memory_gib=1.0)
