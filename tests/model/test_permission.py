"""Trust in bundles from outside: now, by hash, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.networks.nets import UNet

from lesionlens.cli import main
from lesionlens.errors import BundleError, UntrustedBundleError
from lesionlens.model.catalogue import hash_files
from lesionlens.model.permission import permitted
from lesionlens.trusted import remember, remembered
from tiny_bundles import write_bundle

#: What a config holds that nobody executes unasked.
PRINTS = {"imports": ["$print('executed')"]}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data folder of the test's own."""
    monkeypatch.setenv("LESIONLENS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_a_bundle_is_trusted_by_the_hash_of_its_files(tmp_path: Path) -> None:
    """One changed byte makes it another bundle, which nobody has trusted."""
    bundle = write_bundle(tmp_path / "b", extra=PRINTS)
    sha256 = hash_files(bundle)

    assert permitted(bundle, trust=sha256.upper()).trusted
    (bundle / "configs" / "inference.json").write_text((bundle / "configs" / "inference.json").read_text() + " ")
    with pytest.raises(UntrustedBundleError, match="not the one that is trusted"):
        permitted(bundle, trust=sha256)


def test_what_is_no_hash_trusts_nothing(tmp_path: Path) -> None:
    """A mistyped hash must not count as a yes."""
    with pytest.raises(BundleError, match="Expected a SHA-256 of 64"):
        permitted(write_bundle(tmp_path / "b"), trust="yes")


def test_remembered_bundles_need_no_answer_and_others_do(tmp_path: Path) -> None:
    """What is remembered is these files, not this place."""
    one, other = write_bundle(tmp_path / "one", extra=PRINTS), write_bundle(tmp_path / "other", extra=PRINTS)
    remember(hash_files(one).upper())

    assert permitted(one).trusted
    assert remembered() == {hash_files(one)}
    with pytest.raises(UntrustedBundleError, match=r"the name print.*bundles check"):
        permitted(other)


@pytest.mark.parametrize("trust", [False, True])
def test_a_harmless_bundle_needs_no_trust_and_gets_none(tmp_path: Path, trust: bool) -> None:
    """Where all that is needed is harmless, the rest of the config has no reason to run, whoever is trusted."""
    permission = permitted(write_bundle(tmp_path / "b", extra={"run": ["$print('executed')"]}), trust=trust)

    assert not permission.trusted


def test_a_refusal_names_what_would_be_executed(tmp_path: Path) -> None:
    """A person decides by what it would do, not by a general warning."""
    extra = {
        "network_def": {"_target_": "os.system", "command": "true"},
        "imports": ["$print(1)", "$print(2)", "$print(3)"],
    }
    bundle = write_bundle(tmp_path / "b", extra=extra)

    with pytest.raises(UntrustedBundleError, match=r"print\(1\).*the name print.*; and 1 more"):
        permitted(bundle)


@pytest.mark.parametrize("content", ["", "[]", '{"sha256": 3}', "{"])
def test_a_damaged_list_of_trusted_bundles_is_said(data: Path, content: str) -> None:
    """Silence would forget what a person had decided, or worse."""
    data.mkdir()
    (data / "trusted-bundles.json").write_text(content)

    with pytest.raises(BundleError, match="list of trusted bundles"):
        remembered()


def test_the_check_says_hash_concerns_and_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code tells a script whether the bundle needs trust or cannot be built."""
    good = write_bundle(tmp_path / "good")
    bad = write_bundle(tmp_path / "bad", network={"_target_": "os.system", "command": "true"})
    unfit = write_bundle(tmp_path / "unfit", state={})

    assert main(["bundles", "check", str(good)]) == 0
    text = capsys.readouterr().out
    assert hash_files(good) in text
    assert "known to be harmless" in text
    assert "Conv3d, 4 parameters; the weights fit" in text
    assert main(["bundles", "check", str(bad), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["concerns"][0]["place"] == "network_def"
    assert not found["harmless"]
    assert main(["bundles", "check", str(unfit)]) == 1
    assert "cannot be built" in capsys.readouterr().out


def test_trust_with_a_hash_on_the_command_line_is_remembered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same option is a flag, or takes the hash."""
    size = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}
    state = UNet(**size).state_dict()
    bundle = write_bundle(tmp_path / "b", network={"_target_": "UNet", **size}, state=state, extra=PRINTS)
    sha256 = hash_files(bundle)

    assert main(["layers", str(bundle)]) == 1
    assert main(["layers", str(bundle), "--trust", "0" * 64]) == 1
    assert remembered() == frozenset()
    assert main(["layers", str(bundle), "--trust"]) == 0
    assert remembered() == frozenset()
    assert main(["layers", str(bundle), "--trust", sha256]) == 0
    assert main(["layers", str(bundle)]) == 0
    assert "not the one that is trusted" in capsys.readouterr().err
