"""From files to series, and from several series to the one that is meant: chosen or plain, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lesionlens.errors import AmbiguousSeriesError, ReadError, unknown_name
from lesionlens.io.boundary import counted, named
from lesionlens.io.dicom.header import Instance, Part
from lesionlens.io.dicom.slices import Slice

__all__ = ["SCOUT_SLICES", "Series", "choose", "group", "orientations", "refuse_no_scan"]

_DICOM = "1.2.840.10008."
_STORAGE = _DICOM + "5.1.4.1.1."

# Storage classes (by the rest of their UID) that describe a scan rather than being one.
_RESULTS = (
    "11.", "30", "66", "66.", "88.", "104.", "481.1", "481.2", "481.3", "481.4", "481.5", "481.6", "481.7", "481.8",
    "481.9",
)  # fmt: skip

# Those of them that are read by people: structured reports, and documents.
_REPORTS = ("88.", "104.")

# Values of ImageType that say that an image is for planning others.
_SCOUT_MARKS = frozenset({"LOCALIZER", "SCOUT"})

# A scout without the LOCALIZER mark: several orientations with no more slices than this in each.
SCOUT_SLICES = 3

# Secondary captures, by the rest of their UID: of a screen or a film, or of a computed volume that says where it lies.
_CAPTURES = ("7", "7.")

# At most so many missing parts of a concatenation are looked for; a damaged file can promise millions.
_MOST_MISSING = 100

_OPTION = "--series (series= in Python)"

# Digits of a series number; DICOM writes twelve at most, and Python does not read thousands.
_LONGEST_NUMBER = 12

# Orientations with direction cosines closer than this count as the same when scouts are looked for.
_SAME_COSINE = 0.01

# Images that lie in more ways than this make no volume; further ways are not looked for again.
_MOST_WAYS = 1000


@dataclass(frozen=True)
class Series:
    """The files of one series.

    Parameters
    ----------
    uid, number, description, modality
        As the headers say.
    instances
        The files, without copies, and without localisers that share the series with a volume.
    decisions
        One sentence for everything that was left out.
    aside
        What the series is, where that is hardly the scan that is meant (``"localiser"``, ``"report (Enhanced SR
        Storage)"``); empty otherwise.
    copies
        Files that were left out because they repeat another one by their headers, each behind the other one.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    instances: tuple[Instance, ...]
    decisions: tuple[str, ...]
    aside: str
    copies: tuple[tuple[Instance, Instance], ...] = ()

    @property
    def label(self) -> str:
        """Short name without any of the patient's data: ``"MR series 4"``."""
        number = "" if self.number is None else f" {self.number}"
        return f"{self.modality or 'DICOM'} series{number}"

    @property
    def slices(self) -> tuple[Slice, ...]:
        """All images of the series."""
        return tuple(Slice(instance, frame) for instance in self.instances for frame in instance.frames)

    @property
    def n_images(self) -> int:
        """Number of images."""
        return sum(instance.n_frames for instance in self.instances if instance.rows)

    def __str__(self) -> str:
        title = f" {self.description!r}" if self.description else ""
        number = "-" if self.number is None else self.number
        slices = counted(self.n_images, "slice")
        return f"{number}{title} ({self.modality or 'no modality'}, {slices}, UID {self.uid or 'absent'})"


def group(instances: Sequence[Instance]) -> tuple[Series, ...]:
    """Group files by SeriesInstanceUID; ordered by series number, then UID."""
    by_uid: dict[str, list[Instance]] = {}
    for instance in instances:
        by_uid.setdefault(instance.series_uid, []).append(instance)
    found = [_series(uid, members) for uid, members in by_uid.items()]
    return tuple(sorted(found, key=lambda s: (s.number is None, s.number or 0, s.uid)))


def choose(series: Sequence[Series], wanted: str | int | None, where: str) -> tuple[Series, tuple[str, ...]]:
    """Return the series that is meant, and one sentence for every one that was left aside.

    Parameters
    ----------
    series
        All series of a folder, at least one.
    wanted
        SeriesInstanceUID, series number (also as digits) or description; None to take the only scan there is.
    where
        Folder for messages.

    Raises
    ------
    AmbiguousSeriesError
        If several series could be meant, or none of several is a scan.
    ReadError
        If none matches ``wanted``.
    """
    if wanted is not None:
        return _only(_matching(series, wanted), f"in {where} match {str(wanted)!r}"), ()
    scans = [one for one in series if not one.aside]
    if not scans and len(series) > 1:
        listed = "; ".join(f"{one}: {one.aside}" for one in series)
        raise AmbiguousSeriesError(
            f"No series in {where} is a scan: {listed}. Choose one with {_OPTION} to read it nevertheless.",
            [one.uid for one in series],
        )
    chosen = _only(scans or series, f"in {where} could be meant")
    left = tuple(f"Series {one} was left aside: {one.aside}." for one in series if one is not chosen)
    return chosen, left


