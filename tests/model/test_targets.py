"""What is asked about a class reaches the right voxels of the network's grid, whatever the grid of the scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lesionlens as ll
from lesionlens.errors import ExplainError
from lesionlens.heatmap import LabelMap, Provenance
from lesionlens.volume import Grid, Volume
from orientations import ORIENTATIONS, reoriented
from tiny_bundles import (
    CENTRE,
    RAS,
    SLIDING,
    blob,
    centre_of_mass,
    classifier,
    oblique_grid,
    straight_grid,
    write_bundle,
)

# Voxel by voxel: lesion logit 10 x - 5 (so 0.5 where the image is 0.5), background 0, and a third class 4 x - 3.
NETWORK = "$torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), torch.nn.Conv3d(1, 3, 1))"
STATE = {
    "0.weight": torch.ones(1, 1, 1, 1, 1),
    "0.bias": torch.zeros(1),
    "1.weight": torch.tensor([0.0, 10.0, 4.0]).view(3, 1, 1, 1, 1),
    "1.bias": torch.tensor([0.0, -5.0, -3.0]),
}
CLASSES = {"0": "background", "1": "lesion", "2": "scar"}
SPACING = {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0], "mode": "bilinear"}
OTHER = (0.0, 0.0, 10.0)


def bundle_in(folder: Path, *steps: Any, **options: Any) -> Any:
    """Return the voxelwise bundle with these preprocessing steps."""
    extra = {"imports": ["$import torch"]}
    path = write_bundle(
        folder, network=NETWORK, state=STATE, outputs=CLASSES, steps=list(steps), extra=extra, **options
    )
    return ll.load_bundle(path, trust=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the bundle on the scan's own voxels, brought to RAS."""
    return bundle_in(tmp_path_factory.mktemp("bundle") / "own", RAS)


@pytest.fixture(scope="module")
def resampling(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the bundle that sees voxels of 2 mm."""
    return bundle_in(tmp_path_factory.mktemp("bundle") / "coarse", RAS, SPACING)


def asked_about(bundle: Any, scan: Volume, **options: Any) -> Any:
    """Return the map that is not zero exactly at the voxels that were asked about: a voxelwise network's HiResCAM."""
    return ll.explain(bundle, scan, method="hirescam", layer="0", **{"target": "lesion", **options})


def two_lesions(grid: Grid) -> Volume:
    """Return a large blob at CENTRE and a small one at OTHER."""
    array = np.maximum(blob(grid, CENTRE, radius_mm=6).array, blob(grid, OTHER, radius_mm=3).array)
    return Volume(array, grid, name="two")


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5], ids=str)
@pytest.mark.parametrize("make_grid", [straight_grid, oblique_grid])
@pytest.mark.parametrize("kind", ["bundle", "resampling"])
def test_point_is_the_voxel_at_that_place(
    orientation: Any, make_grid: Any, kind: str, request: pytest.FixtureRequest
) -> None:
    """World millimetres find the same place on flipped, permuted, oblique and resampled grids."""
    network, scan = request.getfixturevalue(kind), blob(make_grid(), CENTRE)
    array, grid = reoriented(scan.array, scan.grid, orientation)
    place = np.array(CENTRE) + np.array([1.7, -2.3, 1.1])

    heatmap = asked_about(network, Volume(array, grid), over=tuple(place))

    found = np.abs(grid.world(np.argwhere(heatmap.array)) - place)
    assert found.min(axis=0).max() <= 2.0
    assert found.max() <= 5.0, "nothing is asked away from the place"  # interpolated from a voxel of 2 mm
    assert "the voxel at (15.7, -11.3, 24.1) mm (1 voxel)" in heatmap.provenance.target


