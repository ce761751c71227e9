"""Train the network of the bundle ``flair-anomaly``: it repairs heads without lesions that were spoilt on purpose.

Draw heads without lesions first: ``subjects.py --data DIR --original 0 --lesion-free 1 --out runs/healthy``. Then
``flair_anomaly.py --subjects runs/healthy --steps 6000 --out runs/anomaly``, with ``--without patient19`` for a network
that has never seen a patient.

Denoising autoencoders find what is out of place better than plain ones, which either repair nothing or blur everything
(Kascenas, Pugeault & O'Neil, "Denoising autoencoders for unsupervised anomaly detection in brain MRI", MIDL 2022). As
there, the input is spoilt by noise that is smooth over some voxels; different from there, in 3D, at several scales, and
with blobs brighter or darker than their surroundings. No lesion, lesion mask or lesion shape is used.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from torch.nn import functional

from flair_lesions import rate_at, save
from patches import Patches, Shares
from subjects import PATIENTS

BUNDLE = Path(__file__).parents[1] / "src/lesionlens/bundles/flair-anomaly"

#: Share of the run from which patches have the second size: patches in a step and their edge in voxels.
PHASES = ((0.6, 4, 48), (1.0, 2, 64))
#: Where the patches lie: a third on tissue brighter than white matter, where false findings come from.
PLACES = Shares(lesion=0.0, bright=0.35)
#: Value of air and dark CSF after the preprocessing; nothing is spoilt there.
DARK = -1.99
#: Standard deviation of the smooth noise, in contrasts (1 is a quarter of white matter), and its scales in voxels.
NOISE_SD, NOISE_SCALES = (0.2, 1.2), (2, 4, 8)
#: Blobs in a patch, their half axes in voxels and their contrasts.
MOST_BLOBS, BLOB_AXES, BLOB_CONTRASTS = 8, (1.2, 9.0), (0.4, 3.5)


def spoilt(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Add smooth noise or blobs to patches (N, 1, size, size, size) as the preprocessing gives them."""
    out = image.clone()
    for one in out:
        if _draw(generator) < 0.6:
            one += _noise(one.shape[1:], generator)
        if _draw(generator) < 0.7:
            one += _blobs(one.shape[1:], generator)
    return torch.where(image > DARK, out.clamp(-2.0, 4.0), image)


def _draw(generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _noise(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    scale = NOISE_SCALES[int(torch.randint(len(NOISE_SCALES), (), generator=generator))]
    coarse = torch.randn([1, 1, *(n // scale + 2 for n in shape)], generator=generator)
    fine = functional.interpolate(coarse, scale_factor=scale, mode="trilinear", align_corners=False)
    low = [int(torch.randint(scale, (), generator=generator)) for _ in shape]
    box = tuple(slice(start, start + n) for start, n in zip(low, shape, strict=True))
    return _draw(generator, *NOISE_SD) * fine[0][(slice(None), *box)]


def _blobs(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Ellipsoids with wobbling borders and soft edges, three of four brighter than what is around them."""
    out = torch.zeros(1, *shape)
    wobble = _noise(shape, generator)[0].clamp(-2, 2)
    for _ in range(1 + int(torch.randint(MOST_BLOBS, (), generator=generator))):
        centre = torch.rand(3, generator=generator) * torch.tensor(shape)
        log_low, log_high = np.log(BLOB_AXES)
        axes = torch.exp(log_low + (log_high - log_low) * torch.rand(3, generator=generator))
        turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
        reach = 1.5 * float(axes.max()) + 3  # a wobble of 2 and the widest edge end before this
        low = [max(0, int(c - reach)) for c in centre.tolist()]
        box = tuple(slice(a, min(n, int(c + reach) + 1)) for a, n, c in zip(low, shape, centre.tolist(), strict=True))
        at = torch.meshgrid(*(torch.arange(b.start, b.stop, dtype=torch.float32) for b in box), indexing="ij")
        away = torch.tensordot(turn, torch.stack(at) - centre[:, None, None, None], 1) / axes[:, None, None, None]
        inside = (1 - away.square().sum(0).sqrt() + 0.25 * wobble[box]) * float(axes.mean())  # about mm from the border
        sign = 1.0 if _draw(generator) < 0.75 else -1.0
        contrast = sign * _draw(generator, *BLOB_CONTRASTS)
        out[0][box] += contrast * (inside / _draw(generator, 0.8, 2.5) + 0.5).clamp(0, 1)
    return out


def build_network(bundle: Path = BUNDLE) -> torch.nn.Module:
    """Build the network that the bundle's configuration describes."""
    parser = ConfigParser(json.loads((bundle / "configs/inference.json").read_text()))
    return parser.get_parsed_content("network_def")


def draw_batch(
    patches: Patches, rng: np.random.Generator, generator: torch.Generator, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw spoilt patches and what they were, (N, 1, size, size, size) float32 each."""
    number, size = next(phase[1:] for phase in PHASES if share < phase[0])
    images, _ = patches.batch(rng, number=number, size=size, shares=PLACES)
    return spoilt(images, generator), images


def train(options: argparse.Namespace) -> None:
    """Train for the given number of steps."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng, generator = np.random.default_rng(options.seed), torch.Generator().manual_seed(options.seed)
    patches = Patches(options.subjects, without=options.without)
    network = build_network().to(memory_format=torch.channels_last_3d)
    average = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4)
    print(f"{len(patches)} heads, {sum(p.numel() for p in network.parameters())} parameters", flush=True)
    drawing = ThreadPoolExecutor(1)
    batch = drawing.submit(draw_batch, patches, rng, generator, 0.0)
    saved, recent = time.monotonic(), float("nan")
    for step in range(options.steps):
        share = step / options.steps
        images, clean = batch.result()
        batch = drawing.submit(draw_batch, patches, rng, generator, share)
        for group in optimiser.param_groups:
            group["lr"] = rate_at(share, peak=options.rate)
        optimiser.zero_grad(set_to_none=True)
        value = functional.smooth_l1_loss(network(images.to(memory_format=torch.channels_last_3d)), clean, beta=0.5)
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        _follow(average, network, keep=min(0.998, 1 - 10 / (10 + step)))
        recent = value.item() if step == 0 else 0.98 * recent + 0.02 * value.item()
        if time.monotonic() - saved > 60:
            saved = time.monotonic()
            save(average, options.out / "model.pt")
            print(f"{100 * share:.1f} %, {step} steps, loss {recent:.4f}", flush=True)
    drawing.shutdown()
    save(average, options.out / "model.pt")
    print(f"end: {options.steps} steps, loss {recent:.4f}", flush=True)


def _follow(average: torch.nn.Module, network: torch.nn.Module, *, keep: float) -> None:
    """Move a running average of the weights towards them."""
    with torch.no_grad():
        for a, b in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            a.lerp_(b, 1 - keep) if a.is_floating_point() else a.copy_(b)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=Path, required=True, help="folder of lesion-free heads by subjects.py")
    parser.add_argument("--without", choices=PATIENTS, help="leave out all heads made from this patient")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
