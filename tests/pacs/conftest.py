"""What tests of archives share: one real archive for all of them, and a keyring of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from archives import PASSWORD, USER, MemoryKeyring, Orthanc, own_keyring, running_orthanc
from lesionlens.pacs import parse_address
from lesionlens.pacs.credentials import Credentials, remember


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Return a real archive; each test looks for its own study in it."""
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as found:
        yield found


@pytest.fixture(autouse=True)
def keyring(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryKeyring]:
    """Return an empty keyring, and take away what the environment says."""
    for name in ("URL", "USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"LESIONLENS_PACS_{name}", raising=False)
    with own_keyring() as ours:
        yield ours


@pytest.fixture
def known(orthanc: Orthanc, keyring: MemoryKeyring) -> Orthanc:
    """Return the real archive, whose password is in the keyring."""
    remember(parse_address(orthanc.web), Credentials(USER, PASSWORD))
    return orthanc
