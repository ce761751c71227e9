"""Train the network of the bundle ``flair-lesions``.

Draw heads first: ``subjects.py --data DIR --out runs/subjects``.
Leave one patient out: ``flair_lesions.py --data DIR --subjects runs/subjects --holdout patient19 --out runs/loo19``.
Final model: ``flair_lesions.py --data DIR --subjects runs/subjects --minutes 90 --out runs/final``.

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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.inferers import SlidingWindowInferer

from acquisition import normalise, stretch
from anatomy import Head, real_head
from patches import Patches, Shares
from subjects import PATIENTS

BUNDLE = Path(__file__).parents[1] / "src/lesionlens/bundles/flair-lesions"


#: Share of the time, patches per step, their edge in voxels, where they lie. Small patches rich in lesions teach
#: quickly what a lesion looks like; the larger and poorer ones after them, what looks like one and is none.
PHASES = (
    (0.4, 6, 48, Shares(lesion=0.5, bright=0.25)),
    (1.0, 3, 64, Shares(lesion=0.4, bright=0.3)),
)


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
        value = tversky_and_cross_entropy(self.network(images), labels)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimiser.step()
        self.steps += 1
        keep = min(0.998, 1 - 10 / (10 + self.steps))
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


def tversky_and_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum of cross-entropy and Tversky loss over the whole batch, so that patches without lesions count too.

    A missed voxel costs twice as much as a false one (Salehi et al., MLMI 2017): with plain Dice loss the networks find
    too little on patients that they have not seen, and hardly anything that is not there.

    Parameters
    ----------
    logits
        (N, 2, D, H, W); only their difference matters to the softmax, which saves half of the arithmetic.
    labels
        (N, 1, D, H, W) float32, 0 or 1.
    """
    margin = logits[:, 1:] - logits[:, :1]
    lesion = margin.sigmoid()
    hit, false, missed = (lesion * labels).sum(), (lesion * (1 - labels)).sum(), ((1 - lesion) * labels).sum()
    overlap = (hit + 25) / (hit + 0.33 * false + 0.67 * missed + 25)
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


def quick_look(network: torch.nn.Module, heads: list[Head]) -> dict[str, float]:
    """Dice on each patient as delivered, and false volume (mL) in its lesion-free version."""
    out = {}
    for head in heads:
        image, label = normalise(head.original, head.lesions)
        out[f"{head.name} dice"] = round(dice(probability(network, image) > 0.5, label), 3)
        image, label = normalise(head.flair, head.lesions)
        out[f"{head.name} false mL"] = round(float((probability(network, image) > 0.5).sum()) / 1000, 2)
    return out


def draw_batch(
    patches: Patches, rng: np.random.Generator, share: float, *, bright: float | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw a batch as the phase at this share of the time wants it, or with more bright normal tissue in it."""
    number, size, shares = next(phase[1:] for phase in PHASES if share < phase[0])
    if bright is not None:
        shares = Shares(lesion=0.8 * (1 - bright), bright=bright)
    return patches.batch(rng, number=number, size=size, shares=shares)


def train(options: argparse.Namespace) -> None:
    """Train until the time is over."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    patches = Patches(options.subjects, without=options.holdout)
    watched = [real_head(options.data, options.holdout)] if options.holdout else []
    trainer = _trainer(options.start)
    print(f"{len(patches)} heads, {sum(p.numel() for p in trainer.network.parameters())} parameters", flush=True)
    # One thread draws the next batch while this one is learnt; both mostly run outside Python's lock.
    drawing = ThreadPoolExecutor(1)
    batch = drawing.submit(draw_batch, patches, rng, 0.0, bright=options.bright)
    begin = saved = looked = time.monotonic()
    while (now := time.monotonic()) < begin + 60 * options.minutes:
        share = (now - begin) / (60 * options.minutes)
        images, labels = batch.result()
        batch = drawing.submit(draw_batch, patches, rng, share, bright=options.bright)
        trainer.step(images, labels, rate=rate_at(share, peak=options.rate))
        if now - saved > 60:
            saved = now
            save(trainer.average, options.out / "model.pt")
            print(f"{(now - begin) / 60:.1f} min, {trainer.steps} steps, loss {trainer.recent:.3f}", flush=True)
        if now - looked > 60 * options.look:
            looked = now
            print(f"{(now - begin) / 60:.1f} min {quick_look(trainer.average, watched)}", flush=True)
    drawing.shutdown()
    save(trainer.average, options.out / "model.pt")
    print(f"end: {trainer.steps} steps {quick_look(trainer.average, watched)}", flush=True)


def save(network: torch.nn.Module, path: Path) -> None:
    """Write a plain state dict; a half-written file never replaces a good one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--subjects", type=Path, required=True, help="folder that subjects.py wrote")
    parser.add_argument("--holdout", choices=PATIENTS, help="leave out all heads made from this patient")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--look", type=float, default=7, help="minutes between looks at the held-out patient")
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--rate", type=float, default=5e-3, help="peak learning rate")
    parser.add_argument(
        "--bright", type=float, help="share of patches on bright normal tissue, by default as the phases say"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
