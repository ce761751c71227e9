"""The sample scan that comes with the package: a simulated FLAIR with lesions, and their true mask."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["sample_lesions", "sample_scan"]

# The package is always installed as files (wheel or checkout), so resources are paths; see its README for the licence.
_FOLDER = Path(str(files("lesionlens"))) / "sample_data"


def sample_scan() -> Path:
    """Return the simulated FLAIR: 1 x 1 x 3 mm, oblique by a few degrees, NIfTI."""
    return _FOLDER / "flair-sample.nii.gz"


def sample_lesions() -> Path:
    """Return the true lesion mask of :func:`sample_scan`, on the same grid."""
    return _FOLDER / "flair-sample-lesions.nii.gz"