@pytest.mark.parametrize("orientation", ORIENTATIONS[::5], ids=str)
@pytest.mark.parametrize("make_grid", [straight_grid, oblique_grid])
def test_mask_is_asked_about_where_it_lies(bundle: Any, orientation: Any, make_grid: Any) -> None:
    """A mask on a grid of its own comes through the affines, whatever the order of its axes."""
    grid = make_grid()
    scan, marked = blob(grid, CENTRE), np.zeros(grid.shape, dtype=np.uint8)
    marked[15:20, 10:12, 12:14] = 1
    array, other = reoriented(marked, grid, orientation)
    mask = LabelMap(Volume(array, other), "ventricle", {}, Provenance())

    heatmap = asked_about(bundle, scan, over=mask, score="logit")

    np.testing.assert_array_equal(heatmap.array != 0, marked > 0)
    assert heatmap.provenance.target == "mean logit of 'lesion' over the mask 'ventricle' (20 voxels)"
    assert heatmap.provenance.options["over"] == "mask ventricle"


def test_mask_smaller_than_the_networks_voxels_is_not_lost(resampling: Any) -> None:
    """A single marked voxel may lie between the centres that the network has."""
    grid = Grid((40, 40, 40), np.diag([0.7, 0.7, 0.7, 1.0]))
    scan = blob(grid, (14.0, 14.0, 14.0))
    for index in ([19, 20, 21], [20, 20, 20], [18, 19, 20]):
        marked = np.zeros(grid.shape, dtype=np.uint8)
        marked[tuple(index)] = 1

        heatmap = asked_about(resampling, scan, over=LabelMap(Volume(marked, grid), "dot", {}, Provenance()))

        assert np.abs(centre_of_mass(heatmap.array, grid) - grid.world(index)).max() <= 1.1


@pytest.mark.parametrize(
    "pad",
    [
        {"_target_": "SpatialPadd", "keys": "image", "spatial_size": [60, 60, 60]},
        {"_target_": "BorderPadd", "keys": "image", "spatial_border": [4, 5, 6]},
        {"_target_": "ResizeWithPadOrCropd", "keys": "image", "spatial_size": [60, 60, 60]},
        {"_target_": "DivisiblePadd", "keys": "image", "k": 48},
    ],
    ids=lambda pad: pad["_target_"],
)
@pytest.mark.parametrize("through_affine", [False, True])
def test_padding_around_the_scan_is_no_finding(tmp_path: Path, pad: dict[str, Any], through_affine: bool) -> None:
    """A class that the network sees in zeros around the scan alone is neither chosen nor called seen."""
    state = {  # dark where the image is below 0.05, which no voxel of the scan is; bright above 0.8
        "0.weight": torch.ones(1, 1, 1, 1, 1),
        "0.bias": torch.zeros(1),
        "1.weight": torch.tensor([0.0, -10.0, 10.0]).view(3, 1, 1, 1, 1),
        "1.bias": torch.tensor([0.0, 0.5, -8.0]),
    }
    classes = {"0": "background", "1": "dark", "2": "bright"}
    folder = write_bundle(
        tmp_path / "b",
        network=NETWORK,
        state=state,
        outputs=classes,
        steps=[RAS, pad],
        extra={"imports": ["$import torch"]},
    )
    bundle = ll.load_bundle(folder, trust=True, through_affine=through_affine)
    scan = Volume(0.5 + 0.5 * blob(straight_grid(), CENTRE).array, straight_grid(), name="scan")
    bright = int((scan.array > 0.8).sum())

    chosen, asked = (ll.explain(bundle, scan, method="hirescam", layer="0", target=name) for name in (None, "dark"))

    assert chosen.provenance.target == f"mean margin of 'bright' over the predicted region ({bright:,} voxels)"
    assert "which is predicted nowhere" in asked.provenance.target
    assert not asked.provenance.options["seen"]
    highest = float(ll.predict(bundle, scan)[0].array.max())
    assert asked.provenance.options["class_probability"] == pytest.approx(highest, rel=1e-5)


