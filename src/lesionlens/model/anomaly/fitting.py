"""Make the reference of an anomaly bundle from scans in which nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lesionlens.anomaly_reference import Reference
from lesionlens.errors import InputError
from lesionlens.model.anomaly.score import Features, foreground
from lesionlens.model.anomaly.scoring import judged_part, raw_scores, spec_of
from lesionlens.model.bundle import Bundle
from lesionlens.model.inference import through_inferer
from lesionlens.model.preprocess import Prepared, prepare
from lesionlens.progress import Progress, silent
from lesionlens.volume import Array, Grid, Volume, resample

__all__ = ["LEVELS", "coreset", "fit_reference", "gaussian_of"]

#: Shares of voxels whose scores a reference keeps.
LEVELS = (0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
# Features drawn from each scan; some thousands for each channel give a covariance.
_DRAWN = 20_000
# Features kept for the nearest one, as many as a second of comparing allows for each window.
_KEPT = 1_000
# Added to the diagonal of a covariance, as a share of its mean: PaDiM adds 0.01 to features of a spread near 1.
_RIDGE = 0.01


def fit_reference(
    bundle: Bundle, volumes: Sequence[Volume], *, seed: int = 0, progress: Progress = silent
) -> Reference:
    """Learn what an anomaly bundle compares with, and the scale of its score.

    Where something is learnt (features, a template) the first half of the scans teaches, and the scale comes from the
    second half: a scan lies closer to what was learnt from it than any other does.

    Parameters
    ----------
    bundle
        An anomaly bundle; its own reference, if it has one, is not used.
    volumes
        Scans in which nothing is wrong, of one channel each. At least 2; some tens make a scale that holds.
    seed
        Of the features that are drawn.
    progress
        Called before each scan.

    Raises
    ------
    BundleError
        If the bundle scores no anomaly.
    InputError
        If there are fewer than 2 scans, or one does not suit the bundle.
    """
    spec = spec_of(bundle)
    if len(volumes) < 2:
        raise InputError(f"A reference needs at least 2 scans in which nothing is wrong; found {len(volumes)}.")
    half = len(volumes) // 2
    learnt, scaled = (volumes[:half], volumes[half:]) if spec.method != "reconstruction" else ((), volumes)
    generator = np.random.default_rng(seed)
    arrays: Mapping[str, Array] = {}
    if spec.method == "template":
        arrays = _template(bundle, learnt)
    elif spec.of_features:
        rows = np.concatenate([_drawn(bundle, prepare(bundle, volume), generator) for volume in learnt])
        arrays = gaussian_of(rows) if spec.method == "gaussian" else coreset(rows, _KEPT, generator)
    found = []
    for number, volume in enumerate(scaled):
        progress("Scoring reference scans", number, len(scaled))
        prepared = prepare(bundle, volume)
        found.append(raw_scores(bundle, prepared, arrays).numpy()[judged_part(bundle, prepared)])
    progress("Scoring reference scans", len(scaled), len(scaled))
    pooled = np.concatenate(found)
    if not len(pooled):
        raise InputError("No voxel of the reference scans is judged; is lesionlens.anomaly.above too high?")
    return Reference(np.array(LEVELS), np.quantile(pooled, LEVELS), len(scaled), len(pooled), arrays)


def gaussian_of(rows: NDArray[np.float32]) -> dict[str, Array]:
    """Return mean and precision (inverse covariance) of features (n, channels)."""
    mean = rows.mean(axis=0, dtype=np.float64)
    covariance = np.atleast_2d(np.cov(rows, rowvar=False, dtype=np.float64))
    covariance += np.eye(len(covariance)) * (_RIDGE * np.trace(covariance) / len(covariance) + 1e-12)
    return {"mean": mean.astype(np.float32), "precision": np.linalg.inv(covariance).astype(np.float32)}


def coreset(rows: NDArray[np.float32], number: int, generator: np.random.Generator) -> dict[str, Array]:
    """Keep features that leave none far from all of them, by the greedy choice of PatchCore.

    Each is the one farthest from those already kept (Gonzalez 1985); at most ``number`` of them, from a first drawn one
    on. Channels are divided by their standard deviation before.
    """
    mean, sd = rows.mean(axis=0), rows.std(axis=0)
    sd = np.where(sd > 0, sd, 1).astype(np.float32)
    scaled = torch.from_numpy(((rows - mean) / sd).astype(np.float32))
    kept = [int(generator.integers(len(scaled)))]
    away = (scaled - scaled[kept[0]]).square().sum(dim=1)
    while len(kept) < min(number, len(scaled)) and float(away.max()) > 0:
        kept.append(int(away.argmax()))
        away = torch.minimum(away, (scaled - scaled[kept[-1]]).square().sum(dim=1))
    return {"features": scaled[kept].numpy(), "mean": mean.astype(np.float32), "sd": sd}


def _drawn(bundle: Bundle, prepared: Prepared, generator: np.random.Generator) -> NDArray[np.float32]:
    """Draw features of a scan where it is judged, (n, channels)."""
    drawn: list[NDArray[np.float32]] = []
    features, above = Features(bundle.network, spec_of(bundle).layers), spec_of(bundle).above

    class Watching(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            found = features(image)
            at = nn.functional.interpolate(image, size=found.shape[2:], mode="nearest")
            for one, where in zip(found, at, strict=True):
                rows = one.movedim(0, -1)[torch.from_numpy(foreground(where.cpu(), above)).to(one.device)]
                drawn.append(rows.cpu().numpy())
            return image[:, :1]

    through_inferer(bundle, prepared, Watching())
    rows = np.concatenate(drawn)
    if len(rows) <= _DRAWN:
        return rows
    return rows[generator.choice(len(rows), _DRAWN, replace=False)]


def _template(bundle: Bundle, volumes: Sequence[Volume]) -> dict[str, Array]:
    """Return mean and standard deviation at each place of the first scan's network grid."""
    prepared = [prepare(bundle, volume) for volume in volumes]
    if len(prepared) < 2:
        raise InputError("A template needs at least 4 scans: 2 for mean and standard deviation, 2 for the scale.")
    grid = prepared[0].grid
    stack = np.stack(list(_on(grid, prepared)))
    mean, sd = stack.mean(axis=0), stack.std(axis=0, ddof=1)
    return {"mean": mean.astype(np.float32), "sd": sd.astype(np.float32), "affine": grid.affine}


def _on(grid: Grid, prepared: Sequence[Prepared]) -> Iterator[NDArray[np.float32]]:
    for one in prepared:
        yield resample(one.tensor[0, 0].numpy(), one.grid, grid)
