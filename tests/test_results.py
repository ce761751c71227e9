"""A case through the pipeline, to the disk and back."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

import lesionlens as ll
from lesionlens.errors import BundleError, Cancelled, ExplainError, InputError, OutputError, ReadError
from lesionlens.pipeline import RunOptions, run_case
from lesionlens.results import CaseResult, read_case, write_case
from tiny_bundles import CENTRE, VOXELWISE_STATE, blob, classifier, oblique_grid, write_bundle

FILES = {
    "probability_lesion.nii.gz",
    "attribution_gradcam_lesion.nii.gz",
    "regions_lesion.nii.gz",
    "regions.csv",
    "overlay_lesion.png",
    "record.json",
}


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an oblique scan with one bright blob, as a file."""
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    return ll.write(blob(oblique_grid(), CENTRE), path)


@pytest.fixture(scope="module")
def options(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> RunOptions:
    """Return the options of a run of the voxelwise bundle on the scan."""
    network = "$torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv3d(1, 2, 1))"
    folder = write_bundle(
        tmp_path_factory.mktemp("bundle") / "voxelwise",
        network=network,
        state={f"1.{k}": v for k, v in VOXELWISE_STATE.items()},
        extra={"imports": ["$import torch"]},
    )
    return RunOptions(scan, bundle=str(folder), layer="0", trust=True)


@pytest.fixture(scope="module")
def case(options: RunOptions) -> CaseResult:
    """Return the results of that run."""
    return run_case(options)


@pytest.fixture(scope="module")
def sampled(options: RunOptions) -> CaseResult:
    """Return the results of a run that predicts the scan in all eight flips."""
    return run_case(replace(options, uncertainty="tta"))


def test_uncertainty_is_written_and_read_back(sampled: CaseResult, tmp_path: Path) -> None:
    """Maps with their units, the spread of every region in the table, and all of it in the record."""
    out = write_case(sampled, tmp_path / "out")

    names = ["entropy", "mean", "mutual-information", "sd", "volume-cov"]
    assert {p.name for p in out.iterdir()} == FILES | {f"uncertainty_{name}_lesion.nii.gz" for name in names}
    mean = nib.load(out / "uncertainty_mean_lesion.nii.gz")
    np.testing.assert_allclose(np.asarray(mean.dataobj), sampled.probabilities[0].array, atol=1e-6)  # voxelwise network
    with (out / "regions.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["volume_mean_mm3"]) == pytest.approx(float(row["volume_mm3"]))
    assert (float(row["volume_sd_mm3"]), float(row["volume_cov"])) == (0, 0)
    record = json.loads((out / "record.json").read_text())
    assert record["options"]["uncertainty"] == "tta"
    assert len(record["uncertainty"]["samples"]) == 8
    assert [m["unit"] for m in record["maps"]] == ["probability", "", "probability", "probability", "nats", "nats", ""]
    back = read_case(out, sampled.volume)
    assert back.volume_spreads == sampled.volume_spreads
    assert [(m.name, m.kind, m.volume.unit) for m in back.uncertainties] == [
        (m.name, m.kind, m.volume.unit) for m in sampled.uncertainties
    ]
    assert back.attribution_of("lesion") is not None
    assert len(back.attributions) == 1


def test_features_and_uncertainty_do_not_take_each_others_place(options: RunOptions, tmp_path: Path) -> None:
    """What a layer holds is shown where an attribution is; how far predictions differ is kept apart."""
    result = run_case(replace(options, method="activation_mean", uncertainty="tta", samples=2))

    back = read_case(write_case(result, tmp_path / "out"), result.volume)

    assert [(m.kind, m.label) for m in back.attributions] == [("feature", "layer 0")]
    assert {m.kind for m in back.uncertainties} == {"uncertainty"}
    assert [m.name for m in back.uncertainties] == [m.name for m in result.uncertainties]


def test_an_uncertainty_that_does_not_serve_is_an_error_before_the_work(options: RunOptions) -> None:
    """Minutes of prediction are not spent on what cannot be finished; a lonely option is not passed over."""
    stages: list[str] = []

    def note(stage: str, done: int, total: int) -> None:
        stages.append(stage)

    with pytest.raises(BundleError, match="has no dropout module"):
        run_case(replace(options, uncertainty="dropout"), progress=note)
    with pytest.raises(InputError, match="say which kind"):
        run_case(replace(options, samples=4), progress=note)

    assert "Predicting" not in stages


def test_the_spread_of_a_classifier_is_on_record(scan: Path, tmp_path: Path) -> None:
    """It has no maps, and one line for each class."""
    bundle = str(classifier(tmp_path / "b"))

    result = run_case(RunOptions(scan, bundle=bundle, trust=True, uncertainty="tta"))

    assert result.uncertainties == ()
    found = result.record["uncertainty"]["classes"]["high"]
    assert found["mean"] == pytest.approx(result.class_probabilities["high"], abs=1e-6)
    assert read_case(write_case(result, tmp_path / "out"), result.volume).volume_spreads == {}


def test_further_bundles_make_an_ensemble(options: RunOptions) -> None:
    """The same bundle twice agrees with itself."""
    result = run_case(replace(options, uncertainty="ensemble", ensemble=(options.bundle,)))

    assert [float(m.array.max()) for m in result.uncertainties if m.provenance.method == "mutual information"] == [0.0]
    assert result.record["options"]["ensemble"] == ["voxelwise"]
    assert any("agrees with itself whatever the scan" in warning for warning in result.warnings)


def test_one_run_finds_the_blob(case: CaseResult) -> None:
    """Probability, attribution and region agree about where the lesion is and how large."""
    (region,) = case.regions["lesion"]

    np.testing.assert_allclose(region.centroid_ras, CENTRE, atol=0.2)
    assert region.volume_mm3 == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.03)  # p >= 0.5 inside a ball of 6 mm
    inside = case.labels["lesion"] == 1
    share = case.volume.array[inside].sum(dtype=float) / case.volume.array.sum(dtype=float)  # the map is alpha x
    assert region.attribution_share == pytest.approx(share, rel=1e-5)
    assert case.probabilities[0].grid.same_as(case.volume.grid)


def test_written_files_are_raw_and_on_the_input_grid(case: CaseResult, scan: Path, tmp_path: Path) -> None:
    """An independent reader finds float32 values and the input's affine."""
    out = write_case(case, tmp_path / "out")

    assert {p.name for p in out.iterdir()} == FILES
    original = nib.load(scan)
    for name, expected in (
        ("probability_lesion", case.probabilities[0].array),
        ("attribution_gradcam_lesion", case.attributions[0].array),
    ):
        image = nib.load(out / f"{name}.nii.gz")
        assert image.get_data_dtype() == np.float32
        np.testing.assert_array_equal(np.asarray(image.dataobj), expected)
        np.testing.assert_allclose(image.affine, original.affine, atol=1e-4)
    labels = np.asarray(nib.load(out / "regions_lesion.nii.gz").dataobj)
    np.testing.assert_array_equal(labels, case.labels["lesion"])
    with (out / "regions.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["volume_mm3"]) == case.regions["lesion"][0].volume_mm3
    with Image.open(out / "overlay_lesion.png") as picture:
        assert picture.size[0] > 400


def test_record_tells_how_to_make_it_again(case: CaseResult, scan: Path, tmp_path: Path) -> None:
    """Hashes, versions, options and timings are all there, and no path of the machine."""
    out = write_case(case, tmp_path / "out")

    text = (out / "record.json").read_text()
    record = json.loads(text)
    assert record["input"]["sha256"] == ll.read(scan).source.sha256
    assert record["bundle"]["weights_sha256"] == case.probabilities[0].provenance.weights_sha256
    assert record["options"]["threshold"] == 0.5
    assert (record["options"]["bundle"], record["options"]["trust"]) == ("voxelwise", True)
    assert record["warnings"] == []
    assert "not a medical device" in record["notice"]
    assert {"read", "load_bundle", "preprocess", "network", "measure", "write"} <= set(record["seconds"])
    assert record["versions"]["torch"]
    assert str(scan.parent) not in text


def test_results_read_back_as_they_were(case: CaseResult, scan: Path, tmp_path: Path) -> None:
    """Write, read, compare: maps, regions, provenance."""
    out = write_case(case, tmp_path / "out")

    again = read_case(out, ll.read(scan))

    for one, other in zip(
        (*case.probabilities, *case.attributions), (*again.probabilities, *again.attributions), strict=True
    ):
        np.testing.assert_array_equal(one.array, other.array)
        assert (one.name, one.kind, one.signed) == (other.name, other.kind, other.signed)
        assert one.provenance.target == other.provenance.target
        assert one.provenance.resolution_mm == other.provenance.resolution_mm
    assert again.regions == case.regions
    assert again.threshold == case.threshold


def test_results_of_another_scan_are_refused(case: CaseResult, tmp_path: Path) -> None:
    """An overlay of one patient over the scan of another is the worst that could happen."""
    out = write_case(case, tmp_path / "out")
    other = ll.write(blob(oblique_grid(), (10.0, -5.0, 20.0)), tmp_path / "other.nii.gz")

    with pytest.raises(ReadError, match="made from another scan"):
        read_case(out, ll.read(other))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema version 99"),
        ({"maps": None}, "incomplete"),
        (None, "record.json is missing"),
        ("{", "not readable as JSON"),
    ],
)
def test_damaged_results_are_named(
    case: CaseResult, scan: Path, tmp_path: Path, change: dict[str, Any] | str | None, message: str
) -> None:
    """A newer, cut or missing record ends in one sentence."""
    out = write_case(case, tmp_path / "out")
    path = out / "record.json"
    if change is None:
        path.unlink()
    else:
        path.write_text(change if isinstance(change, str) else json.dumps({**json.loads(path.read_text()), **change}))

    with pytest.raises(ReadError, match=message):
        read_case(out, ll.read(scan))


