"""Paint a healthy FLAIR with lesions whose shapes and places come from real lesion masks."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from scipy import ndimage

from anatomy import Head, smooth

#: Real lesions: median 1.4 x white matter, 10th percentile at the level of grey matter (1.2), 98th at 1.75.
CONTRAST = (0.28, 0.85)
#: Voxels around a patient's lesions in which its FLAIR differs from the one with its lesions filled in.
RIM = 2


@dataclass(frozen=True)
class Look:
    """How the lesions of one simulated scan look.

    Parameters
    ----------
    contrast
        Mean brightness above white matter, as a share of white matter.
    spread
        Standard deviation between lesions, as a share of ``contrast``.
    mottle
        Standard deviation inside lesions, as a share of ``contrast``.
    core
        How much brighter the middle of a large lesion is than its border, as a share of ``contrast``.
    edge_mm
        Standard deviation of the blur of the border.
    halo
        Height of the unlabelled haze around lesions, as a share of ``contrast``.
    """

    contrast: float
    spread: float
    mottle: float
    core: float
    edge_mm: float
    halo: float


def draw_look(rng: np.random.Generator) -> Look:
    """Draw the look of one scan's lesions."""
    return Look(
        contrast=rng.uniform(*CONTRAST) * rng.uniform(0.8, 1.2),
        spread=rng.uniform(0.05, 0.3),
        mottle=rng.uniform(0.05, 0.3),
        core=rng.uniform(-0.25, 0.35),
        edge_mm=rng.uniform(0.3, 0.8),
        halo=rng.uniform(0, 0.25) if rng.random() < 0.6 else 0.0,
    )


def noise_field(shape: tuple[int, ...], rng: np.random.Generator, *, scale_mm: float) -> np.ndarray:
    """Draw a smooth random field with mean 0 and standard deviation 1, (i, j, k) float32."""
    step = max(1.0, scale_mm / 1.5)
    coarse = smooth(rng.standard_normal([int(np.ceil(n / step)) + 3 for n in shape]).astype(np.float32), 1.0)
    field = (coarse - coarse.mean()) / max(float(coarse.std()), 1e-6)
    for axis, n in enumerate(shape):
        field = np.moveaxis(np.tensordot(_linear(n, field.shape[axis], step), field, (1, axis)), 0, axis)
    return field


def _linear(number: int, nodes: int, step: float) -> np.ndarray:
    """Weights that interpolate ``number`` samples linearly between nodes ``step`` samples apart, (number, nodes)."""
    at = 1 + np.arange(number) / step
    return np.clip(1 - np.abs(at[:, None] - np.arange(nodes)), 0, None).astype(np.float32)


