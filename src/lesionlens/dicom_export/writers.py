"""One function for each format: it yields one piece of writing for each object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionlens.dicom_export.job import Job
from lesionlens.heatmap import Heatmap, slug

if TYPE_CHECKING:
    from lesionlens.io.dicom.export.objects import Place

__all__ = ["WRITERS"]

# Gives the objects of one format their place, by their number.
Places = Callable[[int], "Place"]
Writing = Iterator[Callable[[], None]]


def _segmentations(job: Job, place: Places) -> Writing:
    from lesionlens.io.dicom.export.masks import segmentation

    for n, (label, array) in enumerate(job.labels.items(), 1):

        def write(n: int = n, label: str = label, array: Any = array) -> None:
            segments = job.segments(label)
            if not segments:
                job.notes.append(f"Of {label!r} there is no region, and so no segmentation.")
                return
            made = segmentation(place(n), np.asarray(array), segments, job.algorithm)
            job.segmentations[label] = job.save(made, f"seg_{slug(label)}.dcm")

        yield write


def _fractions(job: Job, place: Places) -> Writing:
    from lesionlens.io.dicom.export.masks import Segment, fractional_segmentation
    from lesionlens.io.dicom.export.objects import one_line

    for n, heatmap in enumerate(job.case.probabilities, 1):

        def write(n: int = n, heatmap: Heatmap = heatmap) -> None:
            segment = Segment(heatmap.label, one_line(heatmap.label))
            made = fractional_segmentation(place(n), heatmap.array, segment, job.algorithm)
            job.save(made, f"fractional_{slug(heatmap.label)}.dcm")

        yield write
    if not job.case.probabilities:
        job.notes.append("The run left no probability maps.")


def _maps(job: Job, place: Places, heatmaps: Sequence[Heatmap]) -> Writing:
    from lesionlens.io.dicom.export.maps import parametric_map

    for n, heatmap in enumerate(heatmaps, 1):

        def write(n: int = n, heatmap: Heatmap = heatmap) -> None:
            job.save(parametric_map(place(n), heatmap), f"{heatmap.name}.dcm")

        yield write


def _probabilities(job: Job, place: Places) -> Writing:
    return _maps(job, place, job.case.probabilities)


def _attributions(job: Job, place: Places) -> Writing:
    return _maps(job, place, (*job.case.attributions, *job.case.uncertainties))


def _report(job: Job, place: Places) -> Writing:
    from lesionlens.io.dicom.export.report import Finding, quantities, report

    def write() -> None:
        volume = job.case.volume
        findings = []
        for label, number, row, verdict in job.findings():
            measured = quantities(row, volume.unit, volume.source.modality)
            segment = job.segments(label)[number - 1]
            findings.append(Finding(segment, number, job.segmentations[label], measured, verdict))
        if not findings:
            job.notes.append("There is no finding, and so no report.")
            return
        job.save(report(place(1), findings, job.algorithm, reader=job.reader), "report.dcm")

    yield write


def _structures(job: Job, place: Places) -> Writing:
    from lesionlens.io.dicom.export.contours import Structure, structure_set

    def write() -> None:
        found = [
            Structure(segment, np.asarray(array), number)
            for label, array in job.labels.items()
            for number, segment in enumerate(job.segments(label), 1)
        ]
        if not found:
            job.notes.append("There is no region, and so no structure set.")
            return
        job.save(structure_set(place(1), found, job.algorithm), "rtstruct.dcm")

    yield write


def _key_images(job: Job, place: Places) -> Writing:
    from lesionlens.io.dicom.export.pictures import key_image
    from lesionlens.report.key_frame import key_frame

    regions = [(label, n, one) for label in job.labels for n, one in enumerate(job.segments(label), 1)]
    for instance, (label, number, segment) in enumerate(regions, 1):

        def write(
            instance: int = instance, label: str = label, number: int = number, title: str = segment.name
        ) -> None:
            k, factor, picture = key_frame(job.case.volume, np.asarray(job.labels[label]) == number, title)
            job.save(key_image(place(instance), k, factor, picture), f"key_{slug(label)}_{number}.dcm")

        yield write


WRITERS: dict[str, Callable[[Job, Places], Writing]] = {
    "seg": _segmentations,
    "fractional": _fractions,
    "probability": _probabilities,
    "attribution": _attributions,
    "sr": _report,
    "rtstruct": _structures,
    "key-images": _key_images,
}