def refuse_no_scan(series: Series) -> None:
    """Refuse, by name, series that hold no grey-value images of their own."""
    for instance in series.instances:
        found = _no_scan(instance)
        if found:
            raise ReadError(f"{series.label} ({instance.name}) is not a scan that can be read: {found}.")
    mixed = _mixed(series.instances)
    if mixed:
        raise ReadError(f"{series.label} is not one series: {mixed}. Separate the files into folders.")
    missing = _incomplete(series.instances)
    if missing:
        raise ReadError(f"{series.label} is not whole: {missing}. Copy or export it again.")


def _no_scan(instance: Instance) -> str:
    if _is_result(instance):
        return f"expected images, found {instance.class_name}. Give its scan; segmentations and maps are overlays"
    if instance.columns < 1 or not _is_image(instance):
        return f"{instance.class_name} without an image"
    if instance.samples != 1 or not instance.photometric.startswith("MONOCHROME"):
        return f"expected grey values, found {instance.photometric or 'unnamed'} colours. Give the original series"
    if instance.flaw:
        return instance.flaw
    if not instance.frames:
        return f"expected a place for every frame, found {instance.n_frames} frames of {instance.class_name} without"
    return ""


def _mixed(instances: Sequence[Instance]) -> str:
    """Say how files of one series UID cannot be of one series: copied or anonymised wrongly, they share it."""
    patients = {instance.patient: instance.name for instance in instances if instance.patient}
    studies = {instance.study: instance.name for instance in instances if instance.study}
    for what, found in (("patient", patients), ("study", studies)):
        if len(found) > 1:
            return f"expected one {what}, found files of {len(found)}: {named(list(found.values()))}"
    modalities = {instance.modality: instance.name for instance in instances if instance.modality}
    if len(modalities) > 1:
        shown = [f"{modality} ({name})" for modality, name in modalities.items()]
        return f"expected one modality, found {named(shown)}"
    return ""


def _incomplete(instances: Sequence[Instance]) -> str:
    """Say which parts are missing of objects that were split into several files (concatenations)."""
    found: dict[str, list[Part]] = {}
    for instance in instances:
        if instance.concatenation:
            found.setdefault(instance.concatenation.uid, []).append(instance.concatenation)
    for parts in found.values():
        numbers = sorted(part.number for part in parts)
        total = max(part.total for part in parts) or numbers[-1]
        missing = [str(n) for n in range(1, min(total, len(numbers) + _MOST_MISSING) + 1) if n not in numbers]
        if missing:
            return f"expected all {total} parts of a concatenation, found {len(numbers)}; without part {named(missing)}"
        if len(numbers) != total:
            return f"expected {total} parts of a concatenation, found {len(numbers)} with numbers {numbers}"
    return ""


def _is_result(instance: Instance) -> bool:
    return _is_one_of(instance, _RESULTS)


def _is_one_of(instance: Instance, classes: Sequence[str]) -> bool:
    """Say whether a file is of one of some storage classes; a point at the end stands for all that begin like it."""
    rest = instance.class_uid.removeprefix(_STORAGE)
    return rest != instance.class_uid and any(rest == c or (c[-1] == "." and rest.startswith(c)) for c in classes)


def _series(uid: str, members: list[Instance]) -> Series:
    unique, copies = _without_copies(members)
    decisions = (f"Left out: {counted(len(copies), 'file')} with the same SOPInstanceUID and place as another.",)
    unique, without = _without_bystanders(unique)
    first = unique[0]
    return Series(
        uid=uid,
        number=first.number,
        description=first.description,
        modality=first.modality,
        instances=tuple(unique),
        decisions=(decisions if copies else ()) + without,
        aside=_aside(unique),
        copies=copies,
    )


