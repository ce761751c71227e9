"""The documents against the program: what they name has to exist, and what exists has to be named."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def pages(repository: Path) -> list[Path]:
    """Return every document of the repository."""
    return sorted([*repository.glob("*.md"), *(repository / "docs").rglob("*.md")])


def broken_links(page: Path) -> Iterator[str]:
    """Yield the relative links of a page that lead nowhere."""
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target and not (page.parent / target).exists():
            yield f"{page.name}: {target}"


@pytest.fixture(scope="module")
def reference(repository: Path) -> dict[str, object]:
    """Return the names of the script that writes the command-line reference."""
    return runpy.run_path(str(repository / "scripts" / "command_line_reference.py"))


def test_links_lead_somewhere(repository: Path) -> None:
    """A reader who follows a link finds a page or a picture."""
    assert [link for page in pages(repository) for link in broken_links(page)] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """The check above answers no for a link to nothing, and lets links out of the repository alone."""
    page = tmp_path / "page.md"
    page.write_text("[a](page.md) [b](missing.md#part) [c](https://example.org/x)", encoding="utf-8")

    assert list(broken_links(page)) == ["page.md: missing.md"]


def test_the_command_line_reference_is_what_the_program_says(repository: Path, reference: dict[str, object]) -> None:
    """The reference is made from the program; `make reference` brings it up to date."""
    make = reference["page"]
    assert callable(make)

    assert (repository / "docs" / "reference" / "command-line.md").read_text("utf-8") == make()


def test_the_readme_names_every_command(repository: Path, reference: dict[str, object]) -> None:
    """The first page shows everything that the program can do."""
    text = (repository / "README.md").read_text("utf-8")
    commands = reference["commands"]
    assert callable(commands)
    words = [" ".join(("lesionlens", *command)) for command in commands() if command and command != ("bundles",)]

    assert words
    assert [command for command in words if f"`{command}" not in text] == []
