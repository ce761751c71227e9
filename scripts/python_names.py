"""Write docs/reference/python-names.md: a place for every public name, which the docs site fills from its docstring.

Run: make reference. A test compares the page with what the packages say is public.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "python-names.md"

#: Whose public names are for scripts; the others serve these.
PACKAGES = (
    "lesionlens",
    "lesionlens.batch",
    "lesionlens.evaluation",
    "lesionlens.explain",
    "lesionlens.regions",
    "lesionlens.review",
    "lesionlens.handover",
    "lesionlens.compare",
    "lesionlens.calibration",
    "lesionlens.errors",
)

HEAD = """\
# Python, name by name

<!-- Made by scripts/python_names.py (make reference); do not edit. -->

Every public name with its signature and its docstring.
The docs site (`make docs`) fills them in from the source; elsewhere `help(lesionlens.read)` says the same.
[The Python interface](python-api.md) shows what belongs together.
"""


def names(package: str) -> list[str]:
    """Return the public names of a package that can have a docstring, in alphabetical order."""
    module = import_module(package)
    public: list[str] = module.__all__
    return sorted((n for n in public if not n.startswith("__") and callable(getattr(module, n))), key=str.casefold)


def section(package: str) -> str:
    """Return the part of the page on one package."""
    places = "\n\n".join(f"::: {package}.{name}" for name in names(package))
    return f"\n## `{package}`\n\n{places}\n"


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(map(section, PACKAGES))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stderr.write(f"wrote {PAGE}\n")
