"""DIMSE against archives that behave badly."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import lesionlens as ll
from archives import DimseStub, certificate, dimse_stub, encoded, free_port, series_of, web_stub
from dicom_factory import Plan
from lesionlens.errors import Cancelled, PacsError
from lesionlens.pacs import Query, fetch_series, find_series, find_studies, parse_address, send_files
from lesionlens.pacs.credentials import Credentials, remember

SERIES = series_of(Plan())
OTHER = series_of(Plan(number=9), study="1.2.9")
STUDY, UID = "1.2.3", SERIES[0].SeriesInstanceUID
EVERYTHING = Query()


def fetch(stub: DimseStub, folder: Path, more: str = "", **options: Any) -> Path:
    """Bring the series."""
    return fetch_series(parse_address(stub.url + more).series(STUDY, UID), folder / "out", **options)


def test_a_series_is_found_and_arrives_as_it_is(tmp_path: Path) -> None:
    """Every value of every element but those of the file's own header, which DIMSE does not carry."""
    with dimse_stub(*SERIES, *OTHER[:0]) as stub:
        (found,) = find_series(parse_address(stub.url), Query(modality="MR", study_description="Head*")).series
        volume = ll.read(fetch_series(found.url, tmp_path / "out"))

    assert (found.number, found.description, found.study.description) == (4, "FLAIR", "Head of [removed]")
    assert (volume.array == Plan().values()).all()


def test_a_connection_that_breaks_before_an_answer_is_made_again() -> None:
    """Archives end connections that said nothing for long; a question changes nothing."""
    with dimse_stub(*SERIES, breaks=1) as stub:
        assert len(find_studies(parse_address(stub.url), EVERYTHING).studies) == 1
        assert stub.questions == 2
        stub.breaks = 2
        with pytest.raises(PacsError, match="broke off") as caught:
            find_studies(parse_address(stub.url), EVERYTHING)

    assert caught.value.why == "incomplete"
    assert stub.questions == 4


def test_a_list_that_ends_early_is_no_list() -> None:
    """Half of the answers look like all."""
    with dimse_stub(*SERIES, *OTHER, hangs_up_after=1) as stub, pytest.raises(PacsError, match="broke off"):
        find_studies(parse_address(stub.url), EVERYTHING)


@pytest.mark.parametrize(
    ("manners", "why", "words"),
    [
        ({"hangs_up_after": 2}, "incomplete", "broke off"),
        ({"sent": SERIES[:-1]}, "incomplete", "4 images of 5"),
        ({"sent": [*SERIES, *OTHER[:1]]}, "answer", "another series"),
        ({"sent": []}, "incomplete", "0 images of 5"),
    ],
)
def test_a_transfer_that_is_not_whole_leaves_nothing(
    tmp_path: Path, manners: dict[str, Any], why: str, words: str
) -> None:
    """The connection ends in the middle, or the archive says that all is well and it is not."""
    with dimse_stub(*SERIES, **manners) as stub, pytest.raises(PacsError, match=words) as caught:
        fetch(stub, tmp_path)

    assert caught.value.why == why
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_stops_and_leaves_nothing(tmp_path: Path) -> None:
    """What the progress raises comes out as it is, and ends the connection."""

    def stop(_: str, done: int, __: int) -> None:
        if done == 2:
            raise Cancelled("stopped")

    with dimse_stub(*SERIES) as stub, pytest.raises(Cancelled, match="stopped"):
        fetch(stub, tmp_path, progress=stop)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("work", ["find", "get"])
def test_a_silent_archive_is_left_at_once(tmp_path: Path, work: str) -> None:
    """Whoever cancels must not wait for a minute for the next message."""
    seen, gate = list[Any](), threading.Event()
    moment = ("Searching", 1, 0) if work == "find" else ("Fetching", 0, 0)

    def stop(stage: str, done: int, total: int) -> None:
        event = (stage, done, total)
        if event == moment and event in seen:  # it is said again while nothing comes
            raise Cancelled("stopped")
        seen.append(event)

    with dimse_stub(*SERIES, gate=gate) as stub:
        works: dict[str, Callable[[], object]] = {
            "find": partial(find_series, parse_address(stub.url), EVERYTHING, progress=stop),
            "get": partial(fetch, stub, tmp_path, progress=stop),
        }
        start = time.monotonic()
        with pytest.raises(Cancelled, match="stopped"):
            works[work]()
        seconds = time.monotonic() - start
        gate.set()

    assert seconds < 15, "the gate opens after 30 s"
    assert list(tmp_path.iterdir()) == []


