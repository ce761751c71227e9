"""The small interface behind which archives of both kinds stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from lesionlens.errors import PacsError
from lesionlens.io.boundary import quiet
from lesionlens.pacs.address import Address
from lesionlens.pacs.credentials import credentials_for
from lesionlens.pacs.packages import require

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["Archive", "Level", "Take", "connected"]

#: What a question is about.
Level = Literal["study", "series", "image"]

#: Takes an image as it comes; what it raises ends the transfer.
Take = Callable[["Dataset"], None]


class Archive(Protocol):
    """A connection to an archive."""

    def find(self, level: Level, keys: Mapping[str, str], told: Sequence[str]) -> Iterator[Dataset]:
        """Yield what matches, each once; UIDs among the keys say of which study and series it is.

        Parameters
        ----------
        level
            Studies, series or images.
        keys
            Attributes and what they are to be.
        told
            Attributes that are wanted in the answer.
        """
        ...

    def fetch(self, study: str, series: str, classes: Sequence[str], take: Take) -> None:
        """Hand over the images of a series, which are of these SOP classes, one after the other."""
        ...

    def store(self, paths: Sequence[Path]) -> Iterator[Path]:
        """Store DICOM files, and yield each when the archive has it."""
        ...

    def stop(self) -> None:
        """End what another thread waits for, as far as that can be done; the connection is of no use afterwards."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


@contextmanager
def connected(address: Address) -> Iterator[Archive]:
    """Yield a connection to an archive; its libraries are kept from writing what is asked for into logs.

    Raises
    ------
    PacsError
        If the packages are missing, or a password would be sent for others to read.
    """
    require(*(("dicomweb_client",) if address.is_web else ("pynetdicom",)))
    if address.ca and not Path(address.ca).is_file():
        raise PacsError(f"There is no file {Path(address.ca).name} with certificates (ca=); check its path.")
    archive: Archive
    with quiet():
        credentials = credentials_for(address)
        if address.is_web:
            from lesionlens.pacs.dicomweb import WebArchive

            archive = WebArchive(address, credentials)
        else:
            from lesionlens.pacs.dimse import DimseArchive

            archive = DimseArchive(address, credentials)
        try:
            yield archive
        finally:
            archive.close()
