"""Bring the catalogues of translations up to date with the texts of pages, and compile them.

Texts are those of the templates in ``report/templates`` and those that Python code hands to ``say(...)``,
``say.many(...)`` and ``N_(...)``. New ones are added to every ``.po`` without a translation; the tools of GNU gettext
do the merging and compiling. To add a language, copy a ``.po`` into a folder of its name and run this again.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "lesionlens"
LOCALES = SOURCE / "report" / "locale"
DOMAIN = "lesionlens"

# A text, or the texts for one and for several.
Message = tuple[str, ...]


def template_messages() -> Iterator[Message]:
    """Yield the texts of the templates, as jinja finds them."""
    from jinja2 import Environment

    environment = Environment(extensions=["jinja2.ext.i18n"], trim_blocks=True, lstrip_blocks=True)
    environment.policies["ext.i18n.trimmed"] = True
    for path in sorted((SOURCE / "report" / "templates").glob("*.html")):
        for _, _, message in environment.extract_translations(path.read_text("utf-8"), ("_", "gettext", "ngettext")):
            texts = (message,) if isinstance(message, str) else tuple(text for text in message or () if text)
            if texts:
                yield texts


def code_messages() -> Iterator[Message]:
    """Yield the texts that Python code marks."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and (n := _texts_of(node.func)):
                texts = [arg.value for arg in node.args[:n] if isinstance(arg, ast.Constant)]
                if len(texts) == n:
                    yield tuple(map(str, texts))


def _texts_of(function: ast.expr) -> int:
    """Return how many texts a function takes first, 0 for one that is not about texts."""
    if isinstance(function, ast.Name) and function.id in ("say", "words", "N_"):
        return 1
    several = isinstance(function, ast.Attribute) and function.attr == "many" and isinstance(function.value, ast.Name)
    return 2 if several else 0


def shown_messages() -> Iterator[Message]:
    """Yield the texts that pages take from tables of the program."""
    sys.path.insert(0, str(SOURCE.parent))
    from lesionlens.checks import CHECKS, VERDICT_WORDS
    from lesionlens.report.columns import column_of
    from lesionlens.report.montage import NOTICE
    from lesionlens.reporting.tables import REGION_COLUMNS

    yield (NOTICE,)
    for text in (*CHECKS.values(), *VERDICT_WORDS.values()):
        yield (text,)
    for shown in REGION_COLUMNS:
        column = column_of(shown.names[0])
        texts = (shown.head, column.meaning if shown.meaning is None else shown.meaning)
        yield from ((text,) for text in texts if text)
    yield (column_of("anatomy").meaning,)


def messages() -> list[Message]:
    """Return every text of pages, each once."""
    return list(dict.fromkeys([*template_messages(), *code_messages(), *shown_messages()]))


def template() -> str:
    """Return the catalogue of all texts without translations."""
    head = 'msgid ""\nmsgstr ""\n"Content-Type: text/plain; charset=UTF-8\\n"\n"Content-Transfer-Encoding: 8bit\\n"\n'
    return "\n".join([head, *map(_entry, messages())])


def _entry(message: Message) -> str:
    one, *several = map(_quoted, message)
    if several:
        return f'msgid {one}\nmsgid_plural {several[0]}\nmsgstr[0] ""\nmsgstr[1] ""\n'
    return f'msgid {one}\nmsgstr ""\n'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def main() -> int:
    """Merge and compile; say what is not translated."""
    for path in sorted(LOCALES.glob(f"*/LC_MESSAGES/{DOMAIN}.po")):
        merge = ["msgmerge", "--quiet", "--no-fuzzy-matching", "--no-location", "--sort-output", "--backup=none"]
        subprocess.run([*merge, "--update", str(path), "-"], input=template(), text=True, check=True)
        subprocess.run(["msgattrib", "--no-obsolete", "--sort-output", "-o", str(path), str(path)], check=True)
        subprocess.run(["msgfmt", "--check", "--statistics", "-o", str(path.with_suffix(".mo")), str(path)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
