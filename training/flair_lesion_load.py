"""Train the classifier of the bundle ``flair-lesion-load``: no, low or high lesion load on a whole FLAIR volume.

``python training/flair_lesion_load.py --subjects runs/subjects --holdout patient19 --out runs/load`` with the heads
that ``subjects.py`` wrote. Each head is brought to 2 mm and scanned several times in different ways.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from acquisition import draw_slices, field_of_view, normalise, scan, stretch, warp
from flair_lesions import build_network, rate_at, save
from simulate import Subject
from subjects import PATIENTS, load_subject, subject_files

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
    by_class: list[list[Example]] = [[], [], []]
    while min(map(len, by_class)) < number:
        example = draw_example(load_subject(files[rng.integers(len(files))]), rng)
        if example is not None and len(by_class[example.number]) < number:
            by_class[example.number].append(example)
    return by_class


def draw_batch(
    by_class: list[list[Example]], rng: np.random.Generator, number: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw scans, every class equally often, shifted and varied in intensity: images, lesion shares, classes."""
    chosen = [by_class[c][rng.integers(len(by_class[c]))] for c in rng.integers(0, 3, number)]
    shifts = [tuple(rng.integers(-4, 5, 3)) for _ in chosen]
    gains = rng.uniform(0.95, 1.05, number).astype(np.float16)
    images = np.stack([np.roll(e.image, s, (0, 1, 2)) * g for e, s, g in zip(chosen, shifts, gains, strict=True)])
    lesions = np.stack([np.roll(e.lesions, s, (0, 1, 2)) for e, s in zip(chosen, shifts, strict=True)])
    return (
        torch.from_numpy(stretch(images[:, None].astype(np.float32))),
        torch.from_numpy(lesions[:, None].astype(np.float32) / 255),
        torch.tensor([e.number for e in chosen]),
    )


class Pointer(torch.nn.Module):
    """Reads, next to the classes, where the evidence for a lesion lies; only training uses it.

    The class scores of a network with global average pooling are the mean of a score at every place. Asking the score
    against ``none`` to be high where lesions are teaches in minutes what the class labels alone do not.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.bias = torch.nn.Parameter(torch.tensor(1.0)), torch.nn.Parameter(torch.tensor(-3.0))

    def forward(self, network: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Class scores (N, 3) and lesion logits at every place of the last feature map (N, 1, D, H, W)."""
        head = network.class_layers
        features = head.relu(network.features(images))
        scores = torch.einsum("oc,ncdhw->nodhw", head.out.weight, features)
        place = scores[:, 1:].mean(1, keepdim=True) - scores[:, :1]
        return head.out(head.flatten(head.pool(features))), self.gain * place + self.bias


def loss_of(
    scores: torch.Tensor, places: torch.Tensor, classes: torch.Tensor, lesions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of the classes and of the places (any lesion in a place's share of the volume)."""
    share = torch.nn.functional.adaptive_avg_pool3d(lesions, places.shape[2:])
    weight = 1 + 20 * (share > 0.05)
    place = torch.nn.functional.binary_cross_entropy_with_logits(places, (share * 2).clamp(max=1), weight=weight)
    return torch.nn.functional.cross_entropy(scores, classes, label_smoothing=0.02), place


def refit_head(
    network: torch.nn.Module, by_class: list[list[Example]], rng: np.random.Generator, *, rounds: int
) -> float:
    """Fit the last layer alone to the scans, a convex problem, with the network as it will run; its cross-entropy."""
    network.eval()
    head, features, classes = network.class_layers, [], []
    with torch.no_grad():
        for _ in range(rounds * sum(map(len, by_class)) // 8):
            images, _, numbers = draw_batch(by_class, rng, 8)
            features.append(head.flatten(head.pool(head.relu(network.features(images)))))
            classes.append(numbers)
    pooled, numbers = torch.cat(features), torch.cat(classes)
    mean, deviation = pooled.mean(0), pooled.std(0) + 1e-6
    scaled = (pooled - mean) / deviation
    weight = torch.zeros(3, pooled.shape[1], requires_grad=True)
    bias = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        fit = torch.nn.functional.cross_entropy(scaled @ weight.T + bias, numbers)
        value = fit + 2e-3 * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    with torch.no_grad():
        head.out.weight.copy_(weight / deviation)
        head.out.bias.copy_(bias - (weight * mean / deviation).sum(1))
        return torch.nn.functional.cross_entropy(head.out(pooled), numbers).item()


def train(options: argparse.Namespace) -> None:
    """Draw the scans, then train until the time is over."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    by_class = draw_examples(subject_files(options.subjects, without=options.holdout), rng, number=options.examples)
    print(f"{options.examples} scans of each class", flush=True)
    network, pointer = build_network(BUNDLE).train(), Pointer()
    if options.start is not None:
        network.load_state_dict(torch.load(options.start, weights_only=True))
    parameters = [*network.parameters(), *pointer.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=options.rate, weight_decay=1e-2)
    begin = saved = time.monotonic()
    end, step, recent = begin + 60 * options.minutes, 0, np.array([1.1, 0.5])
    while (now := time.monotonic()) < end:
        for group in optimiser.param_groups:
            group["lr"] = rate_at((now - begin) / (end - begin), peak=options.rate)
        images, lesions, classes = draw_batch(by_class, rng, options.batch)
        both = loss_of(*pointer(network, images), classes, lesions)
        optimiser.zero_grad(set_to_none=True)
        sum(both).backward()
        optimiser.step()
        step, recent = step + 1, 0.97 * recent + 0.03 * np.array([x.item() for x in both])
        if now - saved > 60:
            saved = now
            save(network, options.out / "model.pt")
            print(
                f"{(now - begin) / 60:.1f} min, {step} steps, classes {recent[0]:.3f}, places {recent[1]:.3f}",
                flush=True,
            )
    fitted_loss = refit_head(network, by_class, rng, rounds=2)
    save(network, options.out / "model.pt")
    print(json.dumps({"steps": step, "cross_entropy": round(fitted_loss, 3)}), flush=True)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=Path, required=True, help="folder that subjects.py wrote")
    parser.add_argument("--holdout", choices=PATIENTS, help="leave out all heads made from this patient")
    parser.add_argument("--examples", type=int, default=200, help="scans of each class")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
