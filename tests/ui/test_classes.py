"""A network that is asked for classes one by one, from the dock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets.vista3d import VISTA3D, ClassMappingClassify, SegResNetDS2

from lesionlens.model import load_bundle, predict
from tiny_bundles import CENTRE, blob, straight_grid, write_bundle
from ui_window import Window

ENCODER: dict[str, Any] = {"in_channels": 1, "out_channels": 8, "init_filters": 8, "blocks_down": [1, 1]}
HEAD: dict[str, Any] = {"n_classes": 32, "feature_size": 8, "use_mlp": False}
NETWORK = {
    "_target_": "VISTA3D",
    "image_encoder": {"_target_": "monai.networks.nets.vista3d.SegResNetDS2", "norm": "instance", **ENCODER},
    "class_head": {"_target_": "monai.networks.nets.vista3d.ClassMappingClassify", **HEAD},
    "point_head": {"_target_": "torch.nn.Identity"},
}
CLASSES = {"0": "background", "1": "liver", "3": "spleen", "22": "brain"}


@pytest.fixture
def prompted(window: Window, tmp_path: Path) -> tuple[Window, Path]:
    """Return a window in which a small VISTA3D is chosen that asks for the spleen by itself."""
    torch.manual_seed(0)
    network = VISTA3D(SegResNetDS2(norm="instance", **ENCODER), ClassMappingClassify(**HEAD), torch.nn.Identity())
    prompt = {"input_dict": "${'image': 'x.nii.gz', 'label_prompt': [3]}", "patch_size": [40, 40, 24]}
    folder = write_bundle(
        tmp_path / "vista",
        network=NETWORK,
        state=network.state_dict(),
        inferer={"_target_": "SlidingWindowInferer", "roi_size": "@patch_size"},
        outputs=CLASSES,
        extra=prompt,
    )
    window.widget.form.scan.open_bundle(str(folder))
    return window, folder


def test_classes_that_are_checked_are_those_that_the_network_is_asked_for(prompted: tuple[Window, Path]) -> None:
    """The run's maps are those of the classes, in the values that the same question gives outside the window."""
    window, folder = prompted
    form = window.widget.form
    scan = blob(straight_grid(), CENTRE)
    window.open(scan)
    assert form.scan.classes.names == ("liver", "spleen", "brain")
    assert not form.scan.classes.isHidden()

    form.scan.classes.check("liver", "brain")

    offered = [form.asking.target.itemText(n) for n in range(form.asking.target.count())]
    assert offered == ["default", "liver", "brain", "all"]
    window.click(form.bar.run)
    window.wait_for_run()
    result = window.widget.result
    assert result is not None
    assert [one.label for one in result.probabilities] == ["liver", "brain"]
    expected = predict(load_bundle(folder, classes=("liver", "brain")), scan)
    for found, map_ in zip(result.probabilities, expected, strict=True):
        np.testing.assert_allclose(found.array, map_.array, atol=1e-5)
    assert not np.allclose(result.probabilities[0].array, result.probabilities[1].array, atol=1e-3)
    assert result.record["options"]["classes"] == ["liver", "brain"]


def test_a_bundle_that_gives_all_its_classes_asks_nothing(prompted: tuple[Window, Path]) -> None:
    """The row goes with the bundle, and what was checked in it does not follow to the next one."""
    form = prompted[0].widget.form
    form.scan.classes.check("liver")
    assert form.scan.wanted_classes == ("liver",)

    form.scan.bundle.setCurrentIndex(form.scan.bundle.findText("flair-lesions"))

    assert form.scan.classes.isHidden()
    assert form.scan.wanted_classes == ()
    assert form.scan.info is not None
    assert form.scan.info.foreground == ("lesion",)
