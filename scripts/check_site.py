"""Check that every link, picture and anchor within the built docs site leads somewhere.

    python scripts/check_site.py site

Links to other sites are left alone. 1 where one leads nowhere.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and which anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.links, self.anchors = path, set[str](), set[str]()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links and anchors."""
        found = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := found.get(name))}
        link = found.get("href") if tag in ("a", "link") else found.get("src")
        if link:
            self.links.add(link)


def problems(site: Path) -> Iterator[str]:
    """Yield a sentence for each link of a site that leads nowhere."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = _file(site, path, unquote(parts.path))
            if not target.is_file():
                yield f"{path.relative_to(site)}: {link} leads to no file"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{path.relative_to(site)}: {link} leads to no anchor"


def _file(site: Path, page: Path, link: str) -> Path:
    """Return the file that a link means, as a server finds it."""
    start = site if link.startswith("/") else page.parent
    target = page if not link else (start / link.lstrip("/")).resolve()
    return target / "index.html" if target.is_dir() else target


def main(site: Path) -> int:
    """Print what is wrong."""
    found = list(problems(site.resolve()))
    sys.stdout.writelines(f"{one}\n" for one in found)
    n_pages = sum(1 for _ in site.rglob("*.html"))
    print(f"{n_pages} pages, {len(found)} links that lead nowhere")
    return int(bool(found) or not n_pages)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
