"""Train the classifier of the bundle ``flair-lesion-load``: no, low or high lesion load on a whole FLAIR volume.

``python training/flair_lesion_load.py --subjects runs/subjects --holdout patient19 --out runs/load`` with the heads
that ``subjects.py`` wrote. Each head is brought to 2 mm and scanned several times in different ways. The network is a
small UNet that learns where lesions are, a pooling of its output over the volume, and one linear layer on top.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from acquisition import draw_slices, field_of_view, normalise, scan, stretch, warp
from flair_lesions import build_network, rate_at, save, tversky_and_cross_entropy
from simulate import Subject
from subjects import PATIENTS, load_subject, subject_files

BUNDLE = Path(__file__).parents[1] / "src/lesionlens/bundles/flair-lesion-load"
SHAPE, VOXEL_MM = (96, 112, 96), 2.0
#: Edge of the cubes that the segmenter learns from, in voxels of 2 mm.
CUBE = 56
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


@dataclass(frozen=True)
class Example:
    """One scan: image (96, 112, 96) float16 and share of lesion uint8 of the same shape (255 = all), class number."""

    image: np.ndarray
    lesions: np.ndarray
    number: int


def draw_example(subject: Subject, rng: np.random.Generator) -> Example | None:
    """Scan a head at 2 mm in a pose of its own; None where the lesions are too faint to be seen."""
    mean = rng.random() < 0.5
    small = np.ascontiguousarray(_halved(subject.image.astype(np.float32), mean=mean))
    image, lesions = warp([small, _halved(subject.lesions.astype(np.float32), mean=True)], rng, voxel_mm=VOXEL_MM)
    volume_ml = float(lesions.sum()) * VOXEL_MM**3 / 1000
    if 0 < volume_ml < FAINT_ML:
        return None
    slices = draw_slices(rng)
    if slices is not None:
        spacing, thickness = (max(1.0, x / VOXEL_MM) for x in (slices.spacing_mm, slices.thickness_mm))
        slices = replace(slices, spacing_mm=spacing, thickness_mm=thickness)
    scanned, _ = scan(image, lesions, rng, slices=slices, voxel_mm=VOXEL_MM)
    if rng.random() < 0.5:
        scanned, lesions = scanned[::-1], lesions[::-1]
    scanned, lesions = normalise(*field_of_view(scanned, lesions, rng, VOXEL_MM), voxel_mm=VOXEL_MM)
    share = np.round(fitted(lesions) * 255).clip(0, 255)
    return Example(fitted(scanned).astype(np.float16), share.astype(np.uint8), load_class(volume_ml))


def draw_examples(files: list[Path], rng: np.random.Generator, *, number: int) -> list[list[Example]]:
    """Draw scans until every class has ``number`` of them, by class."""
    groups = [[f for f in files if ("lesion-free" in f.name) == free] for free in (True, False, False)]
    by_class: list[list[Example]] = [[], [], []]
    while min(map(len, by_class)) < number:
        group = groups[rng.integers(len(groups))]
        example = draw_example(load_subject(group[rng.integers(len(group))]), rng)
        if example is not None and len(by_class[example.number]) < number:
            by_class[example.number].append(example)
    return by_class


def draw_batch(
    by_class: list[list[Example]], rng: np.random.Generator, *, number: int, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut cubes out of scans, every class equally often: images and lesion masks (N, 1, size, size, size) float32."""
    images, lesions = [], []
    for c in rng.integers(0, 3, number):
        example = by_class[c][rng.integers(len(by_class[c]))]
        low = _corner(example, rng, size)
        cube = tuple(slice(a, a + size) for a in low)
        images.append(stretch(example.image[cube].astype(np.float32) * rng.uniform(0.95, 1.05)))
        lesions.append((example.lesions[cube] > 127).astype(np.float32))
    return torch.from_numpy(np.stack(images)[:, None]), torch.from_numpy(np.stack(lesions)[:, None])