@pytest.mark.parametrize(
    ("over", "centre", "name"),
    [
        ("largest", CENTRE, "the largest region"),
        (2, OTHER, "region 2"),
        ("region:0.5,0,10.5", OTHER, "region 2"),
        ("predicted", None, "the predicted region"),
    ],
)
def test_one_of_several_lesions(bundle: Any, over: Any, centre: Any, name: str) -> None:
    """Regions have the numbers that measuring gives them, and the others are not asked about."""
    scan = two_lesions(straight_grid())
    regions = ll.measure(scan, ll.predict(bundle, scan)[0])

    heatmap = asked_about(bundle, scan, over=over)

    assert [round(r.volume_mm3) > 500 for r in regions] == [True, False]
    assert f"over {name} (" in heatmap.provenance.target
    if centre is not None:
        wanted = regions[0] if centre == CENTRE else regions[1]
        assert int((heatmap.array != 0).sum()) == wanted.n_voxels
        np.testing.assert_allclose(centre_of_mass(heatmap.array, scan.grid), centre, atol=0.5)


def test_region_through_windows_is_the_region_of_the_whole(tmp_path: Path, bundle: Any) -> None:
    """Numbers belong to the assembled output."""
    sliding = bundle_in(tmp_path / "sliding", RAS, inferer=SLIDING)
    scan = two_lesions(straight_grid())

    whole, windows = (asked_about(one, scan, over=2).array for one in (bundle, sliding))

    np.testing.assert_allclose(windows, whole, atol=1e-6 * np.abs(whole).max())


@pytest.mark.parametrize(
    ("options", "weight"),
    [
        ({"score": "logit"}, 10.0),
        ({"score": "margin"}, 6.0),  # at the peak the scar is the strongest other
        ({"against": "scar"}, 6.0),
        ({"against": ["scar", "background"], "gamma": 0.5}, 9.0),
        ({"against": "scar", "gamma": 0.0}, 10.0),
        ({"against": "similar:1"}, 6.0),  # at the peak the scar is nearest
    ],
)
def test_contrast_is_the_difference_of_the_class_weights(bundle: Any, options: dict[str, Any], weight: float) -> None:
    """Linear network: w_a - gamma mean(w_b), by hand."""
    scan = blob(straight_grid(), CENTRE)
    point = {"over": CENTRE}

    found = asked_about(bundle, scan, **point, **options).array

    index = tuple(np.rint(scan.grid.voxel(CENTRE)).astype(int))
    assert found[index] == pytest.approx(weight * scan.array[index], rel=1e-4)


def test_probability_is_explained_on_request(bundle: Any) -> None:
    """Its gradient is that of the softmax, by hand."""
    scan = blob(straight_grid(), CENTRE)
    index = tuple(np.rint(scan.grid.voxel(CENTRE)).astype(int))
    x = float(scan.array[index])

    heatmap = asked_about(bundle, scan, score="probability", over=CENTRE)

    p = torch.softmax(torch.tensor([0.0, 10 * x - 5, 4 * x - 3], dtype=torch.float64), dim=0)
    slope = float(p[1] * (10 - (10 * p[1] + 4 * p[2])))
    assert heatmap.array[index] == pytest.approx(slope * x, rel=1e-4)
    assert heatmap.provenance.target.startswith("mean probability of 'lesion'")
    assert heatmap.provenance.options["score"] == pytest.approx(float(p[1]), rel=1e-5)
    assert heatmap.provenance.options["score_kind"] == "probability"


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
@pytest.mark.parametrize("windows", [False, True])
def test_several_classes_are_the_classes_one_by_one(tmp_path: Path, method: str, windows: bool) -> None:
    """One pass for all gives the maps of single runs, in the order asked for."""
    bundle = bundle_in(tmp_path / "b", RAS, **({"inferer": SLIDING} if windows else {}))
    scan = two_lesions(straight_grid())
    alone = [ll.explain(bundle, scan, method=method, layer="0", target=name) for name in ("scar", "lesion")]

    together = ll.explain(bundle, scan, method=method, layer="0", target=["scar", "lesion"])
    every = ll.explain(bundle, scan, method=method, layer="0", target="all")

    assert [heatmap.label for heatmap in together] == ["scar", "lesion"]
    assert [heatmap.label for heatmap in every] == ["lesion", "scar"]
    for one, expected in zip([*together, *every[::-1]], alone * 2, strict=True):
        np.testing.assert_allclose(one.array, expected.array, atol=1e-6 * np.abs(expected.array).max())
        assert one.provenance.target == expected.provenance.target


