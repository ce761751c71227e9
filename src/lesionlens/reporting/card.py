"""The model card of the bundle that made results, as HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lesionlens.errors import LesionLensError
from lesionlens.report.words import Words

if TYPE_CHECKING:
    from markdown_it.token import Token

__all__ = ["card_html", "card_of"]

# Headings whose sections a reader of results needs; the tables of a card can fill ten pages.
_NEEDED = re.compile(r"\b(use|intended|do not|limit|weak|caveat|warning|contraindicat|out of scope)", re.IGNORECASE)
_COMMENTS = re.compile(r"<!--.*?-->", re.DOTALL)


def card_of(record: Mapping[str, Any], bundle: str | None, words: Words) -> tuple[str, tuple[str, ...]]:
    """Return the model card of the bundle of a run as HTML, and what must be said about it.

    Parameters
    ----------
    record
        What ``record.json`` says.
    bundle
        Name or place of the bundle; by default its name in the record.
    words
        The language of what is said; a card has its own.
    """
    from lesionlens.model.catalogue import describe, hash_files, locate, model_card, opened

    about = record["bundle"]
    try:
        path, embedded = locate(bundle or about["name"])
        with opened(path) as folder:
            if hash_files(folder) != about["sha256"]:
                return "", (words("The bundle that is here is not the one that made these results."),)
            card = model_card(folder)
            use = describe(folder, embedded=embedded, root=path).intended_use
    except LesionLensError:
        return "", (words("The bundle is not here, so its model card is not shown; --bundle names its place."),)
    notes = [words("Intended use, as the bundle states it: %(use)s", use=use)] if use else []
    if not card:
        return "", (*notes, words("The bundle has no model card."))
    return card_html(card), tuple(notes)


def card_html(text: str) -> str:
    """Return what a model card says before its first section, and its sections on use and limits.

    Markdown is turned into HTML; HTML in it is shown as text, pictures by their words, links by their addresses.
    """
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["html_block", "html_inline"])
    tokens = parser.parse(_COMMENTS.sub("", text))
    kept = list(_needed(tokens)) or tokens
    for token in kept:
        if token.type in ("heading_open", "heading_close"):  # below the heading of the part
            token.tag = f"h{min(int(token.tag[1:]) + 2, 6)}"
        if token.children:
            token.children = [child for one in token.children for child in _inert(one)]
    return str(parser.renderer.render(kept, parser.options, {}))


def _needed(tokens: Sequence[Token]) -> list[Token]:
    found, keep, depth = [], True, 0
    for n, token in enumerate(tokens):
        if token.type == "heading_open":
            level = int(token.tag[1:])
            title = tokens[n + 1].content
            if level == 1 or depth <= 1 or not keep or level <= depth:  # else it lies in a section that is kept
                keep, depth = level == 1 or bool(_NEEDED.search(title)), level
        if keep:
            found.append(token)
    return found


def _inert(token: Token) -> list[Token]:
    """Return what is shown of a piece of text: nothing that a browser would fetch or follow."""
    from markdown_it.token import Token

    def text(content: str) -> Token:
        return Token("text", "", 0, content=content)

    if token.type == "image":
        return [text(f"[{token.content}]")]
    if token.type == "link_open":
        return [text(f"[{token.attrGet('href')}] ")]
    return [] if token.type == "link_close" else [token]
