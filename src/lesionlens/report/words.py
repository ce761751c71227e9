"""The words of pages in several languages: one catalogue for all of them, read with the gettext of Python.

English is written in the code and the templates; a catalogue is ``locale/<language>/LC_MESSAGES/lesionlens.mo``, made
from the ``.po`` beside it by ``scripts/catalogues.py``. What a run has recorded, such as warnings, names of classes and
the words in pictures, stays in the language in which it was recorded.
"""

from __future__ import annotations

import gettext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lesionlens.errors import InputError, unknown_name

__all__ = ["DOMAIN", "ENGLISH", "LANGUAGES", "LOCALES", "N_", "Words", "words_of"]

#: Name of the catalogues, and where they lie.
DOMAIN: Final = "lesionlens"
LOCALES: Final = Path(__file__).parent / "locale"
#: What pages can be written in.
LANGUAGES: Final = ("en", *sorted(path.parent.parent.name for path in LOCALES.glob(f"*/*/{DOMAIN}.mo")))

# Thousands and decimals: "1.234" would be read as a thousand more in German.
_FIGURES: Final = {"de": str.maketrans({",": "\N{NARROW NO-BREAK SPACE}", ".": ","})}


def N_(text: str) -> str:  # noqa: N802 - the name by which the tools of gettext know it
    """Mark a text that is translated where it is shown."""
    return text


@dataclass(frozen=True)
class Words:
    """One language.

    Parameters
    ----------
    language
        One of :data:`LANGUAGES`.
    catalogue
        Its translations; of English none.
    """

    language: str = "en"
    catalogue: gettext.NullTranslations = field(default_factory=gettext.NullTranslations, repr=False, compare=False)

    def __call__(self, text: str, /, **values: object) -> str:
        """Return a text in this language, with values in the place of ``%(name)s``."""
        found = self.catalogue.gettext(text)
        return found % values if values else found

    def many(self, one: str, several: str, n: int, /, **values: object) -> str:
        """Return the text for a number of things, which is ``%(n)s`` in it."""
        return self.catalogue.ngettext(one, several, n) % {"n": n, **values}

    def figure(self, text: str) -> str:
        """Return a number that was written in English as it is written in this language."""
        return text.translate(_FIGURES.get(self.language, {}))

    def number(self, value: float | None, digits: int) -> str:
        """Return a number with so many decimals; nothing where there is none."""
        return "" if value is None else self.figure(f"{value:.{digits}f}")


ENGLISH: Final = Words()


def words_of(language: str) -> Words:
    """Return the words of a language.

    Raises
    ------
    InputError
        If there is no catalogue for it.
    """
    if language not in LANGUAGES:
        raise InputError(unknown_name("language", language, LANGUAGES))
    if language == "en":
        return ENGLISH
    return Words(language, gettext.translation(DOMAIN, LOCALES, [language]))
