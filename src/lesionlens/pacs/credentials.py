"""Who asks: user and password, or a token, from the keyring of the system or from environment variables, never a file.

What the environment holds is for the one archive that it names; otherwise whoever writes a manifest could have the
password sent to a machine of their own.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lesionlens.errors import PacsError
from lesionlens.pacs.address import Address, parse_address
from lesionlens.pacs.packages import require

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

__all__ = ["USER", "Credentials", "credentials_for", "forget", "remember"]

#: Environment variables: for which archive, user and password, or a bearer token in their place.
URL, USER = "LESIONLENS_PACS_URL", "LESIONLENS_PACS_USER"
PASSWORD, TOKEN = "LESIONLENS_PACS_PASSWORD", "LESIONLENS_PACS_TOKEN"

_SERVICE = "lesionlens"


@dataclass(frozen=True)
class Credentials:
    """User and password, or a token; neither shows what it holds."""

    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


def credentials_for(address: Address) -> Credentials | None:
    """Return what an archive is to be told, or nothing.

    Raises
    ------
    PacsError
        If others could listen: the archive is elsewhere, and the connection not encrypted.
    """
    found = _of_environment(address) or _of_keyring(address)
    if found is not None and not address.is_private:
        raise PacsError(
            f"There is a password for {address.name}, which would be sent to it unencrypted; use"
            f" {address.scheme}s://, or remove the password with: lesionlens pacs logout",
            why="credentials",
        )
    return found


def remember(address: Address, credentials: Credentials) -> None:
    """Store user and password in the system's keyring.

    Raises
    ------
    PacsError
        If there is none, it refuses, or the password could never be sent.
    """
    if not address.is_private:
        raise PacsError(
            f"A password would be sent to {address.name} unencrypted; use {address.scheme}s://.", why="credentials"
        )
    value = json.dumps({"user": credentials.user, "password": credentials.password})
    _call("set_password", _SERVICE, address.origin, value)


def forget(address: Address) -> bool:
    """Remove user and password from the keyring; say whether they were there.

    Raises
    ------
    PacsError
        If there is no keyring, or it refuses.
    """
    if _call("get_password", _SERVICE, address.origin) is None:
        return False
    _call("delete_password", _SERVICE, address.origin)
    return True


def _of_environment(address: Address) -> Credentials | None:
    user, password, token = (os.environ.get(name, "") for name in (USER, PASSWORD, TOKEN))
    if not password and not token:
        return None
    if not os.environ.get(URL):
        given = PASSWORD if password else TOKEN
        raise PacsError(f"{given} is set, but not for which archive; set {URL} to its address.", why="credentials")
    if parse_address(os.environ[URL]).origin != address.origin:
        return None
    return Credentials(user, password, token)


def _of_keyring(address: Address) -> Credentials | None:
    require("keyring")
    from keyring.errors import KeyringError

    try:
        found = _keyring().get_password(_SERVICE, address.origin)
    except KeyringError:  # none here, or locked: the archive may need none, and says so where it does
        return None
    try:
        value = json.loads(found or "null")
        return None if value is None else Credentials(str(value["user"]), str(value["password"]))
    except (ValueError, TypeError, KeyError):
        raise PacsError(
            f"The keyring holds something else than user and password for {address.name}; store them again with:"
            " lesionlens pacs login",
            why="credentials",
        ) from None


def _call(name: str, *values: str) -> Any:
    require("keyring")
    from keyring.errors import KeyringError

    try:
        return getattr(_keyring(), name)(*values)
    except KeyringError:  # whose text could quote what was to be stored
        raise PacsError(
            f"The system's keyring is missing, locked or refuses; unlock it, or use {URL}, {USER} and {PASSWORD}.",
            why="credentials",
        ) from None


def _keyring() -> KeyringBackend:
    import keyring

    return keyring.get_keyring()
