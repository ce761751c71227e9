"""A bundle that takes several scans, run from the dock: one layer for each channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lesionlens.ui import consent
from lesionlens.volume import Volume
from tiny_bundles import CENTRE, blob, straight_grid, write_bundle
from ui_window import Window

# Lesion logit 10 (FLAIR - T1) - 5, background logit 0.
NETWORK: dict[str, Any] = {"_target_": "torch.nn.Conv3d", "in_channels": 2, "out_channels": 2, "kernel_size": 1}
STATE = {
    "weight": torch.tensor([[0.0, 0.0], [-10.0, 10.0]]).view(2, 2, 1, 1, 1),
    "bias": torch.tensor([0.0, -5.0]),
}


def scan(name: str, factor: float) -> Volume:
    """Return a blob of another brightness for each channel."""
    found = blob(straight_grid(), CENTRE)
    return found.with_array((factor * found.array).astype(np.float32), name=name)


@pytest.fixture
def two_channels(window: Window, tmp_path: Path) -> Window:
    """Return a window in which a bundle of two channels is chosen."""
    folder = write_bundle(tmp_path / "pair", network=NETWORK, state=STATE, inputs={"0": "T1", "1": "FLAIR"})
    window.widget.form.scan.open_bundle(str(folder))
    consent.allow(folder)
    return window


def test_each_channel_takes_the_layer_whose_name_fits(two_channels: Window) -> None:
    """In whatever order they were opened; the maps lie on the volume that was chosen, and have the known values."""
    window, form = two_channels, two_channels.widget.form
    assert not form.bar.run.isEnabled()
    flair, t1 = scan("case FLAIR", 1.0), scan("case t1w", 0.25)
    for volume in (flair, t1):
        window.open(volume)
    boxes = form.scan.channels.boxes
    assert {name: box.currentText() for name, box in boxes.items()} == {"T1": "case t1w", "FLAIR": "case FLAIR"}

    window.click(form.bar.run)
    window.wait_for_run()

    result = window.widget.result
    assert result is not None
    assert result.volume.name == "case t1w"  # the newest is the one that is chosen
    logit = 10 * (flair.array - t1.array) - 5
    np.testing.assert_allclose(result.probabilities[0].array, 1 / (1 + np.exp(-logit)), atol=1e-5)
    assert result.record["options"]["channels"] == ["FLAIR=case FLAIR"]


def test_a_channel_without_a_scan_of_its_own_stops_the_run_with_the_reason(two_channels: Window) -> None:
    """The same scan twice would run, and mean nothing."""
    window, form = two_channels, two_channels.widget.form
    for name in ("one", "two"):
        window.open(scan(name, 1.0))
    boxes = form.scan.channels.boxes
    assert [box.currentIndex() for box in boxes.values()] == [-1, -1], "no name fits, and nothing is guessed"
    assert not form.bar.run.isEnabled()

    boxes["T1"].setCurrentText("one")
    boxes["FLAIR"].setCurrentText("one")
    assert not form.bar.run.isEnabled()
    assert "choose another layer for each channel" in form.scan.problem

    boxes["FLAIR"].setCurrentText("two")
    assert form.bar.run.isEnabled()
    window.open(scan("three", 1.0))
    assert "none of the channels" in form.scan.problem
    assert not form.bar.run.isEnabled()


def test_a_bundle_of_one_channel_asks_nothing(two_channels: Window) -> None:
    """The rows go with the bundle."""
    form = two_channels.widget.form
    assert len(form.scan.channels.boxes) == 2
    form.scan.bundle.setCurrentIndex(form.scan.bundle.findText("flair-lesions"))
    assert not form.scan.channels.boxes
    assert form.scan.channels.isHidden()
