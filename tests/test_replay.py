"""Runs that are repeated from their record: the same maps bit by bit, or what is different."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionlens.errors import InputError, ReadError
from lesionlens.io import write
from lesionlens.options import RunOptions
from lesionlens.pipeline import run_case
from lesionlens.replay import compared, differences, read_record, repeated
from lesionlens.results import CaseResult
from tiny_bundles import CENTRE, SLIDING, blob, straight_grid, write_bundle
from tiny_networks import SmallUNet


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> RunOptions:
    """Return a run of a small bundle with options that are not the defaults."""
    folder = tmp_path_factory.mktemp("replay")
    scan = write(blob(straight_grid(), CENTRE), folder / "scan.nii.gz")
    network = {"_target_": "tiny_networks.SmallUNet", "classes": 2}
    bundle = write_bundle(folder / "bundle", inferer=SLIDING, network=network, state=SmallUNet(2).state_dict())
    asked: dict[str, Any] = {"layer": "act", "threshold": 0.4, "uncertainty": "tta", "samples": 9, "seed": 3}
    return RunOptions(scan, bundle=str(bundle), trust=True, device="cpu", engine="auto", memory_gib=8.0, **asked)


@pytest.fixture(scope="module")
def first(options: RunOptions) -> CaseResult:
    """Return its result."""
    return run_case(options)


@pytest.fixture(scope="module")
def record(first: CaseResult) -> dict[str, Any]:
    """Return its record as it comes from the disk."""
    found: dict[str, Any] = json.loads(json.dumps(first.record))
    return found


def again(options: RunOptions) -> RunOptions:
    """Return what is given for a replay: files, and trust."""
    return RunOptions(options.input, bundle=options.bundle, trust=True)


def test_maps_are_equal_bit_by_bit(options: RunOptions, first: CaseResult, record: dict[str, Any]) -> None:
    """A record repeats a run with noise, thresholds and a layer of its own, and the new record says that it does."""
    result = compared(run_case(repeated(record, again(options))), record)

    maps = (*first.probabilities, *first.attributions, *first.uncertainties)
    others = (*result.probabilities, *result.attributions, *result.uncertainties)
    assert len(maps) > 2
    assert all(np.array_equal(a.array, b.array) for a, b in zip(maps, others, strict=True))
    assert result.record["replay"]["equal"]
    assert result.record["replay"]["differences"] == []
    assert result.threshold == 0.4


def test_options_are_those_of_the_run(options: RunOptions, record: dict[str, Any]) -> None:
    """What a record holds is taken, and the engine that ran in place of 'auto'."""
    found = repeated(record, again(options))

    assert (found.layer, found.threshold, found.uncertainty, found.samples, found.seed) == ("act", 0.4, "tta", 9, 3)
    assert found.engine == record["computing"]["engine"]
    assert found.engine != "auto"
    assert found.in_blocks is False


def test_what_is_different_is_said(record: dict[str, Any]) -> None:
    """Other weights, versions, threads and values of a map are each named."""
    other = copy.deepcopy(record)
    other["bundle"]["weights_sha256"] = "0"
    other["versions"]["torch"] = "9.9"
    other["computing"]["threads"] = 99
    other["maps"][0]["sha256"] = "0"

    found = list(differences(record, other))

    assert list(differences(record, record)) == []
    assert len(found) == 4
    assert found[0] == "another file of weights"
    assert found[1] == f"version of torch {record['versions']['torch']} then, 9.9 now"
    assert found[2].startswith("computing: threads ")
    assert found[3].startswith(f"map {record['maps'][0]['file']} differs (")


def test_other_maps_are_a_warning(first: CaseResult, record: dict[str, Any]) -> None:
    """A run whose maps are not those of the record says so where its user looks."""
    other = copy.deepcopy(record)
    other["maps"][0]["sha256"] = "0"

    result = compared(first, other)

    assert not result.record["replay"]["equal"]
    assert result.warnings[-1].startswith("The maps are not those of the record: map ")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("calibration", "c.json", "--calibration"), ("anatomy", "a.nii.gz", "--anatomy"), ("over", "m.nii.gz", "--over")],
)
def test_files_are_asked_for(name: str, value: str, words: str, options: RunOptions, record: dict[str, Any]) -> None:
    """A record holds no folders: a run without a file that was used would be another one."""
    other = copy.deepcopy(record)
    other["options"][name] = value

    with pytest.raises(InputError, match=f"{value}.*{words}"):
        repeated(other, again(options))


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": 1}', '{"schema_version": 99, "options": {}}'])
def test_what_is_no_record_is_refused(text: str, tmp_path: Path) -> None:
    """Damaged and other files are named."""
    path = tmp_path / "record.json"
    path.write_text(text)

    with pytest.raises(ReadError, match="record"):
        read_record(path)


def test_a_record_that_lacks_options_is_refused(options: RunOptions, record: dict[str, Any]) -> None:
    """A record of another program is no reason to guess."""
    other = copy.deepcopy(record)
    del other["options"]["seed"]

    with pytest.raises(InputError, match="seed"):
        repeated(other, again(options))
