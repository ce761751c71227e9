"""Where the cells of a bundle's layers lie is measured on scans, applied to its maps, and recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lesionlens as ll
from lesionlens.errors import ExplainError, InputError
from lesionlens.explain.trust import stability
from lesionlens.model.placement import registration_of
from lesionlens.model.registration import measure_registration
from lesionlens.registration import LayerOffset, Registration, places, store_registration
from lesionlens.volume import Grid, Volume
from orientations import ORIENTATIONS, reoriented
from tiny_bundles import CENTRE, RAS, SLIDING, blob, centre_of_mass, oblique_grid, write_bundle

# A cell is the mean of the voxels 4c - 1 to 4c + 1: it lies at 4c, not at 4c + 1.5 as the convention has it.
KERNEL = (
    "$torch.nn.Sequential(torch.nn.Conv3d(1, 1, 3, stride=4, padding=1, bias=False), torch.nn.Conv3d(1, 2, 1),"
    " torch.nn.Upsample(scale_factor=4))"
)
STATE = {
    "0.weight": torch.full((1, 1, 3, 3, 3), 1 / 27),
    "1.weight": torch.tensor([0.0, 10.0]).view(2, 1, 1, 1, 1),
    "1.bias": torch.tensor([0.0, -2.0]),
}
PAD = {"_target_": "DivisiblePadd", "keys": "image", "k": 4}
GRID = Grid((32, 32, 32), np.eye(4))


def shifted(folder: Path, inferer: Any = None) -> Any:
    """Return the bundle, whose layer ``0`` lies 1.5 voxels before the convention."""
    extra = {"imports": ["$import torch"]}
    made = write_bundle(folder, network=KERNEL, state=STATE, steps=[RAS, PAD], inferer=inferer, extra=extra)
    return ll.load_bundle(made, trust=True)


def store(bundle: Any, registration: Registration) -> Path:
    """Store what was measured, where the maps of the bundle look for it."""
    return store_registration(registration, places(bundle.info.root, bundle.weights_sha256, embedded=False))


def noise() -> Volume:
    """Return a scan with something everywhere."""
    return Volume(np.random.default_rng(5).normal(size=GRID.shape).astype(np.float32), GRID)


@pytest.mark.parametrize("inferer", [None, SLIDING])
def test_a_ramp_comes_back_in_its_place(tmp_path: Path, inferer: Any) -> None:
    """The map of a ramp is that ramp, a voxel and a half too far by the convention, and exact as measured."""
    bundle = shifted(tmp_path / "b", inferer)
    ramp = Volume(np.broadcast_to(np.arange(32, dtype=np.float32)[:, None, None] / 31, GRID.shape), GRID)

    found = measure_registration(bundle, [noise()], layers=["0"])
    by_convention = ll.explain(bundle, ramp, layer="0")
    file = store(bundle, found)
    measured = ll.explain(bundle, ramp, layer="0")
    again = ll.explain(bundle, ramp, layer="0", registration=False)

    np.testing.assert_allclose(found.layers["0"].voxels, -1.5, atol=0.02)
    slope = float(measured.array[20, 16, 16] - measured.array[12, 16, 16]) / 8
    away = {name: (one.array[8:-8, 16, 16] / slope)[None] for name, one in (("as", measured), ("by", by_convention))}
    place = np.arange(8, 24)[None]
    np.testing.assert_allclose(away["as"], place, atol=0.1)  # windows end within the ramp, where it is held
    np.testing.assert_allclose(np.median(away["by"] - place), -1.5, atol=0.1)
    np.testing.assert_array_equal(again.array, by_convention.array)
    assert file == tmp_path / "b.registration.json"
    assert measured.provenance.resolution_mm == (2.0, 2.0, 2.0)  # what can be promised stays


def test_what_was_applied_is_recorded(tmp_path: Path) -> None:
    """A map that was moved says so, by how much, and how well that is known; another says nothing."""
    bundle = shifted(tmp_path / "b")
    before = ll.explain(bundle, noise(), layer="0")
    store(bundle, measure_registration(bundle, [noise()], layers=["0"]))

    after = ll.explain(bundle, noise(), layer="0")

    assert "registration" not in before.provenance.options
    applied = after.provenance.options["registration"]
    np.testing.assert_allclose(applied["offset_voxels"], -1.5, atol=0.02)
    np.testing.assert_allclose(applied["offset_mm"], applied["offset_voxels"])  # of voxels of 1 mm
    assert applied["n"] == 64
    assert any("moved by -1.50 x -1.50 x -1.50 mm" in note for note in after.provenance.notes)
    saliency = ll.explain(bundle, noise(), method="saliency")
    assert "registration" not in saliency.provenance.options


@pytest.mark.parametrize("measured", [True, False])
def test_checks_look_at_the_map_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: bool) -> None:
    """A check that covers voxels beside the evidence would blame the map; flipped back, it lies in the same place."""
    bundle = shifted(tmp_path / "b")
    offset = LayerOffset((-1.5,) * 3, (0.1,) * 3, 64, (4.0,) * 3, 1)
    if measured:
        store(bundle, Registration(bundle.title, bundle.weights_sha256, {"0": offset}))
    centre, seen = (17.0, 15.0, 14.0), list[Any]()

    def spy(subject: Any, **others: Any) -> Any:
        seen.append(subject)
        return stability(subject, **others)

    monkeypatch.setattr("lesionlens.model.trust.stability", spy)
    ll.trust(bundle, blob(GRID, centre), layer="0", checks=["stability"])

    (subject,) = seen
    flipped = subject.map(replace(subject.inference, image=subject.inference.image.flip(2, 3, 4)))[::-1, ::-1, ::-1]
    error, again = (centre_of_mass(one, GRID) - centre for one in (subject.values, flipped))
    np.testing.assert_allclose(error, 0 if measured else 1.5, atol=0.15)
    np.testing.assert_allclose(again, 0 if measured else -1.5, atol=0.15)


@pytest.mark.parametrize("orientation", ORIENTATIONS[::12], ids=str)
@pytest.mark.parametrize("inferer", [None, SLIDING])
def test_maps_lie_on_the_lesion_in_every_orientation(tmp_path: Path, orientation: Any, inferer: Any) -> None:
    """The offset is one of the network's grid, whatever the scan's: on oblique slices a wrong frame shows."""
    bundle = shifted(tmp_path / "b", inferer)
    store(bundle, measure_registration(bundle, [noise()], layers=["0"]))
    scan = blob(oblique_grid(), CENTRE)
    array, grid = reoriented(scan.array, scan.grid, orientation)

    maps = [ll.explain(bundle, Volume(array, grid), layer="0", registration=moved) for moved in (True, False)]

    sharp = [np.where(found.array > found.array.max() / 2, found.array, 0) for found in maps]
    error = [np.linalg.norm(centre_of_mass(one, grid) - CENTRE) for one in sharp]
    assert error[0] < 1.2  # voxels are 1 to 1.8 mm, cells 4 to 7 mm
    assert error[1] > 1.8  # 1.5 voxels along each axis


def test_nothing_is_made_up_beside_the_network_grid(tmp_path: Path) -> None:
    """What a moved map uncovers keeps the outermost value inside the grid, and outside there is nothing."""
    bundle = shifted(tmp_path / "b")
    offset = LayerOffset((3.0, 0.0, 0.0), (0.1,) * 3, n=64, stride=(4.0,) * 3, scans=1)
    store(bundle, Registration("b", bundle.weights_sha256, {"0": offset}))
    scan = noise()

    moved, kept = (ll.explain(bundle, scan, layer="0", registration=on).array for on in (True, False))

    np.testing.assert_allclose(moved[3:], kept[:-3], atol=1e-5)
    np.testing.assert_allclose(moved[:3], np.broadcast_to(kept[:1], moved[:3].shape), atol=1e-5)


def test_other_weights_other_strides_and_joined_layers_keep_the_convention(tmp_path: Path) -> None:
    """Whatever was measured for something else is named, and not applied."""
    bundle, scan = shifted(tmp_path / "b"), noise()
    kept = ll.explain(bundle, scan, layer="0").array
    here = LayerOffset((3.0, 0.0, 0.0), (0.1,) * 3, n=64, stride=(4.0,) * 3, scans=1)
    there = LayerOffset((3.0, 0.0, 0.0), (0.1,) * 3, n=64, stride=(4.2, 4.0, 4.0), scans=1)

    store(bundle, Registration("b", "f" * 64, {"0": here}))
    stale = ll.explain(bundle, scan, layer="0")
    store(bundle, Registration("b", bundle.weights_sha256, {"0": there}))
    strides = ll.explain(bundle, scan, layer="0")
    store(bundle, Registration("b", bundle.weights_sha256, {"0": here}))
    joined = ll.explain(bundle, scan, layer="1+0")
    unmeasured = ll.explain(bundle, scan, layer="1")

    assert any("measured with other weights and is not applied" in note for note in stale.provenance.notes)
    assert any("was measured at another stride (4.2 x 4 x 4 and 4 x 4 x 4)" in n for n in strides.provenance.notes)
    assert any("measured for 0; they are not applied to a map that joins" in n for n in joined.provenance.notes)
    np.testing.assert_array_equal(stale.array, kept)
    np.testing.assert_array_equal(strides.array, kept)
    assert not any("registration" in found.provenance.options for found in (stale, strides, joined, unmeasured))


def test_layers_are_added_to_what_is_known(tmp_path: Path) -> None:
    """Measuring a second layer keeps the first, and several scans are pooled."""
    bundle = shifted(tmp_path / "b")
    store(bundle, measure_registration(bundle, [noise()], layers=["0"]))

    found = measure_registration(bundle, [noise(), noise()], layers=["1"], positions=32)

    assert set(found.layers) == {"0", "1"}
    assert (found.layers["1"].n, found.layers["1"].scans) == (64, 2)
    assert registration_of(bundle)[0] != found  # nothing is stored before it is asked for


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layers": ["nowhere"]}, ExplainError, "no layer 'nowhere'"),
        ({"positions": 8}, InputError, "at least 16 measurements"),
    ],
)
def test_what_cannot_be_measured_is_said(tmp_path: Path, options: Any, error: Any, message: str) -> None:
    """A typing error costs no time."""
    with pytest.raises(error, match=message):
        measure_registration(shifted(tmp_path / "b"), [noise()], **options)


def test_without_a_scan_nothing_is_measured(tmp_path: Path) -> None:
    """An empty folder of scans is no measurement."""
    with pytest.raises(InputError, match="no scan to measure on"):
        measure_registration(shifted(tmp_path / "b"), [])
