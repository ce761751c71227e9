"""Who may import whom, read from the source, and what a cold start loads, seen in a fresh process."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "lesionlens"

# Each part of the package with the parts it may import. A part may always import itself.
_VALUES = {
    "errors",
    "blocks",
    "progress",
    "rules",
    "windowing",
    "volume",
    "heatmap",
    "method_info",
    "methods",
    "target",
    "checks",
    "detections",
    "computing",
    "lattice",
}
_CORE = _VALUES | {"regions", "spread", "scales", "confusion", "compare", "calibration", "distributions"}
_CORE |= {"registration", "anomaly_reference", "trusted", "io"}
_WORK = _CORE | {"config", "recent", "explain", "model", "sample", "display", "review", "report"}
MAY_IMPORT = {
    "errors": set(),
    "blocks": set(),
    "progress": set(),
    "method_info": {"errors"},
    "methods": {"errors", "method_info"},
    "windowing": {"errors"},
    "volume": {"errors", "windowing", "lattice"},
    "heatmap": {"errors", "volume"},
    "rules": {"errors"},
    "target": {"errors", "rules", "volume", "heatmap"},
    "checks": {"errors", "volume", "heatmap"},
    "detections": set(),
    "computing": {"errors"},
    "lattice": set(),
    "children": set(),
    "apart_child": {"children"},
    "apart": {"errors", "progress", "children", "apart_child"},
    "seals": set(),
    "regions": _VALUES,
    "spread": _VALUES | {"regions"},
    "calibration": _VALUES | {"seals"},
    "scales": _VALUES | {"regions", "spread"},
    "contours": set(),
    "config": set(),
    "settings": {"errors", "io", "config"},
    "styles": {"errors", "io", "config"},
    "registration": _VALUES | {"io"},
    "anomaly_reference": _VALUES | {"io"},
    "trusted": _VALUES | {"io", "registration"},
    "confusion": _VALUES | {"regions"},
    "compare": _VALUES | {"regions", "scales", "confusion"},
    "distributions": _VALUES | {"regions"},
    "recent": {"errors", "io", "config"},
    "display": {"errors", "volume"},
    "io": _VALUES | {"children"},
    "pacs": _VALUES | {"io", "config"},
    "sample": _VALUES | {"io"},
    "explain": _VALUES,
    "model": _VALUES | {"regions", "spread", "calibration", "registration", "anomaly_reference", "trusted", "explain"},
    "review": _CORE | {"seals"},
    "report": _CORE | {"display", "review", "seals"},
    "results": _CORE | {"display", "report", "seals"},
    "options": _VALUES | {"io"},
    "record": _WORK | {"results", "options", "seals"},
    "pipeline": _WORK | {"results", "options", "record"},
    "importance": _WORK | {"results", "seals"},
    "replay": _VALUES | {"results", "options"},
    "sessions": _WORK | {"results"},
    "handover": _WORK | {"results", "sessions", "seals"},
    "dicom_export": _WORK | {"results", "sessions", "handover", "seals"},
    "batch": _WORK | {"results", "options", "pipeline", "seals", "pacs"},
    "evaluation": _WORK | {"results", "batch", "seals"},
    "reporting": _WORK | {"results", "sessions", "batch", "seals"},
    "cli": _WORK
    | {"results", "options", "pipeline", "importance", "sessions", "handover", "replay", "batch", "evaluation"}
    | {"dicom_export", "pacs", "reporting"},
    "ui": _WORK
    | {"results", "pipeline", "importance", "apart", "sessions", "handover", "batch", "contours", "styles"}
    | {"dicom_export", "pacs", "reporting", "settings"},
    "__main__": {"cli"},
}

# ... and those that it may import inside a function or for type hints alone. `lesionlens view` opens the viewer, and
# only then: no other way leads from the core to Qt. A report is about results, which are written with its help.
MAY_IMPORT_LATE = {"cli": {"ui"}, "report": {"results"}}

# Where heavy or special packages may be imported at all, and those that others may import inside a function.
HOMES = {
    "torch": {"model", "explain"},
    "monai": {"model"},
    "openvino": {"model"},
    "napari": {"ui"},
    "qtpy": {"ui"},
    "PySide6": {"ui"},
    "vispy": {"ui"},
    "magicgui": {"ui"},
    "superqt": {"ui"},
    "nibabel": {"io"},
    "pydicom": {"io", "pacs"},
    "highdicom": {"io"},
    "dicognito": {"io"},
    "jinja2": {"report"},
    "weasyprint": {"report"},
    "markdown_it": {"reporting"},
    "dask": {"batch"},
    "distributed": {"batch"},
    "fsspec": {"batch"},
    "aiohttp": {"batch"},
    "dicomweb_client": {"pacs"},
    "pynetdicom": {"pacs"},
    "keyring": {"pacs"},
    "requests": {"pacs"},
    "urllib3": {"pacs"},
}
LATE_ANYWHERE = {"torch"}

HEAVY = {"torch", "monai", "napari", "qtpy", "PySide6", "vispy", "nibabel", "pydicom", "scipy", "numpy", "matplotlib"}


@dataclass(frozen=True)
class Import:
    """One import statement's target, as seen from the file that holds it."""

    file: str
    line: int
    part: str
    target: str
    late: bool

    @property
    def head(self) -> str:
        """Top-level package of the target."""
        return self.target.split(".")[0]

    @property
    def own_part(self) -> str:
        """Part of LesionLens that is imported; empty for the package itself and for other packages."""
        names = self.target.split(".")
        return names[1] if names[0] == "lesionlens" and len(names) > 1 else ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.target}"


