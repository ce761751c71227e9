"""Lesion-free FLAIR brains: real ones with altered contrast, ones simulated from tissue maps; skulls around them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from anatomy import ORIGIN_RAS, Head, ramp, smooth
from lesions import noise_field

#: Ellipsoid around the basal ganglia and thalami on the common grid: centre and half axes in voxels.
DEEP_CENTRE, DEEP_AXES = (91, 122, 78), (36, 36, 20)
#: Places of healthy brains that are often brighter than their tissue elsewhere, on both sides alike:
#: centre in mm RAS (right side) and half axes in mm.
LIMBIC = (
    ((38, 4, 2), (10, 18, 14)),
    ((5, 22, 28), (7, 16, 14)),
    ((5, -38, 34), (7, 16, 12)),
    ((27, -16, -18), (10, 16, 9)),
    ((10, 36, -14), (10, 14, 10)),
)
TRACTS = (((24, -18, 10), (5, 7, 16)), ((7, -22, -28), (5, 6, 14)), ((16, 34, 6), (8, 10, 8)))
PLEXUS = (((23, -40, 8), (7, 9, 9)), ((14, -30, 14), (5, 9, 5)), ((4, -62, -36), (6, 6, 6)))


def healthy_flair(head: Head, rng: np.random.Generator) -> np.ndarray:
    """Draw a lesion-free FLAIR brain of this head, white matter = 1, zero outside, (i, j, k) float32."""
    flair = _recontrasted(head, rng) if head.flair is not None else simulated_flair(head, rng)
    # Thin and faint: what is broad or bright there, readers mark as a lesion.
    if rng.random() < 0.4:
        flair = flair + rng.uniform(0, 0.15) * cap(head, rng)
    return _brightened(flair, head, rng)


def _brightened(flair: np.ndarray, head: Head, rng: np.random.Generator) -> np.ndarray:
    """Add what is bright in many FLAIRs and no lesion: limbic cortex, long tracts, choroid plexus, flowing CSF."""
    if rng.random() < 0.5:
        flair = flair + rng.uniform(0, 0.25) * smooth(head.gm, 0.6) * _places(flair.shape, LIMBIC)
    if rng.random() < 0.3:
        flair = flair + rng.uniform(0, 0.15) * head.wm * _places(flair.shape, TRACTS)
    if rng.random() < 0.3:
        tufts = np.clip(0.5 + noise_field(flair.shape, rng, scale_mm=5), 0, 1.5)
        flair = flair + rng.uniform(0, 1.0) * smooth(ventricles(head), 0.6) * tufts * _places(flair.shape, PLEXUS)
    if rng.random() < 0.25:
        flow = np.clip(noise_field(flair.shape, rng, scale_mm=10) - 0.8, 0, 1.5)
        flair = flair + rng.uniform(0, 0.6) * smooth(head.csf, 0.5) * flow
    return flair.astype(np.float32)


def _places(
    shape: tuple[int, ...], places: tuple[tuple[tuple[int, int, int], tuple[int, int, int]], ...]
) -> np.ndarray:
    """Gaussian spots of height 1 on both sides, (i, j, k) float32."""
    out = np.zeros(shape, np.float32)
    for centre, axes in places:
        for side in (-1, 1):
            near = [
                np.exp(-0.5 * np.square((np.arange(n) + o - c * s) / a))
                for n, o, c, s, a in zip(shape, ORIGIN_RAS, centre, (side, 1, 1), axes, strict=True)
            ]
            out = np.maximum(out, np.einsum("i,j,k->ijk", *near))
    return out.astype(np.float32)


def _recontrasted(head: Head, rng: np.random.Generator) -> np.ndarray:
    """Shift the contrast between the tissues of a real FLAIR a little."""
    assert head.flair is not None
    return recontrast(head.flair, head, rng)


def recontrast(flair: np.ndarray, head: Head, rng: np.random.Generator) -> np.ndarray:
    """Add random amounts of grey matter, CSF and smooth cortical brightening to a real FLAIR."""
    if rng.random() < 0.3:
        return flair
    grey = smooth(head.gm, 0.6)
    out = flair + grey * rng.uniform(-0.15, 0.18)
    if rng.random() < 0.5:
        out = out + grey * 0.12 * np.abs(noise_field(flair.shape, rng, scale_mm=25))
    out = out + smooth(head.csf, 0.6) * rng.uniform(-0.15, 0.2)
    return np.maximum(out + head.texture * rng.uniform(-0.5, 0.3), 0)


def simulated_flair(head: Head, rng: np.random.Generator) -> np.ndarray:
    """Simulate a FLAIR from tissue maps with random contrast."""
    grey = rng.uniform(1.02, 1.4)
    cortex = grey + rng.uniform(0, 0.15) * noise_field(head.gm.shape, rng, scale_mm=22)
    deep = _deep_region(head.gm.shape)
    cortex = cortex * (1 - deep) + deep * rng.uniform(0.85, 1.2)
    csf = rng.uniform(0.05, 0.45)
    white = 1 + rng.uniform(0, 0.04) * noise_field(head.gm.shape, rng, scale_mm=12)
    flair = head.wm * white + head.gm * cortex + head.csf * csf
    flair = flair - head.texture * rng.uniform(-0.3, 1.0)
    grain = ndimage.gaussian_filter(rng.standard_normal(flair.shape).astype(np.float32), 0.6)
    return np.maximum((flair + rng.uniform(0.02, 0.12) * grain) * head.brain, 0).astype(np.float32)


def _deep_region(shape: tuple[int, ...]) -> np.ndarray:
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    radius = sum(((a - c) / r) ** 2 for a, c, r in zip(axes, DEEP_CENTRE, DEEP_AXES, strict=True))
    return ramp(-np.sqrt(radius), -1.1, -0.8)


def ventricles(head: Head) -> np.ndarray:
    """CSF far inside the brain: ventricles and deep cisterns, (i, j, k) bool."""
    deep = ndimage.distance_transform_edt(ndimage.binary_closing(head.brain, iterations=2)) > 18
    return (head.csf > 0.5) & deep


_CAPS: dict[str, np.ndarray] = {}


def cap(head: Head, rng: np.random.Generator) -> np.ndarray:
    """Draw the normal bright lining of the ventricles, patchy, (i, j, k) float32 with a height of about 1."""
    if head.name not in _CAPS:
        outside = ndimage.distance_transform_edt(~ventricles(head))
        _CAPS[head.name] = (np.exp(-np.square(outside / 1.4)) * (outside > 0) * (head.csf < 0.6)).astype(np.float32)
    patchy = np.clip(0.6 + 0.5 * noise_field(head.gm.shape, rng, scale_mm=15), 0, 1.5)
    return _CAPS[head.name] * patchy


def add_skull(brain_flair: np.ndarray, brain: np.ndarray, colin: Head, rng: np.random.Generator) -> np.ndarray:
    """Put a FLAIR brain into Colin27's head.

    The scalp's T1 intensities go through a random curve: air 0, bone dark, muscle middle, fat from suppressed to
    twice white matter and more.
    """
    assert colin.scalp is not None
    fat = rng.choice([rng.uniform(0.15, 0.7), rng.uniform(0.7, 1.6), rng.uniform(1.6, 3.0)])
    levels = (0, 0.05, rng.uniform(0.05, 0.3), rng.uniform(0.25, 0.9), fat, fat * 1.15)
    curve = np.interp(colin.scalp, (0, 0.12, 0.35, 0.6, 0.95, 1.5), levels)
    curve = curve * (1 + 0.1 * noise_field(curve.shape, rng, scale_mm=15))
    if rng.random() < 0.3:
        curve = smooth(curve, rng.uniform(0.3, 0.8))
    csf = rng.uniform(0.05, 0.35)
    outside = np.where(colin.brain, csf, curve)
    share = smooth(brain, 0.5)
    return (share * brain_flair + (1 - share) * outside).astype(np.float32)


def strip_badly(flair: np.ndarray, brain: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut the head out with an imperfect brain mask: too wide or too tight by up to a few millimetres."""
    signed = 8 * (0.5 - smooth(brain, 3.0))  # about the distance to the border in mm, within a few of them
    limit = rng.uniform(-1.5, 3) + rng.uniform(0, 1.5) * noise_field(flair.shape, rng, scale_mm=20)
    return np.where(signed < limit, flair, 0).astype(np.float32)
