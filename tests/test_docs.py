"""The documents against the program: what they name has to exist, and what exists has to be named."""

from __future__ import annotations

import doctest
import importlib
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from lesionlens.methods import METHODS

# A row of docs/reference/tolerances.md: module, name, number.
TOLERANCE = re.compile(r"^\| `([\w.]+)\.(\w+)` \| ([0-9.,]+)", re.MULTILINE)

# A tolerance in a sentence: name, number.
IN_A_SENTENCE = re.compile(r"`([A-Z][A-Z_]+)` = ([0-9.]+[0-9])")

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


def test_the_reference_of_statistics_is_that_of_the_table(repository: Path) -> None:
    """Every column is defined where a reader looks for it; `make reference` brings the page up to date."""
    make = runpy.run_path(str(repository / "scripts" / "statistics_reference.py"))["page"]

    text = (repository / "docs" / "reference" / "statistics.md").read_text("utf-8")

    assert "`volume_mm3`" in text
    assert text == make(text)


def test_the_readme_names_every_command(repository: Path, reference: dict[str, object]) -> None:
    """The first page shows everything that the program can do."""
    text = (repository / "README.md").read_text("utf-8")
    commands = reference["commands"]
    assert callable(commands)
    words = [" ".join(("lesionlens", *command)) for command in commands() if command and command != ("bundles",)]

    assert words
    assert [command for command in words if f"`{command}" not in text] == []


def test_examples_give_what_the_pages_show(repository: Path) -> None:
    """A worked example that is wrong is worse than none."""
    found = [page for page in pages(repository) if ">>> " in page.read_text("utf-8")]

    assert repository / "docs" / "explanation" / "coordinates.md" in found
    for page in found:
        assert doctest.testfile(str(page), module_relative=False, encoding="utf-8").failed == 0, page.name


def test_the_example_for_any_network_runs_as_it_stands(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reader pastes it and puts in a network; a name that is nowhere defined would be the first thing to meet."""
    page = (repository / "docs" / "explanation" / "is-the-map-true.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)

    exec(example, {})

    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_gallery_shows_every_method_or_says_why_not(repository: Path) -> None:
    """A reader looks for the method at hand; a new one has to be drawn, or named among those that cannot be."""
    page = (repository / "docs" / "explanation" / "gallery.md").read_text("utf-8")

    assert [name for name in METHODS if f"| `{name}` |" not in page] == []


def test_every_method_has_its_row_with_formula_paper_and_cost(repository: Path) -> None:
    """The page is where a reader learns what a method cannot say; six columns, none of them empty."""
    page = (repository / "docs" / "explanation" / "what-maps-say.md").read_text("utf-8")
    rows = {row.split("`")[1]: row for row in page.splitlines() if row.startswith("| `")}

    for name in METHODS:
        cells = [cell.strip() for cell in rows[name].strip("|").split(" | ")]
        assert len(cells) == 6, name
        assert all(cells), name


def test_the_pictures_of_the_gallery_are_small(repository: Path) -> None:
    """Pictures stay in the history of the repository for ever."""
    found = {path.name: path.stat().st_size for path in (repository / "docs" / "images").glob("gallery-*.png")}

    assert set(found) == {"gallery-flair-lesions.png", "gallery-flair-lesion-load.png"}
    assert max(found.values()) <= 400_000


def constant(module: str, name: str) -> object:
    """Return a constant of a module of ``io``, or of a value's."""
    place = "lesionlens.volume" if module == "volume" else f"lesionlens.io.{module}"
    return getattr(importlib.import_module(place), name)


def public_numbers() -> dict[tuple[str, str], float]:
    """Return every public number of the modules that read and place voxels, by module and name."""
    import lesionlens.io

    root = Path(lesionlens.io.__file__).parent
    names = sorted(".".join(path.relative_to(root).with_suffix("").parts) for path in root.rglob("[a-z]*.py"))
    modules = {name: importlib.import_module(f"lesionlens.io.{name}") for name in names}
    modules["volume"] = importlib.import_module("lesionlens.volume")
    return {
        (module, name): float(value)
        for module, content in modules.items()
        for name, value in vars(content).items()
        if re.fullmatch("[A-Z][A-Z_]+", name) and isinstance(value, int | float) and _is_own(content.__file__, name)
    }


def _is_own(file: str | None, name: str) -> bool:
    """Say whether a module makes a constant itself instead of importing it."""
    return re.search(rf"^{name} = ", Path(file or "").read_text("utf-8"), re.MULTILINE) is not None


def test_every_tolerance_is_on_its_page_with_its_value(repository: Path) -> None:
    """Whoever relies on a tolerance finds it, and nobody changes one in silence."""
    text = (repository / "docs" / "reference" / "tolerances.md").read_text("utf-8")
    listed = {(module, name): float(value.replace(",", "")) for module, name, value in TOLERANCE.findall(text)}
    numbers = public_numbers()

    assert len(numbers) > 20
    assert numbers.keys() - listed.keys() == set()
    assert {place: constant(*place) for place in listed} == listed


def test_tolerances_in_sentences_have_their_value(repository: Path) -> None:
    """Other pages name tolerances where they explain what comes of them."""
    numbers = {name: value for (_, name), value in public_numbers().items()}
    named = [found for page in pages(repository) for found in IN_A_SENTENCE.findall(page.read_text("utf-8"))]

    assert len(named) > 5
    assert [(name, value) for name, value in named if numbers.get(name) != float(value)] == []
