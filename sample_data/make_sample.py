"""Make the sample scan: a simulated FLAIR of a head with white-matter lesions, and the true mask of the lesions.

No patient is in it. The anatomy comes from the ICBM152 tissue maps that nilearn carries in its wheel (see
``src/lesionlens/sample_data/README.md`` for their licence), sharpened and warped at random; contrast, lesions, skull,
coil shading and noise are drawn here. Everything is seeded: the same versions of numpy and scipy give the same files.

    python sample_data/make_sample.py
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import nilearn.datasets
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Map = NDArray[np.float32]

SEED = 7
OUTPUT = Path(__file__).resolve().parent.parent / "src" / "lesionlens" / "sample_data"

# The acquisition: 2D slices, thick ones, the head turned a little in the scanner.
SPACING_MM = (1.0, 1.0, 3.0)
SHAPE = (188, 224, 46)
TURN_DEGREES = (6.0, -2.5, 3.5)  # about the world's x, y and z
CENTRE_RAS = (0.0, -18.0, 18.0)
SLICE_PROFILE_MM = np.linspace(-1.3, 1.3, 5)
SIGNAL = 220.0  # of grey matter, in the file
NOISE = 0.018  # standard deviation relative to grey matter

# FLAIR contrast relative to grey matter: fluid dark, white matter darker than grey, lesions brightest.
FLUID, GREY, WHITE, LESION = 0.08, 1.0, 0.80, 1.45
DURA, BONE, MARROW, SCALP, SKIN = 0.25, 0.04, 0.28, 0.75, 0.55


@dataclass(frozen=True)
class Blob:
    """A lesion to draw: centre in RAS mm of the template, half axes in mm, angle about z in degrees, brightness."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    angle: float = 0.0
    strength: float = 1.0


# Shaped after small-vessel disease and multiple sclerosis: caps at the horns of the ventricles, bands along their
# bodies, ovoids at right angles to them, a few near the cortex, punctate ones, one below the tentorium.
LESIONS = (
    Blob((-20, 34, 8), (6, 5, 6)),
    Blob((19, 35, 7), (5, 4, 6)),
    Blob((-29, -44, 18), (7, 5, 7)),
    Blob((30, -43, 17), (6, 6, 8)),
    Blob((-23, -10, 27), (4, 11, 5), 8),
    Blob((22, -16, 28), (4, 8, 5), -8),
    Blob((24, 8, 27), (4, 6, 5)),
    Blob((-30, 6, 27), (7, 3, 4), 20),
    Blob((-27, -28, 34), (6, 3, 5), -25),
    Blob((31, -28, 31), (5, 3, 4), 15, 0.9),
    Blob((-36, -14, 38), (3, 3, 4)),
    Blob((26, 26, 31), (4, 3, 4), 40, 0.95),
    Blob((-24, 26, 34), (3, 3, 3)),
    Blob((34, -4, 37), (2.6, 2.6, 3)),
    Blob((-40, -38, 30), (3, 2.5, 3), 0, 0.95),
    Blob((-32, 36, 20), (2.2, 2.2, 2.6), 0, 0.9),
    Blob((38, 30, 18), (2.0, 2.4, 2.6), 0, 0.95),
    Blob((22, -52, 40), (2.4, 2.2, 3), 0, 0.95),
    Blob((-18, -60, 36), (2.0, 2.0, 2.4), 0, 0.9),
    Blob((20, 14, 42), (1.9, 1.9, 2.4)),
    Blob((-22, 4, 46), (2.0, 1.8, 2.4), 0, 0.95),
    Blob((42, -30, 24), (1.8, 2.2, 2.4), 0, 0.95),
    Blob((-16, -54, -32), (3, 3, 3), 0, 0.85),
)


@dataclass(frozen=True)
class Head:
    """Tissue fractions in [0, 1] on the template's 1 mm grid, axes RAS+, and that grid's affine."""

    fluid: Map
    grey: Map
    white: Map
    brain: NDArray[np.bool_]
    affine: NDArray[np.float64]


