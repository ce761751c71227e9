"""Train the network of the bundle ``flair-lesions``.

Leave one patient out: ``flair_lesions.py --data DIR --holdout patient19 --minutes 30 --out runs/loo19``.
Final model: ``flair_lesions.py --data DIR --minutes 70 --seed 1 --out runs/final``.

``DIR`` holds patient07 and patient19 of the open MS data (FLAIR, T1, lesion mask, in MNI space) and
``lesion_masks_mni``. ICBM152 comes with nilearn (``pip install nilearn``), Colin27 with Debian's mricron-data
(``apt-get install mricron-data``, or ``--mricron DIR`` with ch2.nii.gz and ch2bet.nii.gz).
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.inferers import SlidingWindowInferer

from acquisition import normalise, stretch
from simulate import MRICRON, Scan, World, draw_scan, load_world

BUNDLE = Path(__file__).parents[1] / "src/lesionlens/bundles/flair-lesions"
PATIENTS = ("patient07", "patient19")
PATCH, CROP = 64, 32
#: Lesion voxels of a patch that counts as rich; training starts on these, lesions in them are learnt quickly.
HEAVY = 1200


@dataclass
class Pool:
    """Patches of the latest simulated scans.

    Parameters
    ----------
    size
        Number of patches kept; the oldest go first.
    patches
        (image float16, label bool), each (PATCH, PATCH, PATCH).
    """

    size: int
    patches: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def add(self, scan: Scan, rng: np.random.Generator, *, number: int) -> None:
        """Cut patches from a scan: around lesions, around bright normal tissue, anywhere in the head."""
        places = _places(scan, rng, number)
        self.patches += [_cut(scan, p) for p in places]
        self.patches = self.patches[-self.size :]

    def batch(self, rng: np.random.Generator, number: int, *, heavy: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw crops, mirror them and vary their intensity; (N, 1, CROP, CROP, CROP) float32 each.

        Parameters
        ----------
        rng
            Where the randomness comes from.
        number
            Number of crops.
        heavy
            Share of crops that come from patches with more than ``HEAVY`` lesion voxels.
        """
        rich = [i for i, (_, label) in enumerate(self.patches) if label.sum() > HEAVY] or range(len(self.patches))
        chosen = [rng.choice(rich) if rng.random() < heavy else rng.integers(len(self.patches)) for _ in range(number)]
        pairs = [_varied(*_crop(*self.patches[i], rng), rng) for i in chosen]
        images, labels = (np.stack(x)[:, None].astype(np.float32) for x in zip(*pairs, strict=True))
        return torch.from_numpy(stretch(images)), torch.from_numpy(labels)