def test_classifier_has_scores_too(tmp_path: Path) -> None:
    """Margin, contrast and probability of a class of the whole scan; the logit is the default."""
    bundle = ll.load_bundle(classifier(tmp_path / "b"), trust=True)
    scan = blob(straight_grid(), CENTRE)
    asked = {"layer": None, "method": "gradcam", "target": "high"}
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1, bias=False), *bundle.network)
    torch.nn.init.ones_(network[0].weight)
    object.__setattr__(bundle, "network", network)

    words = [
        ll.explain(bundle, scan, **asked, **options).provenance.target
        for options in ({}, {"score": "margin"}, {"against": "none", "gamma": 2}, {"score": "probability"})
    ]

    assert words == [
        "logit of 'high'",
        "margin of 'high'",
        "logit of 'high' minus 2 times that of 'none'",
        "probability of 'high'",
    ]


def test_a_class_number_of_numpy_is_a_number(bundle: Any) -> None:
    """``np.argmax`` gives it."""
    scan = two_lesions(straight_grid())

    by_number, by_numpy = (asked_about(bundle, scan, target=number) for number in (1, np.int64(1)))

    np.testing.assert_array_equal(by_numpy.array, by_number.array)
    assert [one.label for one in asked_about(bundle, scan, target=np.array([1, 2]))] == ["lesion", "scar"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 1.0}, r"name or number of a class, or a list of them; found 1\.0"),
        ({"target": [["lesion"]]}, "or a list of them; found"),
        ({"over": 3}, r"no region 3 of 'lesion'.*there are 2"),
        ({"over": "region:-7,-31,1"}, r"no region of 'lesion' at \(-7, -31, 1\) mm"),
        ({"over": (500, 0, 0)}, r"\(500, 0, 0\) mm lies outside .* which spans R -8 to 3\d, A"),
        ({"over": Path("m.nii.gz")}, r"Read the mask 'm.nii.gz' first"),
        ({"over": "somewhere"}, r"'predicted', 'largest'.*found 'somewhere'"),
        ({"over": 0}, "numbered from 1"),
        ({"over": (1.0, 2.0)}, "three numbers"),
        ({"score": "loudness"}, "one of margin, logit, probability; found 'loudness'"),
        ({"against": "tumour"}, r"no class 'tumour'.*scar"),
        ({"against": "lesion"}, "Against 'lesion' itself no class can be set"),
        ({"against": ["similar", "scar"]}, "similar classes or against named ones"),
        ({"against": "similar:3"}, "Of 3 classes there are not 3 others"),
        ({"gamma": -1.0}, "number from 0"),
        ({"target": []}, "no class to explain in an empty list"),
    ],
)
def test_what_cannot_be_asked_is_refused(bundle: Any, options: dict[str, Any], message: str) -> None:
    """Each with what there is instead."""
    with pytest.raises(ExplainError, match=message):
        asked_about(bundle, two_lesions(straight_grid()), **options)


def test_empty_and_distant_masks_are_refused(bundle: Any) -> None:
    """A map of nothing would look like an answer."""
    scan = blob(straight_grid(), CENTRE)
    empty = LabelMap(scan.with_array(np.zeros(scan.grid.shape, dtype=np.uint8)), "empty", {}, Provenance())
    far = Grid((4, 4, 4), np.array([[1, 0, 0, 900], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    distant = LabelMap(Volume(np.ones(far.shape, dtype=np.uint8), far), "far", {}, Provenance())

    with pytest.raises(ExplainError, match="The mask 'empty' holds no voxel"):
        asked_about(bundle, scan, over=empty)
    with pytest.raises(ExplainError, match="The mask 'far' lies outside what the network sees"):
        asked_about(bundle, scan, over=distant)


def test_classifier_has_no_regions(tmp_path: Path) -> None:
    """What is asked over is refused before any work."""
    bundle = ll.load_bundle(classifier(tmp_path / "b"), trust=True)

    with pytest.raises(ExplainError, match="is a classifier: its answer belongs to the whole scan, not to '1'"):
        ll.explain(bundle, blob(straight_grid(), CENTRE), over="largest")