def draw_mask(library: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Draw lesion shapes: one or two real masks, mirrored, displaced, thinned out, grown or shrunk.

    Returns
    -------
    (i, j, k) bool on the common grid.
    """
    mask = library[rng.integers(len(library))]
    if rng.random() < 0.15:
        mask = mask | library[rng.integers(len(library))][::-1]
    if rng.random() < 0.5:
        mask = mask[::-1]
    mask = _displaced(mask, rng)
    if rng.random() < 0.4:
        mask = _thinned(mask, rng, keep=rng.uniform(0.05, 0.9))
    if rng.random() < 0.3:
        mask = ndimage.binary_dilation(mask)
    return mask


def _displaced(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Move the mask's voxels by a smooth random displacement of a few millimetres."""
    where = np.argwhere(mask)
    if len(where) == 0:
        return mask.copy()
    low = np.maximum(where.min(0) - 8, 0)
    box = tuple(slice(a, b + 8) for a, b in zip(low, where.max(0), strict=True))
    part = mask[box].astype(np.float32)
    size = rng.uniform(0, 3.0)
    at = np.indices(part.shape, dtype=np.float32)
    for axis in range(3):
        at[axis] += size * noise_field(part.shape, rng, scale_mm=20) + rng.normal(0, 1.5)
    out = np.zeros_like(mask)
    out[box] = ndimage.map_coordinates(part, at, order=1) > 0.5
    return out


def _thinned(mask: np.ndarray, rng: np.random.Generator, *, keep: float) -> np.ndarray:
    """Keep a random share of the connected components."""
    labels = cc3d.connected_components(mask, connectivity=26)
    kept = rng.random(labels.max() + 1) < keep
    kept[0] = False
    return kept[labels]


def draw_part(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw which lesions of a patient are moved: all of them, or a random share that gives any load below it."""
    return mask if rng.random() < 0.25 else _thinned(mask, rng, keep=rng.uniform(0.1, 0.9))


def transplant(flair: np.ndarray, head: Head, donor: Head, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Move real lesions onto a lesion-free FLAIR, with their own borders and with what a reader marked of them.

    Parameters
    ----------
    flair
        Lesion-free FLAIR of ``head``, (i, j, k) float32.
    head
        Whose brain it is. The donor's own brain gets its lesions where they were; another one mirrored and displaced.
    donor
        A patient with lesions.

    Returns
    -------
    tuple
        Image (i, j, k) float32 and lesions (i, j, k) bool.
    """
    assert donor.original is not None
    assert donor.flair is not None
    assert donor.lesions is not None
    around = ndimage.binary_dilation(donor.lesions, iterations=RIM)
    kept = draw_part(around, rng)
    added = (donor.original - donor.flair) * kept
    lesions = (donor.lesions & kept).astype(np.float32)
    if head.name != donor.name:
        added, lesions = _moved([added, lesions], rng)
        inside = smooth(head.brain & (head.csf < 0.5), 0.5)
        added, lesions = added * inside * rng.uniform(0.7, 1.3), lesions * inside
    return flair + added, lesions > 0.5


def _moved(arrays: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Mirror volumes or not, and displace them smoothly by a few millimetres, all in the same way."""
    if rng.random() < 0.5:
        arrays = [a[::-1] for a in arrays]
    shape = arrays[0].shape
    at = np.indices(shape, dtype=np.float32)
    size = rng.uniform(0, 3.0)
    for axis in range(3):
        at[axis] += size * noise_field(shape, rng, scale_mm=20) + rng.normal(0, 1.5)
    return [ndimage.map_coordinates(a, at, order=1) for a in arrays]


def fit_to_tissue(mask: np.ndarray, head: Head, rng: np.random.Generator) -> np.ndarray:
    """Clip a mask to this head: no CSF, no cortex beyond a little, no crumbs."""
    tissue = (head.csf < 0.5) & head.brain
    mask = mask & tissue
    # Every other scan keeps the lesions that touch or lie in the cortex.
    if rng.random() < 0.5:
        mask &= smooth(head.gm, 1.0) < 0.75
    labels = cc3d.dust(mask.astype(np.uint8), threshold=4, connectivity=26)
    return labels > 0


def paint(flair: np.ndarray, mask: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Brighten the masked voxels.

    Parameters
    ----------
    flair
        Healthy FLAIR, white matter = 1, (i, j, k) float32.
    mask
        Lesions, (i, j, k) bool.
    look
        Brightness, borders, inner structure.

    Returns
    -------
    (i, j, k) float32. The border of the label lies where half the lesion's brightness is reached.
    """
    where = np.argwhere(mask)
    if len(where) == 0:
        return flair
    box = tuple(slice(max(0, a - 12), b + 12) for a, b in zip(where.min(0), where.max(0), strict=True))
    part, base = mask[box], flair[box]
    level = 1 + look.contrast * _relief(part, look, rng)
    share = np.clip(smooth(part, look.edge_mm) * 1.15 - 0.05, 0, 1)
    tissue = np.clip((base - 0.4) / 0.4, 0, 1)
    halo = look.halo * look.contrast * smooth(part, 3.0) * tissue
    # Noise and fine structure go on inside: lesions that are smoother than what surrounds them would teach just that.
    fine = base - smooth(base, 1.2)
    inside = level + rng.uniform(0.7, 1.2) * np.clip(fine, -0.35, 0.35)
    out = flair.copy()
    out[box] = np.maximum(base + halo, 0) * (1 - share) + share * np.maximum(inside, base)
    return out


def _relief(part: np.ndarray, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Brightness inside lesions relative to the scan's contrast: lesion by lesion, mottled, brighter in the core."""
    labels = cc3d.connected_components(part, connectivity=26)
    each = np.clip(1 + look.spread * rng.standard_normal(labels.max() + 1), 0.5, 1.6)
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    own = smooth(each[labels[tuple(nearest)]], 1.0)
    core = smooth(part, 2.5)
    return own * (1 - 0.5 * look.core + look.core * core + look.mottle * noise_field(part.shape, rng, scale_mm=5))
