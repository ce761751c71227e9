"""Nothing that a header says about anybody is in any byte that LesionLens leaves behind, however it is used.

Run it alone with ``make privacy``, which prints what was planted and searched.
"""

from __future__ import annotations

import gzip
import io
import logging
import shutil
import sqlite3
import sys
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

import lesionlens as ll
from batch_cases import write_voxelwise
from lesionlens.cli import main
from lesionlens.recent import RecentCase, recent_cases, remember_case
from lesionlens.review import Session
from planting import SCRIPTS, SHAPE, Planted, write_planted
from searching import tokens_in, tokens_in_files

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")]

#: What is shown of a header on purpose, and where: a series is chosen by its UID and description (privacy.md).
SHOWN_BY_INFO = {"SeriesInstanceUID", "SeriesDescription"}


@dataclass
class Flow:
    """What was planted, where everything was written, and what was printed, logged and thrown away."""

    root: Path
    planted: Planted = field(default_factory=Planted)
    printed: dict[str, str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)
    log: io.StringIO = field(default_factory=io.StringIO)

    @property
    def source(self) -> Path:
        """The folder that is given to every command."""
        return self.root / "source"

    @property
    def out(self) -> Path:
        """Where results go."""
        return self.root / "out"

    @property
    def gone(self) -> Path:
        """Copies of what was removed again, temporary files among it."""
        return self.root / "gone"

    def call(self, *words: str | Path, code: int = 0) -> str:
        """Run a command as a user would; keep all that it prints."""
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            found = main([str(word) for word in words])
        self.printed[" ".join(map(str, words))] = said.getvalue()
        assert found == code, said.getvalue()
        return said.getvalue()

    def names(self, tokens: set[str]) -> set[str]:
        """Return where tokens were planted."""
        return {self.planted.places[token] for token in tokens if token in self.planted.places}


_keeping: Callable[[str, tuple[object, ...]], None] | None = None
_hooked = False


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _keeping is not None and event in ("os.remove", "shutil.rmtree"):
        _keeping(event, arguments)


@contextmanager
def keeping(folder: Path, aside: Path) -> Iterator[None]:
    """Copy every file below a folder before Python removes it: temporary files are outputs as well."""
    global _keeping, _hooked

    def keep(event: str, arguments: tuple[object, ...]) -> None:
        global _keeping
        place = Path(str(arguments[0]))
        if not place.is_absolute() or folder not in place.parents or aside in place.parents:
            return
        own, _keeping = _keeping, None  # copying must not call it again
        try:
            target = aside / f"{len(list(aside.iterdir()))} {place.name}"
            if place.is_dir():
                shutil.copytree(place, target, dirs_exist_ok=True)
            elif place.is_file():
                shutil.copyfile(place, target)
        finally:
            _keeping = own

    if not _hooked:
        sys.addaudithook(_hook)  # for good; it does nothing without somebody who keeps
        _hooked = True
    aside.mkdir()
    _keeping = keep
    try:
        yield
    finally:
        _keeping = None


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    """Use everything on a series full of tokens, with settings, data and temporary files in folders of their own."""
    found = Flow(tmp_path_factory.mktemp("flow"))
    found.planted = write_planted(found.source)
    write_voxelwise(found.root / "bundle")
    handler = logging.StreamHandler(found.log)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TMPDIR", "LESIONLENS_CONFIG", "LESIONLENS_DATA", "XDG_CACHE_HOME"):
            (found.root / name).mkdir()
            patch.setenv(name, str(found.root / name))
        patch.setattr("tempfile.tempdir", str(found.root / "TMPDIR"))
        logging.getLogger().addHandler(handler)
        levels = {
            name: logging.getLogger(name).level for name in ("", "lesionlens", "pydicom", "highdicom", "dicognito")
        }
        for name in levels:
            logging.getLogger(name).setLevel(logging.DEBUG)
        with keeping(found.root, found.gone):
            _use_everything(found)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        logging.getLogger().removeHandler(handler)
    found.used = dict(found.printed)
    return found


