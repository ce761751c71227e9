"""Cut patches from simulated heads and put each through a scanner of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from acquisition import LEVEL_MEAN, LEVEL_SD, Slices, draw_slices, scan, stretch
from anatomy import smooth
from subjects import load_subject, subject_files

#: Candidates for patch centres kept of each kind and head.
KEPT = 4000
#: Share of the patches that come from heads with a patient's own lesions: what a reader marked, not what was painted.
ORIGINAL = 0.35
#: Share of the patches seen nearly as the head was delivered: isotropic, with this strength of the scanner's faults.
FAITHFUL, FAITHFUL_FAULTS = 0.25, 0.25
#: Largest error of the intensity scale, beyond that of the normalisation. With 5 % the networks went by absolute
#: brightness: a scan of patient19 that was 6 % brighter had a Dice of 0.76 instead of 0.68 in the network without it.
LEVEL_ERROR = 0.12
#: Voxels beside the patch that thick slices need.
BESIDE = 10


@dataclass(frozen=True)
class Shares:
    """How many patches are centred where; the rest lies anywhere in the head.

    Parameters
    ----------
    lesion
        On lesions.
    bright
        On normal tissue and skull brighter than white matter, where false positives come from.
    """

    lesion: float
    bright: float


class Patches:
    """Heads of a folder, of which patches are drawn.

    Parameters
    ----------
    folder
        Where ``subjects.py`` wrote the heads.
    without
        Patient whose heads are left out.
    """

    def __init__(self, folder: Path, *, without: str | None = None) -> None:
        self._files = subject_files(folder, without=without)
        if not self._files:
            raise SystemExit(f"no simulated heads in {folder}: run subjects.py first")
        self._heads = [load_subject(path) for path in self._files]
        self._original = [n for n, h in enumerate(self._heads) if "original" in h.source]
        rng = np.random.default_rng(0)
        self._places = [_candidates(h.image, h.lesions, rng) for h in self._heads]

    def __len__(self) -> int:
        return len(self._heads)

    def batch(
        self, rng: np.random.Generator, *, number: int, size: int, shares: Shares
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw patches as the network sees them, image and label (N, 1, size, size, size) float32."""
        pairs = [self._patch(rng, size, shares) for _ in range(number)]
        images, labels = (np.stack(x)[:, None].astype(np.float32) for x in zip(*pairs, strict=True))
        return torch.from_numpy(images), torch.from_numpy(labels)

    def _patch(self, rng: np.random.Generator, size: int, shares: Shares) -> tuple[np.ndarray, np.ndarray]:
        kind = np.searchsorted(np.cumsum([shares.lesion, shares.bright]), rng.random())
        number = self._draw(rng)
        while len(self._places[number][kind]) == 0:
            number = self._draw(rng)
        centre = self._places[number][kind][rng.integers(len(self._places[number][kind]))]
        low = centre + rng.integers(-size // 4, size // 4 + 1, 3) - size // 2
        faithful = rng.random() < FAITHFUL
        slices = None if faithful else draw_slices(rng)
        beside = np.array([BESIDE if slices is not None and a == slices.axis else 2 for a in range(3)])
        head = self._heads[number]
        image, lesions = (_cut(a, low - beside, size + 2 * beside) for a in (head.image, head.lesions))
        if "painted" in head.source:
            image = _roughened(image, lesions, rng)
        faults = FAITHFUL_FAULTS if faithful else 1.0
        return _seen(image, lesions, rng, slices=slices, beside=beside, faults=faults)

    def _draw(self, rng: np.random.Generator) -> int:
        """Draw the head of a patch."""
        if self._original and rng.random() < ORIGINAL:
            return int(rng.choice(self._original))
        return int(rng.integers(len(self._heads)))


def _candidates(image: np.ndarray, lesions: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Draw lesion voxels, bright voxels without lesion, and any voxels of the head, (n, 3) each."""
    tries = np.stack([rng.integers(0, n, 60 * KEPT) for n in image.shape], 1)
    values, inside = image[tuple(tries.T)], lesions[tuple(tries.T)]
    on = np.argwhere(lesions > 0.5)
    bright = tries[(values > 1.15) & (values < 2) & (inside == 0)]
    return rng.permutation(on)[:KEPT], bright[:KEPT], tries[values > 0.3][:KEPT]


def _cut(array: np.ndarray, low: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Cut a box; what lies outside the head's volume is 0."""
    out = np.zeros(shape, np.float32)
    take = tuple(slice(max(0, a), max(0, min(n, a + m))) for a, m, n in zip(low, shape, array.shape, strict=True))
    into = tuple(slice(t.start - a, t.stop - a) for t, a in zip(take, low, strict=True))
    out[into] = array[take]
    return out


def _roughened(image: np.ndarray, lesions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give painted lesions a fine structure of their own: real ones vary more than the white matter around them."""
    grain = smooth(rng.standard_normal(image.shape, np.float32), 0.5)
    return image + lesions * grain * (rng.uniform(0, 0.09) / float(grain.std()))


def _seen(
    image: np.ndarray,
    lesions: np.ndarray,
    rng: np.random.Generator,
    *,
    slices: Slices | None,
    beside: np.ndarray,
    faults: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Scan, trim, mirror and normalise a patch with the error that normalising a whole head has."""
    image, label = scan(image, lesions, rng, slices=slices, faults=faults)
    inner = tuple(slice(b, -b) for b in beside)
    image, label = image[inner], label[inner]
    if rng.random() < 0.5:
        image, label = image[::-1], label[::-1]
    level = (LEVEL_MEAN + LEVEL_SD * rng.standard_normal()) * rng.uniform(1 - LEVEL_ERROR, 1 + LEVEL_ERROR)
    return stretch(image / level), label
