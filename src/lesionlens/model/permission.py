"""Whether a bundle from outside may be executed: it is harmless, or a person trusts it, now or by its hash.

Nothing of a bundle is executed here. One changed byte is another bundle.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lesionlens.errors import BundleError, UntrustedBundleError
from lesionlens.model.catalogue import describe, hash_files, locate, opened, require_configs
from lesionlens.model.installed import check_pin
from lesionlens.trusted import any_remembered, remembered

if TYPE_CHECKING:
    from lesionlens.model.safety import Concern

__all__ = ["Permission", "Trust", "examine", "permitted"]

#: True: this bundle, whatever it is. A SHA-256: the bundle whose files have this hash. False: none but the remembered.
Trust = bool | str

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
#: How many concerns a message lists; ``lesionlens bundles check`` lists all.
_LISTED = 3


@dataclass(frozen=True)
class Permission:
    """A bundle that may be executed.

    Parameters
    ----------
    path
        Its folder or zip file.
    embedded
        Whether it ships with LesionLens.
    trusted
        Whether all of its config may be executed; otherwise only what is judged to be harmless, in the same breath as
        it is built.
    """

    path: Path
    embedded: bool
    trusted: bool


def permitted(name_or_path: str | Path, *, trust: Trust = False) -> Permission:
    """Find a bundle that may be executed, before any other work.

    Raises
    ------
    BundleError
        If there is none, or ``trust`` is a text that is no SHA-256.
    UntrustedBundleError
        If it comes from outside, is not known to be harmless, and not trusted; the message says what it would execute.
    """
    path, embedded = locate(name_or_path)
    if path.is_dir():
        require_configs(path, path)
    if embedded:
        return Permission(path, embedded, trusted=True)
    check_pin(path)  # it may have been named by its path
    with opened(path) as folder:
        require_configs(folder, path)
        describe(folder, root=path)  # what LesionLens cannot use at all is said before anybody thinks about trust
        sha256 = hash_files(folder) if (isinstance(trust, str) and trust) or any_remembered() else ""
        trusted = trust is True or sha256 in remembered() or _trusts(trust, sha256, path)
        concerns = _concerns(folder)
        if concerns and not trusted:
            raise UntrustedBundleError(_refusal(path, concerns, sha256 or hash_files(folder)))
    # Trust is for what was not judged to be harmless; where all is, the rest of the config need not run at all.
    return Permission(path, embedded, trusted=bool(concerns))


def _trusts(trust: Trust, sha256: str, path: Path) -> bool:
    """Compare a hash that a person named with a bundle's own."""
    if not isinstance(trust, str) or not trust:
        return False
    if not _SHA256.fullmatch(trust):
        raise BundleError(f"Expected a SHA-256 of 64 hexadecimal digits to trust {path}; found {trust!r}.")
    if trust.lower() != sha256:
        raise UntrustedBundleError(
            f"Bundle {path} is not the one that is trusted: its files have the hash {sha256}, not {trust.lower()}."
            " They have changed, or this is another bundle; look at it with 'lesionlens bundles check'."
        )
    return True


def _refusal(path: Path, concerns: tuple[Concern, ...], sha256: str) -> str:
    listed = "; ".join(str(one) for one in concerns[:_LISTED])
    more = f"; and {len(concerns) - _LISTED} more" if len(concerns) > _LISTED else ""
    return (
        f"Bundle {path} comes from outside LesionLens and would execute what is not known to be harmless:"
        f" {listed}{more}. 'lesionlens bundles check' shows more. If you know where it comes from, allow it with"
        f" --trust (trust=True in Python), or, to have it remembered, with --trust {sha256}."
    )


def examine(path: Path) -> tuple[str, tuple[Concern, ...]]:
    """Return the hash of a bundle's files, and what in its config is not known to be harmless; nothing is executed.

    Parameters
    ----------
    path
        Folder or zip file.
    """
    with opened(path) as folder:
        require_configs(folder, path)
        return hash_files(folder), _concerns(folder)


def _concerns(folder: Path) -> tuple[Concern, ...]:
    from lesionlens.model.config import bundle_concerns  # loads torch and MONAI

    try:
        return bundle_concerns(folder)
    except BundleError:
        return ()  # what is damaged is named when the bundle is loaded