def test_what_goes_wrong_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with what to do about it."""
    monkeypatch.setattr("lesionlens.pacs.dimse._AGREE_S", 0.5)  # a web server waits for more
    with dimse_stub(*SERIES, status=0xC001) as stub, pytest.raises(PacsError, match=r"refuses what was asked \(0xC001"):
        find_studies(parse_address(stub.url), EVERYTHING)
    with dimse_stub(*SERIES) as stub:
        with pytest.raises(PacsError, match=r"must know OTHER \(calling=\)") as caught:
            find_studies(parse_address(stub.url + "?calling=OTHER"), EVERYTHING)
        assert caught.value.why == "refused"
        with pytest.raises(PacsError, match="does not offer C-MOVE; try retrieve=get"):
            fetch(stub, tmp_path, f"?retrieve=move&listen={free_port()}")
        address = parse_address(stub.url)
    with pytest.raises(PacsError, match="cannot be reached") as caught:
        find_studies(address, EVERYTHING)
    assert caught.value.why == "unreachable"
    with web_stub() as web, pytest.raises(PacsError, match="does not answer as DICOM does"):
        find_studies(parse_address(web.url.replace("http://", "dicom://A@").replace("/dicom-web", "")), EVERYTHING)


def test_an_archive_without_c_get_says_so(tmp_path: Path) -> None:
    """Many have C-MOVE alone."""
    with dimse_stub(*SERIES, offers=("find",)) as stub, pytest.raises(PacsError, match="try retrieve=move"):
        fetch(stub, tmp_path)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """Another program of the user may listen there."""
    with dimse_stub(*SERIES) as stub:
        taken = parse_address(stub.url).port
        with pytest.raises(PacsError, match=rf"Port {taken} .*\(listen=\)"):
            fetch(stub, tmp_path, f"?retrieve=move&listen={taken}")


def test_results_are_stored_each_once(tmp_path: Path) -> None:
    """And those that were stored before a failure are counted."""
    for image in SERIES:
        (tmp_path / f"{image.SOPInstanceUID}.dcm").write_bytes(encoded(image))
    with dimse_stub() as stub:
        address = parse_address(stub.url)
        assert len(send_files(address, [tmp_path]).files) == 5
        assert sorted(one.SOPInstanceUID for one in stub.stored) == sorted(one.SOPInstanceUID for one in SERIES)
        stub.stored.clear()
        stub.hangs_up_after = 2
        with pytest.raises(PacsError, match=r"broke off .* It has stored 2 of 5 files"):
            send_files(address, [tmp_path])
        stub.status = 0xA700
        with pytest.raises(PacsError, match=r"did not store .* \(reason A700\)"):
            send_files(address, [tmp_path])


def test_an_archive_that_does_not_take_a_kind_says_so(tmp_path: Path) -> None:
    """The stub takes MR images alone."""
    (tmp_path / "ct.dcm").write_bytes(encoded(series_of(Plan(modality="CT"))[0]))
    with dimse_stub() as stub, pytest.raises(PacsError, match=r"kind of ct\.dcm"):
        send_files(parse_address(stub.url), [tmp_path])


def test_an_encrypted_connection_is_checked(tmp_path: Path) -> None:
    """The certificate as by DICOMweb; and C-MOVE, which would come in the clear, is refused."""
    own, context = certificate(tmp_path)
    with dimse_stub(*SERIES, tls=context) as stub:
        with pytest.raises(PacsError, match="not trusted: self-signed certificate") as caught:
            find_studies(parse_address(stub.url), EVERYTHING)
        assert caught.value.why == "certificate"

        assert len(find_studies(parse_address(f"{stub.url}?ca={own}"), EVERYTHING).studies) == 1
        assert len(list(fetch(stub, tmp_path, f"?ca={own}").iterdir())) == 5
        with pytest.raises(PacsError, match="unencrypted"):
            fetch_series(parse_address(f"{stub.url}?ca={own}&retrieve=move").series(STUDY, UID), tmp_path / "moved")


def test_the_password_is_told_and_goes_into_no_log(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither it nor who was looked for; a wrong one is refused."""
    caplog.set_level(logging.DEBUG)
    with dimse_stub(*SERIES, password="right horse") as stub:
        address = parse_address(stub.url)
        remember(address, Credentials("ann", "wrong horse"))
        with pytest.raises(PacsError, match="user, password or AE titles") as caught:
            find_studies(address, Query(patient_name="Secret^Patient"))
        remember(address, Credentials("ann", "right horse"))
        assert len(find_studies(address, Query(patient_name="Secret^Patient")).studies) == 1

    assert caught.value.why == "credentials"
    said = caplog.text + "".join(capfd.readouterr()) + str(caught.value)
    assert not [word for word in ("horse", "Secret", UID) if word in said]
