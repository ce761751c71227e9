"""Review sessions: readers judge findings, stop, and go on; nothing that the screen has acknowledged is lost.

``events`` are what readers did, ``state`` what that comes to, ``masks`` the voxels of edits, ``store`` the file.
"""

from lesionlens.review.events import Act, Event, Verdict, reading_seconds
from lesionlens.review.state import CaseState, FindingState, fold
from lesionlens.review.store import CaseEntry, Finding, Progress, Session

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
