"""The npe2 manifest against the code that it names."""

from __future__ import annotations

import ast
from pathlib import Path

from npe2 import PluginManifest


def test_the_manifest_is_found_at_the_top_of_the_repository(repository: Path) -> None:
    """The plugin catalogues look for the manifest at the root; it must be the very file that the wheel carries."""
    assert (repository / "napari.yaml").resolve() == repository / "src" / "lesionlens" / "napari.yaml"


def test_every_command_of_the_manifest_exists(repository: Path) -> None:
    """A manifest may name what was renamed long ago, and napari would say so only when the user clicks."""
    manifest = PluginManifest.from_file(repository / "src" / "lesionlens" / "napari.yaml")
    commands = manifest.contributions.commands or []

    missing = [c.python_name for c in commands if not _defines(repository / "src", str(c.python_name))]

    assert commands
    assert missing == []


def test_a_name_that_does_not_exist_is_noticed(repository: Path) -> None:
    """The check above answers no for a missing module and for a missing name."""
    source = repository / "src"

    assert _defines(source, "lesionlens.errors:LesionLensError")
    assert not _defines(source, "lesionlens.errors:Missing")
    assert not _defines(source, "lesionlens.missing:LesionLensError")


def _defines(source: Path, python_name: str) -> bool:
    """Say whether the module of a python_name defines or imports the name, without importing Qt."""
    module, _, name = python_name.partition(":")
    path = source.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        return False
    body = ast.parse(file.read_text("utf-8")).body
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    imported = {alias.asname or alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    return name in defined | imported
