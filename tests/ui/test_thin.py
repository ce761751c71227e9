"""The window shows and asks; it neither counts voxels nor reads files. Read from the source, as are its sizes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

UI = Path(__file__).resolve().parents[2] / "src" / "lesionlens" / "ui"
SOURCES = sorted(UI.rglob("*.py"))

MOST_WIDGET_LINES, MOST_LINES = 250, 400

# Packages that compute with voxels, and those that know how files are written; the parts below the window have them.
FOREIGN = {"scipy", "skimage", "torch", "monai", "numba", "openvino"}
FOREIGN |= {"nibabel", "pydicom", "highdicom", "SimpleITK", "nrrd", "h5py", "zarr", "tifffile", "PIL"}
FOREIGN |= {"json", "csv", "yaml", "xml", "configparser", "tomllib", "sqlite3", "pickle", "gzip", "zipfile", "struct"}

# How a file is read or written with nothing but Python and numpy.
READS = {"read_text", "read_bytes", "write_text", "write_bytes", "fromfile", "load", "loadtxt", "genfromtxt", "memmap"}

# What holds voxels, and what of it is no voxel.
VOXELS = {"array", "data"}
OF_THE_GRID = {"shape", "ndim", "dtype", "size", "nbytes"}
# These look at voxels as they are, or ask whether two arrays are one.
HARMLESS = {"asarray", "array", "ascontiguousarray", "may_share_memory", "shares_memory"}


def imports_of(tree: ast.Module) -> set[str]:
    """Return the packages that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def file_calls(tree: ast.Module) -> Iterator[str]:
    """Find calls that read or write a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            builtin = isinstance(called, ast.Name) and called.id == "open"
            if builtin or (isinstance(called, ast.Attribute) and called.attr in READS):
                yield f"line {node.lineno}: {ast.unparse(called)}"


def has_voxels(node: ast.AST) -> bool:
    """Say whether an expression holds the voxels of a scan, a map or a layer, and not just their number or type."""
    if isinstance(node, ast.Attribute):
        return node.attr not in OF_THE_GRID and (node.attr in VOXELS or has_voxels(node.value))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):  # np.array(...), action.data()
        return any(map(has_voxels, (node.func.value, *node.args)))
    if isinstance(node, ast.Lambda):
        return False
    return any(has_voxels(part) for part in ast.iter_child_nodes(node))


def voxel_sums(tree: ast.Module) -> Iterator[str]:
    """Find arithmetic, comparisons and calls of numpy on voxels."""
    for node in ast.walk(tree):
        parts: list[ast.expr] = []
        if isinstance(node, ast.BinOp):
            parts = [node.left, node.right]
        elif isinstance(node, ast.Compare) and not all(isinstance(one, (ast.Is, ast.IsNot)) for one in node.ops):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.AugAssign):
            parts = [node.target, node.value]
        elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
            parts = [node.operand]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr not in HARMLESS:
            of_numpy = isinstance(node.func.value, ast.Name) and node.func.value.id == "np"
            parts = node.args if of_numpy else [node.func.value] if is_array(node.func.value) else []
        if any(map(has_voxels, parts)):
            yield f"line {node.lineno}: {ast.unparse(node)}"


def is_array(node: ast.expr) -> bool:
    """Say whether an expression is an array of voxels by its name: ``heatmap.array``, ``layer.data[0]``."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return isinstance(node, ast.Attribute) and node.attr == "array"


def name_of(path: Path) -> str:
    """Return a module's name within the folder."""
    return str(path.relative_to(UI))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_the_window_counts_no_voxels_and_reads_no_files(path: Path) -> None:
    """Whatever a window computes by itself, the command line and the report compute otherwise one day."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert imports_of(tree) & FOREIGN == set()
    assert list(file_calls(tree)) == []
    assert list(voxel_sums(tree)) == []


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_widget_is_too_long_to_be_read(path: Path) -> None:
    """A file with a window's parts has at most 250 lines, any other 400."""
    text = path.read_text(encoding="utf-8")
    with_widgets = imports_of(ast.parse(text)) & {"qtpy", "superqt", "magicgui", "PySide6"}

    assert len(text.splitlines()) <= (MOST_WIDGET_LINES if with_widgets else MOST_LINES)


@pytest.mark.parametrize(
    "line",
    [
        "volume = heatmap.array.sum()",
        "inside = labels.array > 0",
        "layer.data[mask] = layer.data[mask] * 2",
        "scaled = scan.array / 3",
        "found = view.from_display(np.asarray(layer.data)) > 0",
        "peak = np.abs(heatmap.array[2:])",
        "layer.data += 1",
        "negative = -heatmap.array",
    ],
)
def test_sums_over_voxels_are_found(line: str) -> None:
    """A check that finds nothing anywhere proves nothing."""
    assert len(list(voxel_sums(ast.parse(line)))) >= 1


@pytest.mark.parametrize(
    "line",
    [
        "layer.data = view.to_display(labels)",
        "same = layer.data.shape == view.shape",
        "there = np.may_share_memory(np.asarray(layer.data), scan.array)",
        "number = int(layer.data[place])",
        "x = 2 * y + layer.data.ndim",
        "half = np.array(viewer.canvas.size) / 2",
        "known = action.data() in names",
    ],
)
def test_showing_voxels_is_no_sum(line: str) -> None:
    """Layers are given their arrays, and the value under the cursor is read off one."""
    assert list(voxel_sums(ast.parse(line))) == []


@pytest.mark.parametrize("line", ["open(path)", "path.read_text()", "np.load(path)", "path.write_text(words)"])
def test_reading_a_file_is_found(line: str) -> None:
    """As above; a session is opened by its own part of the package."""
    assert len(list(file_calls(ast.parse(line)))) == 1
    assert list(file_calls(ast.parse("Session.open(path)"))) == []