def _crop(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cut a crop around a lesion voxel (half of the time), a bright normal voxel (0.3) or any voxel."""
    kind = rng.random()
    where = np.flatnonzero(label) if kind < 0.5 else np.flatnonzero((image > 1.12) & ~label) if kind < 0.8 else ()
    centre = rng.choice(where) if len(where) else rng.integers(image.size)
    low = np.array(np.unravel_index(centre, image.shape)) + rng.integers(-8, 9, 3) - CROP // 2
    box = tuple(slice(a, a + CROP) for a in np.clip(low, 0, PATCH - CROP))
    return image[box], label[box]


def _places(scan: Scan, rng: np.random.Generator, number: int) -> np.ndarray:
    """Draw patch centres, (n, 3) voxels."""
    kinds = [
        np.flatnonzero(scan.label),
        np.flatnonzero((scan.image > 1.15) & ~scan.label),
        np.flatnonzero(scan.image > 0.3),
    ]
    shares = (0.45, 0.2, 0.35)
    flat = [rng.choice(k, max(1, round(number * s))) for k, s in zip(kinds, shares, strict=True) if len(k)]
    places = np.stack(np.unravel_index(np.concatenate(flat), scan.image.shape), axis=1)
    return places + rng.integers(-20, 21, places.shape)


def _cut(scan: Scan, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut one patch; what lies outside the scan is 0."""
    image = np.zeros((PATCH,) * 3, np.float16)
    label = np.zeros((PATCH,) * 3, bool)
    low = np.clip(centre - PATCH // 2, -8, np.maximum(np.array(scan.image.shape) - PATCH + 8, -8))
    take = tuple(slice(max(0, a), min(n, a + PATCH)) for a, n in zip(low, scan.image.shape, strict=True))
    into = tuple(slice(t.start - a, t.stop - a) for t, a in zip(take, low, strict=True))
    image[into], label[into] = scan.image[take], scan.label[take]
    return image, label


def _varied(image: np.ndarray, label: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    if rng.random() < 0.5:
        image, label = image[::-1], label[::-1]
    return image * np.float16(rng.uniform(0.92, 1.1)), label


@dataclass
class Trainer:
    """Network, its running average, optimiser and step count."""

    network: torch.nn.Module
    average: torch.nn.Module
    optimiser: torch.optim.Optimizer
    steps: int = 0
    recent: float = float("nan")

    def step(self, images: torch.Tensor, labels: torch.Tensor, *, rate: float) -> None:
        """Take one optimiser step with the given learning rate and update the running average."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        value = dice_and_cross_entropy(self.network(images), labels)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        self.steps += 1
        keep = min(0.99, 1 - 10 / (10 + self.steps))
        with torch.no_grad():
            for a, b in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
                a.lerp_(b, 1 - keep) if a.is_floating_point() else a.copy_(b)
        self.recent = value.item() if math.isnan(self.recent) else 0.98 * self.recent + 0.02 * value.item()


def build_network(bundle: Path = BUNDLE) -> torch.nn.Module:
    """Build the network that the bundle's configuration describes."""
    parser = ConfigParser(json.loads((bundle / "configs/inference.json").read_text()))
    return parser.get_parsed_content("network_def")


def _trainer(start: Path | None) -> Trainer:
    network = build_network()
    if start is not None:
        network.load_state_dict(torch.load(start, weights_only=True), strict=False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-3)
    return Trainer(network, copy.deepcopy(network).eval(), optimiser)


def dice_and_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum of cross-entropy and Dice loss over the whole batch, so that crops without lesions count too.

    Parameters
    ----------
    logits
        (N, 2, D, H, W); only their difference matters to the softmax, which saves half of the arithmetic.
    labels
        (N, 1, D, H, W) float32, 0 or 1.
    """
    margin = logits[:, 1:] - logits[:, :1]
    lesion = margin.sigmoid()
    overlap = (2 * (lesion * labels).sum() + 50) / (lesion.sum() + labels.sum() + 50)
    return torch.nn.functional.binary_cross_entropy_with_logits(margin, labels) + 1 - overlap


def rate_at(share: float, *, peak: float) -> float:
    """Learning rate after a share of the time: short warm-up, then cosine to 1 %."""
    return peak * min(1.0, 0.1 + share / 0.02) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def probability(network: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    """Lesion probability of a normalised scan, (i, j, k) float32."""
    inferer = SlidingWindowInferer(96, overlap=0.25, mode="gaussian", cval=-2.0)
    with torch.inference_mode():
        return inferer(torch.from_numpy(stretch(image))[None, None], network).softmax(1)[0, 1].numpy()


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Dice overlap of two masks; 1 if both are empty."""
    total = prediction.sum() + truth.sum()
    return 2 * float((prediction & truth).sum()) / float(total) if total else 1.0


def quick_look(network: torch.nn.Module, world: World) -> dict[str, float]:
    """Dice on each patient of ``world`` as delivered, and false volume (mL) in its lesion-free version."""
    out = {}
    for head in world.real:
        image, label = normalise(head.original, head.lesions)
        out[f"{head.name} dice"] = round(dice(probability(network, image) > 0.5, label), 3)
        image, label = normalise(head.flair, head.lesions)
        out[f"{head.name} false mL"] = round(float((probability(network, image) > 0.5).sum()) / 1000, 2)
    return out


def train(options: argparse.Namespace) -> None:
    """Simulate and train side by side until the time is over."""
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    patients = [p for p in PATIENTS if p != options.holdout]
    world = load_world(options.data, patients, mricron=options.mricron)
    held_out = load_world(options.data, [options.holdout] if options.holdout else [], mricron=options.mricron)
    trainer, pool = _trainer(options.start), Pool(options.pool)
    begin = saved = looked = time.monotonic()
    end = begin + 60 * options.minutes
    while (now := time.monotonic()) < end:
        if trainer.steps % options.every == 0:
            for _ in range(6 if trainer.steps == 0 else 1):
                pool.add(draw_scan(world, rng), rng, number=options.patches)
        share = (now - begin) / (end - begin)
        batch = pool.batch(rng, options.batch, heavy=0.8 if share < 0.5 else 0.45)
        trainer.step(*batch, rate=rate_at(share, peak=options.rate))
        if now - saved > 120:
            saved = now
            save(trainer.average, options.out / "model.pt")
            print(f"{(now - begin) / 60:.1f} min, {trainer.steps} steps, loss {trainer.recent:.3f}", flush=True)
        if now - looked > 60 * options.look:
            looked = now
            print(f"{(now - begin) / 60:.1f} min {quick_look(trainer.average, held_out)}", flush=True)
    save(trainer.average, options.out / "model.pt")
    print(f"end: {trainer.steps} steps {quick_look(trainer.average, held_out)}", flush=True)


def save(network: torch.nn.Module, path: Path) -> None:
    """Write a plain state dict; a half-written file never replaces a good one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mricron", type=Path, default=MRICRON)
    parser.add_argument("--holdout", choices=PATIENTS, help="never touch this patient's image and mask in training")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--look", type=float, default=7, help="minutes between looks at the held-out patient")
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--rate", type=float, default=5e-3, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pool", type=int, default=1200, help="patches kept")
    parser.add_argument("--patches", type=int, default=20, help="patches cut from a scan")
    parser.add_argument("--every", type=int, default=30, help="steps between two simulated scans")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
