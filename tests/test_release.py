"""What a release says of itself, in every place that says it: versions, dependencies, systems, pages."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lesionlens

#: What conda-forge calls some packages.
ON_CONDA = {"isal": "python-isal", "matplotlib": "matplotlib-base", "torch": "pytorch"}


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    """Return the table ``project`` of pyproject.toml."""
    found: dict[str, Any] = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    return found


@pytest.fixture(scope="module")
def recipe(repository: Path) -> dict[str, Any]:
    """Return the recipe for conda-forge."""
    found: dict[str, Any] = yaml.safe_load((repository / "recipe" / "recipe.yaml").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def workflow(repository: Path) -> dict[str, Any]:
    """Return the configuration of continuous integration."""
    found: dict[str, Any] = yaml.safe_load((repository / ".github" / "workflows" / "ci.yml").read_text("utf-8"))
    return found


def as_conda(line: str) -> list[str]:
    """Return a requirement in conda's words: extras are packages of their own."""
    one = Requirement(line)
    name = ON_CONDA.get(one.name, one.name)
    return [f"{name} {one.specifier}".strip(), *(f"{name}-{extra}" for extra in sorted(one.extras))]


def test_the_recipe_needs_what_the_package_needs(project: dict[str, Any], recipe: dict[str, Any]) -> None:
    """A dependency that is added, or a floor that is raised, is in both."""
    wanted = sorted(word for line in project["dependencies"] for word in as_conda(line))
    needed = recipe["requirements"]["run"]

    assert len(wanted) > 15
    assert sorted(word for word in needed if not word.startswith("python ")) == wanted
    assert needed[0].startswith("python >=")


def test_the_recipe_starts_what_the_package_starts(project: dict[str, Any], recipe: dict[str, Any]) -> None:
    """The command is the same; the licence too."""
    entry_points = recipe["build"]["python"]["entry_points"]

    assert entry_points == [f"{name} = {target}" for name, target in project["scripts"].items()]
    assert recipe["about"]["license"] == project["license"]
    assert sorted(recipe["about"]["license_file"]) == sorted(project["license-files"])


def test_every_place_says_the_same_version(repository: Path, recipe: dict[str, Any]) -> None:
    """Package, recipe and citation."""
    citation = yaml.safe_load((repository / "CITATION.cff").read_text("utf-8"))

    assert recipe["context"]["version"] == lesionlens.__version__
    assert citation["version"] == lesionlens.__version__


def test_the_citation_can_be_read(repository: Path) -> None:
    """What version 1.2 of the Citation File Format needs, and no key that it does not know."""
    citation = yaml.safe_load((repository / "CITATION.cff").read_text("utf-8"))

    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["authors"]
    assert all(author.keys() & {"name", "family-names", "given-names"} for author in citation["authors"])
    known = "cff-version message title type authors version license keywords abstract doi url repository-code"
    assert citation.keys() - set(known.split()) == set()


def test_the_matrix_is_what_the_package_claims(project: dict[str, Any], workflow: dict[str, Any]) -> None:
    """Each Python of the classifiers is tested on each system; Windows is tested and not claimed."""
    matrix = workflow["jobs"]["matrix"]["strategy"]["matrix"]
    classifiers = project["classifiers"]

    assert matrix["python"] == re.findall(r"Python :: (3\.\d+)", "\n".join(classifiers))
    assert [name.split("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert [c for c in classifiers if "Windows" in c] == []
    assert "windows" in workflow["jobs"]["matrix"]["continue-on-error"]


def test_continuous_integration_gives_commands_that_exist(repository: Path, workflow: dict[str, Any]) -> None:
    """A target of make that was renamed is found here, and not when a release is due."""
    targets = set(re.findall(r"^([\w-]+):", (repository / "Makefile").read_text("utf-8"), re.MULTILINE))
    given = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]

    made = {word for line in given for word in re.findall(r"make ([\w-]+)", line)}
    assert {"docs", "release", "sbom"} <= made
    assert made - targets == set()
    for name in re.findall(r"(?:scripts|\.ci|benchmarks)/[\w.]+", "\n".join(given)):
        assert (repository / name).is_file(), name


def test_the_makefile_runs_files_that_exist(repository: Path) -> None:
    """Every script and benchmark that it names, and every target that it explains."""
    text = (repository / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([\w-]+):", text, re.MULTILINE))

    for name in re.findall(r"(?:scripts|benchmarks|tests)/[\w.]+\.(?:py|sh)", text):
        assert (repository / name).is_file(), name
    explained = set(re.findall(r'@echo "make ([\w-]+)', text))
    assert explained <= targets
    assert {"docs", "release", "sbom", "fuzz", "kill"} <= explained


def test_the_site_shows_every_page_once(repository: Path) -> None:
    """A page that is in no menu is found by nobody."""
    config = tomllib.loads((repository / "zensical.toml").read_text("utf-8"))["project"]
    shown = list(_pages(config["nav"]))

    docs = repository / "docs"
    assert sorted(shown) == sorted(page.relative_to(docs).as_posix() for page in docs.rglob("*.md"))
    for page in ("coordinates", "what-maps-say", "security", "scaling", "limits"):
        assert f"explanation/{page}.md" in shown
    for page in ("statistics", "privacy"):
        assert f"reference/{page}.md" in shown


def _pages(nav: list[dict[str, Any]]) -> list[str]:
    found = []
    for entry in nav:
        for value in entry.values():
            found += [value] if isinstance(value, str) else _pages(value)
    return found


def test_the_pins_are_of_what_is_declared(project: dict[str, Any], repository: Path) -> None:
    """Every requirement, of the package and of its extras, is pinned to a version that it allows."""
    lines = (repository / "constraints.txt").read_text("utf-8").splitlines()
    pins = {canonicalize_name(n): v for n, _, v in (line.partition("==") for line in lines if "==" in line)}
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *(line for name in extras if name != "detection" for line in extras[name])]

    for one in map(Requirement, declared):
        assert canonicalize_name(one.name) in pins, f"{one.name} is not pinned"
        assert pins[canonicalize_name(one.name)] in one.specifier, one
