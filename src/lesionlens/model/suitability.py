"""Whether a scan is of the kind that a bundle was made for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.errors import InputError
from lesionlens.model.bundle import Bundle
from lesionlens.volume import Volume

if TYPE_CHECKING:
    from lesionlens.model.preprocess import Prepared

__all__ = ["asked_mm", "check_modality", "check_spacing", "doubts"]

# Thick slices of the clinic are 5 mm, and networks see 1 mm: resampling that far is common. Eight times is no scan of
# the kind any more, but a localiser or a microscope's image.
_TOO_FAR = 8.0
_FAR = 4.0
# Headers hold affines in single precision, and turned ones lose more: 8 mm may come as 8.00001.
_ROUNDING = 1.001
# In Hounsfield units air is -1000 and fat -100: a scan in them that holds any air goes below this.
_AIR_HU = -200.0
# Part of the voxels that a window of intensities may cut off before nothing but an outline is left.
_CLIPPED = 0.995
# The air around a head that was cut out is flat before: this part of all voxels must have become so.
_MADE_SO = 0.5
_KINDS = {"MR": "MR", "MRI": "MR", "MRT": "MR", "CT": "CT", "CECT": "CT", "PT": "PT", "PET": "PT", "US": "US"}


def check_modality(bundle: Bundle, channels: Sequence[Volume]) -> None:
    """Refuse a scan of another modality.

    Raises
    ------
    InputError
        The message says what the bundle is for.
    """
    expected = _KINDS.get(bundle.info.modality.strip().upper(), "")
    for volume in channels:
        found = _KINDS.get(volume.source.modality.strip().upper(), "")
        if expected and found and expected != found:
            raise InputError(
                f"{bundle.name} is for {expected}; {volume.name!r} is {found}. Give it the kind of scan that it is for."
            )


def asked_mm(bundle: Bundle) -> tuple[float, ...] | None:
    """Return the voxels that the preprocessing resamples to, where it names all three sizes."""
    for step in reversed(bundle.preprocessing.transforms):
        pixdim = getattr(getattr(step, "spacing_transform", step), "pixdim", None)
        if pixdim is not None and len(pixdim) == 3 and all(length > 0 for length in pixdim):  # others keep the scan's
            return tuple(float(length) for length in pixdim)
    return None


def check_spacing(bundle: Bundle, volume: Volume, seen_mm: Sequence[float]) -> None:
    """Refuse a scan whose voxels are far from those that the bundle is for.

    Parameters
    ----------
    bundle, volume
        What is to run on what.
    seen_mm
        Voxels that the network sees.

    Raises
    ------
    InputError
        The message names both.
    """
    ours = volume.grid.spacing_mm
    ratio = _spacing_ratio(bundle, ours, seen_mm)
    if ratio > _TOO_FAR * _ROUNDING:
        raise InputError(
            f"{bundle.name} {_for_voxels(bundle, seen_mm)}; those of {volume.name!r} are {_mm(ours)}, {ratio:.0f} times"
            " another size. Give it the kind of scan that it is for."
        )


def doubts(bundle: Bundle, prepared: Prepared) -> tuple[str, ...]:
    """Say where a scan lies far outside what a bundle was made for: one sentence each."""
    found = []
    volume = prepared.volume
    ratio = _spacing_ratio(bundle, volume.grid.spacing_mm, prepared.grid.spacing_mm)
    if ratio > _ROUNDING * (_FAR if bundle.info.voxels_mm is None else 1.0):
        found.append(
            f"The voxels of {volume.name} ({_mm(volume.grid.spacing_mm)}) are not of the size for {bundle.name}, which"
            f" {_for_voxels(bundle, prepared.grid.spacing_mm)}."
        )
    if _KINDS.get(bundle.info.modality.strip().upper()) == "CT" and float(volume.array.min()) > _AIR_HU:
        found.append(
            f"{bundle.name} is for CT in Hounsfield units; the lowest value of {volume.name} is"
            f" {float(volume.array.min()):g}, where air would be -1000. Is it a CT, in these units?"
        )
    already = _at_the_ends(volume.array)
    for name, channel in zip(bundle.info.inputs, prepared.tensor[0], strict=False):
        share = _at_the_ends(channel.numpy())
        if share > _CLIPPED and share - already > _MADE_SO:
            found.append(
                f"After the preprocessing of {bundle.name} {100 * share:.1f} % of the voxels of {name} have its lowest"
                " or highest value: the scan's intensities are not those that it was made for."
            )
    return tuple(found)


def _at_the_ends(values: NDArray[Any]) -> float:
    """Return the part of the voxels that have the lowest or the highest value."""
    return float(np.mean((values == values.min()) | (values == values.max())))


def _spacing_ratio(bundle: Bundle, own_mm: Sequence[float], seen_mm: Sequence[float]) -> float:
    """Return how many times the most different axis is another size; 1 where the bundle does not ask for one.

    Sizes that a bundle states to be for are as good as that which its network sees.
    """
    if not any("Spacing" in type(step).__name__ for step in bundle.preprocessing.transforms):
        return 1.0
    ours, theirs = np.sort(own_mm), np.sort(seen_mm)
    least, most = (theirs, theirs) if bundle.info.voxels_mm is None else bundle.info.voxels_mm
    return float(np.maximum(ours / most, least / ours).max())


def _for_voxels(bundle: Bundle, seen_mm: Sequence[float]) -> str:
    """Say which voxels a bundle is for."""
    if bundle.info.voxels_mm is None:
        return f"sees voxels of {_mm(seen_mm)}"
    least, most = bundle.info.voxels_mm
    return f"is for voxels of {least:g} to {most:g} mm"


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{float(length):.3g}" for length in spacing) + " mm"