def _without_copies(members: list[Instance]) -> tuple[list[Instance], tuple[tuple[Instance, Instance], ...]]:
    """Leave out files that repeat another one: same SOPInstanceUID, and the same places and traits of all images.

    All must agree, because some de-identification tools give all files of a series the same UID. Whether the pixels do,
    too, is seen on reading.
    """
    kept: dict[object, Instance] = {}
    copies = []
    for instance in members:
        images = [(frame.position, frame.orientation, *frame.traits.items()) for frame in instance.frames]
        first = kept.setdefault((instance.uid, *images) if instance.uid else instance.name, instance)
        if first is not instance:
            copies.append((first, instance))
    return list(kept.values()), tuple(copies)


def _without_bystanders(members: list[Instance]) -> tuple[list[Instance], tuple[str, ...]]:
    """Leave out reports and results where the same series also holds images, and localisers beside a volume."""
    decisions = []
    images = [instance for instance in members if _is_image(instance)]
    if images and len(images) < len(members):
        left = [instance.name for instance in members if not _is_image(instance)]
        decisions.append(
            f"Left out: {counted(len(left), 'file')} without a scan's images in the same series: {named(left)}."
        )
        members = images
    others = [instance for instance in members if not _is_localiser(instance)]
    if len(others) < len(members) and sum(instance.n_frames for instance in others) > 1:
        decisions.append(f"Left out: {counted(len(members) - len(others), 'localiser image')} in the same series.")
        members = others
    return members, tuple(decisions)


def _is_image(instance: Instance) -> bool:
    """Say whether a file holds an image. Makers' own classes can give its size and hold none (Philips exam data)."""
    is_private = not instance.class_uid.startswith(_DICOM)
    return instance.rows > 0 and not _is_result(instance) and bool(instance.photometric or not is_private)


def _is_localiser(instance: Instance) -> bool:
    return not _SCOUT_MARKS.isdisjoint(instance.image_type)


def _aside(members: list[Instance]) -> str:
    """Say what a series is by its own headers, where that is not the scan that is meant; empty when it may be.

    A stack of slices without such a mark is never put aside, whatever it was made for.
    """
    first = members[0]
    if _is_result(first):
        return f"{'report' if _is_one_of(first, _REPORTS) else 'result'} ({first.class_name})"
    if not any(_is_image(instance) for instance in members):
        return f"object without pixels ({first.class_name})"
    if all(_is_localiser(instance) for instance in members):
        return "localiser"
    if all(_is_placeless_capture(instance) for instance in members):
        return "secondary capture (without a place in the patient)"
    if first.samples != 1:
        return "colour images"
    if sum(instance.n_frames for instance in members) == 1:
        return "secondary capture" if _is_one_of(first, _CAPTURES) else "single image"
    return "localiser (in several orientations)" if _is_scout(members) else ""


def _is_placeless_capture(instance: Instance) -> bool:
    return _is_one_of(instance, _CAPTURES) and all(frame.position is None for frame in instance.frames)


def _is_scout(members: list[Instance]) -> bool:
    known = [frame.orientation for instance in members for frame in instance.frames]
    ways = [] if None in known else orientations(known)
    return len(ways) > 1 and max(map(len, ways)) <= SCOUT_SLICES


def orientations(known: Sequence[tuple[float, ...] | None]) -> list[list[int]]:
    """Return the numbers of the images that lie one way, for each way."""
    ways: list[list[int]] = []
    first = np.empty((_MOST_WAYS, 6))
    for n, cosines in enumerate(np.array(known, dtype=np.float64)):
        same = np.abs(first[: min(len(ways), _MOST_WAYS)] - cosines).max(axis=1, initial=0) < _SAME_COSINE
        if same.any():
            ways[int(same.argmax())].append(n)
            continue
        if len(ways) < _MOST_WAYS:
            first[len(ways)] = cosines
        ways.append([n])
    return ways


def _matching(series: Sequence[Series], wanted: str | int) -> list[Series]:
    """Return the series of this UID, else of this number, else of this description."""
    text = str(wanted).strip()
    by_uid = [one for one in series if one.uid == text]
    number = int(text) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else None
    by_number = [one for one in series if number is not None and one.number == number]
    by_description = [one for one in series if one.description.casefold() == text.casefold() != ""]
    found = by_uid or by_number or by_description
    if not found:
        raise ReadError(unknown_name("series", wanted, [str(one) for one in series]))
    return found


def _only(found: Sequence[Series], what: str) -> Series:
    if len(found) == 1:
        return found[0]
    listed = "; ".join(str(one) for one in found)
    raise AmbiguousSeriesError(
        f"{len(found)} series {what}; choose one by UID, number or description with {_OPTION}: {listed}.",
        [one.uid for one in found],
    )
