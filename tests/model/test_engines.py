"""Engines, windows of one value and memory: the same probabilities as MONAI's own inferer, whatever the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from lesionlens.computing import Computing
from lesionlens.errors import ExplainError, InputError
from lesionlens.model import Bundle, load_bundle, memory, predict
from lesionlens.model.attempts import with_inferer
from lesionlens.model.engines import choice
from lesionlens.model.engines.constant import OnceForConstants, constant_values
from lesionlens.model.engines.interface import TOLERANCES
from lesionlens.model.inference import infer, windows_of
from lesionlens.model.memory import planned_memory
from lesionlens.model.prediction import probabilities
from lesionlens.model.preprocess import Prepared, prepare
from lesionlens.model.sampling import uncertainty
from lesionlens.volume import Grid, Volume
from tiny_bundles import write_bundle
from tiny_networks import SmallUNet

SIZE = (16, 16, 16)
AIR = -2.0
# Sums in another order: what MONAI's joined logits and ours may differ by.
SUMS = 1e-5


def scan(shape: tuple[int, int, int] = (40, 24, 20)) -> Volume:
    """Return noise in the middle of a scan, and air in the first half of it."""
    array = np.full(shape, AIR, dtype=np.float32)
    array[24:] = np.random.default_rng(5).normal(size=(shape[0] - 24, *shape[1:]))
    return Volume(array, Grid(shape, np.eye(4)), name="scan")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a small U-Net of random weights behind a sliding window with air beside the scan."""
    network = SmallUNet(classes=4).eval()
    inferer = {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(SIZE),
        "sw_batch_size": 2,
        "overlap": 0.5,
        "mode": "gaussian",
        "cval": AIR,
    }
    folder = write_bundle(
        tmp_path_factory.mktemp("engines") / "unet",
        network={"_target_": "tiny_networks.SmallUNet", "classes": 4},
        state=network.state_dict(),
        steps=[],
        inferer=inferer,
        outputs={str(n): name for n, name in enumerate(["background", "a", "b", "c"])},
    )
    return load_bundle(folder, trust=True, device="cpu")


@pytest.fixture(scope="module")
def prepared(bundle: Bundle) -> Prepared:
    """Return the scan as the network sees it."""
    return prepare(bundle, scan())


@pytest.fixture(scope="module")
def expected(bundle: Bundle, prepared: Prepared) -> Tensor:
    """Return MONAI's probabilities (4, D, H, W), each window computed."""
    with torch.no_grad():
        logits = sliding_window_inference(
            prepared.tensor, SIZE, 1, bundle.network, overlap=0.5, mode="gaussian", cval=AIR
        )
    return torch.softmax(logits[0], dim=0)