def _corner(example: Example, rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw where a cube begins: two times out of three so that it holds a lesion, if there is one."""
    room = np.array(example.image.shape) - size
    where = np.argwhere(example.lesions > 127)
    if len(where) == 0 or rng.random() < 1 / 3:
        return rng.integers(0, room + 1)
    return np.clip(where[rng.integers(len(where))] - rng.integers(0, size, 3), 0, room)


def train_segmenter(
    segmenter: torch.nn.Module, by_class: list[list[Example]], rng: np.random.Generator, options: argparse.Namespace
) -> None:
    """Teach the part before the pooling where lesions are, until the time is over."""
    optimiser = torch.optim.AdamW(segmenter.parameters(), lr=options.rate, weight_decay=1e-3)
    begin = shown = time.monotonic()
    end, step, recent = begin + 60 * options.minutes, 0, float("nan")
    segmenter.train()
    while (now := time.monotonic()) < end:
        for group in optimiser.param_groups:
            group["lr"] = rate_at((now - begin) / (end - begin), peak=options.rate)
        images, lesions = draw_batch(by_class, rng, number=options.batch, size=CUBE)
        evidence = segmenter(images)
        loss = tversky_and_cross_entropy(torch.cat([torch.zeros_like(evidence), evidence], 1), lesions, missed=0.67)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(segmenter.parameters(), 10.0)
        optimiser.step()
        step, recent = step + 1, loss.item() if step == 0 else 0.98 * recent + 0.02 * loss.item()
        if now - shown > 60:
            shown = now
            print(f"{(now - begin) / 60:.1f} min, {step} steps, loss {recent:.3f}", flush=True)
    print(f"{step} steps, loss {recent:.3f}", flush=True)


def fit_head(network: torch.nn.Sequential, by_class: list[list[Example]]) -> float:
    """Fit the linear layer to the scans' pooled evidence, a convex problem; return its cross-entropy.

    Softmax leaves a common shift of the classes' weights open: it is chosen so that evidence counts for ``low`` as much
    as it counts against ``none``. An explanation of ``low`` then shows what tells it from ``none``.
    """
    network.eval()
    head = network[-1]
    with torch.inference_mode():
        pooled = torch.cat([network[:-1](torch.from_numpy(stretch(_whole(e)))) for c in by_class for e in c])
    pooled, numbers = pooled.clone(), torch.tensor([e.number for c in by_class for e in c])
    scale = pooled.std()
    weight, bias = (torch.zeros(3, requires_grad=True) for _ in range(2))
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=2000, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.cross_entropy(pooled / scale * weight + bias, numbers)
        (value + 1e-5 * weight.square().sum()).backward()
        return value

    optimiser.step(loss)
    with torch.no_grad():
        head.weight.copy_(((weight - weight[:2].mean()) / scale)[:, None])
        head.bias.copy_(bias - bias[:2].mean())
        return torch.nn.functional.cross_entropy(head(pooled), numbers).item()


def _whole(example: Example) -> np.ndarray:
    return example.image.astype(np.float32)[None, None]


def train(options: argparse.Namespace) -> None:
    """Draw the scans, train the segmenter, fit the head."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    by_class = draw_examples(subject_files(options.subjects, without=options.holdout), rng, number=options.examples)
    print(f"{options.examples} scans of each class", flush=True)
    network = build_network(BUNDLE)
    if options.start is not None:
        network.load_state_dict(torch.load(options.start, weights_only=True))
    train_segmenter(network[0], by_class, rng, options)
    save(network, options.out / "model.pt")
    print(f"cross-entropy of the classes {fit_head(network, by_class):.3f}", flush=True)
    save(network, options.out / "model.pt")


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=Path, required=True, help="folder that subjects.py wrote")
    parser.add_argument("--holdout", choices=PATIENTS, help="leave out all heads made from this patient")
    parser.add_argument("--examples", type=int, default=150, help="scans of each class")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--rate", type=float, default=5e-3, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
