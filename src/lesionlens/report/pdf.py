"""Pages as PDF: the same HTML, laid out for paper by WeasyPrint."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lesionlens.errors import MissingPackageError

__all__ = ["SYSTEM_PACKAGES", "html_to_pdf", "require_weasyprint"]

#: Libraries that WeasyPrint loads from the system, by Debian's names of their packages.
SYSTEM_PACKAGES = ("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0")


def html_to_pdf(html: str) -> bytes:
    """Return a page as PDF; nothing that it does not hold itself is fetched.

    Raises
    ------
    MissingPackageError
        If WeasyPrint or a library that it needs is not installed.
    """
    weasyprint = require_weasyprint()
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols=["data"])
    with _silent():
        document = weasyprint.HTML(string=html, url_fetcher=fetcher)
        return bytes(document.write_pdf(pdf_tags=True))


def require_weasyprint() -> Any:
    """Return the module, or say what is missing.

    Raises
    ------
    MissingPackageError
        If it, or a library that it needs, is not installed.
    """
    try:
        import weasyprint
        import weasyprint.urls
    except ImportError:
        raise MissingPackageError(
            "A PDF needs WeasyPrint, which is not installed; run: pip install 'lesionlens[pdf]', or write .html.",
            package="weasyprint",
            extra="pdf",
        ) from None
    except OSError as error:  # it loads Pango when it is imported
        library = str(error).splitlines()[0]
        raise MissingPackageError(
            f"WeasyPrint lacks a library of the system ({library}); on Debian or Ubuntu run: apt-get install"
            f" {' '.join(SYSTEM_PACKAGES)}, or write .html.",
            package="weasyprint",
            extra="pdf",
        ) from None
    return weasyprint


@contextmanager
def _silent() -> Iterator[None]:
    """Keep to itself what WeasyPrint says of rules for browsers that it does not know."""
    log = logging.getLogger("weasyprint")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