def _use_everything(flow: Flow) -> None:
    source, out = flow.source, flow.out
    asked = ("--bundle", flow.root / "bundle", "--trust", "--layer", "0")
    run = out / "run"
    flow.call("run", source, *asked, "--out", run)
    flow.call("run", _zipped(flow), *asked, "--out", out / "run of a zip", "--json")
    flow.call("trust", source, *asked, "--check", "seen", "--check", "stability", "--out", out / "trust")
    ll.write(ll.Volume(_labels(), ll.read(source).grid, name="labels"), flow.root / "labels.nii.gz")
    labels = flow.root / "labels.nii.gz"
    flow.call("importance", source, *asked[:3], "--labels", labels, "--out", out / "importance")
    flow.call("batch", source, *asked, "--out", out / "batch")
    _damage(flow)
    flow.call("batch", flow.root / "damaged", *asked, "--out", out / "failed", code=1)
    flow.call("compare", run, out / "run of a zip", "--out", out / "compared")
    flow.call("compare-lesions", run, out / "run of a zip", "--out", out / "changes")
    _judge(flow, run)
    _evaluate(flow)
    judged = ("--session", out / "a.session", "--reader", "Ann")
    flow.call("export", run, "--source", source, "--out", out / "dicom", *judged, *_FORMATS)
    beside = (
        "--trust",
        out / "trust",
        "--session",
        out / "a.session",
        "--scan",
        source,
        "--bundle",
        flow.root / "bundle",
    )
    for ending in ("html", "pdf"):
        flow.call("report", run, *beside, "--out", out / f"report.{ending}")
        flow.call("report", out / "batch", "--out", out / f"cohort.{ending}")
    flow.call("verify", run)
    _go_wrong(flow, asked)
    remember_case(RecentCase(source.parent / "source", series=0))


_FORMATS = tuple(
    word
    for name in ("seg", "fractional", "probability", "attribution", "sr", "rtstruct", "key-images")
    for word in ("--format", name)
)


def _zipped(flow: Flow) -> Path:
    path = flow.root / "scan.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(flow.source.rglob("*.dcm")):
            archive.write(file, file.relative_to(flow.source).as_posix())
    return path


