"""Addresses of archives and of their series."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lesionlens.config import config_folder
from lesionlens.errors import PacsError
from lesionlens.pacs import archive, archive_and_query, is_query, is_series_url, parse_address, parse_series
from lesionlens.pacs.named import name_archive, named_archives, unname_archive

ADDRESSES = {
    "https://host/dicom-web": "https://host:443/dicom-web",
    "http://127.0.0.1:8042/dicom-web/": "http://127.0.0.1:8042/dicom-web",
    "https://host/a/b?ca=/etc/own.pem": "https://host:443/a/b?ca=/etc/own.pem",
    "dicom://ARCHIVE@host:104": "dicom://ARCHIVE@host:104",
    "dicoms://MY%20PACS@[::1]:2762?calling=ME&retrieve=get": "dicoms://MY%20PACS@[::1]:2762?calling=ME",
    "dicom://A@host:104?retrieve=move&listen=11113": "dicom://A@host:104?retrieve=move&listen=11113",
}


@pytest.mark.parametrize(("given", "written"), ADDRESSES.items())
def test_an_address_is_written_as_it_is_read(given: str, written: str) -> None:
    """A series in a manifest is found by what was written into it."""
    address = parse_address(given)

    assert str(address) == written
    assert parse_address(written) == address
    series = parse_series(address.series("1.2", "1.2.3"))
    assert (series.address, series.study, series.series) == (address, "1.2", "1.2.3")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://ann:secret@host/dicom-web", "must not hold a user or password"),
        ("https://ann@host/dicom-web", "must not hold a user or password"),
        ("dicom://A:secret@host:104", "must not hold a user or password"),
        ("ftp://host/x", "Expected the address"),
        ("https:///x", "names no host"),
        ("https://host:port/x", "not the address"),
        ("https://host/x?verify=no", "no setting of an archive 'verify'"),
        ("dicom://host:104", "AE title"),
        ("dicom://A@host", "AE title"),
        ("dicom://SEVENTEEN-LETTERS@host:104", "16 characters"),
        ("dicom://A@host:104?retrieve=take", "no way to retrieve 'take'"),
        ("dicom://A@host:104?listen=0", "from 1 to 65535"),
        ("dicom://A@host:104?calling=", "1 to 16"),
    ],
)
def test_what_is_no_address_is_refused_without_repeating_secrets(text: str, why: str) -> None:
    """A password in a URL must not come back in a message either."""
    with pytest.raises(PacsError, match=why) as caught:
        parse_address(text)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("https://host/dicom-web/studies/1.2/series/1.2.3", True),
        ("dicom://A@host:104/studies/1.2/series/1.2.3?retrieve=move&listen=1", True),
        ("https://host/dicom-web/studies/1.2", False),
        ("https://host/scan.nii.gz", False),
        ("s3://bucket/studies/1.2/series/1.2.3", False),
        ("/data/studies/1.2/series/1.2.3", False),
        ("https://host/x?y=/studies/1.2/series/1.2.3", False),
    ],
)
def test_series_are_told_from_other_urls(text: str, is_one: bool) -> None:
    """What is no series of an archive is left to fsspec."""
    assert is_series_url(text) is is_one


def test_archives_have_names_and_no_passwords_are_kept_with_them() -> None:
    """The file is ours, so that it must hold nothing that anybody could log in with."""
    address = parse_address("dicom://ARCHIVE@host:104?calling=ME")

    name_archive("hospital", address)

    assert archive("hospital") == archive("pacs:hospital") == address
    assert json.loads((config_folder() / "archives.json").read_text())["archives"] == {"hospital": str(address)}
    with pytest.raises(PacsError, match="did you mean 'hospital'"):
        archive("hospitl")
    unname_archive("hospital")
    assert named_archives() == {}
    with pytest.raises(PacsError, match="no archive 'hospital'"):
        unname_archive("hospital")
    with pytest.raises(PacsError, match="letters, digits"):
        name_archive("a/b", address)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 1, "archives": []}', '{"schema_version": 2}'])
def test_a_damaged_file_of_names_is_refused(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its owner is told what to do, in one line."""
    monkeypatch.setenv("LESIONLENS_CONFIG", str(tmp_path))
    (tmp_path / "archives.json").write_text(text)

    with pytest.raises(PacsError, match=r"add (them|the archives) again"):
        named_archives()


def test_what_is_looked_for_stands_behind_the_archive() -> None:
    """One text says where and what, for a batch; settings stay with the address."""
    address, query = archive_and_query("https://host/x?modality=MR&ca=/a.pem&study_date=20240101-")

    assert (address.ca, query.modality, query.study_date) == ("/a.pem", "MR", "20240101-")
    assert is_query("https://host/x?modality=MR")
    assert is_query("pacs:hospital")
    assert not is_query("folder/pacs")
    with pytest.raises(PacsError, match=r"'modalty'.*did you mean 'modality'"):
        archive_and_query("https://host/x?modalty=MR")
    with pytest.raises(PacsError, match="YYYYMMDD"):
        archive_and_query("https://host/x?study_date=2024")
    with pytest.raises(PacsError, match="digits and points"):
        archive_and_query("https://host/x?series=../1")
