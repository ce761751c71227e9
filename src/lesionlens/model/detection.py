"""Boxes of detection bundles in the world, and maps of the network's grid on the scan's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lesionlens.detections import Detection
from lesionlens.errors import BundleError, ExplainError
from lesionlens.explain import Box, CoarseMap, DetectionNetwork, Explanation, painted
from lesionlens.methods import METHODS, method_info
from lesionlens.model.bundle import Bundle
from lesionlens.model.inference import Inference, infer
from lesionlens.model.preprocess import Prepared, prepare
from lesionlens.progress import Progress, silent
from lesionlens.volume import Grid, Volume

__all__ = ["box_notes", "boxes_of", "check_windows", "detect", "detections", "found_on_scan"]

# These have one weight for each channel of a layer, whatever the place.
_CHANNEL_WEIGHTS = frozenset({"gradcam", "gradcampp", "xgradcam", "ablationcam", "scorecam", "eigencam", "cam"})


def detect(bundle: Bundle, volume: Volume | Sequence[Volume], *, progress: Progress = silent) -> list[Detection]:
    """Find the boxes of a detection bundle, with their place in the world and their confidence.

    The bundle's own preprocessing, network, anchors, windows and rules run. Boxes come from the network's grid to the
    world through its affine.

    Parameters
    ----------
    bundle
        A detection bundle: its config has MONAI's ``RetinaNetDetector``.
    volume
        The scan, or one volume per input channel, all on one grid.
    progress
        Called before and after the network runs.

    Returns
    -------
    list of Detection
        The surest first.

    Raises
    ------
    BundleError
        If the bundle is none for detection, or does not do what it states.
    InputError
        If the volume does not suit the bundle.
    """
    _detector(bundle)
    return list(detections(bundle, infer(bundle, prepare(bundle, volume), progress=progress)))


def detections(bundle: Bundle, inference: Inference) -> tuple[Detection, ...]:
    """Place the boxes of an inference in the world; see :func:`detect`."""
    prepared, numbers = inference.prepared, Counter[int]()
    found = []
    for box in boxes_of(bundle, inference):
        numbers[box.index] += 1
        found.append(_placed(box, prepared, bundle.info.outputs[box.index], numbers[box.index]))
    return tuple(found)


def boxes_of(bundle: Bundle, inference: Inference) -> tuple[Box, ...]:
    """Return the boxes of an inference in voxel indices of the network's grid, the surest first."""
    prepared = inference.prepared
    return _detector(bundle).boxes(inference.output[None], prepared.grid.shape, within=prepared.inner_shape)


def check_windows(bundle: Bundle, prepared: Prepared, method: str) -> None:
    """Refuse to explain layers of a detection network that sees a scan through several windows: each has a map of it.

    Raises
    ------
    ExplainError
        The message names the methods that serve.
    """
    if bundle.detector is None or not method_info(method).hooks or not bundle.detector.in_windows(prepared.grid.shape):
        return
    others = ", ".join(name for name, info in METHODS.items() if not info.hooks)
    raise ExplainError(
        f"{bundle.name} sees a scan of {prepared.grid.shape} voxels through several windows, and joins what it says of"
        f" anchors, not layers, so {method_info(method).title} has no single layer to watch. Crop the scan to one"
        f" window, or choose one of: {others}."
    )


def box_notes(bundle: Bundle, method: str) -> tuple[str, ...]:
    """Say of a detection what a map cannot: weights of channels are the same everywhere, and a box is in one place."""
    if bundle.detector is None or method not in _CHANNEL_WEIGHTS:
        return ()
    return (
        f"{method_info(method).title} weights whole channels: it shows wherever the features of this box occur, not"
        " what the box rests on. HiResCAM, LayerCAM, saliency and occlusion show that.",
    )


def _detector(bundle: Bundle) -> DetectionNetwork:
    if bundle.detector is None:
        raise BundleError(
            f"{bundle.name} is a {bundle.info.task} bundle and finds no boxes; use predict() or classify()."
        )
    return bundle.detector


def _placed(box: Box, prepared: Prepared, label: str, number: int) -> Detection:
    corners = prepared.grid.world(box.corners)
    indices = prepared.volume.grid.voxel(corners)
    centre = prepared.grid.world(np.array(box.centre))
    size = (np.array(box.high) - box.low) * prepared.grid.spacing_mm
    return Detection(
        number=number,
        label=label,
        confidence=box.confidence,
        centre_ras=_triple(centre),
        size_mm=_triple(size),
        centre_ijk=_triple(prepared.volume.grid.voxel(centre)),
        bbox_ijk=(_triple(indices.min(axis=0)), _triple(indices.max(axis=0))),
        bbox_ras=(_triple(corners.min(axis=0)), _triple(corners.max(axis=0))),
        level=box.level + 1,
    )


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    first, second, third = np.asarray(values, dtype=np.float64).tolist()
    return first, second, third


def found_on_scan(bundle: Bundle, inference: Inference, result: Explanation, channel: int) -> NDArray[np.float32]:
    """Bring a map of what a detection network found to the scan's grid, in one step from its cells or boxes.

    Parameters
    ----------
    bundle, inference
        What ran on what.
    result
        The map.
    channel
        The class that it is of.

    Returns
    -------
    numpy.ndarray
        (i, j, k) float32 on the scan's grid.
    """
    prepared = inference.prepared
    if result.boxes is not None:  # not those of the map: it counts the padding as part of the image
        return _painted_on_scan([box for box in boxes_of(bundle, inference) if box.index == channel], prepared)
    levels = [prepared.to_scan(level.values, _grid(prepared.grid, level), order=0) for level in result.levels]
    joined: NDArray[np.float32] = np.maximum.reduce(levels)
    return joined


def _painted_on_scan(boxes: Sequence[Box], prepared: Prepared) -> NDArray[np.float32]:
    scan = prepared.volume.grid
    array = painted(boxes, scan.shape, np.linalg.solve(scan.affine, prepared.grid.affine))
    return array if prepared.seen is None else np.where(prepared.seen, array, np.float32(0))


def _grid(grid: Grid, coarse: CoarseMap) -> Grid:
    """Return where the cells of a coarse map lie in the world."""
    to_voxel = np.diag([*coarse.step, 1.0])
    to_voxel[:3, 3] = coarse.start
    shape = coarse.values.shape
    return Grid((shape[0], shape[1], shape[2]), grid.affine @ to_voxel)
