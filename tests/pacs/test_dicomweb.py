"""DICOMweb against archives that behave badly: nothing is taken for whole that is not, and nothing is told on."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

import lesionlens as ll
from archives import WebStub, certificate, encoded, series_of, web_stub
from dicom_factory import Plan
from lesionlens.errors import Cancelled, PacsError, ReadError
from lesionlens.pacs import Query, fetch_series, find_series, find_studies, parse_address, send_files
from lesionlens.pacs.credentials import Credentials, remember

SERIES = series_of(Plan())
STUDY, UID = "1.2.3", SERIES[0].SeriesInstanceUID
EVERYTHING = Query()


def many(n_studies: int, n_series: int) -> list[Any]:
    """Return an image of each of many series; what is looked for is the lists."""
    images = []
    for study in range(n_studies):
        for number in range(n_series):
            image = Dataset()
            image.StudyInstanceUID, image.SeriesInstanceUID = f"1.5.{study}", f"1.5.{study}.{number}"
            image.SOPInstanceUID, image.SeriesNumber = f"1.5.{study}.{number}.1", number
            images.append(image)
    return images


THOUSAND = many(50, 20)
LONG = many(1, 450)


def url_of(stub: WebStub) -> str:
    """Return the URL of the series."""
    return parse_address(stub.url).series(STUDY, UID)


def fetch(stub: WebStub, folder: Path) -> Path:
    """Bring the series."""
    return fetch_series(url_of(stub), folder / "out")


def test_a_series_arrives_as_it_is(tmp_path: Path) -> None:
    """Every byte of every element, under names that no archive can choose."""
    with web_stub(*SERIES) as stub:
        folder = fetch(stub, tmp_path)

    files = {path.stem: path.read_bytes() for path in folder.iterdir()}
    assert files == {image.SOPInstanceUID: encoded(image) for image in SERIES}


def test_a_thousand_series_are_found_each_once() -> None:
    """No page is lost or counted twice; who they are of is not asked twice."""
    steps: list[int] = []
    with web_stub(*THOUSAND) as stub:
        found = find_series(
            parse_address(stub.url), EVERYTHING, progress=lambda _, done, __: steps.append(done), limit=2000
        )

    assert [one.uid for one in found.series] == [image.SeriesInstanceUID for image in THOUSAND]
    assert not found.more
    assert steps[-1] == 1000


@pytest.mark.parametrize(
    "manners",
    [
        {},
        {"ignores": ("limit", "offset")},
        {"ignores": ("offset",)},
        {"ignores": ("limit",)},
        {"most": 70},
        {"most": 70, "ignores": ("limit",)},
    ],
)
def test_pages_come_whole_however_the_archive_cuts_them(manners: dict[str, Any]) -> None:
    """Archives give fewer than asked for, everything at once, or the first page again and again."""
    with web_stub(*LONG, **manners) as stub:
        found = find_series(parse_address(stub.url), EVERYTHING)

    assert sorted(one.uid for one in found.series) == sorted(image.SeriesInstanceUID for image in LONG)


def test_a_limit_says_that_there_are_more() -> None:
    """A list that was cut must not look like all there is."""
    with web_stub(*LONG) as stub:
        address = parse_address(stub.url)

        cut = find_series(address, EVERYTHING, limit=449)
        assert (len(cut.series), cut.more) == (449, True)
        assert not find_series(address, EVERYTHING, limit=450).more
        assert find_studies(address, EVERYTHING, limit=1).studies[0].uid == "1.5.0"


def test_what_the_archive_did_not_look_for_is_left_out() -> None:
    """Archives pass over what they do not know to look for, and answer with everything."""
    with web_stub(*SERIES, *series_of(Plan(number=7, description="T1 post"), study="1.2.9")) as stub:
        stub.matches = lambda path, words, found=stub.matches: found(path, {})  # type: ignore[method-assign, misc]
        address = parse_address(stub.url)

        assert [one.number for one in find_series(address, Query(series_description="*POST")).series] == [7]
        assert [one.number for one in find_series(address, Query(study="1.2.3")).series] == [4]
        assert find_series(address, Query(modality="CT")).series == ()
        assert find_series(address, Query(patient_id="SECRET-I[D]")).series == ()


def test_who_it_is_of_is_told_when_it_is_asked_for() -> None:
    """Descriptions hold names, too; a folder's name leads to nobody."""
    with web_stub(*series_of(Plan(description="FLAIR Secret 20240102"))) as stub:
        (plain,) = find_series(parse_address(stub.url), EVERYTHING).series
        (identified,) = find_series(parse_address(stub.url), EVERYTHING, identified=True).series

    assert (plain.description, plain.study.description, plain.study.identity) == (
        "FLAIR [removed]",
        "Head of [removed]",
        {},
    )
    assert identified.description == "FLAIR Secret 20240102"
    assert identified.study.identity == {
        "patient_name": "Secret^Patient",
        "patient_id": "SECRET-ID",
        "study_date": "20240102",
    }
    assert plain.name == identified.name
    assert UID not in plain.name


