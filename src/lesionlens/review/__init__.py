"""Review sessions: readers judge findings, stop, and go on; nothing that the screen has acknowledged is lost.

``cases`` are what is read, ``events`` what readers did, ``state`` what that comes to, ``masks`` the voxels of edits and
``drawn`` those of findings after them; ``store`` records what the ``rules`` allow, in a ``file`` with the tables of
``schema``, and ``standing`` keeps how far readers are. ``blinding`` says who may see what, and ``seen`` leaves out the
rest; ``consensus`` is decided together; ``portable`` hands a session on, ``copies`` brings several together;
``agreement`` and ``detection`` compare readers.
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
