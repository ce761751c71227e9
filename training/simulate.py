"""Draw simulated FLAIR scans with known lesions.

``python simulate.py --data DIR --out scans.png`` draws a contact sheet.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acquisition import draw_slices, field_of_view, normalise, scan, warp
from anatomy import Head, colin_head, icbm_head, lesion_library, real_head
from healthy import add_skull, healthy_flair, recontrast, strip_badly
from lesions import draw_look, draw_mask, fit_to_tissue, paint, transplant

MRICRON = Path("/usr/share/mricron/templates")
#: Share of heads that stay as they are.
STILL = 0.35


@dataclass(frozen=True)
class Mix:
    """How lesions come into the heads.

    Parameters
    ----------
    original
        Share of the patients' heads that keep their own lesions.
    lesion_free
        Share of the others without any.
    transplanted
        Share of the rest that gets a patient's lesions; painted ones go into what is left.
    """

    original: float = 0.3
    lesion_free: float = 0.2
    transplanted: float = 0.4


MIX = Mix()


@dataclass(frozen=True)
class World:
    """Everything the simulator draws from.

    Parameters
    ----------
    real
        Patients with FLAIR images.
    templates
        Heads whose FLAIR is simulated.
    colin
        The head that lends its skull.
    library
        Lesion masks, each (i, j, k) bool.
    """

    real: tuple[Head, ...]
    templates: tuple[Head, ...]
    colin: Head
    library: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Scan:
    """One simulated scan, normalised as the bundle does: image (i, j, k) float32, label (i, j, k) bool."""

    image: np.ndarray
    label: np.ndarray
    source: str


@dataclass(frozen=True)
class Subject:
    """A posed head before any scanner saw it.

    Parameters
    ----------
    image
        White matter = 1, (i, j, k) float32 at 1 mm.
    lesions
        Share of lesion in each voxel, (i, j, k) float32.
    source
        Whose anatomy, what was done to it, ``skull`` or ``bare``.
    """

    image: np.ndarray
    lesions: np.ndarray
    source: str


def load_world(data: Path, patients: list[str], *, mricron: Path = MRICRON, test: bool = False) -> World:
    """Load all anatomy; ``patients`` are the only ones whose images are used.

    Lesion shapes come from the masks without images alone, so that leaving a patient out leaves out all of them.
    """
    real = tuple(real_head(data, p) for p in patients)
    colin = colin_head(mricron)
    return World(real, (icbm_head(), colin), colin, tuple(lesion_library(data, test=test).values()))


def draw_scan(world: World, rng: np.random.Generator) -> Scan:
    """Draw one whole scan, normalised."""
    subject = draw_subject(world, rng)
    image, label = scan(subject.image, subject.lesions, rng, slices=draw_slices(rng))
    image, label = normalise(*field_of_view(image, label, rng, 1.0))
    return Scan(image, label, subject.source)


def draw_subject(world: World, rng: np.random.Generator, *, mix: Mix = MIX) -> Subject:
    """Draw a head: anatomy, lesions, skull, pose."""
    head = draw_head(world, rng)
    image, lesions, source = draw_brain(head, world, rng, mix)
    whole = surround(image, head, world, rng)
    state = "bare" if whole is image else "skull"
    posed = [whole, lesions.astype(np.float32)]
    # Interpolation smooths: a part of the heads keeps the noise of its scan.
    image, fraction = posed if rng.random() < STILL else warp(posed, rng)
    return Subject(image, fraction, f"{source} {state}")


def draw_head(world: World, rng: np.random.Generator) -> Head:
    """Draw whose anatomy the next scan has: three times out of five a real patient's."""
    if world.real and rng.random() < 0.6:
        return world.real[rng.integers(len(world.real))]
    return world.templates[rng.integers(len(world.templates))]


def draw_brain(head: Head, world: World, rng: np.random.Generator, mix: Mix) -> tuple[np.ndarray, np.ndarray, str]:
    """Draw a brain: with its own lesions, without any, with a patient's, or painted with drawn ones."""
    if head.original is not None and head.lesions is not None and rng.random() < mix.original:
        return recontrast(head.original, head, rng), head.lesions, f"{head.name} original"
    flair = healthy_flair(head, rng)
    if rng.random() < mix.lesion_free:
        return flair, np.zeros(flair.shape, bool), f"{head.name} lesion-free"
    if world.real and rng.random() < mix.transplanted:
        donor = _draw_donor(world, rng)
        return *transplant(flair, head, donor, rng), f"{head.name} transplanted {donor.name}"
    mask = fit_to_tissue(draw_mask(list(world.library), rng), head, rng)
    return paint(flair, mask, draw_look(rng), rng), mask, f"{head.name} painted"


def _draw_donor(world: World, rng: np.random.Generator) -> Head:
    """Draw whose lesions are moved; a patient with many has more to choose from and is drawn more often."""
    volume = np.sqrt([float(h.lesions.sum()) for h in world.real if h.lesions is not None])
    return world.real[rng.choice(len(world.real), p=volume / volume.sum())]


def surround(image: np.ndarray, head: Head, world: World, rng: np.random.Generator) -> np.ndarray:
    """Half of the time put the brain into a skull; sometimes strip it imperfectly again."""
    if rng.random() < 0.45:
        return image
    image = add_skull(image, head.brain, world.colin, rng)
    return strip_badly(image, head.brain, rng) if rng.random() < 0.25 else image


def _sheet(scans: list[Scan], path: Path) -> None:
    """Draw four axial cuts and a sagittal one of each scan, with the labels' outlines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(scans), 5, figsize=(15, 3.4 * len(scans)), squeeze=False)
    for row, item in zip(axes, scans, strict=True):
        cuts = [(slice(None), slice(None), int(item.image.shape[2] * z)) for z in (0.3, 0.42, 0.54, 0.66)]
        for ax, cut in zip(row, [*cuts, (item.image.shape[0] // 2 + 8, slice(None), slice(None))], strict=True):
            ax.imshow(item.image[cut].T[::-1, ::-1], cmap="gray", vmin=0, vmax=2)
            if item.label[cut].any():
                ax.contour(item.label[cut].T[::-1, ::-1], [0.5], colors="red", linewidths=0.6)
            ax.set_xticks([]), ax.set_yticks([])
        row[0].set_ylabel(f"{item.source} {item.label.sum() / 1000:.1f} mL", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=50)


def main() -> None:
    """Draw a contact sheet of simulated scans."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mricron", type=Path, default=MRICRON)
    parser.add_argument("--patients", nargs="*", default=["patient07", "patient19"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--number", type=int, default=8)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    world = load_world(options.data, options.patients, mricron=options.mricron)
    _sheet([draw_scan(world, rng) for _ in range(options.number)], options.out)


if __name__ == "__main__":
    main()