@pytest.mark.parametrize(
    ("manners", "why", "words"),
    [
        ({"statuses": [401]}, "credentials", "pacs login"),
        ({"statuses": [403]}, "credentials", "does not allow"),
        ({"statuses": [404]}, "missing", "check the address"),
        ({"statuses": [400]}, "refused", "HTTP 400"),
        ({"statuses": [503] * 3}, "unreachable", "HTTP 503"),
        ({"statuses": [302], "location": "https://elsewhere.example/"}, "answer", "sends elsewhere"),
        ({"body": b"<html>Welcome</html>", "content_type": "text/html"}, "answer", "does not answer as DICOMweb"),
        ({"body": b'["x"]'}, "answer", "does not answer as DICOMweb"),
        ({"body": b'[{"0020000D": 5}]'}, "answer", "does not answer as DICOMweb"),
        ({"body": b"[{}]"}, "answer", "StudyInstanceUID"),
        ({"body": b'[{"0020000D": {"vr": "UI", "Value": ["../../x"]}}]'}, "answer", "StudyInstanceUID"),
        ({"body": b'{"error": "no"}'}, "answer", "does not answer as DICOMweb|StudyInstanceUID"),
    ],
)
def test_what_goes_wrong_is_said_in_one_line(manners: dict[str, Any], why: str, words: str) -> None:
    """The message names the archive, and neither who was looked for nor a UID."""
    with web_stub(*SERIES, **manners) as stub, pytest.raises(PacsError, match=words) as caught:
        find_series(parse_address(stub.url), Query(patient_name="Secret*"))

    assert caught.value.why == why
    assert "\n" not in str(caught.value)
    assert "Secret" not in str(caught.value)


def test_an_archive_that_is_not_there_is_unreachable() -> None:
    """The port was free a moment ago."""
    with web_stub() as stub:
        address = parse_address(stub.url)

    with pytest.raises(PacsError, match="cannot be reached") as caught:
        find_series(address, EVERYTHING)
    assert caught.value.why == "unreachable"


def test_questions_are_asked_again_and_results_are_sent_once(tmp_path: Path) -> None:
    """What an archive did with results whose answer was lost is not known; a question changes nothing."""
    (tmp_path / "a.dcm").write_bytes(encoded(SERIES[0]))
    with web_stub(*SERIES, statuses=[503, 429]) as stub:
        assert len(find_studies(parse_address(stub.url), EVERYTHING).studies) == 1
        assert len(stub.asked) == 4  # two failed, one was answered, and the page behind it is empty
        stub.asked.clear()
        stub.statuses[:] = [503]
        with pytest.raises(PacsError, match="HTTP 503"):
            send_files(parse_address(stub.url), [tmp_path])

    assert [one.split()[0] for one in stub.asked] == ["POST"]


