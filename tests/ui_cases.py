"""Small scans, results and bundles for the tests of the viewer, with answers that are known beforehand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlens.detections import Detection
from lesionlens.heatmap import Heatmap, Provenance
from lesionlens.regions import label_regions, measure
from lesionlens.results import CaseResult
from lesionlens.volume import Grid, Volume

# RAS, 2 mm to the side, 1 mm to the front, 5 mm upwards: a wrong axis shows in the proportions.
SHAPE = (40, 80, 12)
SPACING_MM = (2.0, 1.0, 5.0)
# In the patient's right, front and upper part: 16 mm wide, 16 mm deep, 15 mm high.
BLOB = (slice(28, 36), slice(52, 68), slice(7, 10))
# A smaller one in the left, back and lower part.
SMALL_BLOB = (slice(4, 7), slice(8, 14), slice(2, 4))


def grid(shape: tuple[int, int, int] = SHAPE, spacing_mm: tuple[float, float, float] = SPACING_MM) -> Grid:
    """Return a grid along R, A and S whose centre is the origin of the world."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing_mm
    return Grid(shape, affine)


def phantom(*, name: str = "phantom") -> Volume:
    """Return a grey block of tissue with two bright blobs; its values are small whole numbers."""
    array = np.full(SHAPE, 40, dtype=np.float32)
    array[BLOB] = array[SMALL_BLOB] = 100
    array[0] = array[-1] = 0  # some air, so that the grey window spans more than tissue
    return Volume(array, grid(), name)


def probability_of(volume: Volume, array: NDArray[Any], label: str = "lesion") -> Heatmap:
    """Return a probability map on the grid of a scan."""
    named = volume.with_array(array.astype(np.float32), unit="probability")
    return Heatmap(named, "probability", label, False, Provenance(bundle="test 1", method="softmax"))


def attribution_of(volume: Volume, array: NDArray[Any], label: str = "lesion") -> Heatmap:
    """Return a Grad-CAM map on the grid of a scan."""
    named = volume.with_array(array.astype(np.float32))
    return Heatmap(named, "attribution", label, True, Provenance(bundle="test 1", method="gradcam"))


def feature_of(volume: Volume, array: NDArray[Any]) -> Heatmap:
    """Return a map of what a layer holds, whatever the class."""
    named = volume.with_array(array.astype(np.float32))
    made = Provenance(bundle="test 1", method="activation_mean", layer="0")
    return Heatmap(named, "feature", "layer 0", bool(array.min() < 0), made)


def result_of(volume: Volume, maps: Mapping[str, NDArray[Any]] | None = None, *, threshold: float = 0.5) -> CaseResult:
    """Return a result with a probability and a Grad-CAM map per class.

    The large blob of the phantom has probability 0.9, the small one 0.6; Grad-CAM is positive there and negative
    elsewhere.
    """
    if maps is None:
        array = np.full(volume.grid.shape, 0.1, dtype=np.float32)
        array[BLOB], array[SMALL_BLOB] = 0.9, 0.6
        maps = {"lesion": array}
    probabilities = tuple(probability_of(volume, array, label) for label, array in maps.items())
    attributions = tuple(attribution_of(volume, array - 0.5, label) for label, array in maps.items())
    labels = {p.label: label_regions(p, threshold=threshold) for p in probabilities}
    regions = {
        p.label: tuple(measure(volume, p, attribution=a, labels=labels[p.label]))
        for p, a in zip(probabilities, attributions, strict=True)
    }
    return CaseResult(volume, "test 1", probabilities, attributions, regions, labels, {}, threshold, {})


def classification_of(volume: Volume, classes: Mapping[str, float]) -> CaseResult:
    """Return the result of a classification bundle: class probabilities and one Grad-CAM map."""
    cam = attribution_of(volume, volume.array / 100, next(iter(classes)))
    return replace(
        result_of(volume), probabilities=(), attributions=(cam,), regions={}, labels={}, class_probabilities=classes
    )


def detection_of(volume: Volume, confidences: Sequence[float], label: str = "nodule") -> CaseResult:
    """Return the result of a detection bundle: boxes of 4 voxels at the blob, their map and one Grad-CAM map."""
    cam = attribution_of(volume, volume.array / 100, label)
    array = np.zeros(volume.grid.shape, dtype=np.float32)
    array[4:8, 4:8, 4:8] = max(confidences)
    named = volume.with_array(array, name="boxes", unit="")
    boxes = Heatmap(named, "detection", label, signed=False, provenance=Provenance(method="boxes", target="confidence"))
    place = (0.0, 0.0, 0.0)
    found = tuple(
        Detection(number, label, confidence, place, (4.0, 4.0, 4.0), place, (place, place), (place, place), 1)
        for number, confidence in enumerate(confidences, start=1)
    )
    return replace(
        result_of(volume), probabilities=(), attributions=(cam, boxes), regions={}, labels={}, detections=found
    )


def write_bundle(folder: Path, *, classes: Sequence[str] = ("background", "lesion"), code: str = "") -> Path:
    """Write a MONAI bundle whose network finds voxels brighter than 70.

    The lesion logit is the brightness over 70, halved, the background's its negative; other classes never win.

    Parameters
    ----------
    folder
        Where to make it.
    classes
        Names of the output channels.
    code
        A ``$`` expression that the config executes when the bundle is loaded.
    """
    import torch

    outputs = {str(i): name for i, name in enumerate(classes)}
    formats = {
        "inputs": {"image": {"type": "image", "num_channels": 1, "channel_def": {"0": "FLAIR"}}},
        "outputs": {"pred": {"type": "image", "format": "segmentation", "channel_def": outputs}},
    }
    metadata = {"name": folder.name, "version": "0.0.1", "task": "segmentation", "network_data_format": formats}
    inference: dict[str, Any] = {
        "network_def": {
            "_target_": "torch.nn.Sequential",
            "_args_": [],
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 8], "overlap": 0.25},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}],
        },
    }
    inference["network_def"] = {
        "_target_": "monai.networks.blocks.Convolution",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": len(classes),
        "kernel_size": 1,
        "conv_only": True,
    }
    if code:
        inference["imports"] = [f"${code}"]
    weight = torch.full((len(classes), 1, 1, 1, 1), 0.0)
    bias = torch.full((len(classes),), -100.0)
    weight[0], weight[1], bias[0], bias[1] = -0.5, 0.5, 35.0, -35.0
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    torch.save({"conv.weight": weight, "conv.bias": bias}, folder / "models" / "model.pt")
    return folder
