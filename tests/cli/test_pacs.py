"""The commands about archives, called as a user calls them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from archives import MemoryKeyring, WebStub, encoded, own_keyring, series_of, web_stub
from dicom_factory import Plan
from lesionlens.cli import app, main
from lesionlens.pacs import is_series_url

SERIES = series_of(Plan())
OTHER = series_of(Plan(shape=(4, 4, 3), number=9, description="T1 [3D]", modality="CT"), study="1.2.9")


@pytest.fixture(autouse=True)
def keyring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MemoryKeyring]:
    """Return an empty keyring; settings and environment are empty, too."""
    monkeypatch.setenv("LESIONLENS_CONFIG", str(tmp_path / "config"))
    for name in ("URL", "USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"LESIONLENS_PACS_{name}", raising=False)
    with own_keyring() as ours:
        yield ours


@pytest.fixture
def stub() -> Iterator[WebStub]:
    """Return an archive with two series."""
    with web_stub(*SERIES, *OTHER) as found:
        yield found


def answer_of(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """Return what a command prints for programs."""
    assert main(["pacs", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_find_lists_what_matches(stub: WebStub, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """For people as a table, for programs as JSON, for a batch as a manifest; who it is of, when asked for."""
    assert main(["pacs", "find", stub.url, "-q"]) == 0
    table = capsys.readouterr().out
    assert "T1 [3D]" in table
    assert "2 series found." in table
    assert "Secret" not in table
    assert main(["pacs", "find", stub.url, "--identified", "--studies", "-q"]) == 0
    table = capsys.readouterr().out
    assert "Secret^Patient" in table
    assert "2 studies found." in table

    manifest = tmp_path / "cases.csv"
    found = answer_of(capsys, "find", stub.url, "--modality", "mr", "--manifest", str(manifest))
    (series,) = found["series"]
    assert series["uid"] == SERIES[0].SeriesInstanceUID
    assert is_series_url(series["url"])
    with manifest.open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{"name": series["name"], "input": series["url"]}]
    assert main(["pacs", "find", stub.url, "--manifest", str(manifest), "-q"]) == 1
    assert "exists already" in capsys.readouterr().err


def test_a_list_that_is_cut_says_so(stub: WebStub, capsys: pytest.CaptureFixture[str]) -> None:
    """On the other stream, so that programs read on."""
    assert main(["pacs", "find", stub.url, "--limit", "1", "--json"]) == 0

    out, err = capsys.readouterr()
    assert len(json.loads(out)["series"]) == 1
    assert "more than 1" in err


def test_get_brings_what_matches_and_goes_on_where_it_was_stopped(
    stub: WebStub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Folders have names that lead to nobody; a series that is there stays, and comes again when asked to."""
    out = str(tmp_path / "scans")

    first = answer_of(capsys, "get", stub.url, "--series-description", "FLAIR", "--out", out)
    second = answer_of(capsys, "get", stub.url, "--out", out)

    assert first["fetched"] == first["series"]
    assert len(second["series"]) == 2
    assert set(second["fetched"]) == set(second["series"]) - set(first["series"])
    assert sorted(len(list(folder.iterdir())) for folder in Path(out).iterdir()) == [3, 5]
    assert answer_of(capsys, "get", stub.url, "--out", out, "--overwrite")["fetched"] == second["series"]
    url = answer_of(capsys, "find", stub.url)["series"][0]["url"]
    assert main(["pacs", "get", url, "--out", str(tmp_path / "one"), "-q"]) == 0
    assert len(list((tmp_path / "one").rglob("*.dcm"))) == 5
    assert main(["pacs", "get", stub.url, "--modality", "PT", "--out", out, "-q"]) == 1
    assert "No series matches" in capsys.readouterr().err
    assert main(["pacs", "get", stub.url, "--limit", "1", "--out", out, "-q"]) == 1
    assert "More than 1 series" in capsys.readouterr().err


def test_send_stores_files(stub: WebStub, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each is named, none is sent twice."""
    for n, image in enumerate(SERIES[:2]):
        (tmp_path / f"{n}.dcm").write_bytes(encoded(image))

    assert answer_of(capsys, "send", stub.url, str(tmp_path)) == {"stored": ["0.dcm", "1.dcm"]}
    assert len(stub.stored) == 2


def test_archives_have_names(stub: WebStub, capsys: pytest.CaptureFixture[str]) -> None:
    """Given, listed, used and taken away."""
    assert main(["pacs", "list"]) == 0
    assert "No archive has a name" in capsys.readouterr().out
    assert main(["pacs", "add", "hospital", stub.url]) == 0
    capsys.readouterr()

    assert answer_of(capsys, "list") == {"hospital": stub.url}
    assert len(answer_of(capsys, "find", "hospital")["series"]) == 2
    assert main(["pacs", "list"]) == 0
    assert main(["pacs", "remove", "hospital"]) == 0
    assert main(["pacs", "find", "hospital"]) == 1
    assert "There is no archive 'hospital'" in capsys.readouterr().err


def test_a_password_is_typed_unseen_and_never_shown(stub: WebStub, keyring: MemoryKeyring) -> None:
    """It goes from the terminal into the keyring, from there to the archive, and nowhere else."""
    run = CliRunner()

    asked = run.invoke(app, ["pacs", "login", stub.url], input="ann\nright horse\n")
    found = run.invoke(app, ["pacs", "find", stub.url])
    gone = run.invoke(app, ["pacs", "logout", stub.url])
    again = run.invoke(app, ["pacs", "logout", stub.url])

    assert [one.exit_code for one in (asked, found, gone, again)] == [0] * 4
    assert set(stub.heard) == {"Basic YW5uOnJpZ2h0IGhvcnNl"}
    assert "Removed" in gone.output
    assert "has none" in again.output
    assert keyring.held == {}
    assert "horse" not in asked.output + found.output


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["find"], 2, "Missing argument"),
        (["find", "a", "--limit", "0"], 2, "--limit"),
        (["find", "a", "--studies", "--manifest", "b.csv"], 2, "--studies"),
        (["find", "https://ann:horse@host/x"], 1, "must not hold"),
        (["find", "https://host/x", "--study-date", "2024"], 1, "YYYYMMDD"),
        (["login", "http://pacs.example/x", "--user", "ann"], 1, "unencrypted"),
    ],
)
def test_wrong_usage_and_what_fails_have_codes_of_their_own(words: list[str], code: int, said: str) -> None:
    """Scripts tell a mistyped command from an archive that is away."""
    done = CliRunner().invoke(app, ["pacs", *words], input="horse\n")
    failed = str(done.exception) if done.exit_code == 1 else done.output

    assert done.exit_code == code
    assert said in failed
    assert "horse" not in failed


def test_a_missing_package_gives_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The packages are an extra."""
    monkeypatch.setattr("lesionlens.pacs.packages.find_spec", lambda name: None)

    assert main(["pacs", "find", "https://pacs.example/x", "-q"]) == 1
    assert "pip install 'lesionlens[pacs]'" in capsys.readouterr().err
