"""Networks that are asked for classes by their numbers give one probability for each class that is wanted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import VISTA3D
from monai.networks.nets.vista3d import ClassMappingClassify
from torch import nn

from lesionlens.errors import BundleError
from lesionlens.model import load_bundle
from lesionlens.model.prompts import ClassPrompts, asked_classes, takes_classes
from tiny_bundles import write_bundle

NAMES = {0: "background", 1: "liver", 3: "spleen", 22: "brain"}


def test_classes_are_chosen_by_name_number_or_the_config() -> None:
    """The config's own example is what the bundle does by default; without one it is all that it knows."""
    example = {"input_dict": "${'image': 'x.nii.gz', 'label_prompt': [3]}"}

    assert asked_classes(example, NAMES, ()) == {3: "spleen"}
    assert asked_classes({}, NAMES, ()) == {1: "liver", 3: "spleen", 22: "brain"}
    assert asked_classes(example, NAMES, ("Brain", "1")) == {22: "brain", 1: "liver"}
    with pytest.raises(BundleError, match=r"no class 'kidney'; it knows liver, spleen, brain"):
        asked_classes(example, NAMES, ("kidney",))
    with pytest.raises(BundleError, match="no class '0'"):
        asked_classes(example, NAMES, ("0",))


def test_examples_are_read_and_not_executed(tmp_path: Path) -> None:
    """The text is Python, and somebody else's."""
    code = f"$__import__('pathlib').Path({str(tmp_path / 'CANARY')!r}).touch()"

    assert asked_classes({"input_dict": code}, NAMES, ()) == {1: "liver", 3: "spleen", 22: "brain"}
    assert not (tmp_path / "CANARY").exists()


class _Encoder(nn.Module):
    """Stands in for the encoder of 70 million parameters: what it gives is one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(1, 8, 3, padding=1)

    def forward(self, image: torch.Tensor, **_: object) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.layer(image)
        return found, found


def test_each_class_is_asked_for_as_by_itself() -> None:
    """All classes at once are what the network says of one after the other, window by window."""
    torch.manual_seed(0)
    points = nn.Module()
    network = VISTA3D(_Encoder(), ClassMappingClassify(n_classes=32, feature_size=8), points).eval()
    image = torch.randn(2, 1, 8, 8, 8)

    with torch.no_grad():
        found = ClassPrompts(network, (3, 22))(image)
        alone = [network(image[1:], class_vector=torch.tensor([[n]]), transpose=True)[0, 0] for n in (3, 22)]

    assert takes_classes(network)
    assert not takes_classes(nn.Conv3d(1, 1, 1))
    assert found.shape == (2, 2, 8, 8, 8)
    np.testing.assert_allclose(found[1], torch.stack(alone), atol=1e-5)
    assert not torch.allclose(found[1, 0], found[1, 1])


def test_other_bundles_take_no_choice_of_classes(tmp_path: Path) -> None:
    """A choice that would be ignored is a mistake."""
    folder = write_bundle(tmp_path / "b")

    with pytest.raises(BundleError, match="takes no choice of classes"):
        load_bundle(folder, classes=("lesion",))
    assert json.loads((folder / "configs" / "metadata.json").read_text())["name"] == "b"