def test_existing_results_are_not_overwritten_silently(case: CaseResult, tmp_path: Path) -> None:
    """The folder is refused before the work; the work is not even started."""
    out = write_case(case, tmp_path / "out")

    def work() -> CaseResult:
        pytest.fail("the work was started")

    with pytest.raises(OutputError, match="not empty"):
        write_case(work, out)


def test_overwriting_leaves_no_file_of_the_run_before(case: CaseResult, tmp_path: Path) -> None:
    """A stale map beside new ones would be taken for one of them; other files are not touched."""
    out = write_case(case, tmp_path / "out")
    (out / "probability_tumour.nii.gz").write_bytes(b"stale")
    (out / "notes.txt").write_text("mine")

    write_case(case, out, overwrite=True)

    assert {p.name for p in out.iterdir()} == FILES | {"notes.txt"}


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt, OSError])
@pytest.mark.parametrize("step", [0, 3, 5])
def test_whatever_stops_the_writing_leaves_nothing(
    case: CaseResult, tmp_path: Path, error: type[BaseException], step: int
) -> None:
    """Half a result looks like a whole one."""

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "Writing" and done == step:
            raise error("stop")

    with pytest.raises(error, match="stop"):
        write_case(case, tmp_path / "deep" / "out", progress=progress)

    assert not list(tmp_path.iterdir())


