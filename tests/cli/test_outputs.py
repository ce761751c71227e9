"""The files that the commands write, against the page that describes them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import AttentionUnet

import lesionlens as ll
from anomaly_bundles import anomaly_bundle
from detection_networks import write_detection
from evaluated_runs import SHAPE, boxes, write_results
from lesionlens.batch import verify
from lesionlens.cli import main
from lesionlens.volume import Volume
from reviewed_runs import write_run
from tiny_bundles import CENTRE, RAS, VOXELWISE_STATE, blob, straight_grid, write_bundle

_FILE = re.compile(r"[\w<>.-]+\.(?:nii\.gz|csv|json|png|svg|html|pdf)")
_PLACE = re.compile(r"<[\w-]+>")


@pytest.fixture(scope="module")
def page(repository: Path) -> dict[str, str]:
    """Return the page by its headings: text up to the next heading of any level."""
    parts = re.split(r"^#+ (.+)$", (repository / "docs" / "reference" / "outputs.md").read_text("utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def first_cells(text: str) -> Iterator[str]:
    """Yield what is in code in the first column of the tables of a text."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield from re.findall(r"`([^`]+)`", line.split("|")[1])


def files_of(text: str) -> list[str]:
    """Return the names of files in the tables of a text."""
    return [name for name in first_cells(text) if _FILE.fullmatch(name)]


def matches(pattern: str, name: str) -> bool:
    """Whether a file's name is one that the page describes, with words for what stands in angle brackets."""
    return re.fullmatch(_PLACE.sub(r"[\\w-]+", re.sub(r"([.+])", r"\\\1", pattern)), name) is not None


def check(text: str, *written: set[str]) -> None:
    """Every file that was written is described, and every one that is described was written."""
    patterns, names = files_of(text), set().union(*written)
    assert [name for name in sorted(names) if not any(matches(pattern, name) for pattern in patterns)] == []
    assert [pattern for pattern in patterns if not any(matches(pattern, name) for name in names)] == []


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a scan, a mask, labels, a table of cases and two bundles."""
    folder = tmp_path_factory.mktemp("case")
    scan = blob(straight_grid(), CENTRE)
    ll.write(scan, folder / "scan.nii.gz")
    noise = np.random.default_rng(0).normal(0, 0.1, scan.array.shape)  # a reader who is not the model
    ll.write(scan.with_array((scan.array + noise > 0.5).astype(np.uint8)), folder / "mask.nii.gz")
    (folder / "cases.csv").write_text("scan,mask\nscan.nii.gz,mask.nii.gz\n")
    write_bundle(
        folder / "voxelwise",
        network="$torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv3d(1, 2, 1))",
        state={f"1.{k}": v for k, v in VOXELWISE_STATE.items()},
        extra={"imports": ["$import torch"]},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = AttentionUnet(3, 1, 2, (4, 8), (2,)).state_dict()
    write_bundle(
        folder / "gated",
        network={
            "_target_": "AttentionUnet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": 2,
            "channels": [4, 8],
            "strides": [2],
        },
        state=state,
    )
    cells = np.full((40, 38, 24), 0.01, dtype=np.float32)
    cells[12:16, 8:12, 10:12] = 1
    ll.write(Volume(cells, straight_grid()), folder / "cells.nii.gz")
    write_detection(folder / "cubes", steps=[RAS])
    anomaly_bundle(folder / "odd", {"method": "reconstruction"}, scaled=True)
    return folder


def written(
    case: Path, out: Path, command: str, *words: str, bundle: str = "voxelwise", scan: str = "scan.nii.gz"
) -> set[str]:
    """Run a command on the scan; return the names of what is in its folder."""
    start = [command, str(case / scan), "--bundle", str(case / bundle), "--trust", "-q", "--out", str(out)]
    assert main([*start, *words]) == 0
    return {path.name for path in out.iterdir()}


def keys_of(file: Path) -> list[str]:
    """Return the keys of a JSON file."""
    return list(json.loads(file.read_text("utf-8")))


def test_run(case: Path, page: dict[str, str], tmp_path: Path) -> None:
    """Maps of all kinds, regions, pictures and the record."""
    mask = str(case / "mask.nii.gz")
    sure = written(
        case, tmp_path / "a", "run", "--layer", "0", "--uncertainty", "tta", "--samples", "2", "--anatomy", mask
    )
    layer = written(case, tmp_path / "b", "run", "--method", "activation_mean", "--layer", "0")
    gates = written(case, tmp_path / "c", "run", "--method", "attention_gates", bundle="gated")
    boxes = written(case, tmp_path / "d", "run", "--method", "hirescam", bundle="cubes", scan="cells.nii.gz")
    odd = written(case, tmp_path / "e", "run", bundle="odd")

    check(page["`lesionlens run`"], sure, layer, gates, boxes, odd)
    with (tmp_path / "d" / "detections.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file)) == list(first_cells(page["`detections.csv`"]))
    assert keys_of(tmp_path / "a" / "record.json") == list(first_cells(page["`record.json`"]))


def test_importance(case: Path, page: dict[str, str], tmp_path: Path) -> None:
    """Of regions with a heatmap, of channels without."""
    regions = written(case, tmp_path / "a", "importance", "--features", "regions")
    channels = written(case, tmp_path / "b", "importance")

    check(page["`lesionlens importance`"], regions, channels)
    assert regions - channels == {"importance.nii.gz"}
    with (tmp_path / "a" / "importance.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file)) == list(first_cells(page["`importance.csv`"]))
    assert keys_of(tmp_path / "a" / "record.json") == list(first_cells(page["`record.json` of an importance"]))


def test_trust(case: Path, page: dict[str, str], tmp_path: Path) -> None:
    """With a mask and another method all checks are made, and all of their numbers are described."""
    words = ["--layer", "0", "--mask", str(case / "mask.nii.gz"), "--also", "hirescam"]

    check(page["`lesionlens trust`"], written(case, tmp_path / "a", "trust", *words))

    text = page["`trust.json`"]
    record = json.loads((tmp_path / "a" / "trust.json").read_text("utf-8"))
    assert [*record, *(one["name"] for one in record["checks"])] == list(first_cells(text)), "keys, then checks"
    numbers = {name for one in record["checks"] if one["name"] != "agreement" for name in one["numbers"]}
    assert [name for name in sorted(numbers) if f"`{name}`" not in text] == []


def test_report(case: Path, page: dict[str, str], tmp_path: Path) -> None:
    """One page, beside the results as HTML or where it is wanted, and as PDF."""
    names = written(case, tmp_path / "run", "run", "--layer", "0")

    for words in ((), ("--out", str(tmp_path / "run" / "report.pdf"))):
        assert main(["report", str(tmp_path / "run"), *words]) == 0

    check(page["`lesionlens report`"], {path.name for path in (tmp_path / "run").iterdir()} - names)


def test_compare(case: Path, page: dict[str, str], tmp_path: Path) -> None:
    """Two methods on one scan: the probabilities are the same map, the attributions are two."""
    for name, method in (("a", "gradcam"), ("b", "hirescam")):
        written(case, tmp_path / name, "run", "--layer", "0", "--method", method)
    out = tmp_path / "out"

    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)]) == 0

    check(page["`lesionlens compare`"], {path.name for path in out.iterdir()})
    assert keys_of(out / "comparison.json") == list(first_cells(page["`comparison.json`"]))


def test_compare_lesions(case: Path, page: dict[str, str], tmp_path: Path) -> None:
    """Table, picture and JSON, with the columns and keys that the page names."""
    for name in ("a", "b"):
        written(case, tmp_path / name, "run", "--layer", "0")
    out = tmp_path / "out"

    assert main(["compare-lesions", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)]) == 0

    check(page["`lesionlens compare-lesions`"], {path.name for path in out.iterdir()})
    assert keys_of(out / "lesion_changes.json") == list(first_cells(page["`lesion_changes.json`"]))
    with (out / "lesion_changes.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file)) == list(first_cells(page["`lesion_changes.csv`"]))


def test_calibrate(case: Path, page: dict[str, str], tmp_path: Path) -> None:
    """The calibration and its diagram, and nothing beside them."""
    words = ["calibrate", str(case / "voxelwise"), str(case / "cases.csv"), "--trust", "-q"]
    out = tmp_path / "calibration.json"

    assert main([*words, "--out", str(out), "--diagram", str(tmp_path / "reliability.png")]) == 0

    check(page["`lesionlens calibrate`"], {path.name for path in tmp_path.iterdir()})
    assert keys_of(out) == list(first_cells(page["`calibration.json`"]))


def test_evaluate(page: dict[str, str], tmp_path: Path) -> None:
    """Tables, figures and JSON, with the columns and keys that the page names."""
    found = write_results(tmp_path, "a", boxes(((4, 4, 4), (4, 4, 4), 0.9)), np.ones(SHAPE, dtype=np.uint8))
    (tmp_path / "cases.csv").write_text(f"case,results,mask\na,{found.results.name},{found.mask.name}\n")
    out = tmp_path / "out"

    assert main(["evaluate", str(tmp_path / "cases.csv"), "--out", str(out), "-q"]) == 0

    check(page["`lesionlens evaluate`"], {path.name for path in out.iterdir()})
    assert keys_of(out / "evaluation.json") == list(first_cells(page["`evaluation.json`"]))
    for name in ("cases.csv", "lesions.csv"):
        with (out / name).open(newline="", encoding="utf-8") as file:
            assert next(csv.reader(file)) == list(first_cells(page[f"`{name}`"]))
    text = page["`summary.csv` of an evaluation"]
    with (out / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0], *(row["metric"] for row in rows)] == list(first_cells(text))


def test_the_comparison_answers_no(page: dict[str, Any]) -> None:
    """A file that nobody describes, and one that nobody writes, are found."""
    text = "| `map_<class>.nii.gz` | |\n| `record.json` | |"
    check(text, {"map_lesion.nii.gz", "record.json"})
    with pytest.raises(AssertionError, match=r"extra\.csv"):
        check(text, {"map_lesion.nii.gz", "record.json", "extra.csv"})
    with pytest.raises(AssertionError, match=r"record\.json"):
        check(text, {"map_lesion.nii.gz"})
    assert not matches("map_<class>.nii.gz", "map_lesion_nii.gz")


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a session in which a finding was judged and its case closed."""
    folder = tmp_path_factory.mktemp("read")
    session = str(folder / "s")
    assert main(["review", "start", session, *map(str, write_run(folder, "scan", "one"))]) == 0
    said = ["--reader", "Ann", "--verdict", "accept", "--done"]
    assert main(["review", "record", session, "case-001", "lesion-1", *said]) == 0
    return session


def test_review_export(read: str, page: dict[str, str], tmp_path: Path) -> None:
    """What readers said, by finding, masks, statistics and the trail; and a copy without names."""
    out, copy = tmp_path / "out", tmp_path / "copy.json"
    assert main(["review", "export", read, "--out", str(out), "--portable", str(copy), "-q"]) == 0

    text = page["`lesionlens review export`"]
    names = {path.name for path in out.iterdir()}
    check(text, names)
    with (out / "findings.csv").open(newline="", encoding="utf-8") as file:
        columns = next(csv.reader(file))
    assert columns == [name for name in first_cells(text) if name not in names and name not in files_of(text)]
    assert keys_of(copy) == list(first_cells(page["Portable copy"]))


def test_review_agree_and_report(read: str, page: dict[str, str], tmp_path: Path) -> None:
    """Numbers, lesions and heatmaps; and the pages."""
    for command in ("agree", "report"):
        assert main(["review", command, read, "--out", str(tmp_path / command)]) == 0
        check(page[f"`lesionlens review {command}`"], {path.name for path in (tmp_path / command).iterdir()})
        assert verify(tmp_path / command).files == len(list((tmp_path / command).iterdir()))
        for path in (tmp_path / command).iterdir():
            held = path.read_bytes()
            path.write_bytes(held.replace(b"a", b"b", 1))
            assert [one.split()[0] for one in verify(tmp_path / command).problems] == [path.name]
            path.write_bytes(held)


def test_review_report_in_german(read: str, tmp_path: Path) -> None:
    """Headings, captions and numbers; what was recorded, such as the class, stays."""
    assert main(["review", "report", read, "--out", str(tmp_path / "de"), "--lang", "de", "-q"]) == 0

    page = (tmp_path / "de" / "case-001.html").read_text("utf-8")
    assert 'lang="de"' in page
    assert "durchgezogene Linie: das Modell" in page
    assert "vom Modell gefunden, lesion" in page
    assert not re.search("solid line|found by|highest probability|Scan, SHA", page)
    assert main(["review", "report", read, "--out", str(tmp_path / "x"), "--lang", "xx", "-q"]) != 0
    assert not (tmp_path / "x").exists()
