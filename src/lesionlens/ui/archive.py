"""The dock *Archive*: find series in a hospital's archive, open one, and send results back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QWidget,
)

from lesionlens.errors import LesionLensError, counted
from lesionlens.pacs import Query
from lesionlens.ui import archiving
from lesionlens.ui.canvas import annotate
from lesionlens.ui.current import current_of
from lesionlens.ui.docking import itself
from lesionlens.ui.found_table import FoundTable
from lesionlens.ui.login_dialog import LoginDialog
from lesionlens.ui.opening import Opening
from lesionlens.ui.parts import scrolled, wide_combo
from lesionlens.ui.run_bar import RunBar
from lesionlens.ui.scans import Opened, Request

if TYPE_CHECKING:
    import napari.viewer

    from lesionlens.pacs import Found
    from lesionlens.progress import Progress

__all__ = ["ArchiveWidget"]

# Of what is looked for: name, title and tip.
_FIELDS = (
    ("patient_id", "Patient ID", "Number of the patient; * stands for any letters, in every field"),
    ("patient_name", "Patient", "Name of the patient, FAMILY^GIVEN"),
    ("study_date", "Days", "YYYYMMDD, or a range such as 20240101-20240331"),
    ("accession", "Accession", "Accession number"),
    ("modality", "Modality", "MR, CT, PT, …"),
    ("series_description", "Series", "Description of the series"),
)


class ArchiveWidget(QWidget):
    """Finds series in an archive, opens one as a scan, and sends the results of the case that is shown.

    Parameters
    ----------
    viewer
        The viewer that the widget is docked in.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer = itself(viewer)
        self._current = current_of(viewer)
        # Series as long as the dock is there: results are written on the files that they were made from.
        self._kept = TemporaryDirectory(prefix="lesionlens-archive-")
        self._sources: dict[str, Path] = {}  # by the hash of the scan
        self.place = wide_combo("Name of an archive, https://host/dicom-web, or dicom://AET@host:port")
        self.fields = {name: QLineEdit() for name, _, _ in _FIELDS}
        self.identified = QCheckBox("Show who the series are of")
        self.table = FoundTable()
        self.open = QPushButton("Open")
        self.open.setToolTip("Bring the chosen series here and show it")
        self.bar = RunBar("Search", self.open)
        self.named = QCheckBox("Under the patient's own name")
        self.named.setToolTip("Without it the objects get pseudonyms, and do not join the study that they are of")
        self.send = QPushButton("Send results…")
        self.log_in = QPushButton("Log in…")
        self._arrange()
        self._connect()
        annotate(viewer)
        self._allow()

    def search(self) -> None:
        """Look for series in the background."""
        try:
            query = Query(**{name: field.text().strip() for name, field in self.fields.items()})
        except LesionLensError as error:
            self.bar.refuse(str(error))
            return
        self.table.show_found(None)
        look = partial(archiving.search, self._place, query, self.identified.isChecked())
        self._start("LesionLens: searching an archive", look, self.show_found)

    def show_found(self, found: Found) -> None:
        """Show what was found."""
        self.table.show_found(found)
        more = "; there are more, so narrow the search" if found.more else ""
        self.bar.say(f"{len(found.series):,} series{more}.")
        self._allow()

    def open_chosen(self) -> None:
        """Bring the chosen series here in the background, and open it."""
        chosen = self.table.chosen
        if chosen is None or self.bar.job is not None:
            return
        folder = Path(self._kept.name) / chosen.name
        self._start(f"LesionLens: fetching {chosen.name}", partial(archiving.fetch, chosen.url, folder), self._show)

    def send_results(self) -> None:
        """Write the results of the case as DICOM and store them in the archive, after asking."""
        result = self._current.result
        if result is None or self.bar.job is not None:
            return
        digest = result.volume.source.sha256
        source = self._sources.get(digest) or self._ask_for_source()
        if source is None or not self._agreed():
            return
        send = partial(archiving.send_results, result, source, self._place, self.named.isChecked())
        self._start("LesionLens: sending results", send, lambda n: self.bar.say(f"{counted(n, 'object')} stored."))

    def ask_to_log_in(self) -> None:
        """Ask for user and password, and keep them in the keyring of the system."""
        dialog = LoginDialog(self._place, self)
        try:
            if dialog.exec():
                archiving.log_in(self._place, dialog.user.text(), dialog.password.text())
                self.bar.say("User and password are in the keyring.")
        except LesionLensError as error:
            self.bar.refuse(str(error))
        finally:
            dialog.password.clear()
            dialog.deleteLater()

    def cancel(self) -> None:
        """Stop what runs, at its next step."""
        self.bar.stop()

    @property
    def _place(self) -> str:
        return self.place.currentText().strip()

    def _show(self, folder: Path) -> None:
        self.bar.say("")
        opening = Opening(self.viewer, Request(folder, identified=self.identified.isChecked(), remembered=False))
        opening.opened.connect(partial(self._keep, folder))

    def _keep(self, folder: Path, opened: Opened) -> None:
        self._sources[opened.volume.source.sha256] = folder

    def _ask_for_source(self) -> Path | None:
        title = "LesionLens: the DICOM series that the results are of"
        found = QFileDialog.getExistingDirectory(self, title)
        return Path(found) if found else None

    def _agreed(self) -> bool:
        who = "under the patient's own name" if self.named.isChecked() else "under a pseudonym"
        question = f"Store the results of this case in {self._place}, {who}?"
        return QMessageBox.question(self, "LesionLens: send results", question) == QMessageBox.StandardButton.Yes

    def _start(self, title: str, work: Callable[[Progress], object], done: Callable[[Any], None]) -> None:
        self.bar.start(title, work, done)
        self._allow()

    def _allow(self) -> None:
        there, idle = bool(self._place), self.bar.job is None
        self.bar.allow(there, why_not="" if there else "Give the address of an archive.")
        self.open.setEnabled(idle and self.table.chosen is not None)
        self.send.setEnabled(idle and there and self._current.result is not None)
        self.log_in.setEnabled(there)

    def _connect(self) -> None:
        self.bar.run_clicked.connect(self.search)
        self.bar.ended.connect(self._allow)
        self.place.currentTextChanged.connect(lambda _: self._allow())
        self.table.selection_changed.connect(self._allow)
        self.table.activated.connect(self.open_chosen)
        self.open.clicked.connect(self.open_chosen)
        self.send.clicked.connect(self.send_results)
        self.log_in.clicked.connect(self.ask_to_log_in)
        self._current.changed.connect(self._allow)
        self.destroyed.connect(self._kept.cleanup)
        for field in self.fields.values():
            field.returnPressed.connect(self.bar.run.click)

    def _arrange(self) -> None:
        self.place.setEditable(True)
        self.place.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.place.addItems(archiving.archive_names())
        rows, below = QFormLayout(), QFormLayout()
        rows.addRow("Archive", self.place)
        for name, title, tip in _FIELDS:
            self.fields[name].setToolTip(tip)
            self.fields[name].setPlaceholderText("20240101-20240331" if name == "study_date" else "")
            rows.addRow(title, self.fields[name])
        rows.addRow(self.identified)
        below.addRow(self.send, self.named)
        below.addRow(self.log_in)
        parts = []
        for layout in (rows, below):
            layout.setContentsMargins(0, 0, 0, 0)
            parts.append(QWidget())
            parts[-1].setLayout(layout)
        scrolled(self, parts[0], self.bar, self.table, parts[1])