def imports_of(text: str, file: str) -> Iterator[Import]:
    """Yield every import of a source text; ``late`` for those inside a function or for type checkers alone."""
    part = Path(file).parts[0].removesuffix(".py")

    def visit(node: ast.AST, late: bool) -> Iterator[Import]:
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _for_types(node)
        for target in _targets(node):
            yield Import(file, getattr(node, "lineno", 0), part, target, late)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, late)

    yield from visit(ast.parse(text), late=False)


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _targets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [name.name for name in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports hide who imports whom"
        # `from lesionlens import io` reaches a part, `from lesionlens import __version__` does not.
        if node.module == "lesionlens":
            return [f"lesionlens.{n.name}" for n in node.names if n.name in MAY_IMPORT] or ["lesionlens"]
        return [node.module or ""]
    return []


def complaint(found: Import) -> str | None:
    """Say what is wrong with an import, or None when it is allowed."""
    if found.own_part and found.own_part != found.part:
        allowed = MAY_IMPORT[found.part] | (MAY_IMPORT_LATE.get(found.part, set()) if found.late else set())
        if found.own_part not in allowed:
            return f"{found}, which {found.part} may not"
    home = HOMES.get(found.head)
    if home is not None and found.part not in home and not (found.late and found.head in LATE_ANYWHERE):
        return f"{found}, which belongs in {', '.join(sorted(home))}"
    return None


def all_imports() -> list[Import]:
    """Return every import of the package, but for the lazy table of the package itself."""
    files = sorted(p for p in SOURCE.rglob("*.py") if p != SOURCE / "__init__.py" and "bundles" not in p.parts)
    return [i for p in files for i in imports_of(p.read_text("utf-8"), p.relative_to(SOURCE).as_posix())]


def test_every_part_has_a_place_in_the_order() -> None:
    """A new module has to say whom it may import before it imports anyone."""
    parts = {i.part for i in all_imports()}

    assert parts <= set(MAY_IMPORT)


def test_the_order_has_no_cycle() -> None:
    """No part may reach itself through those it may import, or the layers would be layers in name only."""
    done: set[str] = set()
    while ready := {part for part, allowed in MAY_IMPORT.items() if part not in done and allowed <= done}:
        done |= ready

    assert done == set(MAY_IMPORT)


def test_imports_follow_the_order() -> None:
    """Every import in the package goes down the layers, and every special package stays in its home."""
    complaints = [text for i in all_imports() if (text := complaint(i))]

    assert complaints == []


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("volume.py", "from lesionlens.heatmap import Heatmap", "volume may not"),
        ("explain/cam.py", "import lesionlens.model.bundle", "explain may not"),
        ("pipeline.py", "from lesionlens import ui", "pipeline may not"),
        ("pipeline.py", "def f():\n    from lesionlens.cli import main", "pipeline may not"),
        ("cli/view.py", "from lesionlens.ui.viewer import show", "cli may not"),
        ("report/table.py", "from lesionlens.results import CaseResult", "report may not"),
        ("report/table.py", "if TYPE_CHECKING:\n    from lesionlens.pipeline import RunOptions", "report may not"),
        ("regions.py", "import torch", "belongs in explain, model"),
        ("explain/cam.py", "def f():\n    import monai.networks", "belongs in model"),
        ("report/table.py", "import nibabel as nib", "belongs in io"),
        ("pipeline.py", "class A:\n    import qtpy.QtWidgets", "belongs in ui"),
    ],
)
def test_a_forbidden_import_is_found(file: str, text: str, expected: str) -> None:
    """The rule sees every way of writing a forbidden import, or passing it would mean nothing."""
    complaints = [complaint(i) for i in imports_of(text, file)]

    assert len(complaints) == 1
    assert complaints[0] is not None
    assert expected in complaints[0]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("heatmap.py", "from lesionlens.volume import Volume"),
        (
            "model/bundle.py",
            "import torch\nfrom monai.bundle import ConfigParser\nfrom lesionlens.explain import apply_method",
        ),
        ("cli/view.py", "def view():\n    from lesionlens.ui.viewer import show"),
        ("pipeline.py", "def seed():\n    import torch"),
        ("report/console.py", "if TYPE_CHECKING:\n    from lesionlens.results import CaseResult"),
        (
            "io/nifti/writer.py",
            "import nibabel\nfrom lesionlens import __version__\nfrom lesionlens.io.atomic import atomic_path",
        ),
    ],
)
def test_an_allowed_import_passes(file: str, text: str) -> None:
    """The rule leaves the intended imports alone."""
    assert [complaint(i) for i in imports_of(text, file)] == [None] * text.count("import ")


