"""How far readers are, kept beside the events: of a session of thousands of cases nobody waits for all events.

Events are the truth. A row counts only while it names the last event of its reader in its case; any other case is
worked out from its events again.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from lesionlens.review.rows import EVENT_COLUMNS, event_of
from lesionlens.review.state import CaseState, Status, fold

__all__ = ["Standing", "keep", "refill", "standings"]

# Beside every case its reader's last event is looked up, by an index; nothing else of the events is read.
_STANDINGS = """
SELECT cases.id, (SELECT max(id) FROM events WHERE case_id = cases.id AND reader = ?1) AS last,
    standing.last_event, standing.status, standing.flagged
FROM cases LEFT JOIN standing ON standing.reader = ?1 AND standing.case_id = cases.id
ORDER BY cases.place
"""


@dataclass(frozen=True)
class Standing:
    """How far a reader is in a case.

    Parameters
    ----------
    last_event
        The reader's last event there; 0 where there is none.
    known
        Status and flag; None where they have to be worked out from the events.
    """

    last_event: int
    known: tuple[Status, bool] | None


def standings(connection: sqlite3.Connection, reader: str) -> dict[str, Standing]:
    """Return how far a reader is in every case, in the order in which they are read."""
    found: dict[str, Standing] = {}
    for case, last, kept_at, status, flagged in connection.execute(_STANDINGS, (reader,)):
        if last is None:
            found[case] = Standing(0, ("untouched", False))
        else:
            found[case] = Standing(last, (status, bool(flagged)) if kept_at == last else None)
    return found


def keep(connection: sqlite3.Connection, reader: str, case: str, state: CaseState, *, last_event: int) -> None:
    """Keep how far a reader is in a case, in the transaction that stores the event it rests on."""
    row = (reader, case, state.status, int(state.flagged), last_event)
    connection.execute("INSERT OR REPLACE INTO standing VALUES (?, ?, ?, ?, ?)", row)


def refill(connection: sqlite3.Connection) -> None:
    """Work out everything again from the events."""
    connection.execute("DELETE FROM standing")
    query = f"SELECT {EVENT_COLUMNS} FROM events WHERE case_id = ? AND reader = ? ORDER BY id"
    for case, reader in connection.execute("SELECT DISTINCT case_id, reader FROM events").fetchall():
        names = connection.execute("SELECT id FROM findings WHERE case_id = ? ORDER BY place", (case,)).fetchall()
        events = [event_of(row) for row in connection.execute(query, (case, reader))]
        keep(connection, reader, case, fold([name for (name,) in names], events), last_event=events[-1].id)
