"""Pages of HTML taken apart, and shown by a real browser that reaches no network."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: What a page that readers can write into must keep harmless.
HOSTILE = '<script>document.title="owned"</script><img src=x onerror=alert(1)> & "quoted" {{ 7 * 7 }}'


class Elements(HTMLParser):
    """Every element of a page with its attributes, all of its text, and the text by the element that it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.pieces: list[tuple[str, str]] = []
        self._open: list[str] = [""]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.text += data
        if data.strip():
            self.pieces.append((self._open[-1], data.strip()))


def outside(text: str) -> list[str]:
    """Return what a page refers to beside itself and other pages in its folder."""
    elements = Elements(text).found
    links = [value or "" for _, attributes in elements for name, value in attributes.items() if name in ("src", "href")]
    links += re.findall(r"url\((.*?)\)|@import", text)
    return [
        link
        for link in links
        if not link.startswith("data:image/png;base64,") and not re.fullmatch(r"[\w-]+\.html|#[\w-]+", link)
    ]


def find_browser() -> str:
    """Return a browser that runs without a screen, or skip."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser; install one of {', '.join(BROWSERS)}")
    return found


def browse(page: Path, folder: Path, *options: str) -> str:
    """Open a page in a browser that reaches no network; return what it made of the page."""
    command = [find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += ["--hide-scrollbars", f"--user-data-dir={folder / 'profile'}", *options, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    return done.stdout
