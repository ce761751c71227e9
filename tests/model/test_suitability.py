"""A scan that is not of the kind that a bundle was made for is refused, or named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionlens.errors import InputError
from lesionlens.model import load_bundle
from lesionlens.model.bundle import Bundle
from lesionlens.model.preprocess import prepare
from lesionlens.model.suitability import check_modality, doubts
from lesionlens.volume import Grid, Source, Volume
from tiny_bundles import write_bundle


def _scan(spacing: tuple[float, float, float] = (1.0, 1.0, 1.0), *, modality: str = "", low: float = -900.0) -> Volume:
    values = np.linspace(low, 900.0, 6 * 7 * 8, dtype=np.float32).reshape(6, 7, 8)
    grid = Grid((6, 7, 8), np.diag([*spacing, 1.0]))
    return Volume(values, grid, name="scan", source=replace(Source(), modality=modality))


def _bundle(folder: Path, *steps: dict[str, Any], modality: str = "CT") -> Bundle:
    bundle = load_bundle(write_bundle(folder, steps=list(steps)))
    return replace(bundle, info=replace(bundle.info, modality=modality))


SPACING = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.0, 1.0, 1.0], "mode": "bilinear"}


@pytest.mark.parametrize(("stated", "found"), [("CT", "MR"), ("MRI", "CT"), ("mr", "PT")])
def test_another_modality_is_refused(tmp_path: Path, stated: str, found: str) -> None:
    """The file says what it is, and a network answers whatever it is given."""
    with pytest.raises(InputError, match=r"is for .*; 'scan' is "):
        check_modality(_bundle(tmp_path / "b", modality=stated), [_scan(modality=found)])


@pytest.mark.parametrize(("stated", "found"), [("CT", "CT"), ("MRI", "MR"), ("", "CT"), ("CT", ""), ("XA", "CT")])
def test_the_same_modality_or_none_is_taken(tmp_path: Path, stated: str, found: str) -> None:
    """NIfTI does not say, and bundles use words of their own: what is not known is no error."""
    check_modality(_bundle(tmp_path / "b", modality=stated), [_scan(modality=found)])


@pytest.mark.parametrize(("size", "error", "warning"), [(1.0, False, False), (5.0, False, True), (9.0, True, True)])
def test_voxels_far_from_those_that_the_network_sees(tmp_path: Path, size: float, error: bool, warning: bool) -> None:
    """Thick slices are common, and get a warning; nine times is another kind of image."""
    bundle, scan = _bundle(tmp_path / "b", SPACING), _scan((1.0, 1.0, size))

    if error:
        with pytest.raises(InputError, match=r"1 x 1 x 9 mm, 9 times another size"):
            prepare(bundle, scan)
    else:
        assert any("are not of the size" in text for text in doubts(bundle, prepare(bundle, scan))) == warning


@pytest.mark.parametrize(
    ("size", "refused", "doubted"),
    [
        (0.04, True, False),
        (0.3, False, True),
        (0.4, False, False),
        (9.0, False, False),
        (20.0, False, True),
        (90.0, True, False),
    ],
)
def test_voxels_that_a_bundle_states_to_be_for(tmp_path: Path, size: float, refused: bool, doubted: bool) -> None:
    """A network that learnt thick slices takes them without a word, whatever size it sees itself."""
    bundle = _bundle(tmp_path / "b", SPACING)
    stated = replace(bundle, info=replace(bundle.info, voxels_mm=(0.4, 9.0)))
    scan = _scan((1.0, 1.0, size))

    if refused:
        with pytest.raises(InputError, match=r"is for voxels of 0\.4 to 9 mm; those of 'scan' are (1 x 1 x|0.04 x)"):
            prepare(stated, scan)
        return
    said = [text for text in doubts(stated, prepare(stated, scan)) if "is for voxels of 0.4 to 9 mm" in text]
    assert bool(said) == doubted


def test_rounding_of_an_affine_refuses_no_scan(tmp_path: Path) -> None:
    """Slices of 8 mm are eight times 1 mm, also where their affine went through single precision."""
    prepare(_bundle(tmp_path / "b", SPACING), _scan((1.0, 1.0, 8.0001)))


def test_a_scan_of_metres_is_refused_before_it_is_resampled(tmp_path: Path) -> None:
    """Its voxels of 1 mm would be a terabyte."""
    with pytest.raises(InputError, match="sees voxels of 1 x 1 x 1 mm"):
        prepare(_bundle(tmp_path / "b", SPACING), _scan((900.0, 900.0, 900.0)))


def test_one_size_of_three_is_checked_when_it_is_known(tmp_path: Path) -> None:
    """Axes that keep the scan's own voxels say nothing before."""
    kept = {**SPACING, "pixdim": [-1.0, -1.0, 1.0]}
    with pytest.raises(InputError, match="9 times another size"):
        prepare(_bundle(tmp_path / "b", kept), _scan((1.0, 1.0, 9.0)))
    prepare(_bundle(tmp_path / "c", kept), _scan((9.0, 9.0, 1.0)))


