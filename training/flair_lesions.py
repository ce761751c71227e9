"""Train the network of the bundle ``flair-lesions``.

Draw heads first: ``subjects.py --data DIR --out runs/subjects``.
Leave one patient out: ``flair_lesions.py --data DIR --subjects runs/subjects --holdout patient19 --out runs/loo19``.
Final model: ``flair_lesions.py --data DIR --subjects runs/subjects --steps 20000 --out runs/final``.
The schedule goes by steps where other work shares the machine or pauses the run, or else by minutes.

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
from dataclasses import dataclass, field
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


#: Share of the run, patches per step, their edge in voxels, where they lie. Small patches rich in lesions teach
#: quickly what a lesion looks like; the larger and poorer ones after them, what looks like one and is none.
PHASES = (
    (0.4, 6, 48, Shares(lesion=0.5, bright=0.25)),
    (1.0, 3, 64, Shares(lesion=0.4, bright=0.3)),
)
#: What a missed voxel costs in the Tversky loss, where missed and false together cost 1: during a run, and from this
#: share of it on. An even end keeps heavy loads in thick slices from being over-drawn.
MISSED, EVEN_FROM = 0.6, 0.6


@dataclass
class Schedule:
    """How much of a run is done: by steps if they are given, otherwise by the clock."""

    minutes: float
    steps: int | None
    begin: float = field(default_factory=time.monotonic)

    def share(self, steps: int) -> float:
        """Share of the run that is done after so many steps, 1 and more at its end."""
        if self.steps is not None:
            return steps / self.steps
        return (time.monotonic() - self.begin) / (60 * self.minutes)


@dataclass
class Trainer:
    """Network, its running average, optimiser and step count."""

    network: torch.nn.Module
    average: torch.nn.Module
    optimiser: torch.optim.Optimizer
    bfloat16: bool = False
    steps: int = 0
    recent: float = float("nan")

    def step(self, images: torch.Tensor, labels: torch.Tensor, *, rate: float, missed: float) -> None:
        """Take one optimiser step with the given learning rate and update the running average."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        # Nearly twice as fast where the processor has such arithmetic; weights and loss stay in single precision.
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            logits = self.network(images.to(memory_format=torch.channels_last_3d))
        value = tversky_and_cross_entropy(logits.float(), labels, missed=missed)
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


def _trainer(start: Path | None, *, bfloat16: bool) -> Trainer:
    network = build_network().to(memory_format=torch.channels_last_3d)
    if start is not None:
        network.load_state_dict(torch.load(start, weights_only=True), strict=False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-3)
    return Trainer(network, copy.deepcopy(network).eval(), optimiser, bfloat16)


def tversky_and_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, *, missed: float) -> torch.Tensor:
    """Sum of cross-entropy and Tversky loss over the whole batch, so that patches without lesions count too.

    A missed voxel may cost more than a false one (Salehi et al., MLMI 2017): with plain Dice loss the networks find
    too little on patients that they have not seen, and hardly anything that is not there.

    Parameters
    ----------
    logits
        (N, 2, D, H, W); only their difference matters to the softmax, which saves half of the arithmetic.
    labels
        (N, 1, D, H, W) float32, 0 or 1.
    missed
        Cost of a missed voxel; a false one costs 1 less this.
    """
    margin = logits[:, 1:] - logits[:, :1]
    lesion = margin.sigmoid()
    hit, drawn, true = (lesion * labels).sum(), lesion.sum(), labels.sum()
    overlap = (hit + 25) / (hit + (1 - missed) * (drawn - hit) + missed * (true - hit) + 25)
    return torch.nn.functional.binary_cross_entropy_with_logits(margin, labels) + 1 - overlap


def rate_at(share: float, *, peak: float) -> float:
    """Learning rate after a share of the run: short warm-up, then cosine to 1 %."""
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
    """Draw a batch as the phase at this share of the run wants it, or with more bright normal tissue in it."""
    number, size, shares = next(phase[1:] for phase in PHASES if share < phase[0])
    if bright is not None:
        shares = Shares(lesion=0.8 * (1 - bright), bright=bright)
    return patches.batch(rng, number=number, size=size, shares=shares)


def train(options: argparse.Namespace) -> None:
    """Train until the run is over."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    patches = Patches(options.subjects, without=options.holdout)
    watched = [real_head(options.data, options.holdout)] if options.holdout else []
    trainer = _trainer(options.start, bfloat16=options.bfloat16)
    print(f"{len(patches)} heads, {sum(p.numel() for p in trainer.network.parameters())} parameters", flush=True)
    # One thread draws the next batch while this one is learnt; both mostly run outside Python's lock.
    drawing = ThreadPoolExecutor(1)
    batch = drawing.submit(draw_batch, patches, rng, 0.0, bright=options.bright)
    schedule = Schedule(options.minutes, options.steps)
    saved = looked = schedule.begin
    while (share := schedule.share(trainer.steps)) < 1:
        images, labels = batch.result()
        batch = drawing.submit(draw_batch, patches, rng, share, bright=options.bright)
        missed = MISSED if share < EVEN_FROM else 0.5
        trainer.step(images, labels, rate=rate_at(share, peak=options.rate), missed=missed)
        now = time.monotonic()
        if options.keep and trainer.steps % options.keep == 0:
            save(trainer.average, options.out / f"step-{trainer.steps:06d}.pt")
        if now - saved > 60:
            saved = now
            save(trainer.average, options.out / "model.pt")
            print(f"{100 * share:.1f} %, {trainer.steps} steps, loss {trainer.recent:.3f}", flush=True)
        if watched and now - looked > 60 * options.look:
            looked = now
            print(f"{100 * share:.1f} % {quick_look(trainer.average, watched)}", flush=True)
    drawing.shutdown()
    save(trainer.average, options.out / "model.pt")
    print(f"end: {trainer.steps} steps {quick_look(trainer.average, watched)}", flush=True)


def save(network: torch.nn.Module, path: Path) -> None:
    """Write a plain state dict; a half-written file never replaces a good one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({k: v.contiguous() for k, v in network.state_dict().items()}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--subjects", type=Path, required=True, help="folder that subjects.py wrote")
    parser.add_argument("--holdout", choices=PATIENTS, help="leave out all heads made from this patient")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int, help="length of the run in steps, instead of minutes")
    parser.add_argument("--keep", type=int, help="keep the weights of every so many steps in a file of their own")
    parser.add_argument("--bfloat16", action="store_true", help="convolve in bfloat16, for processors that have it")
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
