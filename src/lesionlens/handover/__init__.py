"""What leaves a review session, and what comes back: masks, statistics, reports, agreement, files found by hash.

``images`` reads what a case shows, ``measuring`` measures what readers made of it; ``export``, ``agreement`` and
``pages`` write; ``linking`` finds scans and results on another machine.
"""

from lesionlens.handover.agreement import write_agreement
from lesionlens.handover.export import write_export
from lesionlens.handover.images import read_images, read_regions
from lesionlens.handover.linking import find_files, link_session
from lesionlens.handover.pages import write_pages

__all__ = [
    "find_files",
    "link_session",
    "read_images",
    "read_regions",
    "write_agreement",
    "write_export",
    "write_pages",
]
