"""What is found out about a network while somebody waits for the menus."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesionlens.errors import Cancelled
from lesionlens.ui.facts import look_at
from tiny_bundles import VOXELWISE_STATE, write_bundle

NETWORK = "$torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.ReLU(), torch.nn.Identity())"
STATE = {f"0.{name}": value for name, value in VOXELWISE_STATE.items()}


def test_looking_stops_between_the_modules_of_a_pass(tmp_path: Path) -> None:
    """A pass of a large network takes many seconds, and whoever closes the window waits for none of them."""
    folder = str(write_bundle(tmp_path / "b", network=NETWORK, state=STATE, extra={"imports": ["$import torch"]}))
    steps: list[int] = []
    look_at(folder, lambda _stage, done, _total: steps.append(done), trust=True)
    assert steps.count(1) > 1
    assert steps.count(2) > 1

    for last in {1, 2, len(steps) // 2, len(steps)}:
        calls = 0

        def stop_once(*_: object, last: int = last) -> None:
            nonlocal calls
            calls += 1
            if calls == last:
                raise Cancelled("Stopped by the user.")

        with pytest.raises(Cancelled, match="Stopped by the user"):
            look_at(folder, stop_once, trust=True)
        assert calls == last  # no trial took the stop for a failure of the network, and went on
