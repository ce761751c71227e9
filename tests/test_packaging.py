"""What is shipped: the wheel's contents, and the wheel installed into an empty environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import core_environment
import lesionlens

pytestmark = pytest.mark.slow

BUNDLES = ("flair-lesions", "flair-lesion-load", "flair-anomaly")


def run(*command: str | Path, folder: Path) -> str:
    """Run a command as from a fresh shell and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def archives(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the source archive and the wheel that it builds by itself, made without a network."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, folder=repository)
    return folder


@pytest.fixture(scope="module")
def wheel(archives: Path) -> Path:
    """Return the built wheel."""
    (path,) = archives.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def empty_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program folder of a new environment that holds the wheel, its core dependencies and npe2."""
    return core_environment.build(tmp_path_factory.mktemp("empty"), wheel, "npe2")


def test_the_wheel_carries_its_data(wheel: Path, repository: Path) -> None:
    """Bundles, sample scan, manifest and type marker travel with the code, and nothing else does."""
    source = repository / "src"
    files = (path for path in (source / "lesionlens").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    expected = {path.relative_to(source).as_posix() for path in files}

    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert names == expected
    assert {"lesionlens/napari.yaml", "lesionlens/py.typed"} <= names
    assert [b for b in BUNDLES if f"lesionlens/bundles/{b}/configs/metadata.json" not in names] == []
    assert any(name.startswith("lesionlens/sample_data/") and name.endswith(".nii.gz") for name in names)


def test_the_wheel_is_licensed(wheel: Path) -> None:
    """The licence is said in SPDX and its text is inside, or the wheel may not be passed on."""
    archive = zipfile.ZipFile(wheel)
    info = f"lesionlens-{lesionlens.__version__}.dist-info"
    metadata = archive.read(f"{info}/METADATA").decode()

    assert "License-Expression: Apache-2.0" in metadata
    assert "Framework :: napari" in metadata
    assert b"Apache License" in archive.read(f"{info}/licenses/LICENSE")


def test_the_source_archive_is_whole_and_clean(archives: Path) -> None:
    """The source archive builds, tests and documents the package, and holds no environment and no output."""
    (path,) = archives.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {Path(*Path(name).parts[1:]).as_posix() for name in archive.getnames()}

    assert {"pyproject.toml", "constraints.txt", "Makefile", "LICENSE", "NOTICE", "README.md"} <= names
    assert {"src/lesionlens/__init__.py", "tests/conftest.py", "scripts/setup.sh"} <= names
    assert {name.split("/")[0] for name in names} & {".venv", "dist", "demo-output", ".git", "shared"} == set()


def test_the_command_line_answers(empty_environment: Path, tmp_path: Path) -> None:
    """``lesionlens --help`` names every command where only the core dependencies are installed."""
    text = run(empty_environment / "lesionlens", "--help", folder=tmp_path)

    assert [c for c in ("demo", "info", "run", "view", "bundles") if c not in text] == []


def test_the_embedded_bundles_are_found(empty_environment: Path, tmp_path: Path) -> None:
    """The installed program lists the bundles that it carries."""
    listed = run(empty_environment / "lesionlens", "bundles", "list", "--json", folder=tmp_path)

    assert [name for name in BUNDLES if name not in listed] == []


def test_every_public_name_works_without_napari(empty_environment: Path, tmp_path: Path) -> None:
    """A cluster node with the core dependencies has the whole Python interface, and neither Qt nor napari."""
    code = (
        "import importlib.util, json, lesionlens\n"
        "kinds = {name: type(getattr(lesionlens, name)).__name__ for name in lesionlens.__all__}\n"
        "extra = [m for m in ('napari', 'qtpy', 'PySide6', 'torchvision') if importlib.util.find_spec(m)]\n"
        "print(json.dumps([lesionlens.__version__, sorted(kinds), extra]))"
    )

    version, names, extra = json.loads(run(empty_environment / "python", "-c", code, folder=tmp_path))

    assert version == lesionlens.__version__
    assert names == sorted(lesionlens.__all__)
    assert extra == []


def test_what_is_not_declared_is_not_there(empty_environment: Path, tmp_path: Path) -> None:
    """An environment that held whatever the tests have would hide a dependency that the wheel does not name."""
    code = "from importlib.util import find_spec\nprint([m for m in ('torch', 'captum', 'pip') if find_spec(m)])"

    assert run(empty_environment / "python", "-c", code, folder=tmp_path).strip() == "['torch']"


def test_the_plugin_is_discovered(empty_environment: Path, tmp_path: Path) -> None:
    """npe2, as napari starts it, finds the manifest through the entry point."""
    code = (
        "import json\nfrom npe2 import PluginManager\n"
        "manager = PluginManager()\nmanager.discover()\n"
        "manifest = manager.get_manifest('lesionlens')\n"
        "print(json.dumps([manifest.display_name, len(manifest.contributions.readers)]))"
    )

    assert json.loads(run(empty_environment / "python", "-c", code, folder=tmp_path)) == ["LesionLens", 1]