def _labels() -> np.ndarray:
    """Return two halves."""
    array = np.ones(SHAPE, np.uint8)
    array[SHAPE[0] // 2 :] = 2
    return array


def _damage(flow: Flow) -> None:
    """Copy the series with one file cut off."""
    shutil.copytree(flow.source, flow.root / "damaged")
    victim = sorted((flow.root / "damaged").rglob("*.dcm"))[3]
    victim.write_bytes(victim.read_bytes()[:-400])


def _judge(flow: Flow, run: Path) -> None:
    session, out = flow.out / "a.session", flow.out
    flow.call("review", "start", session, flow.source, run, "--title", "A trial")
    with Session.open(session, read_only=True) as found:
        (case,) = found.case_ids
        finding = found.case(case).findings[0].id
    for reader, verdict in (("Ann", "accept"), ("Bob", "reject")):
        said = ("--verdict", verdict, "--comment", "a bright ball", "--done")
        flow.call("review", "record", session, case, finding, "--reader", reader, *said)
    flow.call("review", "status", session, "--reader", "Ann")
    flow.call("review", "export", session, "--out", out / "findings", "--portable", out / "portable.json")
    flow.call("review", "agree", session, "--out", out / "agreement")
    flow.call("review", "report", session, "--out", out / "pages")
    for name in ("findings", "agreement"):
        flow.call("verify", out / name)


def _evaluate(flow: Flow) -> None:
    scan = ll.read(flow.source)
    ll.write(scan.with_array((scan.array > 0.4).astype(np.uint8), name="mask"), flow.root / "mask.nii.gz")
    (flow.root / "cases.csv").write_text("case,results,mask\none,out/run,mask.nii.gz\n")
    flow.call("evaluate", flow.root / "cases.csv", "--out", flow.out / "evaluation")
    flow.call("report", flow.out / "evaluation", "--out", flow.out / "evaluation.html")


def _go_wrong(flow: Flow, asked: tuple[str | Path, ...]) -> None:
    """Ask for what is not there, and give what is damaged; a series is asked for by its UID as well."""
    never = ("--out", flow.out / "never")
    uid = next(token for token, place in flow.planted.places.items() if place == "SeriesInstanceUID")
    name = next(token for token, place in flow.planted.places.items() if place == "PatientID")
    flow.call("run", flow.root / "damaged", *asked, *never, code=1)
    flow.call("run", flow.source, *asked, "--series", "7", *never, code=1)
    flow.call("run", flow.source, *asked, "--series", name, *never, code=1)
    flow.call("run", flow.source, *asked, "--method", "nonsense", *never, code=1)
    flow.call("run", flow.source, *asked, "--threshold", "1", *never, "--only", "nonsense", code=1)
    flow.call("run", flow.source, *asked, "--series", uid, "--out", flow.out / "by uid")
    flow.call("run", sorted((flow.root / "damaged").rglob("*.dcm"))[3], *asked, *never, code=1)
    flow.call("export", flow.out / "run", "--source", flow.root / "damaged", *never, code=1)


def test_nothing_that_was_written_leads_to_anybody(flow: Flow, capsys: pytest.CaptureFixture[str]) -> None:
    """Results, sessions, DICOM objects, pages, settings, caches and temporary files, taken apart byte by byte."""
    given = ("source", "damaged", "scan.zip")
    found = {
        name: flow.names(tokens)
        for name, tokens in tokens_in_files(flow.root).items()
        if name.split("/")[0] not in given and not _is_input(name)
    }

    assert {name: places for name, places in found.items() if places} == {}
    assert [path for path in (flow.root / "TMPDIR").rglob("*") if path.is_file()] == []
    files = [
        path for path in flow.root.rglob("*") if path.is_file() and path.relative_to(flow.root).parts[0] not in given
    ]
    size = sum(path.stat().st_size for path in files)
    assert len(files) > 100
    with capsys.disabled():
        commands = f"{len(flow.used)} commands, {sum(map(len, flow.used.values())):,} letters printed"
        gone = len(list(flow.gone.iterdir()))
        print(
            f"\n{len(flow.planted.places):,} tokens planted; {len(files)} files, {size / 1e6:.1f} MB written;"
            f" {gone} removed files kept; {commands}, {len(flow.log.getvalue()):,} letters logged: none found"
        )


def _is_input(name: str) -> bool:
    """Whether it is what an archive was unpacked to while it was read, which is the input itself."""
    parts = name.split("/")
    return parts[0] == "gone" and parts[1].split()[1].startswith("lesionlens-") and parts[2] == "scan.zip"


def test_nothing_that_was_printed_or_logged_leads_to_anybody(flow: Flow) -> None:
    """Progress, tables, notes and messages of errors, and logs at their highest verbosity."""
    said = {words: flow.names(tokens_in(text.encode())) for words, text in flow.used.items()}

    # What asks for a series names those that there are.
    allowed = {words: SHOWN_BY_INFO if "--series" in words else set() for words in said}
    assert {words: places for words, places in said.items() if places - allowed[words]} == {}
    assert flow.names(tokens_in(flow.log.getvalue().encode())) == set()
    assert "filelock" in flow.log.getvalue() or "lock" in flow.log.getvalue()  # everything was logged


def test_info_shows_what_a_series_is_chosen_by(flow: Flow) -> None:
    """Its UID and description, and nothing else; with --identified the name as well, so the search can find it."""
    shown = flow.names(tokens_in((flow.call("info", flow.source) + flow.call("info", flow.source, "--json")).encode()))

    assert shown <= SHOWN_BY_INFO
    named = flow.names(tokens_in(flow.call("info", flow.source, "--identified").encode()))
    assert {"PatientName", "PatientID", "AccessionNumber"} <= named


def test_what_was_opened_lately_is_a_place_and_nothing_else(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list in the user's settings holds paths as the user typed them, nothing that was read from there."""
    monkeypatch.setenv("LESIONLENS_CONFIG", str(flow.root / "LESIONLENS_CONFIG"))

    assert [case.path.name for case in recent_cases()] == ["source"]
    assert tokens_in_files(flow.root / "LESIONLENS_CONFIG") == {}


def test_identified_results_are_found_by_the_same_search(flow: Flow, tmp_path: Path) -> None:
    """What names the patient on request: the run, its report, and the DICOM objects of it."""
    asked = ("--bundle", flow.root / "bundle", "--trust", "--layer", "0", "--identified")
    flow.call("run", flow.source, *asked, "--out", tmp_path / "run")
    flow.call("report", tmp_path / "run", "--out", tmp_path / "report.html")
    flow.call("report", tmp_path / "run", "--out", tmp_path / "report.pdf")
    words = ("--source", flow.source, "--identified", "--format", "sr", "--out", tmp_path / "dicom")
    flow.call("export", tmp_path / "run", *words)

    found = {name: flow.names(tokens) for name, tokens in tokens_in_files(tmp_path).items()}
    assert {"run/record.json", "report.html", "report.pdf"} <= set(found)
    assert any(name.startswith("dicom/") for name in found)
    # Eight digits of a hash can look like a day, of nobody.
    assert all("PatientID" in places for places in found.values() if places)


def test_every_token_is_found_where_it_was_planted(flow: Flow) -> None:
    """In the files themselves and in the archive of them: the search misses no element."""
    for place in (flow.source, flow.root / "scan.zip"):
        found = set().union(*tokens_in_files(place).values()) if place.is_dir() else tokens_in(place.read_bytes())
        assert sorted(name for token, name in flow.planted.places.items() if token not in found) == []


def _in_png(text: str) -> bytes:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", text, zip=True)
    content = io.BytesIO()
    Image.new("L", (2, 2)).save(content, "PNG", pnginfo=notes)
    return content.getvalue()


def _in_npz(text: str) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, a=np.array([text]))
    return content.getvalue()


def _in_database(text: str) -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a BLOB)")
    connection.execute("INSERT INTO t VALUES (?)", (gzip.compress(text.encode()),))
    connection.commit()
    return bytes(connection.serialize())


