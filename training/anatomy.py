"""Heads for the simulator: real FLAIR brains and tissue maps on one 1 mm grid.

Everything lives on the 182 x 218 x 182 RAS+ grid of MNI space whose first voxel is at (-91, -126, -72) mm.
Intensities are relative to normal white matter (white matter = 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

SHAPE = (182, 218, 182)
ORIGIN_RAS = (-91, -126, -72)
#: Masks of the data folder that no training run sees; they shape the lesions of the simulated test set.
TEST_MASKS = ("patient08", "patient10", "patient17", "patient23", "patient27")


@dataclass(frozen=True)
class Head:
    """One source of anatomy.

    Parameters
    ----------
    name
        Where it comes from.
    flair
        Lesion-free FLAIR, white matter = 1, (i, j, k) float32; None if the FLAIR has to be simulated.
    texture
        Fine structure that the tissue maps do not explain, (i, j, k) float32.
    gm, wm, csf
        Tissue fractions, (i, j, k) float32 in [0, 1].
    brain
        Brain mask, (i, j, k) bool.
    scalp
        T1 intensity of everything outside the brain relative to white matter, or None without a skull.
    original
        The FLAIR with its real lesions (real patients only).
    lesions
        The real lesions, (i, j, k) bool (real patients only).
    """

    name: str
    flair: np.ndarray | None
    texture: np.ndarray
    gm: np.ndarray
    wm: np.ndarray
    csf: np.ndarray
    brain: np.ndarray
    scalp: np.ndarray | None = None
    original: np.ndarray | None = None
    lesions: np.ndarray | None = None


def read_mni(path: str | Path) -> np.ndarray:
    """Read a 1 mm MNI image onto the common grid, (i, j, k) float32, axes RAS+."""
    image = nib.as_closest_canonical(nib.load(path))
    array = np.asarray(image.dataobj, dtype=np.float32)
    offset = np.round(image.affine[:3, 3] - ORIGIN_RAS).astype(int)
    out = np.zeros(SHAPE, np.float32)
    into = tuple(slice(max(0, o), min(n, o + m)) for o, n, m in zip(offset, SHAPE, array.shape, strict=True))
    take = tuple(slice(s.start - o, s.stop - o) for s, o in zip(into, offset, strict=True))
    out[into] = array[take]
    return out


def smooth(array: np.ndarray, sigma_mm: float) -> np.ndarray:
    """Blur with a Gaussian; the result is float32."""
    return ndimage.gaussian_filter(np.asarray(array, np.float32), sigma_mm, truncate=3)


def ramp(array: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rise linearly from 0 at ``low`` to 1 at ``high``."""
    return np.clip((array - low) / (high - low), 0, 1).astype(np.float32)


