"""Attention of a bundle on the scan's grid, through every door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import lesionlens as ll
from lesionlens.cli import app
from lesionlens.volume import Volume
from orientations import ORIENTATIONS, reoriented
from tiny_bundles import CENTRE, RAS, blob, centre_of_mass, oblique_grid, straight_grid, write_bundle


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a bundle whose tokens look at what is bright."""
    folder = write_bundle(
        tmp_path_factory.mktemp("bundle") / "bright",
        network={"_target_": "token_networks.Bright"},
        state={"block.attn.gain": torch.tensor(12.0)},
        steps=[RAS, {"_target_": "DivisiblePadd", "keys": "image", "k": 4}],
        outputs={"0": "none", "1": "bright"},
        output_format="classification",
    )
    return ll.load_bundle(folder, trust=True)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::7], ids=str)
@pytest.mark.parametrize("make_grid", [straight_grid, oblique_grid])
def test_attention_lies_on_what_is_looked_at(bright: Any, orientation: Any, make_grid: Any) -> None:
    """Tokens, their order and the map's own grid end at the right place of the world, whatever the axes of the scan."""
    scan = blob(make_grid(), CENTRE)
    array, grid = reoriented(scan.array, scan.grid, orientation)

    heatmap = ll.explain(bright, Volume(array, grid), method="attention")

    assert heatmap.grid.same_as(grid)
    sharp = np.where(heatmap.array > heatmap.array.max() / 2, heatmap.array, 0)
    np.testing.assert_allclose(centre_of_mass(sharp, grid), CENTRE, atol=1.5)  # cells are 4 to 8 mm wide


def test_record_says_who_looks(bright: Any) -> None:
    """A map of no class says so, and the options, the block and what it can resolve are in the record."""
    heatmap = ll.explain(bright, blob(straight_grid(), CENTRE), method="attention")

    assert (heatmap.kind, heatmap.signed) == ("attention", False)
    assert heatmap.provenance.layer == "block.attn"
    assert not heatmap.provenance.target
    assert {"block": -1, "head": "mean", "query": "auto"}.items() <= heatmap.provenance.options.items()
    assert heatmap.provenance.resolution_mm == pytest.approx((2.0, 2.4, 4.0))
    assert any("Seen from all tokens alike" in note for note in heatmap.provenance.notes)


def test_relevance_speaks_of_the_class(bright: Any) -> None:
    """What carries evidence for the class is an attribution of that class, on the lesion."""
    scan = blob(straight_grid(), CENTRE)

    heatmap = ll.explain(bright, scan, method="attention_relevance", target="bright")

    assert (heatmap.kind, heatmap.label) == ("attribution", "bright")
    assert heatmap.provenance.target == "logit of 'bright'"
    sharp = np.where(heatmap.array > heatmap.array.max() / 2, heatmap.array, 0)
    np.testing.assert_allclose(centre_of_mass(sharp, scan.grid), CENTRE, atol=1.5)  # as above


def test_command_line_lists_attention() -> None:
    """Whoever has a transformer finds the methods, with their options."""
    result = CliRunner().invoke(app, ["methods", "--json"])

    found = {method["name"]: method for method in json.loads(result.stdout)}
    assert found["attention"]["options"] == {"block": -1, "head": "mean", "query": "auto"}
    assert found["attention_relevance"]["kind"] == "attribution"
    assert {"attention_rollout", "attention_gates"} <= set(found)


def test_a_run_writes_the_map(bright: Any, tmp_path: Path) -> None:
    """A case takes the methods and their options as any other; the file is named after them and comes back."""
    options = ll.RunOptions(
        input=Path("scan.nii.gz"), method="attention_relevance", method_options={"block": 0}, target="bright"
    )

    result = ll.run_case(options, volume=blob(straight_grid(), CENTRE), bundle=bright)
    ll.write_case(result, tmp_path / "out")

    assert [heatmap.name for heatmap in result.attributions] == ["attribution_attention-relevance_bright"]
    assert (tmp_path / "out" / "attribution_attention-relevance_bright.nii.gz").is_file()


def test_looking_is_not_counted_as_evidence(tmp_path: Path) -> None:
    """Regions get no share of attribution from a map of attention, and no warning speaks of missing evidence."""
    folder = write_bundle(
        tmp_path / "b",
        network={"_target_": "token_networks.Bright", "voxels": True},
        state={"block.attn.gain": torch.tensor(12.0)},
        steps=[RAS, {"_target_": "DivisiblePadd", "keys": "image", "k": 4}],
    )
    options = ll.RunOptions(input=Path("scan.nii.gz"), method="attention")

    result = ll.run_case(
        options, volume=blob(straight_grid(), CENTRE, radius_mm=12), bundle=ll.load_bundle(folder, trust=True)
    )

    (heatmap,) = result.attributions
    assert (heatmap.kind, heatmap.label) == ("attention", "lesion")
    assert result.regions["lesion"]
    assert all(region.attribution_share is None for region in result.regions["lesion"])
    assert not any("evidence" in warning for warning in result.warnings)
    ll.write_case(result, tmp_path / "out")
    assert (tmp_path / "out" / "attention_attention_lesion.nii.gz").is_file()
