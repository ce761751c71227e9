"""MONAI's RetinaNet detector as a network with one output that can be explained."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.apps.detection.utils.predict_utils import predict_with_inferer
from monai.data.box_utils import box_iou
from monai.inferers import SlidingWindowInferer
from monai.utils import fall_back_tuple
from torch import Tensor, nn

from lesionlens.errors import BundleError
from lesionlens.explain import BoxRules, DetectionNetwork
from lesionlens.explain.detection_network import dictionary_heads
from lesionlens.model.activation import Activation

__all__ = ["ACTIVATION", "detection_network"]

ACTIVATION = Activation("sigmoid", reason="the detector applies a sigmoid", source="config")


def detection_network(detector: RetinaNetDetector, *, first_voxel: float) -> DetectionNetwork:
    """Take over a detector's network, anchors, windows and rules.

    Parameters
    ----------
    detector
        As the bundle has set it up.
    first_voxel
        See :class:`~lesionlens.explain.BoxRules`.

    Raises
    ------
    BundleError
        If it finds no boxes in 3D, takes no sigmoid, or measures overlaps in a way of its own.
    """
    selector, coder = detector.box_selector, detector.box_coder
    if detector.spatial_dims != 3:
        raise BundleError(f"A detector must find boxes in 3D; this one has {detector.spatial_dims} axes.")
    if selector.box_overlap_metric is not box_iou:
        raise BundleError(
            "The detector's boxes overlap by a measure of its own; supported is MONAI's box_iou. Leave out"
            " box_overlap_metric."
        )
    if not selector.apply_sigmoid:
        raise BundleError(
            "The detector takes the network's numbers for scores as they are (apply_sigmoid=False); supported are"
            " logits of independent classes. Leave out apply_sigmoid, or the network's own sigmoid."
        )
    rules = BoxRules(
        weights=tuple(float(weight) for weight in coder.weights),
        largest_log=float(coder.boxes_xform_clip),
        least_score=float(selector.score_thresh),
        candidates=int(selector.topk_candidates_per_level),
        overlap=float(selector.nms_thresh),
        most=int(selector.detections_per_img),
        first_voxel=first_voxel,
    )
    if detector.inferer is not None:
        detector.inferer.progress = False
    plain = dictionary_heads(detector.cls_key, detector.box_reg_key)

    def heads(network: nn.Module, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        if not _needs_windows(detector, image.shape[2:]):
            return plain(network, image)
        keys = [detector.cls_key, detector.box_reg_key]
        found = predict_with_inferer(image, network, keys=keys, inferer=detector.inferer)
        # An inferer may join its windows on another device than the network's.
        classes, offsets = ([one.to(image.device) for one in found[key]] for key in keys)
        return classes, offsets

    return DetectionNetwork(
        detector.network,
        lambda image, maps: detector.anchor_generator(image, maps)[0],
        detector.num_classes,
        rules=rules,
        divisible=tuple(int(n) for n in detector.size_divisible),
        heads=heads,
        in_windows=lambda shape: _several_windows(detector, shape),
    )


def _needs_windows(detector: RetinaNetDetector, shape: Sequence[int]) -> bool:
    """Whether an image is seen through windows: from as many voxels on as a window has, as MONAI's bundles do it."""
    return detector.inferer is not None and prod(shape) >= prod(_window(detector.inferer, shape))


def _several_windows(detector: RetinaNetDetector, shape: Sequence[int]) -> bool:
    """Whether an image is seen through more than one window, or through one with a margin that is not of the image."""
    needed = _needs_windows(detector, shape)
    return needed and detector.inferer is not None and _window(detector.inferer, shape) != tuple(shape)


def _window(inferer: SlidingWindowInferer, shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(n) for n in fall_back_tuple(inferer.roi_size, tuple(shape)))
