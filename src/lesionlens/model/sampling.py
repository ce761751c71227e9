"""Several predictions of one scan: flipped, with dropout, or by several bundles; the statistics are in ``spread``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lesionlens.computing import EXACT, Computing
from lesionlens.errors import BundleError, InputError, unknown_name
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.methods import Sampling
from lesionlens.model.bundle import Bundle
from lesionlens.model.inference import Inference, infer
from lesionlens.model.prediction import class_probabilities, probabilities, versions
from lesionlens.model.preprocess import Prepared, prepare
from lesionlens.progress import Progress, silent
from lesionlens.spread import MEASURES, SAME_TWICE, UNITS, RunningSpread, Uncertainty
from lesionlens.volume import Volume

__all__ = ["check_sampling", "dropout_modules", "dropping", "uncertainty"]

# Every way to flip the three axes of (1, C, D, H, W); the scan as it is comes first.
_FLIPS: Final = tuple(axes for n in range(4) for axes in combinations((2, 3, 4), n))
# From the second round of flips on, samples differ by noise of this part of each channel's standard deviation: about
# the noise of a good scan.
NOISE: Final = 0.02
_DEFAULT_SAMPLES: Final = {"tta": len(_FLIPS), "dropout": 20}
_AXES: Final = {
    **dict.fromkeys("RL", "left-right"),
    **dict.fromkeys("AP", "front-back"),
    **dict.fromkeys("SI", "head-feet"),
}
_NOTES: Final[dict[Sampling, str]] = {
    "tta": "Test-time augmentation: how far the answer depends on how the scan lies, not how far it may be wrong.",
    "dropout": "Monte-Carlo dropout: how far the answer depends on single units of one network, trained once.",
    "ensemble": "Ensemble: how far bundles disagree; what they all get wrong, they agree upon.",
}


@dataclass(frozen=True, eq=False)
class _Sample:
    """One prediction: of which bundle, and what was done to get it."""

    words: str
    bundle: Bundle
    inference: Inference


def uncertainty(
    bundle: Bundle | Sequence[Bundle],
    volume: Volume | Sequence[Volume],
    *,
    method: Sampling = "tta",
    samples: int | None = None,
    seed: int = 0,
    threshold: float = 0.5,
    thresholds: Mapping[str, float] | None = None,
    computing: Computing = EXACT,
    progress: Progress = silent,
) -> Uncertainty:
    """Predict a scan several times, and say where the predictions differ.

    Parameters
    ----------
    bundle
        What predicts; for ``"ensemble"`` at least two bundles with the same classes.
    volume
        The scan, or one volume per input channel, all on one grid.
    method
        ``"tta"``: the scan is flipped along the axes of the network's grid in all 8 ways, and every prediction is
        flipped back voxel by voxel before anything is averaged; samples beyond the eighth go through the flips again,
        with a little noise. ``"dropout"``: the dropout modules of the network drop units as they do in training, and
        nothing else of it changes (Gal and Ghahramani 2016). ``"ensemble"``: every bundle predicts once.
    samples
        How many predictions; by default 8 flips, or 20 with dropout. An ensemble has one for each bundle.
    seed
        Of noise and dropout; the random state of the process is left as it was.
    threshold
        Probability from which a voxel belongs to a region, for the volumes of lesions.
    thresholds
        Those of single classes, in its place.
    computing
        By which engine, in how much memory, and for which classes; dropout always takes PyTorch in fp32.
    progress
        Called after each sample.

    Returns
    -------
    Uncertainty
        Mean probability, standard deviation, entropy and mutual information on the volume's grid, and the spread of
        every lesion's volume.

    Raises
    ------
    BundleError
        If a network has no dropout to switch on, or the bundles of an ensemble do not have the same classes.
    InputError
        If the method does not exist, or the number of samples or of bundles does not suit it.
    """
    bundles = (bundle,) if isinstance(bundle, Bundle) else tuple(bundle)
    count = check_sampling(bundles, method, samples)
    if not 0 < threshold <= 1:
        raise InputError(f"A threshold for probabilities lies above 0 and at most at 1; found {threshold}.")
    words: list[str] = []
    spreads: dict[str, RunningSpread] = {}
    masks: dict[str, list[NDArray[np.uint8]]] = {}
    scan: Volume | None = None
    for done, sample in enumerate(_samples(bundles, volume, method, count, seed, computing, progress)):
        progress("Sampling", done, count)
        words.append(sample.words)
        scan = sample.inference.prepared.volume
        for label, array in _probabilities(sample, computing).items():
            spreads.setdefault(label, RunningSpread()).add(array)
            if array.ndim:
                masks.setdefault(label, []).append(
                    np.packbits(array >= np.float32((thresholds or {}).get(label, threshold)))
                )
    progress("Sampling", count, count)
    assert scan is not None  # there are at least two samples
    common = _provenance(bundles, method, words, seed)
    segmentation = bundles[0].info.task == "segmentation"
    return Uncertainty(
        sampling=method,
        samples=tuple(words),
        maps=tuple(_maps(spreads, scan, common)) if segmentation else (),
        class_spreads={}
        if segmentation
        else {k: {m: float(s.measure(m)) for m in MEASURES} for k, s in spreads.items()},
        threshold=threshold,
        notes=common.notes,
        masks=masks,
    )


def check_sampling(bundles: Sequence[Bundle], method: str, samples: int | None) -> int:
    """Refuse what cannot be sampled before any work is done; return the number of samples.

    Raises
    ------
    BundleError, InputError
        See :func:`uncertainty`.
    """
    for bundle in bundles:
        bundle.require_classes("uncertainty")
    if method not in get_args(Sampling):
        raise InputError(unknown_name("kind of uncertainty", method, get_args(Sampling)))
    if method == "ensemble":
        return _check_ensemble(bundles, samples)
    if len(bundles) != 1:
        raise InputError(f"Sampling by {method} needs one bundle; found {len(bundles)}. Several are an 'ensemble'.")
    if samples is not None and samples < 2:
        raise InputError(f"A spread needs at least 2 samples; found {samples}.")
    if method == "dropout":
        _check_dropout(bundles[0])
    return samples or _DEFAULT_SAMPLES[method]


def _check_ensemble(bundles: Sequence[Bundle], samples: int | None) -> int:
    if len(bundles) < 2:
        raise InputError(
            f"An ensemble needs at least two bundles; found {len(bundles)}. Name further ones: --ensemble BUNDLE on the"
            " command line, RunOptions(ensemble=...) in Python."
        )
    if samples not in (None, len(bundles)):
        raise InputError(f"An ensemble has one sample for each of its {len(bundles)} bundles; found {samples}.")
    first = bundles[0]
    for other in bundles[1:]:
        if other.info.task != first.info.task or set(_classes(other)) != set(_classes(first)):
            raise BundleError(
                f"The bundles of an ensemble need the same task and classes: {first.name} is a {first.info.task} with"
                f" {', '.join(_classes(first))}, {other.name} a {other.info.task} with {', '.join(_classes(other))}."
            )
    return len(bundles)


def _classes(bundle: Bundle) -> tuple[str, ...]:
    return bundle.info.foreground if bundle.info.task == "segmentation" else bundle.info.outputs


def dropout_modules(network: nn.Module) -> list[nn.Module]:
    """Return the modules of a network that drop units with a probability above 0 when they train."""
    named = (
        m for m in network.modules() if type(m).__name__.endswith(("Dropout", "Dropout1d", "Dropout2d", "Dropout3d"))
    )
    return [module for module in named if getattr(module, "p", 0) > 0]


def _check_dropout(bundle: Bundle) -> None:
    if not dropout_modules(bundle.network):
        raise BundleError(_no_dropout(bundle, "its network has no dropout module with a probability above 0"))


def _no_dropout(bundle: Bundle, reason: str) -> str:
    return (
        f"Monte-Carlo dropout is not available for {bundle.name}: {reason}, so all samples would be the same. Use"
        " 'tta', or an 'ensemble' of bundles."
    )


@contextmanager
def dropping(network: nn.Module, *, seed: int, device: torch.device) -> Iterator[set[nn.Module]]:
    """Let the dropout modules of a network drop units, and nothing else of it change; afterwards all is as before.

    ``network.train()`` would also make batch and instance norms use, and learn, the statistics of the scan. Yields a
    set that will hold those of them that ran.
    """
    modules = dropout_modules(network)
    training = [module.training for module in modules]
    on_gpu = device.type == "cuda"
    ran: set[nn.Module] = set()
    handles = [module.register_forward_hook(lambda module, *_: ran.add(module)) for module in modules]
    try:
        with torch.random.fork_rng([device] if on_gpu else []):
            # torch.manual_seed would seed every device, whose states are not all kept here.
            (torch.cuda.default_generators[device.index or 0] if on_gpu else torch.default_generator).manual_seed(seed)
            for module in modules:
                module.training = True
            yield ran
    finally:
        for handle in handles:
            handle.remove()
        for module, flag in zip(modules, training, strict=True):
            module.training = flag


def _samples(
    bundles: Sequence[Bundle],
    volume: Volume | Sequence[Volume],
    method: Sampling,
    count: int,
    seed: int,
    computing: Computing,
    progress: Progress,
) -> Iterator[_Sample]:
    if method == "ensemble":
        for number, bundle in enumerate(bundles, start=1):
            step = _quiet(progress, number - 1, count)
            inference = infer(bundle, prepare(bundle, volume), progress=step, computing=computing)
            yield _Sample(f"{bundle.title} ({number} of {count})", bundle, inference)
        return
    bundle = bundles[0]
    prepared = prepare(bundle, volume)
    generator = torch.Generator().manual_seed(seed)
    for number in range(count):
        step = _quiet(progress, number, count)
        if method == "tta":
            sample = _flipped(bundle, prepared, number, generator, computing, step)
            if sample.inference.computed is not None:  # "auto" chooses once, or samples would differ by their engines
                computing = replace(computing, engine=sample.inference.computed.engine)
            yield sample
            continue
        with bundle.lock, dropping(bundle.network, seed=seed + number, device=bundle.device) as ran:
            # Each window, also of air, drops units of its own, which an engine would have fixed when it was made.
            exact = replace(computing, engine="torch", skip=False)
            inference = infer(bundle, prepared, progress=step, computing=exact)
        if not ran:
            raise BundleError(_no_dropout(bundle, "no dropout module of its network runs in a prediction"))
        yield _Sample(f"dropout, seed {seed + number}", bundle, inference)


def _quiet(progress: Progress, done: int, total: int) -> Progress:
    """Report the samples and not the windows of each, and still let every window be cancelled."""
    return lambda _stage, _done, _total: progress("Sampling", done, total)


def _flipped(
    bundle: Bundle,
    prepared: Prepared,
    number: int,
    generator: torch.Generator,
    computing: Computing,
    progress: Progress,
) -> _Sample:
    """Predict the flipped scan, and flip the prediction back."""
    axes = _FLIPS[number % len(_FLIPS)]
    tensor = prepared.tensor
    noisy = number >= len(_FLIPS)
    if noisy:
        sd = tensor.std(dim=(2, 3, 4), keepdim=True)
        tensor = tensor + NOISE * sd * torch.randn(tensor.shape, generator=generator)
    turned = replace(prepared, tensor=torch.flip(tensor, axes))
    inference = infer(bundle, turned, progress=progress, computing=computing)
    output = inference.output
    if bundle.info.task == "segmentation":
        output = torch.flip(output, [axis - 1 for axis in axes])  # it has no batch axis
    names = [_AXES[prepared.grid.axcodes[axis - 2]] for axis in axes]
    words = f"flipped {' and '.join(names)}" if names else "as it is"
    return _Sample(
        f"{words}, with noise" if noisy else words, bundle, replace(inference, prepared=prepared, output=output)
    )


def _probabilities(sample: _Sample, computing: Computing) -> dict[str, NDArray[np.float32]]:
    """Return the probability of each class: a map on the scan's grid, or one number."""
    if sample.bundle.info.task == "segmentation":
        return {m.label: m.array for m in probabilities(sample.bundle, sample.inference, classes=computing.classes)}
    found = class_probabilities(sample.bundle, sample.inference)
    return {label: np.asarray(value, dtype=np.float32) for label, value in found.items()}


def _maps(spreads: dict[str, RunningSpread], scan: Volume, common: Provenance) -> Iterator[Heatmap]:
    for label, spread in spreads.items():
        for measure in MEASURES:
            made = replace(common, method=measure, target=f"{measure} of {label!r} over {spread.n} samples")
            named = scan.with_array(spread.measure(measure), name=f"{measure} of {label}", unit=UNITS[measure])
            yield Heatmap(named, "uncertainty", label, signed=False, provenance=made)


def _provenance(bundles: Sequence[Bundle], method: Sampling, words: Sequence[str], seed: int) -> Provenance:
    """Record what all maps share."""
    twice = len({bundle.bundle_sha256 for bundle in bundles}) < len(bundles)
    return Provenance(
        bundle=" + ".join(bundle.title for bundle in bundles),
        bundle_sha256=" + ".join(bundle.bundle_sha256 for bundle in bundles),
        weights_sha256=" + ".join(bundle.weights_sha256 for bundle in bundles),
        options={"sampling": method, "samples": list(words), "seed": seed, "device": str(bundles[0].device)},
        versions=versions(),
        notes=(_NOTES[method], *[SAME_TWICE] * twice),
    )
