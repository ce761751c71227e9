"""Train the classifier of the bundle ``flair-lesion-load``: no, low or high lesion load on a whole FLAIR volume.

``python training/flair_lesion_load.py --data DIR --holdout patient19 --minutes 15 --out runs/load`` (data as for
``flair_lesions.py``). Each simulated head is brought to 2 mm and scanned three times in different ways.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from acquisition import draw_slices, normalise, scan, stretch, warp
from flair_lesions import PATIENTS, build_network, rate_at, save
from simulate import MRICRON, World, draw_brain, draw_head, load_world, surround

BUNDLE = Path(__file__).parents[1] / "src/lesionlens/bundles/flair-lesion-load"
SHAPE, VOXEL_MM = (96, 112, 96), 2.0
CLASSES = ("none", "low", "high")
#: Border between low and high load; scans with less than FAINT_ML are not trained on: at 2 mm they look lesion-free.
HIGH_ML, FAINT_ML = 5.0, 0.3


def load_class(volume_ml: float) -> int:
    """Return the number of the class of a lesion volume."""
    return 0 if volume_ml == 0 else 1 if volume_ml < HIGH_ML else 2


def fitted(image: np.ndarray, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Crop or pad around the centre, as ``ResizeWithPadOrCropd`` does."""
    for axis, n in enumerate(shape):
        extra = image.shape[axis] - n
        if extra > 0:
            image = np.take(image, range(extra // 2, extra // 2 + n), axis)
        elif extra < 0:
            before = -extra // 2
            image = np.pad(image, [(before, -extra - before) if a == axis else (0, 0) for a in range(3)])
    return image


def _halved(array: np.ndarray, *, mean: bool) -> np.ndarray:
    """Go from 1 mm to 2 mm: means of eight voxels, or every second voxel as an interpolation without smoothing does."""
    if not mean:
        return array[::2, ::2, ::2]
    return array.reshape(array.shape[0] // 2, 2, array.shape[1] // 2, 2, -1, 2).mean((1, 3, 5))


def draw_examples(world: World, rng: np.random.Generator, *, number: int = 3) -> list[tuple[np.ndarray, int]]:
    """Draw one head and scan it several times: (image (96, 112, 96) float16, class)."""
    head = draw_head(world, rng)
    image, lesions, _ = draw_brain(head, world, rng, lesion_free=0.4)
    image = surround(image, head, world, rng)
    fraction = _halved(lesions.astype(np.float32), mean=True)
    out = []
    for _ in range(number):
        small = np.ascontiguousarray(_halved(image, mean=rng.random() < 0.5), np.float32)
        warped, lesion = warp([small, fraction], rng, voxel_mm=VOXEL_MM)
        volume_ml = float(lesion.sum()) * VOXEL_MM**3 / 1000
        if 0 < volume_ml < FAINT_ML:
            continue
        slices = draw_slices(rng)
        if slices is not None:
            spacing, thickness = (max(1.0, x / VOXEL_MM) for x in (slices.spacing_mm, slices.thickness_mm))
            slices = replace(slices, spacing_mm=spacing, thickness_mm=thickness)
        scanned, mask = scan(warped, lesion, rng, slices=slices, voxel_mm=VOXEL_MM)
        scanned, _ = normalise(scanned, mask)
        out.append((fitted(scanned).astype(np.float16), load_class(volume_ml)))
    return out


@dataclass
class Examples:
    """The latest simulated scans, by class."""

    size: int
    by_class: list[list[np.ndarray]] = field(default_factory=lambda: [[], [], []])

    def add(self, examples: list[tuple[np.ndarray, int]]) -> None:
        """Add scans; the oldest of a class go first."""
        for image, number in examples:
            self.by_class[number] = [*self.by_class[number], image][-self.size :]

    def batch(self, rng: np.random.Generator, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw scans, every class equally often, mirrored, shifted and varied in intensity."""
        present = [c for c in range(3) if self.by_class[c]]
        classes = rng.choice(present, number)
        images = np.stack([self._varied(self.by_class[c][rng.integers(len(self.by_class[c]))], rng) for c in classes])
        return torch.from_numpy(stretch(images[:, None].astype(np.float32))), torch.from_numpy(classes)

    @staticmethod
    def _varied(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if rng.random() < 0.5:
            image = image[::-1]
        image = np.roll(image, rng.integers(-4, 5, 3), (0, 1, 2))
        return np.minimum(image * np.float16(rng.uniform(0.8, 1.25)), 3)


def train(options: argparse.Namespace) -> None:
    """Simulate and train side by side until the time is over."""
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    world = load_world(options.data, [p for p in PATIENTS if p != options.holdout], mricron=options.mricron)
    network, examples = build_network(BUNDLE).train(), Examples(options.pool)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=1e-2)
    for _ in range(12):
        examples.add(draw_examples(world, rng))
    begin = saved = time.monotonic()
    end, step, recent = begin + 60 * options.minutes, 0, 1.1
    while (now := time.monotonic()) < end:
        if step % options.every == 0:
            examples.add(draw_examples(world, rng))
        for group in optimiser.param_groups:
            group["lr"] = rate_at((now - begin) / (end - begin), peak=options.rate)
        images, classes = examples.batch(rng, options.batch)
        optimiser.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(network(images), classes, label_smoothing=0.02)
        loss.backward()
        optimiser.step()
        step, recent = step + 1, 0.97 * recent + 0.03 * loss.item()
        if now - saved > 90:
            saved = now
            save(network, options.out / "model.pt")
            sizes = [len(x) for x in examples.by_class]
            print(f"{(now - begin) / 60:.1f} min, {step} steps, loss {recent:.3f}, scans {sizes}", flush=True)
    save(network, options.out / "model.pt")
    print(json.dumps({"steps": step, "loss": round(recent, 3)}), flush=True)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mricron", type=Path, default=MRICRON)
    parser.add_argument("--holdout", choices=PATIENTS, help="never touch this patient's image and mask")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pool", type=int, default=250, help="scans kept of each class")
    parser.add_argument("--every", type=int, default=4, help="steps between two simulated heads")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
