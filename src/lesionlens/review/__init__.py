"""Review sessions: readers judge findings, stop, and go on; nothing that the screen has acknowledged is lost.

``cases`` are what is read, ``events`` what readers did, ``state`` what that comes to, ``masks`` the voxels of edits;
``store`` records, in a ``file`` with the tables of ``schema``; ``agreement`` compares readers.
"""

from lesionlens.review.cases import CaseEntry, Finding, Progress
from lesionlens.review.events import Act, Event, Verdict, reading_seconds
from lesionlens.review.state import CaseState, FindingState, fold
from lesionlens.review.store import Session

__all__ = [
    "Act",
    "CaseEntry",
    "CaseState",
    "Event",
    "Finding",
    "FindingState",
    "Progress",
    "Session",
    "Verdict",
    "fold",
    "reading_seconds",
]
