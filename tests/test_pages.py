"""The pages that are followed step by step: every command exists, and what can be run is run as it stands."""

from __future__ import annotations

import shutil
from pathlib import Path

import click
import numpy as np
import pytest
import typer.main
from typer.exceptions import TyperException

import lesionlens as ll
from dicom_factory import Plan, make_series
from lesionlens.cli import app, main
from lesionlens.sample import sample_lesions, sample_scan
from lesionlens.volume import Grid, resample
from page_blocks import Block, blocks_of, run_block

FOLDERS = ("how-to", "tutorial")

# A group of commands is one of click, the commands are those of typer's own copy of it.
WRONG = (TyperException, click.UsageError)

#: Pages whose blocks are run; the first line of each block that is not, and why.
RUN: dict[str, dict[str, str]] = {
    "tutorial/first-steps.md": {
        "make demo": "the set-up; tests/test_cli.py runs the demo",
        "ls demo-output": "likewise",
        ".venv/bin/lesionlens info my_scan/": "",
        ".venv/bin/python": "begins a session of Python",
    },
    "how-to/add-overlays.md": {
        "lesionlens view scan.nii.gz --overlay lesions.nii.gz": "opens a window; tests/ui has them",
        "lesionlens view scan/ --overlay segmentation.dcm --other-frame": "likewise",
        'll.read_overlay("segmentation.dcm", scan, other_frame=True)': "needs a segmentation; tests/io/test_overlay.py",
        'for finding in ll.read_findings("report.dcm"):': "needs a report; tests/test_dicom_export.py has one",
    },
    "how-to/run-many-cases.md": {},
    "how-to/evaluate-a-cohort.md": {},
    "how-to/script-a-folder.md": {
        "for scan in scans/*.nii.gz; do": "a loop of the shell; its command is checked, and the same in Python is run",
    },
}


def cut(path: Path) -> ll.Volume:
    """Return a piece of the sample scan with its largest lesion: small, so that a page is run in seconds."""
    scan, lesions = ll.read(sample_scan()), ll.read(sample_lesions())
    (region, *_) = ll.measure(scan, ll.read_overlay(sample_lesions(), scan)[0])
    middle = np.rint(region.centroid_ijk).astype(int)
    start = np.clip(middle - (20, 20, 4), 0, np.array(scan.grid.shape) - (40, 40, 8))
    affine = scan.grid.affine.copy()
    affine[:3, 3] = scan.grid.world(start)
    grid = Grid((40, 40, 8), affine)
    part = scan.resampled(grid)
    ll.write(part, path / "scan.nii.gz")
    marked = resample(lesions.array, lesions.grid, grid, order=0) > 0
    ll.write(part.with_array(marked.astype(np.uint8)), path / "lesions.nii.gz")
    return part


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the pages speak of."""
    folder = tmp_path_factory.mktemp("pieces")
    part = cut(folder)
    heat = part.with_array(part.array / part.array.max())
    ll.write(heat, folder / "heat.nii.gz")
    make_series(folder / "my_scan", Plan(shape=(24, 24, 8)))
    (folder / "scans").mkdir()
    (folder / "masks").mkdir()
    for name in ("p1", "p2"):
        shutil.copy(folder / "scan.nii.gz", folder / "scans" / f"{name}.nii.gz")
        shutil.copy(folder / "lesions.nii.gz", folder / "masks" / f"{name}.nii.gz")
    (folder / "cases.csv").write_text(
        "case,results,mask,scanner\np1,runs/p1,masks/p1.nii.gz,Alpha\np2,runs/p2,masks/p2.nii.gz,Beta\n"
    )
    (folder / "manifest.csv").write_text("input,mask\nscans/p1.nii.gz,masks/p1.nii.gz\n")
    return folder


@pytest.fixture(scope="module")
def results(pieces: Path) -> Path:
    """Return what a run on the piece writes: what one page begins with, another has made."""
    assert main(["run", str(pieces / "scan.nii.gz"), "-q", "--out", str(pieces / "made")]) == 0
    return pieces / "made"


def all_blocks(repository: Path) -> list[Block]:
    """Return the blocks of all pages that are followed."""
    pages = sorted(page for folder in FOLDERS for page in (repository / "docs" / folder).glob("*.md"))
    return [block for page in pages for block in blocks_of(page)]


def context_of(words: list[str]) -> click.Context:
    """Read the arguments of a command as the program does, without doing it."""
    command, context = typer.main.get_command(app), None
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        context = click.Context(command, info_name="lesionlens", parent=context)
        _, command, words = command.resolve_command(context, words)
    return command.make_context(command.name or "", list(words), parent=context)


def test_every_command_in_a_page_can_be_given(repository: Path) -> None:
    """A reader who types what is written meets no option or choice that does not exist, on any page."""
    commands = [(block.page, words) for block in all_blocks(repository) for words in block.commands]

    assert len(commands) > 60
    for page, words in commands:
        try:
            context_of(words)
        except WRONG as error:
            if "does not exist" in str(error):
                continue  # a file of the reader's
            pytest.fail(f"{page}: lesionlens {' '.join(words)}: {error}")


def test_a_command_that_does_not_exist_is_found() -> None:
    """The check above answers no."""
    for words in (["walk", "scan.nii.gz"], ["run", "a.nii.gz", "--out", "b", "--fast"], ["run", "a", "--engine", "x"]):
        with pytest.raises(WRONG, match=r"No such|is not one of|Invalid value"):
            context_of(words)


def test_every_python_block_is_python(repository: Path) -> None:
    """A block that cannot be run here is at least no slip of the pen."""
    blocks = [block for block in all_blocks(repository) if block.language == "python"]

    assert len(blocks) > 20
    for block in blocks:
        compile(block.text, block.page, "exec")


@pytest.fixture
def folder(tmp_path: Path, pieces: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder with the files, in which a page is followed."""
    shutil.copytree(pieces, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_a_page_works_as_it_stands(repository: Path, results: Path, folder: Path, page: str) -> None:
    """Followed from top to bottom; what is left out is named, with the reason."""
    if page == "how-to/evaluate-a-cohort.md":
        for name in ("p1", "p2"):
            shutil.copytree(results, folder / "runs" / name)
    names: dict[str, object] = {}
    left_out = dict(RUN[page])
    for block in blocks_of(repository / "docs" / page):
        why = left_out.pop(block.lines[0], None)
        if why:
            continue
        run_block(_without_windows(block) if why == "" else block, names)
    assert left_out == {}, "what is left out is in the page"


def _without_windows(block: Block) -> Block:
    """Leave out lines that open a window."""
    return Block(block.page, block.language, "\n".join(line for line in block.lines if " view " not in line))
