"""Inputs behind URLs: a file under its plain name, another key for other content, and no secret in a message."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lesionlens.batch.cases import BatchCase, find_cases
from lesionlens.batch.fetching import fetched
from lesionlens.batch.keys import ModelHashes, case_links
from lesionlens.errors import MissingPackageError, ReadError
from lesionlens.options import RunOptions

SIGNED = "?signature=SECRET%2Fkey"


class Web(ThreadingHTTPServer):
    """A web server with one file under many names; those say what goes wrong with it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.tagged = b"\x1f\x8b scan", True
        self.asked: list[str] = []

    def url(self, name: str) -> str:
        """Return the URL of the file under a name."""
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_HEAD(self) -> None:
        """Say what there is."""
        self.answer(body=False)

    def do_GET(self) -> None:
        """Send it."""
        self.server.asked.append(self.path)
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        """Answer as the name of the file says."""
        content = self.server.content
        status = next((code for code in (403, 404, 500) if str(code) in self.path), 200)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if status == 200 else 0))
        if self.server.tagged:
            self.send_header("ETag", f'"{sha256(content).hexdigest()}"')
        self.end_headers()
        if body and status == 200:
            self.wfile.write(content[: len(content) // 2] if "short" in self.path else content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[Web]:
    """Yield a web server on this machine."""
    with Web() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def key_of(url: str) -> str:
    """Return what a case with a scan there depends on."""
    key: str = case_links(BatchCase("a", url), RunOptions(Path()), ModelHashes(""))["key"]
    return key


def test_a_signed_url_is_a_plain_file(web: Web, tmp_path: Path) -> None:
    """The ending says what it is; what signs the URL is a password, and neither a name of a case nor of a file."""
    url = web.url(f"study/scan.nii.gz{SIGNED}")
    (tmp_path / "cases.csv").write_text(f"input\n{url}\n")

    (case,) = find_cases(tmp_path / "cases.csv").cases
    place = Path(fetched(case, tmp_path / "input")[url])

    assert case.name == "scan"
    assert place.name == "scan.nii.gz"
    assert place.read_bytes() == web.content
    assert len(web.asked) == 1, "each file comes once"


def test_other_content_is_another_input(web: Web) -> None:
    """A file that is changed where it lies must not pass for the one that was done; a new signature changes nothing."""
    first = key_of(web.url(f"scan.nii.gz{SIGNED}"))
    assert key_of(web.url("scan.nii.gz?signature=OTHER")) == first

    web.content += b"!"
    assert key_of(web.url(f"scan.nii.gz{SIGNED}")) != first

    web.tagged = False  # then size and time are all that is known, and the question may name the file
    assert key_of(web.url("scan.nii.gz?id=1")) != key_of(web.url("scan.nii.gz?id=2"))
    assert key_of(web.url("scan.nii.gz?id=1")) == key_of(web.url("scan.nii.gz?id=1"))


@pytest.mark.parametrize(
    ("name", "why"),
    [("403.nii.gz", "answers 403"), ("404.nii.gz", "is not there|answers 404"), ("500.nii.gz", "answers 500"),
     ("short.nii.gz", "cannot be read: ClientPayloadError")],
)  # fmt: skip
def test_what_goes_wrong_is_said_without_the_signature(web: Web, tmp_path: Path, name: str, why: str) -> None:
    """Errors of web servers quote the URL, and the tables of a batch keep errors."""
    url = web.url(name + SIGNED)
    with pytest.raises(ReadError, match=why) as error:
        fetched(BatchCase("a", url), tmp_path / "input")

    assert name in str(error.value)
    assert "SECRET" not in str(error.value)
    assert error.value.__suppress_context__, "the error of the library would be shown with it"


def test_a_password_in_a_url_is_not_said(web: Web, tmp_path: Path) -> None:
    """Some servers want one."""
    url = web.url("404.nii.gz").replace("//", "//user:SECRET@")
    with pytest.raises(ReadError, match=r"http://127\.0\.0\.1:\d+/404\.nii\.gz cannot be read") as error:
        fetched(BatchCase("a", url), tmp_path)
    assert "SECRET" not in str(error.value)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the message says how to install it."""
    monkeypatch.setitem(__import__("sys").modules, "aiohttp", None)
    with pytest.raises(MissingPackageError, match=r"lesionlens\[urls\]"):
        fetched(BatchCase("a", "https://host/scan.nii.gz"), tmp_path)
