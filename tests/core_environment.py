"""An environment with a wheel and what the wheel says it needs, and nothing else, without a package index.

The packages are those of the environment that runs the tests, linked into a new one: each requirement of the wheel, and
theirs in turn. What the package needs and does not declare is missing there, as on a machine where nothing else is
installed. That an index has them in the pinned versions is shown by whoever builds the environment of the tests.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path
from zipfile import Path as ZipPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["build", "needed"]


def build(folder: Path, wheel: Path, *others: str) -> Path:
    """Make the environment, with a wheel and other installed packages; return the folder of its programs."""
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    _link(needed([*_requirements_of(wheel), *map(Requirement, others)]), packages)
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "--disable-pip-version-check"]
    install = ["install", "-q", "--no-compile", "--no-index", "--no-deps", str(wheel)]
    done = subprocess.run([*pip, *install], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return programs


def needed(requirements: Iterable[Requirement]) -> dict[str, Distribution]:
    """Return the installed packages that requirements name, those that these need, and so on, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = list(requirements)
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        found.setdefault(name, distribution(name))
        for extra in {"", *one.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            waiting += _wanted(found[name].requires or (), extra)
    return found


def _requirements_of(wheel: Path) -> list[Requirement]:
    (folder,) = (part for part in ZipPath(wheel).iterdir() if part.name.endswith(".dist-info"))
    return _wanted(PathDistribution(folder).requires or (), "")  # type: ignore[arg-type]  # a path within a zip file


def _wanted(lines: Iterable[str], extra: str) -> list[Requirement]:
    every = map(Requirement, lines)
    return [one for one in every if one.marker is None or one.marker.evaluate({"extra": extra})]


def _link(packages: dict[str, Distribution], into: Path) -> None:
    """Link what packages have installed, but for programs, and for what acts on every start of Python."""
    for one in packages.values():
        for top in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
            if not top.endswith(".pth") and not (into / top).exists():
                (into / top).symlink_to(Path(str(one.locate_file(top))))