@pytest.mark.parametrize("name", ["flair-lesions", "flair-lesion-load", "flair-anomaly"])
@pytest.mark.parametrize("spacing", [(0.45, 0.45, 5.5), (8.4, 0.9, 0.9), (1.0, 1.0, 1.0)])
def test_embedded_bundles_take_scans_of_the_clinic(name: str, spacing: tuple[float, float, float]) -> None:
    """They learnt slices of up to 9 mm: a clinical scan is neither refused nor doubted for its voxels."""
    bundle = load_bundle(name, device="cpu")
    shape = tuple(round(60 / mm) for mm in spacing)
    values = np.random.default_rng(0).random(shape, dtype=np.float32) + 1
    prepared = prepare(bundle, Volume(values, Grid(shape, np.diag([*spacing, 1.0])), name="scan"))

    assert "size" not in " ".join(doubts(bundle, prepared))


@pytest.mark.parametrize(
    "stated", [None, "1 to 9", [1.0], [1.0, 2.0, 3.0], [9.0, 1.0], [0.0, 9.0], [True, 9.0], ["1", "9"], [1.0, None]]
)
def test_sizes_that_are_none_are_not_taken_for_some(tmp_path: Path, stated: Any) -> None:
    """What a bundle's author wrote wrong changes nothing."""
    folder = write_bundle(tmp_path / "b", steps=[SPACING])
    path = folder / "configs" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lesionlens": {"voxels_mm": stated}}))
    assert load_bundle(folder).info.voxels_mm is None

    path.write_text(json.dumps({**json.loads(path.read_text()), "lesionlens": {"voxels_mm": [1, 9.5]}}))
    assert load_bundle(folder).info.voxels_mm == (1.0, 9.5)


def test_a_bundle_that_does_not_ask_for_a_voxel_size_has_none(tmp_path: Path) -> None:
    """A resize to a fixed number of voxels is no statement about millimetres."""
    resize = {"_target_": "Resized", "keys": "image", "spatial_size": [6, 7, 64], "mode": "trilinear"}
    bundle = _bundle(tmp_path / "b", resize)

    prepare(bundle, _scan((1.0, 1.0, 30.0)))


def test_a_ct_without_air_is_doubted(tmp_path: Path) -> None:
    """Files with 0 to 4095 look alike on a screen, and are something else for a network."""
    bundle = _bundle(tmp_path / "b")

    assert "the lowest value of scan is 0" in " ".join(doubts(bundle, prepare(bundle, _scan(low=0.0))))
    assert not doubts(bundle, prepare(bundle, _scan()))
    assert not doubts(replace(bundle, info=replace(bundle.info, modality="MR")), prepare(bundle, _scan(low=0.0)))


def test_intensities_that_are_cut_off_are_doubted(tmp_path: Path) -> None:
    """Where nearly all voxels lie beyond the window of intensities, the network sees an outline."""
    window = {"_target_": "ScaleIntensityRanged", "keys": "image", "b_min": 0, "b_max": 1, "clip": True}
    narrow = _bundle(tmp_path / "narrow", {**window, "a_min": 898.0, "a_max": 899.0})
    wide = _bundle(tmp_path / "wide", {**window, "a_min": -800.0, "a_max": 800.0})

    assert "have its lowest or highest value" in " ".join(doubts(narrow, prepare(narrow, _scan())))
    assert not doubts(wide, prepare(wide, _scan()))
