from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    """Return what a fresh Python prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_engine_loads_torch_and_nothing_of_bundles_or_screens() -> None:
    """The engine serves any torch network: no MONAI, no file format, no window comes with it."""
    heavy = ("torch", "monai", "nibabel", "pydicom", "napari", "qtpy", "matplotlib")

    found = run(f"import sys, lesionlens.explain; print(*[name for name in {heavy} if name in sys.modules])")

    assert found == "torch"


@pytest.mark.parametrize("first", ["import lesionlens.explain", "import lesionlens as ll; ll.explain"])
def test_package_is_the_public_function_too(first: str) -> None:
    """``lesionlens.explain(...)`` goes to the model whatever was imported before, though the package has its name."""
    found = run(
        "import sys, types\n"
        "model = types.ModuleType('lesionlens.model')\n"
        "model.explain = lambda *args, **options: (args, options)\n"
        "sys.modules['lesionlens.model'] = model\n"
        f"{first}\n"
        "import lesionlens\n"
        "from lesionlens.explain import apply_method\n"
        "print(lesionlens.explain('bundle', 'volume', target='lesion'))\n"
    )

    assert found == "(('bundle', 'volume'), {'target': 'lesion'})"


def test_package_shows_the_functions_signature_and_help() -> None:
    """An editor and help() ask the object for what it takes; they must not be told about a module."""
    found = run(
        "import inspect, lesionlens as ll\n"
        "from lesionlens.model.explanation import explain\n"
        "print(inspect.signature(ll.explain) == inspect.signature(explain))\n"
        "print(ll.explain.__doc__ == inspect.getdoc(explain))"
    )

    assert found.split() == ["True", "True"]
