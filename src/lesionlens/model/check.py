"""What a bundle would do, what it needs and what is unusual about it, before anybody trusts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lesionlens.errors import BundleError
from lesionlens.model.bundle import Bundle, load_permitted
from lesionlens.model.catalogue import BundleInfo, describe, hash_files, locate, opened, require_configs
from lesionlens.model.config import bundle_concerns
from lesionlens.model.permission import Permission
from lesionlens.model.safety import Concern
from lesionlens.trusted import remembered

__all__ = ["BundleCheck", "check_bundle"]


@dataclass(frozen=True, eq=False)
class BundleCheck:
    """What was found about a bundle.

    Parameters
    ----------
    info
        What its metadata say, or what was found out where they are silent.
    sha256
        Hash of all its files, by which it can be trusted.
    trusted
        Whether a person has trusted this hash for good, or the bundle ships with LesionLens.
    concerns
        What in its config is not known to be harmless.
    bundle
        The bundle, built of the harmless parts of its config; None where there are concerns, or building failed.
    problem
        Why it could not be built; empty where it could, or was not tried.
    """

    info: BundleInfo
    sha256: str
    trusted: bool
    concerns: tuple[Concern, ...]
    bundle: Bundle | None
    problem: str = ""


def check_bundle(name_or_path: str | Path) -> BundleCheck:
    """Judge a bundle, and build it if all that would be executed is known to be harmless.

    Raises
    ------
    BundleError
        If there is no such bundle, or its metadata or config cannot be read.
    """
    path, embedded = locate(name_or_path)
    with opened(path) as folder:
        require_configs(folder, path)
        info = describe(folder, embedded=embedded, root=path)
        sha256 = hash_files(folder)
        concerns = bundle_concerns(folder)
    trusted = embedded or sha256 in remembered()
    if concerns and not trusted:
        return BundleCheck(info, sha256, trusted, concerns, None)
    try:
        bundle = load_permitted(Permission(path, embedded, trusted=trusted))
    except BundleError as error:
        return BundleCheck(info, sha256, trusted, concerns, None, str(error))
    return BundleCheck(bundle.info, sha256, trusted, concerns, bundle)