def tissue_from_t1(t1: np.ndarray, brain: np.ndarray, *, grey: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split a T1 image into fractions of grey matter, white matter and CSF.

    Parameters
    ----------
    t1
        T1 intensity relative to white matter, (i, j, k) float32.
    brain
        Brain mask.
    grey
        T1 intensity of grey matter relative to white matter.
    """
    wm = ramp(t1, grey, 0.5 * (grey + 1) + 0.4 * (1 - grey)) * brain
    csf = (1 - ramp(t1, 0.4 * grey, 0.9 * grey)) * brain
    return np.clip(brain - wm - csf, 0, 1).astype(np.float32), wm, csf


def inpaint(flair: np.ndarray, lesions: np.ndarray, wm: np.ndarray, *, margin: int = 2) -> np.ndarray:
    """Fill lesions with the look of the white matter around them.

    The local mean comes from lesion-free white matter (normalised convolution, widening until every voxel is
    reached), the fine texture from the same tissue a few millimetres away.
    """
    hole = ndimage.binary_dilation(lesions, iterations=margin) & (flair > 0.6)
    donor = ((wm > 0.7) & ~ndimage.binary_dilation(lesions, iterations=margin + 1) & (abs(flair - 1) < 0.2)).astype(
        np.float32
    )
    fill, weight = np.zeros_like(flair), np.zeros_like(flair)
    for sigma, gain in ((3, 1.0), (8, 1e-2), (20, 1e-4)):
        fill += gain * smooth(donor * flair, sigma)
        weight += gain * smooth(donor, sigma)
    texture = (flair - smooth(donor * flair, 3) / np.maximum(smooth(donor, 3), 1e-3)) * donor
    index = ndimage.distance_transform_edt(donor < 0.5, return_distances=False, return_indices=True)
    jitter = np.random.default_rng(0).integers(-6, 7, (3, *flair.shape))
    near = [np.clip(i + j, 0, n - 1) for i, j, n in zip(index, jitter, flair.shape, strict=True)]
    filled = fill / np.maximum(weight, 1e-9) + smooth(texture[tuple(near)], 0.45) * 1.3
    edge = smooth(hole, 0.6) * (flair > 0.6)
    # Only what is brighter than normal white matter is replaced, so grey matter and ventricle walls keep their shape.
    return np.where(hole, np.minimum(flair, edge * filled + (1 - edge) * flair), flair).astype(np.float32)


def real_head(folder: Path, patient: str) -> Head:
    """Load one patient with FLAIR, T1 and lesion mask, and remove the lesions from a copy of the FLAIR."""
    flair, t1 = (read_mni(folder / f"{patient}_{m}.nii.gz") for m in ("FLAIR", "T1"))
    lesions = read_mni(folder / f"{patient}_gt.nii.gz") > 0.5
    brain = ndimage.binary_fill_holes(ndimage.binary_opening(flair > 2, iterations=1))
    t1 = t1 / np.percentile(t1[brain], 90)
    gm, wm, csf = tissue_from_t1(smooth(t1, 0.5), brain, grey=0.77)
    near = ndimage.binary_dilation(lesions, iterations=2)
    wm = np.where(near & (csf < 0.5), np.maximum(wm, 1 - csf), wm)
    gm = np.clip(gm - near, 0, 1)
    flair = flair / np.median(flair[(wm > 0.95) & ~ndimage.binary_dilation(near, iterations=3)])
    healthy = inpaint(flair, lesions, wm)
    texture = (healthy - smooth(healthy, 2)) * brain
    return Head(patient, healthy, texture, gm, wm, csf, brain, original=flair, lesions=lesions)


def icbm_head() -> Head:
    """Load the ICBM 2009a template (T1 and tissue maps) that the nilearn wheel carries."""
    import nilearn.datasets

    folder = Path(nilearn.datasets.__file__).parent / "data"
    t1, gm, wm = (read_mni(folder / f"mni_icbm152_{m}_tal_nlin_sym_09a_converted.nii.gz") for m in ("t1", "gm", "wm"))
    gm, wm, brain = gm / 255, wm / 255, t1 > 0
    csf = np.clip(brain - gm - wm, 0, 1).astype(np.float32)
    t1 = t1 / np.median(t1[wm > 0.95])
    texture = (t1 - wm - 0.75 * gm - 0.35 * csf) * brain
    return Head("icbm", None, texture.astype(np.float32), gm, wm, csf, brain)


def colin_head(folder: Path) -> Head:
    """Load Colin27 with skull (``ch2``) and its brain (``ch2bet``) from Debian's mricron-data."""
    t1 = read_mni(folder / "ch2.nii.gz")
    brain = ndimage.binary_fill_holes(read_mni(folder / "ch2bet.nii.gz") > 0)
    t1 = t1 / np.percentile(t1[brain], 90)
    gm, wm, csf = tissue_from_t1(t1, brain, grey=0.78)
    texture = (t1 - wm - 0.78 * gm - 0.35 * csf) * brain
    scalp = np.where(brain, 0, t1).astype(np.float32)
    return Head("colin", None, texture.astype(np.float32), gm, wm, csf, brain, scalp=scalp)


def lesion_library(folder: Path, *, test: bool) -> dict[str, np.ndarray]:
    """Read the lesion masks without images: the test share or the rest, name -> (i, j, k) bool."""
    paths = sorted((folder / "lesion_masks_mni").glob("*.nii.gz"))
    names = {p: p.name.split(".")[0] for p in paths}
    return {names[p]: read_mni(p) > 0.5 for p in paths if (names[p] in TEST_MASKS) == test}


def without_skull(head: Head) -> Head:
    """Drop everything outside the brain."""
    return replace(head, scalp=None)