def test_classifier_writes_attribution_and_class_probabilities(scan: Path, tmp_path: Path) -> None:
    """A classifier has no regions; its probabilities are in the record."""
    folder = classifier(tmp_path / "b")
    config = folder / "configs" / "inference.json"
    config.write_text(config.read_text().replace("Sequential(", "Sequential(torch.nn.Identity(), "))
    weights = folder / "models" / "model.pt"
    torch.save({k.replace("2.", "3."): v for k, v in torch.load(weights, weights_only=True).items()}, weights)

    result = run_case(RunOptions(scan, bundle=str(folder), layer="0", trust=True))
    out = write_case(result, tmp_path / "out")

    assert {p.name for p in out.iterdir()} == {"attribution_gradcam_none.nii.gz", "overlay_none.png", "record.json"}
    assert sum(result.class_probabilities.values()) == pytest.approx(1)
    assert read_case(out, ll.read(scan)).class_probabilities == result.class_probabilities


@pytest.fixture
def inexplicable(tmp_path: Path) -> Path:
    """Return a bundle whose only layer is the network itself: it predicts, and there is nothing to explain it by."""
    return write_bundle(tmp_path / "inexplicable")


def test_a_prediction_without_explanation_is_written_with_a_warning(
    inexplicable: Path, scan: Path, tmp_path: Path
) -> None:
    """What can be made is made, and the record says what could not and why."""
    result = run_case(RunOptions(scan, bundle=str(inexplicable), trust=True))
    out = write_case(result, tmp_path / "out")

    assert {p.name for p in out.iterdir()} == FILES - {"attribution_gradcam_lesion.nii.gz"}
    (warning,) = json.loads((out / "record.json").read_text())["warnings"]
    assert "no attribution map: The network has no layer" in warning
    assert len(read_case(out, ll.read(scan)).regions["lesion"]) == 1


