"""Passwords: where they come from, and that they go nowhere else."""

from __future__ import annotations

import keyring as keyrings
import pytest
from keyring.backends.fail import Keyring as NoKeyring

from archives import MemoryKeyring
from lesionlens.errors import PacsError
from lesionlens.pacs import parse_address
from lesionlens.pacs.credentials import Credentials, credentials_for, forget, remember

HOSPITAL = parse_address("https://pacs.example/dicom-web")
ANN = Credentials("ann", "right horse")


def test_the_keyring_gives_back_what_it_was_given(keyring: MemoryKeyring) -> None:
    """Anything may be in a password; the path of an archive is not part of who it is for, its port is."""
    odd = Credentials("ann:b", 'a"\\\n{ß')

    remember(HOSPITAL, odd)

    assert credentials_for(parse_address("https://pacs.example/other")) == odd
    assert credentials_for(parse_address("https://pacs.example:8443/dicom-web")) is None
    assert forget(HOSPITAL)
    assert credentials_for(HOSPITAL) is None
    assert not forget(HOSPITAL)


def test_the_environment_goes_first_and_names_its_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest from elsewhere must not have the password sent to another machine."""
    remember(HOSPITAL, ANN)
    monkeypatch.setenv("LESIONLENS_PACS_PASSWORD", "other")
    with pytest.raises(PacsError, match="LESIONLENS_PACS_URL"):
        credentials_for(HOSPITAL)
    monkeypatch.setenv("LESIONLENS_PACS_URL", "https://pacs.example")
    monkeypatch.setenv("LESIONLENS_PACS_USER", "ben")

    assert credentials_for(HOSPITAL) == Credentials("ben", "other")
    assert credentials_for(parse_address("https://evil.example/dicom-web")) is None
    assert credentials_for(parse_address("http://pacs.example/dicom-web")) is None


@pytest.mark.parametrize("address", ["http://pacs.example/dicom-web", "dicom://A@pacs.example:104"])
def test_nothing_is_sent_that_others_could_read(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain connections go through every machine on the way; within this one nobody listens."""
    monkeypatch.setenv("LESIONLENS_PACS_TOKEN", "token")
    monkeypatch.setenv("LESIONLENS_PACS_URL", address)

    with pytest.raises(PacsError, match="unencrypted") as caught:
        credentials_for(parse_address(address))
    with pytest.raises(PacsError, match="unencrypted"):
        remember(parse_address(address), ANN)

    assert caught.value.why == "credentials"
    here = parse_address("http://localhost:8042/x")
    monkeypatch.setenv("LESIONLENS_PACS_URL", "http://localhost:8042")
    assert credentials_for(here) == Credentials(token="token")


def test_credentials_show_nothing() -> None:
    """They can end in a traceback."""
    assert repr(ANN) == "Credentials()"


def test_a_machine_without_a_keyring_says_what_to_do() -> None:
    """Servers have none; archives without passwords work all the same."""
    keyrings.set_keyring(NoKeyring())

    assert credentials_for(HOSPITAL) is None
    with pytest.raises(PacsError, match="LESIONLENS_PACS_PASSWORD") as caught:
        remember(HOSPITAL, ANN)
    assert "right horse" not in str(caught.value)


def test_a_strange_entry_is_named(keyring: MemoryKeyring) -> None:
    """Somebody may have edited it."""
    keyring.set_password("lesionlens", HOSPITAL.origin, "right horse")

    with pytest.raises(PacsError, match="something else") as caught:
        credentials_for(HOSPITAL)
    assert "right horse" not in str(caught.value)
