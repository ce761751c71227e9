"""Archives that speak DIMSE, the older protocol of DICOM: C-FIND, C-GET or C-MOVE, and C-STORE by pynetdicom."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pynetdicom import AE, AllStoragePresentationContexts, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from pynetdicom.presentation import PresentationContext

from lesionlens.errors import LesionLensError, PacsError
from lesionlens.io.boundary import PARSER_ERRORS
from lesionlens.pacs.address import Address
from lesionlens.pacs.connection import Level, Take
from lesionlens.pacs.credentials import Credentials

__all__ = ["DimseArchive"]

# Questions, and the two ways to bring images, each as of the model that begins with studies.
_FIND, _MOVE, _GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
# To answer at all, to agree on what is spoken, and between two messages: archives fetch old studies from tape.
_CONNECT_S, _AGREE_S, _MESSAGE_S = 10.0, 20.0, 60.0
# Statuses of answers.
_SUCCESS, _PENDING, _WARNINGS = 0x0000, (0xFF00, 0xFF01), range(0xB000, 0xC000)
_NO_SUCH_TITLE = 0xA801
# What is answered to an image that is not wanted any more.
_OUT_OF_RESOURCES = 0xA700
# An association agrees on so many contexts at most, one of which is the question.
_MOST_CONTEXTS = 127
_PLAIN = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
# Each in a context of its own, as an archive accepts one of each: RLE, JPEG, JPEG-LS, JPEG 2000, HTJ2K, deflated.
_COMPRESSED = (
    "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.1.99",
)  # fmt: skip
# MR, CT and PET, each also enhanced, secondary capture, segmentation, parametric map, reports: what is asked for where
# an archive does not say of which class its images are.
_USUAL = (
    "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.130",
    "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.30",
    "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.88.33",
)  # fmt: skip
_UNREADABLE: tuple[type[Exception], ...] = (*PARSER_ERRORS, InvalidDicomError)
_LEVELS: Mapping[Level, str] = {"study": "STUDY", "series": "SERIES", "image": "IMAGE"}


class DimseArchive:
    """A connection by DIMSE.

    Parameters
    ----------
    address
        The archive.
    credentials
        What it is told, or nothing.
    """

    def __init__(self, address: Address, credentials: Credentials | None) -> None:
        self._address, self._credentials = address, credentials
        self._idle: list[Association] = []
        self._made: list[Association] = []
        self._stopped = False

    def find(self, level: Level, keys: Mapping[str, str], told: Sequence[str]) -> Iterator[Dataset]:
        """Yield what matches; a connection that broke before the first answer is made again, once."""
        question = _question(level, keys, told)
        for again in (False, True):
            try:
                yield from self._answers_to(question)
                return
            except _BrokenBeforeError:
                if again or self._stopped:
                    raise self._broken_off() from None

    def _answers_to(self, question: Dataset) -> Iterator[Dataset]:
        asking, first, over = self._for_questions(), True, False
        try:
            for status, answer in asking.send_c_find(question, _FIND):
                code = status.get("Status")
                if code is None:
                    raise _BrokenBeforeError if first else self._broken_off()
                if code in _PENDING:
                    if answer is None:
                        raise PacsError(f"{self._address.name} answers what is no DICOM.", why="answer")
                    first = False
                    yield answer
                elif code != _SUCCESS:
                    raise PacsError(f"{self._address.name} refuses what was asked (0x{code:04X}).", why="refused")
            over = True
        except RuntimeError:  # it was gone before the question was sent
            raise _BrokenBeforeError from None
        finally:
            if over:
                self._idle.append(asking)
            else:  # answers that nobody waits for would be taken for those to the next question
                _abort(asking)

    def _for_questions(self) -> Association:
        """Return a connection on which no question is open: answers of one may be read while another is asked."""
        while self._idle:
            if (found := self._idle.pop()).is_established:
                return found
        return self._open([build_context(_FIND)])

    def fetch(self, study: str, series: str, classes: Sequence[str], take: Take) -> None:
        """Hand over the images of a series as the archive sends them."""
        keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        receiver = _Receiver(take)
        if self._address.retrieve == "move":
            with self._awaited(receiver):
                self._bring(_question("series", keys, ()), receiver, [build_context(_MOVE)])
        else:
            storing = _storage_contexts(sorted(set(classes)))
            self._bring(_question("series", keys, ()), receiver, [build_context(_GET), *storing])

    def _bring(self, question: Dataset, receiver: _Receiver, contexts: Sequence[PresentationContext]) -> None:
        model = contexts[0].abstract_syntax
        roles = [build_role(uid, scp_role=True) for uid in dict.fromkeys(str(c.abstract_syntax) for c in contexts[1:])]
        asking = self._open(contexts, roles, [(evt.EVT_C_STORE, receiver)], refused=self._no_retrieval)
        receiver.asking = asking
        code: int | None = None
        try:
            if model == _MOVE:
                answers = asking.send_c_move(question, self._address.calling, _MOVE)
            else:
                answers = asking.send_c_get(question, _GET)
            for status, _ in answers:
                code = status.get("Status")
        except (ValueError, RuntimeError):
            if receiver.error is None:
                raise self._no_retrieval() from None
        finally:
            _end(asking) if receiver.error is None else _abort(asking)
        if receiver.error is not None:
            raise receiver.error
        if code is None:
            raise self._broken_off()
        if code == _NO_SUCH_TITLE:
            raise PacsError(
                f"{self._address.name} does not know where {self._address.calling} is; have it entered there with this"
                f" machine and port {self._address.listen}, or use retrieve=get.",
                why="refused",
            )
        if code != _SUCCESS and code not in _WARNINGS:  # of the latter the images that came are counted
            raise PacsError(f"{self._address.name} does not send the series (0x{code:04X}).", why="refused")

    @contextmanager
    def _awaited(self, receiver: _Receiver) -> Iterator[None]:
        """Listen for the time of the block; only images that were asked for are taken."""
        if self._address.scheme == "dicoms":
            raise PacsError("C-MOVE would come unencrypted; use retrieve=get with dicoms://.")
        entity = self._entity()
        entity.supported_contexts = AllStoragePresentationContexts
        for context in entity.supported_contexts:
            context.transfer_syntax = [*_PLAIN, *_COMPRESSED]
        try:
            server = entity.start_server(
                ("127.0.0.1" if self._address.is_here else "", self._address.listen),
                block=False,
                evt_handlers=[(evt.EVT_C_STORE, receiver)],
            )
        except OSError as error:
            raise PacsError(
                f"Port {self._address.listen} of this machine cannot be listened at: {error.strerror}; give another"
                " one that the archive knows (listen=)."
            ) from None
        assert server is not None  # it is told not to block
        try:
            yield
        finally:
            server.shutdown()

    def store(self, paths: Sequence[Path]) -> Iterator[Path]:
        """Store files, and yield each when the archive has it."""
        kind_of = {path: _kind_of(path) for path in paths}
        kinds = list(dict.fromkeys(kind_of.values()))
        for start in range(0, len(kinds), _MOST_CONTEXTS):
            some = kinds[start : start + _MOST_CONTEXTS]
            contexts = [build_context(kind, list(syntaxes)) for kind, syntaxes in some]
            first = next(one for one in paths if kind_of[one] in some)
            asking = self._open(contexts, refused=partial(self._no_kind, first))
            try:
                for path in (one for one in paths if kind_of[one] in some):
                    self._store(asking, path)
                    yield path
            finally:
                _end(asking)

    def _store(self, asking: Association, path: Path) -> None:
        name = self._address.name
        try:
            code = asking.send_c_store(path).get("Status")
        except ValueError:
            raise self._no_kind(path) from None
        except RuntimeError:
            code = None
        if code is None:
            raise PacsError(f"The connection to {name} broke off while {path.name} was sent.", why="incomplete")
        if code != _SUCCESS and code not in _WARNINGS:
            raise PacsError(f"{name} did not store {path.name} (reason {code:04X}).", why="refused")

    def _no_kind(self, path: Path) -> PacsError:
        return PacsError(
            f"{self._address.name} does not take objects of the kind of {path.name}; ask for another format, or have it"
            " allowed there.",
            why="refused",
        )

    def stop(self) -> None:
        """Abort every connection, and wake up whoever waits for its messages."""
        self._stopped = True
        for asking in self._made:
            if asking.is_established:
                _abort(asking)
                asking.dimse.msg_queue.put((None, None))  # it would wait on for what was aborted

    def close(self) -> None:
        """End the connection."""
        while self._idle:
            _end(self._idle.pop())

    def _entity(self) -> AE:
        entity = AE(ae_title=self._address.calling)
        entity.connection_timeout, entity.acse_timeout = _CONNECT_S, _AGREE_S
        # A connection whose answers are being read may say nothing for long, while others are asked.
        entity.dimse_timeout, entity.network_timeout = _MESSAGE_S, None
        return entity

    def _open(
        self,
        contexts: Sequence[PresentationContext],
        more: Sequence[Any] = (),
        handlers: Sequence[tuple[Any, Callable[..., Any]]] = (),
        refused: Callable[[], PacsError] | None = None,
    ) -> Association:
        negotiated = [*more, *_identity(self._credentials)]
        encrypted = self._address.scheme == "dicoms"
        asking = self._entity().associate(
            self._address.host,
            self._address.port,
            contexts=list(contexts),
            ae_title=self._address.title,
            ext_neg=negotiated,
            tls_args=(self._encryption(), self._address.host) if encrypted else None,
            evt_handlers=list(handlers),
        )
        if asking.is_established:
            self._made = [one for one in self._made if one.is_established] + [asking]
            return asking
        if asking.rejected_contexts and refused is not None:  # it would speak, but of nothing that was asked for
            raise refused()
        raise self._why_not(asking)

    def _encryption(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._address.ca or None)
        except OSError:
            raise PacsError("The file with certificates (ca=) cannot be read; check its path.") from None

    def _why_not(self, asking: Association) -> PacsError:
        """Say why there is no connection; the library tells a log alone."""
        name = self._address.name
        if asking.is_rejected:
            primitive = asking.acceptor.primitive
            reason = getattr(primitive, "reason_str", "").rstrip(".").lower()
            who = "user, password or AE titles" if self._credentials else "AE titles"
            return PacsError(
                f"{name} refuses the connection ({reason}): it must know {self._address.calling} (calling=). Check the"
                f" {who}.",
                why="credentials" if self._credentials else "refused",
            )
        try:
            with socket.create_connection((self._address.host, self._address.port), _CONNECT_S) as plain:
                if self._address.scheme == "dicoms":
                    with self._encryption().wrap_socket(plain, server_hostname=self._address.host):
                        pass
        except ssl.SSLCertVerificationError as error:
            return PacsError(
                f"The certificate of {name} is not trusted: {error.verify_message}. Name the file with that of its"
                " authority: ?ca=FILE behind the address",
                why="certificate",
            )
        except ssl.SSLError:
            return PacsError(f"No encrypted connection could be made to {name}; check the port.", why="certificate")
        except OSError:
            return PacsError(f"{name} cannot be reached; check address and network.", why="unreachable")
        return PacsError(f"{name} does not answer as DICOM does; check address and port.", why="answer")

    def _broken_off(self) -> PacsError:
        return PacsError(
            f"The connection to {self._address.name} broke off; nothing was kept. Try again.", why="incomplete"
        )

    def _no_retrieval(self) -> PacsError:
        way = self._address.retrieve
        other = "move" if way == "get" else "get"
        return PacsError(
            f"{self._address.name} does not offer C-{way.upper()}; try retrieve={other} behind its address.",
            why="refused",
        )


class _BrokenBeforeError(Exception):
    """The connection ended before anything was answered."""


class _Receiver:
    """Hands over the images that arrive; whatever goes wrong with one ends the transfer.

    Parameters
    ----------
    take
        Is called with each.
    """

    def __init__(self, take: Take) -> None:
        self._take, self._lock = take, Lock()
        self.error: BaseException | None = None
        self.asking: Association | None = None

    def __call__(self, event: Any) -> int:
        """Take an image."""
        with self._lock:  # by C-MOVE they may come over several connections
            if self.error is not None:
                return _OUT_OF_RESOURCES
            try:
                self._take(dcmread(DicomBytesIO(event.encoded_dataset())))
            except LesionLensError as error:
                self.error = error
            except _UNREADABLE:
                self.error = PacsError("The archive sent an image that cannot be read; nothing was kept.", why="answer")
            except BaseException as error:  # the library would swallow it, Ctrl-C too
                self.error = error
        if self.error is not None and self.asking is not None:
            _abort(self.asking)
            self.asking.dimse.msg_queue.put((None, None))  # it would wait on for what was aborted
        return _SUCCESS if self.error is None else _OUT_OF_RESOURCES


def _question(level: Level, keys: Mapping[str, str], told: Sequence[str]) -> Dataset:
    question = Dataset()
    question.SpecificCharacterSet = "ISO_IR 192"
    question.QueryRetrieveLevel = _LEVELS[level]
    for word in told:
        setattr(question, word, None)
    for word, value in keys.items():
        setattr(question, word, value)
    return question


def _storage_contexts(classes: Sequence[str]) -> list[PresentationContext]:
    kinds = list(filter(None, classes)) or list(_USUAL)
    plain = [build_context(kind, list(_PLAIN)) for kind in kinds]
    packed = [build_context(kind, syntax) for syntax in _COMPRESSED for kind in kinds]
    return (plain + packed)[:_MOST_CONTEXTS]


def _identity(credentials: Credentials | None) -> list[UserIdentityNegotiation]:
    if credentials is None or credentials.token:
        return []
    found = UserIdentityNegotiation()
    found.user_identity_type = 2
    found.primary_field, found.secondary_field = credentials.user.encode(), credentials.password.encode()
    return [found]


def _kind_of(path: Path) -> tuple[str, tuple[str, ...]]:
    """Return the class of a file that was looked into before, and the transfer syntaxes in which it can be sent."""
    header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    syntax = str(header.file_meta.TransferSyntaxUID)
    return str(header.SOPClassUID), _PLAIN if syntax in _PLAIN else (syntax,)


def _end(asking: Association) -> None:
    if asking.is_established:
        asking.release()
    else:
        _abort(asking)


def _abort(asking: Association) -> None:
    with suppress(RuntimeError, OSError):
        asking.abort()