def test_an_explained_background_gets_its_picture(options: RunOptions, tmp_path: Path) -> None:
    """Whatever was explained is shown, although there are no regions of it."""
    result = run_case(replace(options, target="background"))

    out = write_case(result, tmp_path / "out")

    assert {p.name for p in out.glob("overlay_*.png")} == {"overlay_background.png", "overlay_lesion.png"}


@pytest.mark.parametrize(("least", "warned"), [(1.0, True), (0.0, False)])
def test_a_map_beside_the_regions_is_said_to_be_so(
    options: RunOptions, monkeypatch: pytest.MonkeyPatch, least: float, warned: bool
) -> None:
    """A reader who sees colours elsewhere than the lesion must learn that the layer, not the lesion, is the reason."""
    monkeypatch.setattr("lesionlens.record.LEAST_SHARE", least)

    result = run_case(options)

    share = 100 * sum(region.attribution_share or 0 for region in result.regions["lesion"])
    assert any(f"Only {share:.1f} % of the evidence for 'lesion'" in w for w in result.warnings) == warned


def test_a_map_without_any_evidence_is_not_said_to_lie_beside_the_regions(scan: Path, tmp_path: Path) -> None:
    """A share of nothing would send a reader to look elsewhere in the map."""
    folder = _turned(tmp_path / "b", -10.0)

    result = run_case(RunOptions(scan, bundle=str(folder), trust=True, method="layercam", layer="0"))

    assert result.regions["lesion"]
    (warning,) = (w for w in result.warnings if "evidence" in w)
    assert warning.startswith("The map holds no evidence for 'lesion', inside its regions or elsewhere: layer '0'")


def _turned(folder: Path, weight: float) -> Path:
    """Write a bundle whose layer ``0`` holds the image times a weight."""
    return write_bundle(
        folder,
        network="$torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1, bias=False), torch.nn.Conv3d(1, 2, 1))",
        state={
            "0.weight": torch.full((1, 1, 1, 1, 1), weight),
            "1.weight": torch.tensor([0.0, 10 / weight]).view(2, 1, 1, 1, 1),
            "1.bias": torch.tensor([0.0, -5.0]),
        },
        extra={"imports": ["$import torch"]},
    )


@pytest.mark.parametrize(
    ("method", "weight", "advice"),
    [
        (
            "gradcampp",
            -10.0,
            "Grad-CAM++ is not made for layer '0', which holds values below 0; Grad-CAM may show more",
        ),
        ("xgradcam", -10.0, "XGrad-CAM is not made for layer '0', which holds values below 0; Grad-CAM may show more"),
        ("gradcampp", 10.0, "layer '0' shows little of what they rest on; another may show more"),
        ("gradcam", -10.0, "layer '0' shows little of what they rest on; another may show more"),
    ],
)
def test_the_advice_names_what_may_help(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, weight: float, advice: str
) -> None:
    """A method on a layer that it is not made for shows little on every such layer: trying them all is no help."""
    monkeypatch.setattr("lesionlens.record.LEAST_SHARE", 1.1)
    folder = _turned(tmp_path / "b", weight)

    result = run_case(RunOptions(scan, bundle=str(folder), trust=True, method=method, layer="0"))

    (warning,) = (w for w in result.warnings if "evidence" in w)
    assert advice in warning


def test_class_names_of_one_file_name_are_kept_apart(scan: Path, tmp_path: Path) -> None:
    """Both classes get their files."""
    folder = write_bundle(
        tmp_path / "b",
        network={"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 1},
        state={"weight": torch.tensor([0.0, 10.0, 5.0]).view(3, 1, 1, 1, 1), "bias": torch.tensor([0.0, -5.0, -3.0])},
        outputs={"0": "background", "1": "ET+", "2": "ET-"},
    )

    out = write_case(run_case(RunOptions(scan, bundle=str(folder), trust=True)), tmp_path / "out")

    assert {"probability_et-1.nii.gz", "probability_et-2.nii.gz"} <= {p.name for p in out.iterdir()}


def test_a_method_that_does_not_exist_is_refused_before_anything_is_read(options: RunOptions) -> None:
    """Nobody waits for a scan to learn of a slip of the pen."""
    cases = (
        ({"method": "gradcamm"}, "There is no method 'gradcamm'"),
        ({"method_options": {"stride": 3}}, "Grad-CAM has no options; leave out 'stride'"),
    )
    for wrong, message in cases:
        with pytest.raises(ExplainError, match=message):
            run_case(replace(options, input=Path("missing.nii.gz"), **wrong))  # type: ignore[arg-type]  # on purpose
