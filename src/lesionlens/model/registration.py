"""Where the cells of a bundle's layers lie, measured on scans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lesionlens.errors import InputError
from lesionlens.explain import Inference
from lesionlens.explain.registration import POSITIONS, Displacements, cell_offset, displacements
from lesionlens.model.boundary import foreign_code
from lesionlens.model.bundle import Bundle
from lesionlens.model.inference import windows_of
from lesionlens.model.placement import registration_of
from lesionlens.model.preprocess import prepare
from lesionlens.model.wish import check_layer
from lesionlens.progress import Progress, silent
from lesionlens.registration import LayerOffset, Registration
from lesionlens.volume import Volume

__all__ = ["measure_registration"]


def measure_registration(
    bundle: Bundle,
    volumes: Iterable[Volume | Sequence[Volume]],
    *,
    layers: Sequence[str] = (),
    positions: int = POSITIONS,
    seed: int = 0,
    progress: Progress = silent,
) -> Registration:
    """Measure where the cells of layers lie, by small changes of scans; nothing is stored.

    Parameters
    ----------
    bundle
        Whose layers.
    volumes
        Scans of the kind that the bundle is for, each as for :func:`lesionlens.explain`.
    layers
        Dotted names; by default the layer that is explained when none is named.
    positions
        Number of measurements on each scan for each layer, at least 16.
    seed
        Of their places.
    progress
        Called as work advances; raise ``Cancelled`` from it to stop.

    Returns
    -------
    Registration
        What was measured before for these weights, and the layers that were measured now.

    Raises
    ------
    ExplainError
        If a layer does not exist, gives no map, or cannot be measured.
    InputError
        If there is no scan, or one does not suit the bundle.
    """
    if positions < 16:
        raise InputError(f"An offset needs at least 16 measurements on each scan; found {positions}.")
    parts: dict[str, list[Displacements]] = {}
    for number, volume in enumerate(volumes):
        prepared = prepare(bundle, volume)
        windows = windows_of(bundle.inferer, prepared.tensor.shape[2:])
        subject = Inference(bundle.network, prepared.tensor.to(bundle.device), windows, prepared.grid.spacing_mm)
        for name in layers or (bundle.default_layer(windows.size)[0],):
            check_layer(bundle, prepared, name)
            with foreign_code(bundle, prepared):
                found = displacements(subject, name, positions=positions, seed=seed + number, progress=progress)
            parts.setdefault(name, []).append(found)
    if not parts:
        raise InputError("There is no scan to measure on; name at least one.")
    registration = registration_of(bundle)[0] or Registration(bundle.title, bundle.weights_sha256)
    for name, measured in parts.items():
        offset = cell_offset(measured, name)
        stored = LayerOffset(offset.voxels, offset.spread, offset.n, offset.stride, scans=len(measured))
        registration = registration.with_layer(name, stored)
    return registration