def largest(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference of two tensors of one shape."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max())


class TestConstantWindows:
    """Windows of one value are computed once, and nothing is different for it."""

    def test_result_is_monais(self, bundle: Bundle, prepared: Prepared, expected: Tensor) -> None:
        """A scan of which half is air has the probabilities of every window computed for itself."""
        found = infer(bundle, prepared)

        assert found.computed is not None
        assert found.computed.skipped > 0
        assert largest(found.probabilities, expected) < SUMS

    def test_skipping_is_exact(self, bundle: Bundle, prepared: Prepared) -> None:
        """Not one bit of the output depends on it."""
        single = with_inferer(bundle, sw_batch_size=1)

        skipped, whole = (infer(single, prepared, computing=Computing(skip=skip)) for skip in (True, False))

        assert skipped.computed is not None
        assert whole.computed is not None
        assert (skipped.computed.skipped > 0, whole.computed.skipped) == (True, 0)
        assert torch.equal(skipped.output, whole.output)

    def test_only_equal_bits_are_one_value(self) -> None:
        """A window with one other voxel, two values of two channels, and a zero with a sign are told apart."""
        windows = torch.zeros(4, 2, 3, 3, 3)
        windows[1, 1] = 5.0
        windows[2, 0, 1, 1, 1] = 1e-30
        windows[3, 0, 1, 1, 1] = -0.0

        found = constant_values(windows)

        assert [key is None for key in found] == [False, False, True, True]
        assert found[0] != found[1]

    def test_order_in_a_batch_is_kept(self) -> None:
        """Constant and other windows of one batch come back in their order."""
        windows = torch.arange(5.0).view(5, 1, 1, 1, 1).repeat(1, 1, 2, 2, 2)
        windows[1, 0, 0, 0, 0] = 9.0
        windows[4] = windows[0]
        once = OnceForConstants(lambda w: w * 2, lambda w: w * 2)

        assert torch.equal(once(windows), windows * 2)
        assert once.skipped == 1


@pytest.mark.parametrize("name", ["openvino", "openvino-bf16", "torch-bf16"])
def test_engine_agrees_with_monai(
    name: Any, bundle: Bundle, prepared: Prepared, expected: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each engine gives MONAI's probabilities within what it is allowed, also for a last batch that is not full."""
    if name.startswith("openvino"):
        pytest.importorskip("openvino")
    monkeypatch.setattr("lesionlens.model.engines.torch_engine.bf16_problem", lambda _device: "")
    monkeypatch.setattr("lesionlens.model.engines.openvino_engine.bf16_problem", lambda _device: "")

    found = infer(bundle, prepared, computing=Computing(name))

    assert found.computed is not None
    assert (found.computed.engine, found.computed.notices) == (name, ())
    assert found.computed.difference is not None
    least = 1e-5 if name == "openvino" else TOLERANCES[name]  # in fp32 this network loses nothing
    assert 0 <= found.computed.difference <= least
    assert largest(found.probabilities, expected) <= 2 * least  # other windows than the one of the check


def _with_norm(bundle: Bundle) -> Bundle:
    """Put a network whose batch norm can be folded in the place of the bundle's."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 4, 1))
    return replace(bundle, network=network.eval().requires_grad_(False), engines={})


def test_folded_network_agrees_with_itself(bundle: Bundle, prepared: Prepared) -> None:
    """Fewer steps give the same maps up to rounding, and the record says how far they differ."""
    single = _with_norm(bundle)

    plain, found = (infer(single, prepared, computing=Computing(n)) for n in ("torch", "torch-folded"))

    assert found.computed is not None
    assert (found.computed.engine, found.computed.notices) == ("torch-folded", ())
    assert found.computed.difference is not None
    assert found.computed.difference <= 1e-5
    assert largest(found.probabilities, plain.probabilities) <= 1e-5


class _OwnNumbers(nn.Module):
    """A network that makes numbers of fp32 of its own, as it does from the given window in bf16 on."""

    def __init__(self, network: nn.Module, *, after: int = 0, wrong: bool = False) -> None:
        super().__init__()
        self.network, self.after, self.wrong, self.seen = network, after, wrong, 0

    def forward(self, window: Tensor) -> Tensor:
        self.seen += len(window) if window.dtype == torch.bfloat16 else 0
        if self.seen > self.after:
            window = torch.einsum("ncdhw,cb->nbdhw", window, torch.eye(window.shape[1]))
        output = self.network(window)
        return output.flip(1) if self.wrong and torch.is_autocast_enabled("cpu") else output


class TestAutocast:
    """What bf16 is replaced by where a network does not run in it is said, and checked."""

    @pytest.fixture(autouse=True)
    def processor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let any processor take bf16."""
        monkeypatch.setattr("lesionlens.model.engines.torch_engine.bf16_problem", lambda _device: "")

    def test_is_recorded_for_every_scan(self, bundle: Bundle, prepared: Prepared, expected: Tensor) -> None:
        """The record says that autocast ran and why, also of the next scan with the same engine."""
        odd = replace(bundle, network=_OwnNumbers(bundle.network), engines={})

        for _scan in range(2):
            found = infer(odd, prepared, computing=Computing("torch-bf16"))

            assert found.computed is not None
            recorded = found.computed.record()
            assert recorded["engine"] == "torch-bf16"
            assert [line for line in recorded["notices"] if "(RuntimeError)" in line and "with autocast" in line]
            assert 0 < recorded["largest_difference"] <= recorded["tolerance"]
            assert 0 < largest(found.probabilities, expected) <= 2 * TOLERANCES["torch-bf16"]

    def test_network_that_cannot_be_copied(self, bundle: Bundle, prepared: Prepared) -> None:
        """A network that refuses to be copied runs with autocast from the first window on, and the record says so."""

        class Single(_OwnNumbers):
            def __deepcopy__(self, memo: object) -> Single:
                raise TypeError("there is one of me")

        odd = replace(bundle, network=Single(bundle.network, after=10**6), engines={})

        computed = infer(odd, prepared, computing=Computing("torch-bf16")).computed

        assert computed is not None
        assert computed.engine == "torch-bf16"
        assert "(TypeError)" in " ".join(computed.notices)

    def test_is_checked_where_it_begins_later(self, bundle: Bundle, prepared: Prepared, expected: Tensor) -> None:
        """A network that leaves bf16 in a later window is checked again there, and the record says from where."""
        single = with_inferer(bundle, sw_batch_size=1)
        late = replace(single, network=_OwnNumbers(bundle.network, after=4), engines={})

        found = infer(late, prepared, computing=Computing("torch-bf16", skip=False))

        assert found.computed is not None
        assert found.computed.engine == "torch-bf16"
        begun, autocast = found.computed.notices
        assert "ran the windows before number" in begun
        assert "with autocast" in autocast
        assert largest(found.probabilities, expected) <= 2 * TOLERANCES["torch-bf16"]

    def test_is_not_used_where_it_is_wrong(self, bundle: Bundle, prepared: Prepared, expected: Tensor) -> None:
        """Where autocast does not agree, PyTorch in fp32 runs what is left, and the record says so."""
        single = with_inferer(bundle, sw_batch_size=1)
        late = replace(single, network=_OwnNumbers(bundle.network, after=4, wrong=True), engines={})

        found = infer(late, prepared, computing=Computing("torch-bf16", skip=False))

        assert found.computed is not None
        assert (found.computed.engine, found.computed.difference) == ("torch", None)
        begun, refused = found.computed.notices
        assert "ran the windows before number" in begun
        assert "differs from PyTorch in fp32" in refused
        assert largest(found.probabilities, expected) <= 2 * TOLERANCES["torch-bf16"]


def test_auto_takes_what_is_faster(bundle: Bundle, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of engines that agree the fastest runs, and a slower one does not."""
    times = {"torch": 2.0, "torch-folded": 1.5, "torch-bf16": 1.0}
    monkeypatch.setattr(choice, "bf16_problem", lambda _device: "")
    monkeypatch.setattr("lesionlens.model.engines.torch_engine.bf16_problem", lambda _device: "")
    monkeypatch.setattr(choice, "is_installed", lambda: False)
    monkeypatch.setattr(choice, "_seconds", lambda engine, _window: times[engine.name])

    bundle = _with_norm(bundle)

    faster = infer(bundle, prepared, computing=Computing("auto")).computed
    times["torch-bf16"] = 3.0
    folded = infer(bundle, prepared, computing=Computing("auto")).computed
    times["torch-folded"] = 4.0
    slower = infer(bundle, prepared, computing=Computing("auto")).computed

    assert faster is not None
    assert folded is not None
    assert slower is not None
    assert (faster.engine, folded.engine, slower.engine) == ("torch-bf16", "torch-folded", "torch")
    assert (slower.difference, slower.notices) == (None, ())


class _Wrong:
    """An engine whose answers are wrong, or none."""

    name = "openvino"
    notices = ()

    def __init__(self, network: nn.Module, *, how: str) -> None:
        self.network, self.how = network, how

    def __call__(self, windows: Tensor) -> Tensor:
        if self.how == "raises":
            raise RuntimeError("unsupported primitive")
        output = self.network(windows)
        return output.flip(1) if self.how == "classes" else output * float("nan")


@pytest.mark.parametrize(
    ("how", "words"),
    [("classes", "differs from PyTorch in fp32 by up to"), ("nan", "differs"), ("raises", r"failed \(RuntimeError\)")],
)
def test_wrong_engine_falls_back(
    how: str,
    words: str,
    bundle: Bundle,
    prepared: Prepared,
    expected: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An engine that fails its check is not used, and a notice says so."""
    monkeypatch.setattr(choice, "_made", lambda bundle, _name, _window: _Wrong(bundle.network, how=how))

    found = infer(bundle, prepared, computing=Computing("openvino"))

    assert found.computed is not None
    assert (found.computed.engine, found.computed.difference) == ("torch", None)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(*found.computed.notices)
    assert largest(found.probabilities, expected) < SUMS


def test_network_that_cannot_be_translated_falls_back(bundle: Bundle, prepared: Prepared) -> None:
    """What the tracer refuses is said, and the scan is predicted all the same."""
    pytest.importorskip("openvino")

    class Untraceable(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, window: Tensor) -> Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("no tracing")
            return self.network(window)

    odd = replace(bundle, network=Untraceable(bundle.network), engines={})

    found = infer(odd, prepared, computing=Computing("openvino"))

    assert found.computed is not None
    assert found.computed.engine == "torch"
    assert "OpenVINO cannot translate the network (RuntimeError: no tracing)" in found.computed.notices[0]


class TestBlocks:
    """Windows that are joined slab by slab, when memory is short."""

    @pytest.mark.parametrize("on_disk", [False, True])
    def test_blocks_are_monais(
        self, on_disk: bool, bundle: Bundle, prepared: Prepared, expected: Tensor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The probabilities are those of the whole, in memory and in a file."""
        monkeypatch.setattr(memory, "WORTH", 1.0)
        tiny = 1e-9 if on_disk else None

        found = infer(bundle, prepared, computing=Computing(memory_gib=tiny, in_blocks=True))

        assert found.computed is not None
        assert (found.computed.in_blocks, found.computed.on_disk) == (True, on_disk)
        assert found.channels == (1, 2, 3)
        assert largest(found.probabilities, expected[1:]) < SUMS

    def test_only_wanted_classes_are_kept(self, bundle: Bundle, expected: Tensor) -> None:
        """Whichever way, asking for classes gives their maps alone."""
        whole = predict(bundle, scan(), classes=["c"])
        blocks = probabilities(
            bundle,
            infer(bundle, prepare(bundle, scan()), computing=Computing(classes=("c",), in_blocks=True)),
            classes=("c",),
        )

        assert [m.label for m in whole] == [m.label for m in blocks] == ["c"]
        assert np.abs(whole[0].array - expected[3].numpy()).max() < SUMS
        assert np.abs(blocks[0].array - expected[3].numpy()).max() < SUMS

    def test_budget_decides(self, bundle: Bundle, prepared: Prepared) -> None:
        """A budget that the whole fits in changes nothing; a smaller one brings blocks that need less, as foretold."""
        single = with_inferer(bundle, sw_batch_size=1)
        roomy = infer(single, prepared, computing=Computing(memory_gib=4)).computed
        assert roomy is not None
        assert not roomy.in_blocks
        assert roomy.predicted_bytes is not None

        tight = infer(single, prepared, computing=Computing(memory_gib=(roomy.predicted_bytes - 1) / 2**30)).computed

        assert tight is not None
        assert tight.in_blocks
        assert tight.predicted_bytes is not None
        assert tight.predicted_bytes < roomy.predicted_bytes

    def test_batches_get_smaller_first(self, bundle: Bundle, prepared: Prepared, expected: Tensor) -> None:
        """What does not fit with two windows at a time, and does with one, is joined as ever."""
        plans = [
            planned_memory(with_inferer(bundle, sw_batch_size=n), prepared, windows, kept=3, budget_bytes=2**40)
            for windows in (windows_of(bundle.inferer, prepared.tensor.shape[2:]),)
            for n in (16, 1)
        ]
        budget = (plans[0].bytes + plans[1].bytes) / 2 / 2**30
        sixteen = with_inferer(bundle, sw_batch_size=16)

        found = infer(sixteen, prepared, computing=Computing(memory_gib=budget))

        assert found.computed is not None
        assert (found.computed.batch, found.computed.in_blocks) == (1, False)
        assert largest(found.probabilities, expected) < SUMS

    def test_unknown_class_is_refused(self, bundle: Bundle) -> None:
        """A class that does not exist is named with those that do."""
        with pytest.raises(ExplainError, match="spleen"):
            predict(bundle, scan(), classes=["spleen"])


class _Hungry(nn.Module):
    """A network that finds no memory for more than so many voxels at a time."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most = network, most

    def forward(self, window: Tensor) -> Tensor:
        if window.numel() > self.most:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return self.network(window)


class TestOutOfMemory:
    """Less is tried, and said, before the work is lost."""

    def test_single_windows(self, bundle: Bundle, prepared: Prepared, expected: Tensor) -> None:
        """Where two windows do not fit, one does, and the result is the same."""
        hungry = replace(bundle, network=_Hungry(bundle.network, 16**3))

        found = infer(hungry, prepared)

        assert found.computed is not None
        assert found.computed.batch == 1
        assert "Memory ran out; windows were run one at a time" in found.computed.notices[0]
        assert largest(found.probabilities, expected[1:]) < SUMS

    def test_smaller_windows(self, bundle: Bundle, prepared: Prepared) -> None:
        """Where one window does not fit, smaller ones do, and their size is said."""
        hungry = replace(bundle, network=_Hungry(bundle.network, 16**3))
        wide = with_inferer(hungry, roi_size=[32, 32, 32], sw_batch_size=1)

        found = infer(wide, prepared)

        assert found.computed is not None
        assert found.computed.window_voxels == (16, 16, 16)
        assert "windows of 16 x 16 x 16 voxels were used" in found.computed.notices[-1]

    def test_nothing_fits(self, bundle: Bundle, prepared: Prepared) -> None:
        """When all was tried it is an error that says so."""
        hungry = replace(bundle, network=_Hungry(bundle.network, 1))

        with pytest.raises(InputError, match="ran out of memory"):
            infer(hungry, prepared)


def test_flipped_samples_take_the_engine(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test-time augmentation computes every sample as the prediction was, with the same maps within tolerance."""
    monkeypatch.setattr("lesionlens.model.engines.torch_engine.bf16_problem", lambda _device: "")
    plain, fast = (
        uncertainty(bundle, scan((40, 16, 16)), samples=2, computing=Computing(name))
        for name in ("torch", "torch-bf16")
    )

    mean, other = (next(m for m in found.maps if m.label == "a") for found in (plain, fast))
    assert np.abs(mean.array - other.array).max() <= 2 * TOLERANCES["torch-bf16"]
    assert not np.array_equal(mean.array, other.array)


@pytest.mark.parametrize("values", [{"engine": "tensorrt"}, {"memory_gib": 0.0}, {"memory_gib": float("nan")}])
def test_what_does_not_exist_is_refused(values: dict[str, Any]) -> None:
    """An engine that there is none of, or no memory, is an error before the work."""
    with pytest.raises(InputError, match=r"engine|Memory"):
        Computing(**values)


def test_folder_is_left_alone(bundle: Bundle, prepared: Prepared, tmp_path: Path, monkeypatch: Any) -> None:
    """The file behind a result on the disk has no name that could stay behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(memory, "WORTH", 1.0)

    found = infer(bundle, prepared, computing=Computing(memory_gib=1e-9, in_blocks=True))

    assert found.computed is not None
    assert found.computed.on_disk
    # PyTorch makes an empty folder of its own when a process first counts memory.
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def test_an_engine_is_checked_in_the_middle_of_the_scan(tmp_path: Path) -> None:
    """The first window lies in a corner; what differs where the tissue is must be found there."""
    folder = write_bundle(
        tmp_path / "b", inferer={"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8], "overlap": 0.0}
    )
    array = np.full((24, 24, 24), 0.1, dtype=np.float32)
    array[0, 0, 0] = 0.2  # so that no window of the corner is of one value
    array[12, 12, 12] = 0.9
    bundle, scan = load_bundle(folder), Volume(array, Grid(array.shape, np.eye(4)))
    prepared = prepare(bundle, scan)
    seen: list[float] = []
    bundle.network.register_forward_pre_hook(lambda _, args: seen.append(float(args[0].max())))

    infer(bundle, prepared, computing=Computing("openvino"))

    assert seen[0] == pytest.approx(0.9)
