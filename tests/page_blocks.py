"""The code in pages: blocks of shell and Python, run as a reader would, in an empty folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lesionlens.cli import main

_BLOCK = re.compile(r"^ *```(sh|python)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code of a page."""

    page: str
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Its lines without indents and empty ones; those that go on behind a backslash are one."""
        joined = self.text.replace("\\\n", " ") if self.language == "sh" else self.text
        return [line.strip() for line in joined.splitlines() if line.strip()]

    @property
    def commands(self) -> list[list[str]]:
        """The arguments of each line that calls ``lesionlens``."""
        split = [shlex.split(line, comments=True) for line in self.lines] if self.language == "sh" else []
        return [words[1:] for words in split if words and words[0].rsplit("/", 1)[-1] == "lesionlens"]


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page."""
    for language, text in _BLOCK.findall(page.read_text("utf-8")):
        yield Block(f"{page.parent.name}/{page.name}", language, text)


def run_block(block: Block, names: dict[str, object]) -> None:
    """Run a block in the current folder; blocks of Python share their names."""
    if block.language == "python":
        exec(block.text, names)
        return
    assert len(block.commands) == len(block.lines), f"{block.page}: other programs than ours\n{block.text}"
    for words in block.commands:
        assert main([*words]) == 0, f"{block.page}: lesionlens {' '.join(words)}"
