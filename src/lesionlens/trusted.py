"""The bundles that a person trusts for good, by the hash of their files, in the user's data folder."""

from __future__ import annotations

import json
from pathlib import Path

from lesionlens.errors import BundleError, OutputError
from lesionlens.io.atomic import atomic_path
from lesionlens.registration import data_folder

__all__ = ["any_remembered", "remember", "remembered"]


def any_remembered() -> bool:
    """Say whether any bundle was ever trusted for good; hashing a large one takes a while."""
    return _store().is_file()


def remembered() -> frozenset[str]:
    """Return the hashes of the bundles that a person trusts for good.

    Raises
    ------
    BundleError
        If the file of trusted bundles is damaged.
    """
    try:
        content = json.loads(_store().read_text(encoding="utf-8"))
        return frozenset(content["sha256"])
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{_store()}, the list of trusted bundles, cannot be read ({error}); move it away, and trust them again."
        ) from None


def remember(sha256: str) -> None:
    """Trust the bundle whose files have this hash from now on.

    Raises
    ------
    OutputError
        If that cannot be written.
    """
    known = sorted(remembered() | {sha256.lower()})
    try:
        _store().parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(_store(), overwrite=True) as temporary:
            temporary.write_text(json.dumps({"schema": 1, "sha256": known}, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"Cannot write {_store()}: {error}. Name a folder that can be written in LESIONLENS_DATA."
        ) from error


def _store() -> Path:
    return data_folder() / "trusted-bundles.json"
