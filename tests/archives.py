"""Archives for tests: a real Orthanc where it is installed, one that speaks DICOMweb badly, and a keyring."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from dicom_factory import Plan, make_slice

USER, PASSWORD = "ann", "right horse"
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_TOLD = ("PatientName", "PatientID", "StudyDate", "StudyDescription", "Modality", "SOPClassUID")
# Starting takes half a second on an idle machine.
_PATIENCE_S, _LOOK_S = 30.0, 0.05


@dataclass(frozen=True)
class Orthanc:
    """A real archive on this machine."""

    web_port: int
    dimse_port: int
    move_port: int

    @property
    def web(self) -> str:
        """Its address by DICOMweb."""
        return f"http://127.0.0.1:{self.web_port}/dicom-web"

    @property
    def get(self) -> str:
        """Its address by DIMSE, for C-GET."""
        return f"dicom://ORTHANC@127.0.0.1:{self.dimse_port}"

    @property
    def move(self) -> str:
        """Its address by DIMSE, for C-MOVE."""
        return f"{self.get}?retrieve=move&listen={self.move_port}"


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Yield an empty Orthanc that asks for a password; skip, by name, where it is not installed."""
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None or not _PLUGIN.exists():
        pytest.skip("needs the Debian packages orthanc and orthanc-dicomweb")
    found = Orthanc(free_port(), free_port(), free_port())
    config = {
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": found.web_port,
        "DicomPort": found.dimse_port,
        "DicomAet": "ORTHANC",
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **{f"DicomAlwaysAllow{what}": True for what in ("Get", "Find", "Move", "Store")},
        "DicomModalities": {"us": ["LESIONLENS", "127.0.0.1", found.move_port]},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        _wait_for(found, process)
        yield found
    finally:
        process.kill()
        process.wait()


def _wait_for(archive: Orthanc, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(f"{archive.web}/studies", timeout=_PATIENCE_S)
        except urllib.error.HTTPError:  # it asks for the password
            return
        except OSError:
            time.sleep(_LOOK_S)
    raise AssertionError("Orthanc did not start; its log is in orthanc.log")


class MemoryKeyring(KeyringBackend):
    """A keyring that forgets everything with the test."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        """Return what is held."""
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Hold a text."""
        self.held[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        """Let go of a text."""
        if self.held.pop((service, username), None) is None:
            raise PasswordDeleteError("not found")


@contextmanager
def own_keyring() -> Iterator[MemoryKeyring]:
    """Put an empty keyring in the place of the system's."""
    before, ours = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(ours)
    try:
        yield ours
    finally:
        keyring.set_keyring(before)


def series_of(plan: Plan, *, study: str = "1.2.3") -> list[Dataset]:
    """Return the images of a series of a study."""
    found = [make_slice(plan, k) for k in range(plan.shape[2])]
    for image in found:
        image.StudyInstanceUID = study
        image.StudyDescription = "Head of Secret"
        image.StudyDate = "20240102"
    return found


@dataclass
class WebStub:
    """A DICOMweb archive whose manners can be set.

    Parameters
    ----------
    images
        What it holds.
    sent
        What it sends of any series, in the place of that.
    most
        Answers at a time at most.
    ignores
        Of ``limit`` and ``offset``.
    cut
        Bytes of a series after which it hangs up.
    gate
        Is waited for in the middle of a series.
    announced
        Whether it says beforehand how many bytes come.
    statuses
        What the next requests are answered with.
    body, content_type
        Answered to every question, in the place of the truth.
    asked
        Every request: its method and what follows the root.
    heard
        What was sent along for authorisation.
    stored
        What it was given.
    """

    images: list[Dataset] = field(default_factory=list)
    sent: list[bytes] | None = None
    most: int | None = None
    ignores: tuple[str, ...] = ()
    cut: int | None = None
    gate: threading.Event | None = None
    announced: bool = True
    statuses: list[int] = field(default_factory=list)
    body: bytes | None = None
    content_type: str = "application/dicom+json"
    location: str = ""
    asked: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)
    url: str = ""

    def matches(self, path: list[str], words: dict[str, list[str]]) -> list[Dataset]:
        """Return what a search finds: one image for each study, series or image."""
        depth = len(path) // 2 + 1
        uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        inside = [one for one in self.images if all(one[u].value == p for u, p in zip(uids, path[1::2], strict=False))]
        keys = {name: given[0] for name, given in words.items() if name[:1].isupper() and name != "ModalitiesInStudy"}
        inside = [one for one in inside if all(str(one.get(name)) == value for name, value in keys.items())]
        found = list({tuple(one[u].value for u in uids[:depth]): one for one in inside}.values())
        offset = 0 if "offset" in self.ignores else int(words.get("offset", ["0"])[0])
        limit = len(found) if "limit" in self.ignores or "limit" not in words else int(words["limit"][0])
        return found[offset : offset + min(limit, self.most or limit)]


class _Handler(BaseHTTPRequestHandler):
    stub: WebStub

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a question."""
        place = urlsplit(self.path)
        path = place.path.strip("/").split("/")[1:]
        if self._begin("GET"):
            return
        if self.stub.body is not None:
            self._send(self.stub.body, self.stub.content_type)
        elif len(path) == 4:
            self._series(path)
        else:
            found = self.stub.matches(path, parse_qs(place.query))
            answers = [_described(one).to_json_dict() for one in found]
            self._send(json.dumps(answers).encode(), self.stub.content_type)

    def do_POST(self) -> None:
        """Take what is sent."""
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._begin("POST"):
            self.stub.stored.append(content)
            self._send(b"{}", "application/dicom+json")

    def _begin(self, method: str) -> bool:
        """Take note of a request; say whether it was answered already."""
        self.stub.asked.append(f"{method} {self.path}")
        self.stub.heard.append(self.headers.get("Authorization", ""))
        if not self.stub.statuses:
            return False
        self.send_response(self.stub.statuses.pop(0))
        if self.stub.location:
            self.send_header("Location", self.stub.location)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def _send(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _series(self, path: list[str]) -> None:
        sent = self.stub.sent
        if sent is None:
            sent = [encoded(image) for image in self.stub.images if image.SeriesInstanceUID == path[3]]
        parts = [b"\r\n--frontier\r\nContent-Type: application/dicom\r\n\r\n" + image for image in sent]
        content = b"".join([*parts, b"\r\n--frontier--"])
        self.send_response(200)
        self.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary="frontier"')
        if self.stub.announced:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.stub.gate is not None:
            self.wfile.write(content[: len(content) // 2])
            content = content[len(content) // 2 :]
            self.stub.gate.wait(_PATIENCE_S)
        self.wfile.write(content[: self.stub.cut])
        self.close_connection = True


def encoded(image: Dataset) -> bytes:
    """Return a data set as a file."""
    with BytesIO() as file:
        dcmwrite(file, image, enforce_file_format=True)
        return file.getvalue()


def _described(image: Dataset) -> Dataset:
    """Return what an archive says of an image."""
    found = Dataset()
    for element in image:
        name = element.keyword
        if name in _TOLD or name.startswith("Series") or name.endswith("InstanceUID"):
            found.add(element)
    return found


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Return a file with a certificate of 127.0.0.1 that nobody trusts yet, and what a server needs to use it."""
    pytest.importorskip("cryptography", reason="needs cryptography, to make a certificate")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "archive")])
    day, now = timedelta(days=1), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    public, private = folder / "own.pem", folder / "key.pem"
    public.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


