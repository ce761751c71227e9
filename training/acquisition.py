"""What a scanner does to a head: pose, warp, slices, blur, bias field, noise; and the bundle's normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from anatomy import smooth
from lesions import noise_field


@dataclass(frozen=True)
class Slices:
    """How the volume was sliced.

    Parameters
    ----------
    axis
        The axis across the slices.
    spacing_mm
        Distance between slice centres.
    thickness_mm
        Extent of a slice's profile; less than the distance where there is a gap.
    """

    axis: int
    spacing_mm: float
    thickness_mm: float


#: Share of lesion from which a reader is taken to mark a place in a thick slice. At 0.4 slices of 8 mm keep the volume
#: of the masks of the data folder within about a fifth (above 1 mL); at one half they lose 10 to 60 % of it.
READ = 0.4


def draw_slices(rng: np.random.Generator) -> Slices | None:
    """Draw the slicing of one scan; None for an isotropic 3D scan."""
    if rng.random() < 0.25:
        return None
    axis = int(rng.choice([2, 2, 2, 2, 0, 1]))
    spacing = float(rng.choice([rng.uniform(1.5, 4), rng.uniform(4, 7), rng.uniform(7, 9)], p=[0.25, 0.3, 0.45]))
    gap = rng.uniform(0, 0.25) if rng.random() < 0.5 else 0.0
    return Slices(axis, spacing, spacing * (1 - gap))


def slice_and_return(
    image: np.ndarray, label: np.ndarray, slices: Slices, *, offset_mm: float, noise: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Average into slices and interpolate back onto 1 mm, as the bundle's ``Spacingd`` does.

    Parameters
    ----------
    image, label
        (i, j, k) float32 at 1 mm; the label is a lesion fraction.
    slices
        Geometry of the slices.
    offset_mm
        Position of the first slice centre.
    noise
        White noise to add to the slices, (i, j, k); its first slices along the axis are used.

    Returns
    -------
    tuple
        Image and label (lesion where a slice's mean fraction is at least ``READ``), both (i, j, k) float32.
    """
    thick, mean = thick_slices(image, label, slices, offset_mm=offset_mm)
    if noise is not None:
        thick = np.abs(thick + np.moveaxis(noise, slices.axis, 0)[: len(thick)])
    at = (np.arange(image.shape[slices.axis]) - offset_mm) / slices.spacing_mm
    image, label = (
        np.moveaxis(_interpolated(a, at), 0, slices.axis) for a in (thick, (mean >= READ).astype(np.float32))
    )
    return image, label