def load_head() -> Head:
    """Read the tissue maps and sharpen them: an average of 152 heads is blurred, one head is not."""
    folder = Path(nilearn.datasets.__file__).parent / "data"
    maps, affine = {}, np.eye(4)
    for name in ("t1", "gm", "wm"):
        image = nib.load(folder / f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz")
        maps[name], affine = np.asarray(image.dataobj, dtype=np.float32) / 255, image.affine
    brain = ndimage.binary_fill_holes(maps["t1"] > 0)
    fluid = np.clip(brain - maps["gm"] - maps["wm"], 0, 1)
    sharp = [part**3 for part in (fluid + 0.02, maps["gm"], maps["wm"])]
    total = sum(sharp)
    fluid, grey, white = (np.where(brain, part / total, 0).astype(np.float32) for part in sharp)
    return Head(fluid, grey, white, brain, affine)


def smooth_noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> Map:
    """Return smooth noise of mean 0 and standard deviation 1; ``sigma`` is its scale in voxels."""
    step = max(1, int(sigma // 2))  # drawn on a coarse grid: smooth noise needs no more
    coarse = rng.normal(size=[n // step + 3 for n in shape]).astype(np.float32)
    coarse = ndimage.gaussian_filter(coarse, sigma / step, mode="wrap")
    fine = coarse if step == 1 else ndimage.zoom(coarse, step, order=1)
    fine = fine[tuple(slice(0, n) for n in shape)]
    return np.asarray((fine - fine.mean()) / fine.std(), dtype=np.float32)


def draw_lesions(head: Head, rng: np.random.Generator) -> tuple[Map, Map]:
    """Return lesion fraction in [0, 1] and lesion brightness (1 = full) on the template's grid."""
    fraction = np.zeros(head.white.shape, np.float32)
    brightness = np.zeros_like(fraction)
    ragged = smooth_noise(fraction.shape, 2.5, rng)
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in fraction.shape), indexing="ij"), axis=-1, dtype=np.float32)
    world = voxels + head.affine[:3, 3].astype(np.float32)
    for blob in LESIONS:
        reach = max(blob.radii) + 6
        low = np.floor(np.array(blob.centre) - reach - head.affine[:3, 3]).astype(int)
        box = tuple(slice(max(0, a), int(a + 2 * reach + 1)) for a in low)
        offset = world[box] - np.array(blob.centre, np.float32)
        turn = np.radians(blob.angle)
        x = offset[..., 0] * np.cos(turn) + offset[..., 1] * np.sin(turn)
        y = offset[..., 1] * np.cos(turn) - offset[..., 0] * np.sin(turn)
        size = np.cbrt(np.prod(blob.radii))
        distance = np.sqrt((x / blob.radii[0]) ** 2 + (y / blob.radii[1]) ** 2 + (offset[..., 2] / blob.radii[2]) ** 2)
        depth = (1 - distance + 0.16 * ragged[box]) * size  # mm inside the ragged ellipsoid, about
        here = 1 / (1 + np.exp(-np.clip(depth / 0.5, -30, 30)))
        fraction[box] = np.maximum(fraction[box], here)
        brightness[box] = np.maximum(brightness[box], here * blob.strength)
    allowed = np.clip(head.white + 0.35 * head.grey, 0, 1) * (head.fluid < 0.5)  # hardly any cortex, no fluid
    return fraction * allowed, brightness * allowed


def draw_signal(head: Head, brightness: Map, rng: np.random.Generator) -> Map:
    """Return the FLAIR signal relative to grey matter on the template's grid."""
    grey = GREY * (1 + 0.035 * smooth_noise(head.grey.shape, 6, rng) + 0.04 * smooth_noise(head.grey.shape, 1.2, rng))
    white = WHITE * (
        1 + 0.02 * smooth_noise(head.white.shape, 8, rng) + 0.03 * smooth_noise(head.white.shape, 1.5, rng)
    )
    signal = head.fluid * FLUID + head.grey * grey + head.white * white
    ventricles = inner_fluid(head)
    rim = np.exp(-ndimage.distance_transform_edt(~ventricles) / 1.3)  # ependyma: bright in every FLAIR
    signal += 0.16 * rim * (1 - head.fluid) * head.brain
    signal += brightness * (LESION - signal) * (1 + 0.05 * smooth_noise(signal.shape, 2, rng))
    return np.where(head.brain, signal, outside_signal(head, rng)).astype(np.float32)


def inner_fluid(head: Head) -> NDArray[np.bool_]:
    """Return the ventricles: fluid deep inside the brain."""
    depth = ndimage.distance_transform_edt(head.brain)
    labels, n = ndimage.label((head.fluid > 0.6) & (depth > 12))
    sizes = ndimage.sum_labels(np.ones_like(labels), labels, np.arange(1, n + 1))
    return np.isin(labels, 1 + np.flatnonzero(sizes > 300))


def outside_signal(head: Head, rng: np.random.Generator) -> Map:
    """Return meninges, skull and scalp as shells around the brain, thinner on top than at the back."""
    padded = np.pad(head.brain, 24)
    hull = ndimage.distance_transform_edt(~padded) < 14
    hull = ndimage.distance_transform_edt(hull) > 13  # closing with a ball: skull bridges sulci and fissures
    away = ndimage.distance_transform_edt(~hull)[24:-24, 24:-24, 24:-24].astype(np.float32)
    wobble = 1 + 0.14 * smooth_noise(away.shape, 18, rng)
    away = away / wobble
    bounds = (1.0, 2.2, 4.0, 7.0, 8.6, 13.0, 14.6)
    values = (FLUID, DURA, BONE, MARROW, BONE, SCALP, SKIN)
    shells = np.zeros_like(away)
    for inner, outer, value in zip((0.0, *bounds[:-1]), bounds, values, strict=True):
        shells[(away >= inner) & (away < outer)] = value
    shells[away <= 0] = FLUID
    texture = 1 + 0.15 * smooth_noise(away.shape, 1.5, rng) + 0.15 * smooth_noise(away.shape, 5, rng)
    return np.asarray(ndimage.gaussian_filter(shells * texture, 0.5), dtype=np.float32)


def scan_affine() -> NDArray[np.float64]:
    """Return the affine of the scan: axes near left, front, head, turned a few degrees, centred on the head."""
    x, y, z = np.radians(TURN_DEGREES)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x @ np.diag([-1.0, 1.0, 1.0]) @ np.diag(SPACING_MM)
    affine[:3, 3] = np.array(CENTRE_RAS) - affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


def acquire(head: Head, maps: tuple[Map, ...], rng: np.random.Generator) -> tuple[Map, ...]:
    """Bring maps to the scan's grid: every slice averages over its thickness; the head is warped as no template is."""
    affine = scan_affine()
    warp = [3.5 * smooth_noise(maps[0].shape, 28, rng) for _ in range(3)]
    results = [np.zeros(SHAPE, np.float32) for _ in maps]
    for k in range(SHAPE[2]):
        for offset in SLICE_PROFILE_MM:
            i, j = np.meshgrid(np.arange(SHAPE[0]), np.arange(SHAPE[1]), indexing="ij")
            scan = np.stack([i, j, np.full(i.shape, k + offset / SPACING_MM[2]), np.ones(i.shape)])
            world = np.tensordot(affine, scan, 1)
            place = np.tensordot(np.linalg.inv(head.affine), world, 1)[:3]
            place = place + np.stack([ndimage.map_coordinates(w, place, order=1, mode="nearest") for w in warp])
            for result, values in zip(results, maps, strict=True):
                result[:, :, k] += ndimage.map_coordinates(values, place, order=1) / len(SLICE_PROFILE_MM)
    return tuple(results)


def measure_signal(signal: Map, rng: np.random.Generator) -> NDArray[np.int16]:
    """Add the coil's shading and Rician noise; air is masked as scanners do."""
    shading = np.exp(
        0.10 * smooth_noise(SHAPE, 60, rng) + np.linspace(-0.06, 0.08, SHAPE[1], dtype=np.float32)[:, None]
    )
    shaded = signal * shading
    noisy = np.hypot(shaded + rng.normal(0, NOISE, SHAPE), rng.normal(0, NOISE, SHAPE))
    air = ndimage.binary_opening(ndimage.gaussian_filter(signal, (2, 2, 0)) < 0.03, iterations=2)
    return np.where(air, 0, np.round(noisy * SIGNAL)).astype(np.int16)


def save(array: NDArray[np.generic], name: str) -> None:
    """Write a NIfTI file with scanner coordinates; the same voxels give the same bytes."""
    image = nib.Nifti1Image(array, scan_affine())
    image.header.set_xyzt_units("mm")
    image.set_sform(scan_affine(), 1)
    image.set_qform(scan_affine(), 1)
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / name).write_bytes(gzip.compress(image.to_bytes(), compresslevel=9, mtime=0))


def main() -> None:
    """Make both files."""
    rng = np.random.default_rng(SEED)
    head = load_head()
    fraction, brightness = draw_lesions(head, rng)
    signal, lesions = acquire(head, (draw_signal(head, brightness, rng), fraction), rng)
    mask = (lesions >= 0.5).astype(np.uint8)
    save(measure_signal(signal, rng), "flair-sample.nii.gz")
    save(mask, "flair-sample-lesions.nii.gz")
    _, n = ndimage.label(mask, np.ones((3, 3, 3)))
    print(f"{n} lesions, {mask.sum() * np.prod(SPACING_MM) / 1000:.1f} mL in {OUTPUT}")


if __name__ == "__main__":
    main()
