"""Detection networks without torchvision: one of known boxes, and MONAI's RetinaNet on plain features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.apps.detection.networks.retinanet_network import RetinaNet
from torch import Tensor, nn

from tiny_bundles import write_bundle

STRIDE = (4, 4, 2)
SHAPES = ((8, 8, 4), (4, 4, 2))  # of the anchors at each cell of level 1; twice that on level 2
SIZES = torch.tensor(SHAPES).double()


class CubeNetwork(nn.Module):
    """Two levels of cells that are the mean of their voxels; a cell of 1 is an object.

    The logits of class 0 are 12 m - 6 for the first anchor and 8 m - 6 for the second, with m the mean over the cell;
    those of class 1 are 12 less. Offsets are 0.
    """

    spatial_dims = 3
    cls_key, box_reg_key = "classes", "offsets"
    num_anchors = 2
    size_divisible = (8, 8, 4)

    def __init__(self, num_classes: int = 1, offsets: tuple[float, ...] = (0.0,) * 12) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.cells = nn.Conv3d(1, 1, STRIDE, STRIDE, bias=False)
        self.coarser = nn.AvgPool3d(2)
        self.classes = nn.Conv3d(1, 2 * num_classes, 1)
        self.offsets = nn.Conv3d(1, 12, 1)
        nn.init.constant_(self.cells.weight, 1 / 32)
        with torch.no_grad():
            gains = [[gain] * num_classes for gain in (12.0, 8.0)]
            self.classes.weight.copy_(torch.tensor(gains).view(-1, 1, 1, 1, 1))
            self.classes.bias.copy_(torch.tensor([-6.0 - 12 * c for _ in range(2) for c in range(num_classes)]))
            self.offsets.weight.zero_()
            self.offsets.bias.copy_(torch.tensor(offsets))

    def forward(self, image: Tensor) -> dict[str, list[Tensor]]:
        """Return the maps of both levels."""
        fine = self.cells(image)
        levels = [fine, self.coarser(fine)]
        return {
            self.cls_key: [self.classes(level) for level in levels],
            self.box_reg_key: [self.offsets(level) for level in levels],
        }


class Pyramid(nn.Module):
    """Features of two levels, as MONAI's RetinaNet takes them."""

    out_channels = 8

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv3d(1, 8, 3, stride=(2, 2, 1), padding=1)
        self.coarse = nn.Conv3d(8, 8, 3, stride=2, padding=1)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return both levels."""
        fine = self.fine(image)
        return [fine, self.coarse(fine.relu())]


def retinanet(seed: int = 0, *, as_list: bool = False) -> RetinaNet:
    """Return MONAI's RetinaNet with weights that spread the scores over [0, 1]."""
    torch.manual_seed(seed)
    network = RetinaNet(3, 2, 2, Pyramid(), size_divisible=(4, 4, 2), use_list_output=as_list)
    for head in (network.classification_head.cls_logits, network.regression_head.bbox_reg):
        nn.init.normal_(head.weight, std=0.2)
        nn.init.zeros_(head.bias)
    return network.eval()


def write_detection(folder: Path, *, classes: int = 1, setters: tuple[str, ...] = (), **changes: Any) -> Path:
    """Write a bundle of the :class:`CubeNetwork`, laid out as MONAI's model zoo does it."""
    network = CubeNetwork(classes, changes.pop("offsets", (0.0,) * 12))
    extra = {
        "num_classes": classes,
        "anchor_generator": {
            "_target_": "monai.apps.detection.utils.anchor_utils.AnchorGeneratorWithAnchorShape",
            "feature_map_scales": [1, 2],
            "base_anchor_shapes": [list(shape) for shape in SHAPES],
        },
        "network": "$@network_def.to(@device)",
        "detector": {
            "_target_": "RetinaNetDetector",
            "network": "@network",
            "anchor_generator": "@anchor_generator",
        },
        "detector_ops": [
            "$@detector.set_target_keys(box_key='box', label_key='label')",
            "$@detector.set_regular_matcher(0.5, 0.4)",  # of training: needs torchvision
            "$@detector.set_box_selector_parameters(score_thresh=0.02, nms_thresh=0.05)",
            *setters,
        ],
        **changes.pop("extra", {}),
    }
    return write_bundle(
        folder,
        network={"_target_": "detection_networks.CubeNetwork", "num_classes": "@num_classes"},
        state=network.state_dict(),
        outputs={str(index): name for index, name in enumerate(("nodule", "mass")[:classes])},
        output_format="dict",
        inferer={"_target_": "scripts.detection_inferer.RetinaNetInferer", "detector": "@detector"},
        extra=extra,
        **{"postprocessing": [], **changes},
    )