def thick_slices(
    image: np.ndarray, label: np.ndarray, slices: Slices, *, offset_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Average image and label over each slice's profile; slices come first, (slice, ., .) float32."""
    moved = [np.moveaxis(a, slices.axis, 0) for a in (image, label)]
    n = moved[0].shape[0]
    centres = np.arange(offset_mm, n - 0.5, slices.spacing_mm)
    distance = np.abs(np.arange(n)[None] - centres[:, None])
    profile = np.clip(slices.thickness_mm / 2 + 0.5 - distance, 0, 1)
    profile = (profile / profile.sum(1, keepdims=True)).astype(np.float32)
    return tuple(np.tensordot(profile, a, 1) for a in moved)  # type: ignore[return-value]


def _interpolated(stack: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Sample a stack linearly at fractional slice numbers, repeating the outermost slices."""
    at = np.clip(at, 0, len(stack) - 1)
    low = np.minimum(np.floor(at).astype(int), len(stack) - 2)
    share = (at - low).astype(np.float32)[:, None, None]
    return stack[low] * (1 - share) + stack[low + 1] * share


def warp(arrays: list[np.ndarray], rng: np.random.Generator, *, voxel_mm: float = 1.0) -> list[np.ndarray]:
    """Apply one random pose, size, elastic warp and ventricle widening to volumes on the common field of view."""
    shape = arrays[0].shape
    grid = torch.from_numpy(_coordinates(shape, rng, voxel_mm)).unsqueeze(0)
    stack = torch.from_numpy(np.stack(arrays)).unsqueeze(0)
    out = torch.nn.functional.grid_sample(stack, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return list(out[0].numpy())


def _coordinates(shape: tuple[int, ...], rng: np.random.Generator, voxel_mm: float) -> np.ndarray:
    """Where each voxel of the warped volume comes from, for ``grid_sample``: (i, j, k, 3) in [-1, 1], last axis kji.

    Computed on every fourth voxel and interpolated: everything in it is smooth.
    """
    coarse = [np.linspace(0, n - 1, n // 4, dtype=np.float32) for n in shape]
    at = np.stack(np.meshgrid(*coarse, indexing="ij"))
    centre = (np.array(shape, np.float32) - 1) / 2
    angles = np.deg2rad(rng.normal(0, 7, 3)).clip(-0.35, 0.35)
    size = rng.uniform(0.88, 1.18, 1) * rng.uniform(0.95, 1.05, 3)
    matrix = _rotation(angles) / size
    at = np.tensordot(matrix.astype(np.float32), at - centre[:, None, None, None], 1)
    at += (centre + rng.normal(0, 3, 3) / voxel_mm).astype(np.float32)[:, None, None, None]
    for axis in range(3):
        at[axis] += rng.uniform(0, 2.5) / voxel_mm * noise_field(at.shape[1:], rng, scale_mm=8)
    for centre, radius, amount in _widenings(rng):
        at = _pushed(at, centre / voxel_mm, radius / voxel_mm, amount)
    at = torch.from_numpy(np.stack([2 * at[a] / (shape[a] - 1) - 1 for a in (2, 1, 0)])[None].astype(np.float32))
    fine = torch.nn.functional.interpolate(at, size=shape, mode="trilinear", align_corners=True)
    return fine[0].permute(1, 2, 3, 0).contiguous().numpy()


def _widenings(rng: np.random.Generator) -> list[tuple[np.ndarray, float, float]]:
    """Draw centres, radii (mm) and amounts of growth at the lateral ventricles, alike on both sides."""
    if rng.random() < 0.5:
        return []
    amount = rng.uniform(-0.15, 0.45)
    return [(np.array([91 + side * 14, y, 92], np.float32), 16.0, amount) for side in (-1, 1) for y in (108, 140)]


def _pushed(at: np.ndarray, centre: np.ndarray, radius: float, amount: float) -> np.ndarray:
    away = at - centre[:, None, None, None]
    return at - away * (amount * 0.6 * np.exp(-np.square(away).sum(0) / (2 * radius**2)))


def _rotation(angles: np.ndarray) -> np.ndarray:
    out = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[[i, j], [i, j]] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        out = out @ turn
    return out


def scan(
    image: np.ndarray,
    lesions: np.ndarray,
    rng: np.random.Generator,
    *,
    slices: Slices | None,
    voxel_mm: float = 1.0,
    faults: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Turn a head, or a part of one, into a scan: bias field, blur, slices, Rician noise, contrast curve.

    Parameters
    ----------
    image
        White matter = 1, (i, j, k) float32.
    lesions
        Share of lesion in each voxel, (i, j, k) float32 in [0, 1].
    slices
        Slice geometry in voxels, or None for an isotropic scan.
    voxel_mm
        Voxel size.
    faults
        Strength of bias field, blur, noise and contrast curve; 1 is the whole range.

    Returns
    -------
    tuple
        Scan (i, j, k) float32, white matter about 1, and label (i, j, k) bool.
    """
    image = image * np.exp(faults * rng.uniform(0, 0.12) * noise_field(image.shape, rng, scale_mm=80 / voxel_mm))
    blur = rng.uniform(0, 0.5, 3) if rng.random() < 0.6 else rng.uniform(0.3, 1.0, 3)
    image = ndimage.gaussian_filter(image, faults * blur, truncate=3)
    # Thick slices are less noisy; the fine noise in the white matter of the two real 3D scans is 0.04 and 0.05.
    sigma = faults * rng.uniform(0, 0.1 if slices is None else 0.07) if rng.random() < 0.8 else 0.0
    noise = smooth(rng.standard_normal(image.shape, np.float32), rng.uniform(0.2, 0.8))
    noise *= sigma / max(float(noise[:20].std()), 1e-6)
    if slices is None:
        image = np.abs(image + noise) if rng.random() < 0.6 else np.where(image > 0.02, np.abs(image + noise), 0)
    else:
        offset = rng.uniform(0, slices.spacing_mm)
        image, lesions = slice_and_return(image, lesions, slices, offset_mm=offset, noise=noise)
    image = np.power(np.maximum(image, 0), rng.uniform(1 - 0.2 * faults, 1 + 0.25 * faults))
    return image.astype(np.float32), lesions > 0.5


def field_of_view(
    image: np.ndarray, label: np.ndarray, rng: np.random.Generator, voxel_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sometimes cut off the bottom or the top of the head."""
    if rng.random() < 0.3:
        low, high = int(rng.uniform(0, 45) / voxel_mm), int(rng.uniform(0, 30) / voxel_mm)
        keep = slice(low, image.shape[2] - high)
        image, label = image[:, :, keep], label[:, :, keep]
    return image, label


#: What ``level`` gives for heads with white matter = 1: mean and standard deviation over 28 simulated heads.
LEVEL_MEAN, LEVEL_SD = 1.037, 0.033


def normalise(image: np.ndarray, label: np.ndarray, *, voxel_mm: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Crop to the head and divide by the level of the tissue in its middle, as the bundle's configuration does.

    0 is the 0.5th percentile of the volume. The head is the box around everything brighter than the mean. The level
    hardly depends on skull, scalp fat, neck and empty borders, which move the percentiles of the box by a quarter.
    """
    image = image - np.percentile(image, 0.5)
    bright = image > image.mean()
    box = []
    for axis in range(3):
        along = np.flatnonzero(bright.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(max(0, along[0] - 4), along[-1] + 5))
    image, label = image[tuple(box)], label[tuple(box)]
    return (image / max(level(image, voxel_mm=voxel_mm), 1e-6)).astype(np.float32), label


def level(head: np.ndarray, *, voxel_mm: float = 1.0) -> float:
    """Median of the middle half, along each axis, of the uppermost 150 mm of a head; axes RAS."""
    upper = head[:, :, -round(150 / voxel_mm) :]
    return float(np.median(upper[tuple(slice(n // 4, n - n // 4) for n in upper.shape)]))


def stretch(image: np.ndarray) -> np.ndarray:
    """Clip a normalised scan to 0.5 ... 2 and map 1 to 0 and 1.25 to 1: with ``normalise`` the bundle's preprocessing.

    Air and CSF become one value and tissue contrasts become large, which is what lets the networks learn quickly.
    """
    return (np.clip(image, 0.5, 2.0) - 1) * 4