def _in_pdf(text: str) -> bytes:
    from lesionlens.report.pdf import html_to_pdf

    return html_to_pdf(f"<p>{text}</p>")


@pytest.mark.parametrize(
    "pack",
    [
        str.encode,
        lambda text: text.upper().encode(),
        lambda text: text.encode("utf-16-le"),
        lambda text: b"x" + text.encode("utf-16-be"),
        lambda text: gzip.compress(gzip.compress(text.encode())),
        lambda text: b'{"a": "' + b64encode(gzip.compress(text.encode())) + b'"}',
        lambda text: "".join(f"&#{ord(letter)};" for letter in text).encode(),
        _in_png,
        _in_npz,
        _in_database,
        _in_pdf,
    ],
)
def test_the_search_finds_a_token_however_it_is_packed(pack: Callable[[str], bytes]) -> None:
    """A search that finds nothing anywhere would pass everything above."""
    assert tokens_in(pack("a qzxaabcd b")) == {"qzxaabcd"}
    assert tokens_in(pack("a qzyaabcd b")) == set()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "iso2022_jp", "shift_jis", "euc_jp", "unicode_escape"])
def test_the_search_finds_names_in_other_scripts(encoding: str) -> None:
    """Kanji and kana, as files, JSON and DICOM write them."""
    assert [word for word in SCRIPTS if tokens_in(f"a {word} b".encode(encoding)) != {word}] == []


def test_removed_files_are_searched_as_well(tmp_path: Path) -> None:
    """A temporary file that named somebody would lie in the folder of what was removed."""
    (tmp_path / "work").mkdir()
    with keeping(tmp_path / "work", tmp_path / "gone"):
        (tmp_path / "work" / "a.tmp").write_text("qzxaabcd")
        (tmp_path / "work" / "a.tmp").unlink()

    assert list(tokens_in_files(tmp_path / "gone").values()) == [{"qzxaabcd"}]