SIZE = sum(len(encoded(image)) for image in SERIES)


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("cut", [0, 10, 300, SIZE // 2, SIZE + 150, -1, -3, -14])
def test_a_transfer_that_ends_early_leaves_nothing(tmp_path: Path, announced: bool, cut: int) -> None:
    """Wherever it is cut, in a header, between two images or in the very end, and whether its length was known."""
    with (
        web_stub(*SERIES, cut=cut, announced=announced) as stub,
        pytest.raises(PacsError, match="nothing was kept") as caught,
    ):
        fetch(stub, tmp_path)

    assert caught.value.why == "incomplete"
    assert list(tmp_path.iterdir()) == []


FILES = [encoded(image) for image in SERIES]
OTHER = encoded(series_of(Plan(number=9), study="1.2.9")[0])
FIRST_UID = SERIES[0].SOPInstanceUID.encode()
PIXELS = len(SERIES[0].PixelData)


@pytest.mark.parametrize(
    ("sent", "why", "words"),
    [
        (FILES[:-1], "incomplete", r"4 images of 5 that it lists, and 0 others"),
        ([*FILES[:-1], FILES[0]], "incomplete", r"4 images of 5"),
        ([*FILES, FILES[0].replace(FIRST_UID, FIRST_UID[:-1] + b"x")], "answer", "SOPInstanceUID"),
        ([*FILES, FILES[0].replace(FIRST_UID[:-4], FIRST_UID[:-8] + b"1234")], "incomplete", r"and 1 others"),
        ([*FILES, OTHER], "answer", "another series"),
        ([FILES[0].replace(FIRST_UID, b"../" * (len(FIRST_UID) // 3) + b"x"), *FILES[1:]], "answer", "SOPInstanceUID"),
        ([FILES[0][:-20], *FILES[1:]], "incomplete", "a part of an image"),
        ([FILES[0][: -PIXELS - 12], *FILES[1:]], "incomplete", "a part of an image"),
        ([b"no DICOM", *FILES[1:]], "incomplete", "broke off"),
        ([], "incomplete", "0 images of 5"),
    ],
    ids=["fewer", "twice", "letters", "more", "another series", "path", "short", "no pixels", "no dicom", "none"],
)
def test_what_comes_is_compared_with_what_is_listed(tmp_path: Path, sent: list[bytes], why: str, words: str) -> None:
    """A slice that is lost at the end of a stack is missed by nobody who looks at the pictures."""
    with web_stub(*SERIES, sent=sent) as stub, pytest.raises(PacsError, match=words) as caught:
        fetch(stub, tmp_path)

    assert caught.value.why == why
    assert list(tmp_path.iterdir()) == []


def test_a_series_that_is_not_there_is_missing(tmp_path: Path) -> None:
    """Archives answer an empty list as readily as an error."""
    with web_stub() as stub, pytest.raises(PacsError, match="lists no images") as caught:
        fetch(stub, tmp_path)

    assert caught.value.why == "missing"
    assert UID not in str(caught.value)


def test_a_fetch_stops_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    """Cancelled at the second image."""

    def stop(stage: str, done: int, total: int) -> None:
        assert (stage, total) == ("Fetching", 5) or not done
        if done == 2:
            raise Cancelled("stopped")

    with web_stub(*SERIES) as stub, pytest.raises(Cancelled, match="stopped"):
        fetch_series(url_of(stub), tmp_path / "out", progress=stop)

    assert list(tmp_path.iterdir()) == []


def test_a_silent_archive_is_left_at_once(tmp_path: Path) -> None:
    """Whoever cancels must not wait until an archive that says nothing in the middle counts as away."""
    seen, gate = list[Any](), threading.Event()

    def stop(stage: str, done: int, total: int) -> None:
        event = (stage, done, total)
        if total and event in seen:  # it is said again while nothing comes
            raise Cancelled("stopped")
        seen.append(event)

    with web_stub(*SERIES, gate=gate) as stub:
        start = time.monotonic()
        with pytest.raises(Cancelled, match="stopped"):
            fetch_series(url_of(stub), tmp_path / "out", progress=stop)
        seconds = time.monotonic() - start
        gate.set()

    assert seconds < 15, "the gate opens after 30 s"
    assert list(tmp_path.iterdir()) == []


def test_results_arrive_as_they_are(tmp_path: Path) -> None:
    """Several files, found in a folder, each in a message of its own."""
    for image in SERIES:
        (tmp_path / f"{image.SOPInstanceUID}.dcm").write_bytes(encoded(image))
    (tmp_path / "notes.txt").write_text("nothing")
    with web_stub() as stub:
        sent = send_files(parse_address(stub.url), [tmp_path])

    assert len(sent.files) == 5
    for image in SERIES:
        assert sum(encoded(image) in content for content in stub.stored) == 1


def test_nothing_is_sent_where_one_file_is_no_dicom(tmp_path: Path) -> None:
    """A mistyped path is found before half of the results are in the archive."""
    (tmp_path / "a.dcm").write_bytes(encoded(SERIES[0]))
    (tmp_path / "b.txt").write_text("nothing")
    with web_stub() as stub:
        address = parse_address(stub.url)
        with pytest.raises(ReadError, match=r"b\.txt is no DICOM"):
            send_files(address, [tmp_path / "a.dcm", tmp_path / "b.txt"])
        with pytest.raises(ReadError, match="There is no file"):
            send_files(address, [tmp_path / "missing.dcm"])

    assert stub.asked == []


def test_what_was_stored_before_a_failure_is_counted(tmp_path: Path) -> None:
    """It stays in the archive, so its number has to be known."""
    for image in SERIES[:3]:
        (tmp_path / f"{image.SOPInstanceUID}.dcm").write_bytes(encoded(image))
    with web_stub() as stub:
        address = parse_address(stub.url)

        def refuse_later(stage: str, done: int, total: int) -> None:
            if done == 2:
                stub.statuses.append(507)

        with pytest.raises(PacsError, match=r"HTTP 507\)\. It has stored 2 of 3 files"):
            send_files(address, [tmp_path], progress=refuse_later)


def test_the_password_goes_to_the_archive_and_into_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither it nor who was looked for, with every log of every library open."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login eve password leaked\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    caplog.set_level(logging.DEBUG)
    with web_stub(*SERIES) as stub:
        address = parse_address(stub.url)
        find_series(address, Query(patient_name="Secret^Patient"))
        remember(address, Credentials("ann", "right horse"))
        find_series(address, Query(patient_name="Secret^Patient"))
        fetch(stub, tmp_path)
        stub.statuses.append(401)
        with pytest.raises(PacsError, match="log in"):
            find_series(address, Query(patient_name="Secret^Patient"))

    assert set(stub.heard) == {"", "Basic YW5uOnJpZ2h0IGhvcnNl"}
    said = caplog.text + "".join(capfd.readouterr())
    assert not [word for word in ("right horse", "YW5u", "Secret", UID, "Traceback", "Attempts") if word in said]


def test_a_token_is_sent_in_the_place_of_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clouds want one."""
    with web_stub(*SERIES) as stub:
        monkeypatch.setenv("LESIONLENS_PACS_URL", stub.url)
        monkeypatch.setenv("LESIONLENS_PACS_TOKEN", "abc")
        find_studies(parse_address(stub.url), EVERYTHING)

    assert set(stub.heard) == {"Bearer abc"}


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    """There is no way around but to name its authority."""
    own, context = certificate(tmp_path)
    with web_stub(*SERIES, tls=context) as stub:
        with pytest.raises(PacsError, match=r"not trusted: self-signed certificate.*\?ca=FILE") as caught:
            find_studies(parse_address(stub.url), EVERYTHING)
        assert caught.value.why == "certificate"
        with pytest.raises(PacsError, match=r"There is no file none\.pem"):
            find_studies(parse_address(f"{stub.url}?ca={tmp_path}/none.pem"), EVERYTHING)
        with pytest.raises(PacsError, match=r"not trusted: [Hh]ostname"):
            find_studies(parse_address(f"{stub.url}?ca={own}".replace("127.0.0.1", "localhost")), EVERYTHING)
        trusted = parse_address(f"{stub.url}?ca={own}")
        remember(trusted, Credentials("ann", "right horse"))

        assert len(find_studies(trusted, EVERYTHING).studies) == 1
        assert set(stub.heard) == {"Basic YW5uOnJpZ2h0IGhvcnNl"}
        (tmp_path / "empty.pem").write_text("nothing")
        with pytest.raises(PacsError, match="certificate"):
            find_studies(parse_address(f"{stub.url}?ca={tmp_path}/empty.pem"), EVERYTHING)


def test_a_fetched_series_is_a_volume(tmp_path: Path) -> None:
    """The values are those of the plan."""
    with web_stub(*SERIES) as stub:
        volume = ll.read(fetch(stub, tmp_path))

    assert (volume.array == Plan().values()).all()
