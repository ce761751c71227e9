from __future__ import annotations

import subprocess
import sys

import pytest

import lesionlens.io


def test_importing_the_package_loads_no_file_format() -> None:
    """The command line imports it for its help text, which must come at once."""
    code = "import sys, lesionlens.io; print([m for m in ('nibabel', 'pydicom', 'numpy', 'isal') if m in sys.modules])"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.strip() == "[]"


def test_no_module_hides_a_public_function() -> None:
    """A module of the same name would take the function's place once anything imports it."""
    from importlib.util import find_spec

    assert [name for name in lesionlens.io.__all__ if find_spec(f"lesionlens.io.{name}")] == []


def test_public_names_exist() -> None:
    """Every name of the list can be fetched and is shown by dir()."""
    for name in lesionlens.io.__all__:
        assert callable(getattr(lesionlens.io, name))
        assert name in dir(lesionlens.io)


def test_unknown_names_are_refused() -> None:
    """The lazy lookup fails like a normal one."""
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        lesionlens.io.nonsense  # noqa: B018 - the look-up itself is tested