@contextmanager
def web_stub(*images: Dataset, tls: ssl.SSLContext | None = None, **manners: object) -> Iterator[WebStub]:
    """Yield an archive with some images, and manners as of :class:`WebStub`."""
    stub = WebStub(list(images), **manners)  # type: ignore[arg-type]
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stub": stub}))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up, as they should
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    scheme = "http" if tls is None else "https"
    stub.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/dicom-web"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class DimseStub:
    """A DIMSE archive whose manners can be set.

    Parameters
    ----------
    images
        What it holds.
    sent
        What it sends of any series, in the place of that.
    hangs_up_after
        Images, or answers to a question, after which it ends the connection.
    gate
        Is waited for after the first image, or answer to a question.
    breaks
        So many questions end without an answer.
    status
        Answered to every question, in the place of the truth.
    password
        What has to be told, if anything.
    """

    images: list[Dataset] = field(default_factory=list)
    sent: list[Dataset] | None = None
    hangs_up_after: int | None = None
    gate: threading.Event | None = None
    breaks: int = 0
    status: int | None = None
    password: str | None = None
    stored: list[Dataset] = field(default_factory=list)
    questions: int = 0
    url: str = ""

    def find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        """Answer a question."""
        self.questions += 1
        if self.breaks:
            self.breaks -= 1
            event.assoc.abort()
            return
        if self.status is not None:
            yield self.status, None
            return
        level = ("STUDY", "SERIES", "IMAGE").index(event.identifier.QueryRetrieveLevel)
        uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        asked = {uid: event.identifier.get(uid) for uid in uids[:level]}
        inside = [one for one in self.images if all(one[uid].value == value for uid, value in asked.items() if value)]
        for n, one in enumerate({one[uids[level]].value: one for one in inside}.values()):
            if n == self.hangs_up_after:
                event.assoc.abort()
                return
            yield 0xFF00, _described(one)
            self._wait()

    def get(self, event: Any) -> Iterator[Any]:
        """Send a series over the connection that asked for it."""
        images = self.images if self.sent is None else self.sent
        yield len(images)
        for n, image in enumerate(images):
            if n == self.hangs_up_after:
                event.assoc.abort()
                return
            yield 0xFF00, image
            self._wait()

    def _wait(self) -> None:
        if self.gate is not None:
            self.gate.wait(_PATIENCE_S)

    def store(self, event: Any) -> int:
        """Take what is sent."""
        if self.status is not None:
            return self.status
        if len(self.stored) == self.hangs_up_after:
            event.assoc.abort()
        self.stored.append(event.dataset)
        return 0

    def lets_in(self, event: Any) -> tuple[bool, bytes | None]:
        """Look at the password."""
        return event.secondary_field == (self.password or "").encode(), None


@contextmanager
def dimse_stub(
    *images: Dataset,
    offers: tuple[str, ...] = ("find", "get"),
    tls: ssl.SSLContext | None = None,
    **manners: object,
) -> Iterator[DimseStub]:
    """Yield an archive with some images, and manners as of :class:`DimseStub`."""
    from pynetdicom import AE, evt

    stub = DimseStub(list(images), **manners)  # type: ignore[arg-type]
    entity = AE(ae_title="STUB")
    entity.require_calling_aet = ["LESIONLENS"]
    for name, number in (("find", 1), ("get", 3)):
        if name in offers:
            entity.add_supported_context(f"1.2.840.10008.5.1.4.1.2.2.{number}")
    entity.add_supported_context(MRImageStorage, scu_role=True, scp_role=True)
    handlers: list[Any] = [(evt.EVT_C_FIND, stub.find), (evt.EVT_C_GET, stub.get), (evt.EVT_C_STORE, stub.store)]
    if stub.password is not None:
        handlers.append((evt.EVT_USER_ID, stub.lets_in))
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
    assert server is not None
    stub.url = f"{'dicom' if tls is None else 'dicoms'}://STUB@127.0.0.1:{server.server_address[1]}"
    try:
        yield stub
    finally:
        server.shutdown()
