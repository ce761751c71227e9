"""Which package a bundle lacks, and the line that installs it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from lesionlens.errors import BundleError, MissingPackageError
from lesionlens.model.metadata import read_json

__all__ = ["missing_package", "stated_monai_version"]

# What MONAI says of a package that it looked for, and Python of a module.
_NAMED = re.compile(r"No module named '([\w.]+)'|required package [`'\"]?([\w.-]+)|import ([\w.]+) \(")
#: Where the package is called otherwise than the module.
_PACKAGES = {
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "ignite": "pytorch-ignite",
    "PIL": "pillow",
    "cv2": "opencv-python",
}


def missing_package(what: str, error: BaseException, folder: Path | None = None) -> MissingPackageError | None:
    """Say that a package is missing, if that is why something failed.

    Parameters
    ----------
    what
        What failed, as the beginning of a sentence: ``"Building 'network_def' of the bundle's config"``.
    error
        Why.
    folder
        The opened bundle, whose metadata may name the version that it wants.
    """
    module = next(_modules(error), None)
    if module is None:
        return None
    if module == "torchvision":
        return MissingPackageError(
            f"{what} needs torchvision, which cannot be used here. MONAI joins a ResNet with a feature pyramid by it."
            " Install it with: pip install 'lesionlens[detection]', in the build for torch"
            f" {version('torch')}: one for CUDA does not load beside a torch for the CPU.",
            package="torchvision",
            extra="detection",
        )
    package = _PACKAGES.get(module, module)
    wanted = _wanted(folder).get(package)
    said = f" (the bundle was made with version {wanted})" if wanted else ""
    return MissingPackageError(
        f"{what} needs the package {package}{said}, which is not installed. Install it with: pip install {package}",
        package=package,
        extra="",
    )


def _modules(error: BaseException) -> Iterator[str]:
    """Yield the top-level modules that are missing according to an error and its causes, the root first."""
    chain: list[BaseException] = []
    while error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__ or error
    for one in reversed(chain):
        if "torchvision" in str(one):
            yield "torchvision"
        if isinstance(one, ModuleNotFoundError) and one.name:
            yield one.name.partition(".")[0]
        elif "OptionalImport" in type(one).__name__ and (found := _NAMED.search(str(one))):
            yield next(filter(None, found.groups())).partition(".")[0]


def _wanted(folder: Path | None) -> Mapping[str, str]:
    """Return the versions of packages that a bundle was made with."""
    if folder is None:
        return {}
    try:
        metadata = read_json(folder / "configs" / "metadata.json")
    except BundleError:
        return {}
    names = ("optional_packages_version", "required_packages_version")
    found = [metadata[name] for name in names if isinstance(metadata.get(name), dict)]
    return {str(key): str(value) for one in found for key, value in one.items()}


def stated_monai_version(folder: Path) -> str:
    """Return the version of MONAI that a bundle says it was made for, or nothing."""
    try:
        found = read_json(folder / "configs" / "metadata.json").get("monai_version")
    except BundleError:
        return ""
    return found if isinstance(found, str) else ""
