"""Archives that speak DICOMweb: QIDO-RS, WADO-RS and STOW-RS by dicomweb-client, made strict about what comes back.

The library takes a message that ends early for a shorter one, asks again whatever was asked, and follows wherever it is
sent. Here a message must have its end, only questions are asked again, and nothing is followed.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.web import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.util.retry import Retry

from lesionlens.errors import LesionLensError, PacsError
from lesionlens.io.boundary import PARSER_ERRORS
from lesionlens.pacs.address import Address
from lesionlens.pacs.connection import Level, Take
from lesionlens.pacs.credentials import Credentials

__all__ = ["WebArchive"]

# To answer at all, and between two packets of an answer: archives fetch old studies from tape.
_CONNECT_S, _READ_S = 10.0, 60.0
# Questions that failed for the moment are asked again, after 0.3 and 0.6 s.
_AGAIN, _WAIT_S, _FOR_THE_MOMENT = 2, 0.3, (429, 502, 503, 504)
# Answers at a time; an archive may give fewer.
_PAGE = 200
# More than any message would need for the line that ends it.
_TAIL = 512
# So much comes between two looks at whether somebody has cancelled.
_CHUNK = 1 << 17
_AS_STORED = (("application/dicom", "*"),)
_UNREADABLE: tuple[type[Exception], ...] = (*PARSER_ERRORS, InvalidDicomError)
_UID_OF: Mapping[Level, str] = {
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "image": "SOPInstanceUID",
}


class WebArchive:
    """A connection by DICOMweb.

    Parameters
    ----------
    address
        The archive.
    credentials
        What it is told, or nothing.
    """

    def __init__(self, address: Address, credentials: Credentials | None) -> None:
        self._address, self._session = address, _session(address, credentials)
        url = f"{address.origin}{address.path}"
        self._client = DICOMwebClient(url, self._session, chunk_size=_CHUNK, timeout=(_CONNECT_S, _READ_S))
        self._client.set_http_retry_params(retry=False)  # it would send results again, too

    def find(self, level: Level, keys: Mapping[str, str], told: Sequence[str]) -> Iterator[Any]:
        """Yield what matches, page by page."""
        asked = dict(keys)
        study = asked.pop("StudyInstanceUID", None) if level != "study" else None
        series = asked.pop("SeriesInstanceUID", None) if level == "image" else None
        search: Callable[..., list[dict[str, Any]]]
        if level == "study":
            search = self._client.search_for_studies
        elif level == "series":
            search = partial(self._client.search_for_series, study)
        else:
            search = partial(self._client.search_for_instances, study, series)

        def page(offset: int, limit: int | None = _PAGE) -> list[Dataset]:
            place: dict[str, Any] = {} if limit is None else {"limit": limit, "offset": offset}
            with self._answers():
                found = search(fields=list(told), search_filters=asked, **place)
                return [Dataset.from_json(one) for one in found]

        yield from _distinct(page, _UID_OF[level])

    def fetch(self, study: str, series: str, classes: Sequence[str], take: Take) -> None:  # noqa: ARG002 - DIMSE asks
        """Hand over the images of a series as the archive has them."""
        with self._answers(broken=True):
            for image in self._client.iter_series(study, series, media_types=_AS_STORED):
                take(image)

    def store(self, paths: Sequence[Path]) -> Iterator[Path]:
        """Store files, each asked for once: what an archive did whose answer was lost is not known."""
        for path in paths:
            self._store(path)
            yield path

    def _store(self, path: Path) -> None:
        with self._answers():
            image = dcmread(path)
            said = self._client.store_instances([image])
            stored = [item.ReferencedSOPInstanceUID for item in said.get("ReferencedSOPSequence") or ()]
            if said.get("FailedSOPSequence") or (stored and image.SOPInstanceUID not in stored):
                reasons = [f"{item.get('FailureReason', 0):04X}" for item in said.get("FailedSOPSequence") or ()]
                why = f" (reason {', '.join(reasons)})" if reasons else ""
                raise PacsError(f"{self._address.name} did not store {path.name}{why}.", why="refused")

    def stop(self) -> None:
        """Let whoever waits for an answer wait: it ends with the next packet, or after a minute without one."""
        self._session.close()

    def close(self) -> None:
        """End the connection."""
        self._session.close()

    @contextmanager
    def _answers(self, *, broken: bool = False) -> Iterator[None]:
        """Say in one sentence what went wrong; the libraries' own would quote what was asked, and by whom.

        What cannot be understood is ``broken`` where images come, and else no DICOMweb at all.
        """
        name = self._address.name
        try:
            yield
        except LesionLensError:
            raise
        except requests.HTTPError as error:
            raise _refusal(name, error.response.status_code if error.response is not None else 0) from None
        except requests.exceptions.SSLError as error:
            raise PacsError(
                f"The certificate of {name} is not trusted: {_certificate(error)}. Name the file with that of its"
                " authority: ?ca=FILE behind the address",
                why="certificate",
            ) from None
        except requests.TooManyRedirects:
            raise PacsError(f"{name} sends elsewhere; give the address itself.", why="answer") from None
        except requests.Timeout:
            raise PacsError(f"{name} does not answer; try again later.", why="unreachable") from None
        except requests.exceptions.InvalidJSONError:
            raise _no_dicomweb(name) from None
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError, _BrokenError):
            raise _broken_off(name) from None
        except requests.RequestException:
            raise PacsError(f"{name} cannot be reached; check address and network.", why="unreachable") from None
        except _UNREADABLE:
            raise (_broken_off(name) if broken else _no_dicomweb(name)) from None


class _BrokenError(Exception):
    """A message ended without its end."""


class _Adapter(HTTPAdapter):
    """Leaves ``*`` as it is, which a URL may hold: Orthanc, for one, does not decode what is looked for."""

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:
        return str(super().request_url(request, proxies)).replace("%2A", "*")


class _Token(AuthBase):
    """Sends a bearer token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Nobody(AuthBase):
    """Sends nothing; without it, requests would send what it finds in a .netrc, encrypted or not."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _session(address: Address, credentials: Credentials | None) -> requests.Session:
    session = requests.Session()
    again = Retry(
        total=_AGAIN,
        backoff_factor=_WAIT_S,
        status_forcelist=_FOR_THE_MOMENT,
        allowed_methods={"GET"},
        raise_on_status=False,
        respect_retry_after_header=False,  # it can say hours
    )
    session.mount(address.scheme + "://", _Adapter(max_retries=again))
    session.max_redirects = 0
    session.trust_env = not address.is_here  # a proxy would be told the password
    session.verify = address.ca or True
    session.hooks["response"].append(_whole)
    if credentials is None:
        session.auth = _Nobody()
    elif credentials.token:
        session.auth = _Token(credentials.token)
    else:
        session.auth = HTTPBasicAuth(credentials.user.encode(), credentials.password.encode())
    return session


def _whole(response: requests.Response, *_args: Any, **_words: Any) -> requests.Response:
    """Make a message of several parts fail that does not end as it said that it would."""
    kind, _, more = response.headers.get("Content-Type", "").partition(";")
    named = [
        part.partition("=")[2].strip().strip('"') for part in more.split(";") if part.strip().startswith("boundary=")
    ]
    if kind.strip().lower() != "multipart/related" or not named:
        return response
    end, original = f"--{named[0]}--".encode(), response.iter_content

    def iter_content(*args: Any, **words: Any) -> Iterator[bytes]:
        tail = b""
        for chunk in original(*args, **words):
            tail = (tail + chunk)[-_TAIL:]
            yield chunk
        if not tail.rstrip(b"\r\n").endswith(end):
            raise _BrokenError

    response.iter_content = iter_content  # type: ignore[method-assign]  # where the library reads from
    return response


def _distinct(page: Callable[..., list[Any]], uid: str) -> Iterator[Any]:
    """Yield the answers of all pages, each once, also of archives that give fewer at a time, or all at once."""
    seen: set[str] = set()
    offset, full = 0, False
    while True:
        answers = page(offset)
        new = [one for one in answers if str(one.get(uid)) not in seen]
        if answers and not new and full:  # it gives the first page again and again: ask for all
            answers = page(0, None)
            new, offset = [one for one in answers if str(one.get(uid)) not in seen], -1
        for one in new:
            if str(one.get(uid)) not in seen:
                seen.add(str(one.get(uid)))
                yield one
        if not new or offset < 0:
            return
        offset, full = offset + len(answers), len(answers) == _PAGE


def _refusal(name: str, status: int) -> PacsError:
    if status == requests.codes.unauthorized:
        return PacsError(
            f"{name} does not accept user and password, or wants some; log in (lesionlens pacs login).",
            why="credentials",
        )
    if status == requests.codes.forbidden:
        return PacsError(f"{name} does not allow this user to do this.", why="credentials")
    if status == requests.codes.not_found:
        return PacsError(f"{name} has no such thing, or no DICOMweb at this path; check the address.", why="missing")
    if 300 <= status < 400:
        return PacsError(f"{name} sends elsewhere; give the address itself.", why="answer")
    if status in _FOR_THE_MOMENT:
        return PacsError(f"{name} is busy or away (HTTP {status}); try again later.", why="unreachable")
    return PacsError(f"{name} refuses what was asked (HTTP {status}).", why="refused")


def _broken_off(name: str) -> PacsError:
    return PacsError(f"The transfer from {name} broke off; nothing was kept. Try again.", why="incomplete")


def _no_dicomweb(name: str) -> PacsError:
    return PacsError(f"{name} does not answer as DICOMweb does; check the address.", why="answer")


def _certificate(error: BaseException) -> str:
    """Return what is wrong with a certificate, from the depth of the errors around it."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLCertVerificationError):
            return found.verify_message
        inside = [*found.args, getattr(found, "reason", None), found.__context__]
        found = next((one for one in inside if isinstance(one, BaseException)), None)
    return "no encrypted connection could be made"