def test_each_file_format_has_its_own_package() -> None:
    """Within ``io``, whoever reads one format need not know the other's library."""
    homes = {"pydicom": "io/dicom/", "nibabel": "io/nifti/"}

    inside = [i for i in all_imports() if i.part == "io"]
    strays = [str(i) for i in inside if i.head in homes and not i.late and not i.file.startswith(homes[i.head])]

    assert strays == []


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh process and return which of the heavy packages it loaded."""
    report = "import json, sys; print('\\n' + json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return HEAVY & set(json.loads(done.stdout.splitlines()[-1]))


def test_the_probe_sees_a_heavy_import() -> None:
    """The probe answers with what was loaded, so its empty answers below mean something."""
    assert loaded_by("import numpy") == {"numpy"}


def test_importing_the_package_loads_nothing_heavy() -> None:
    """``import lesionlens`` is free: scripts and napari pay for torch only when they use it."""
    assert loaded_by("import lesionlens; dir(lesionlens)") == set()


def test_help_loads_nothing_heavy() -> None:
    """``lesionlens --help`` answers at once."""
    code = (
        "import sys\nsys.argv = ['lesionlens', '--help']\nfrom lesionlens.cli import main\n"
        "try:\n    code = main()\nexcept SystemExit as stop:\n    code = stop.code\nassert not code, code"
    )

    assert loaded_by(code) == set()


def test_discovery_loads_nothing_heavy() -> None:
    """Every start of napari discovers every plugin: ours reads one file and imports one empty package."""
    _require_installed()
    code = (
        "from npe2 import PluginManifest\n"
        "manifest = PluginManifest.from_distribution('lesionlens')\n"
        "assert manifest.name == 'lesionlens', manifest.name"
    )

    assert loaded_by(code) == set()


def _require_installed() -> None:
    try:
        distribution("lesionlens")
    except PackageNotFoundError:
        pytest.skip("lesionlens is importable but not installed, so it has no entry points; make setup installs it")
