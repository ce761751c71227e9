"""What a file or folder holds, as a list to choose from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lesionlens.volume import GeometryVerdict

__all__ = ["ITK_SUFFIXES", "NIFTI_SUFFIXES", "SeriesInfo"]

# Names that are read as NIfTI, and as NRRD or MetaImage; everything else is looked into.
NIFTI_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass(frozen=True)
class SeriesInfo:
    """One series as its headers describe it.

    Parameters
    ----------
    uid
        SeriesInstanceUID; empty for NIfTI.
    number, description, modality
        As the headers say; None or empty where they do not.
    n_slices
        Number of slices.
    shape
        Voxels along (i, j, k), and the number of volumes where there are several of one shape; for NIfTI with several
        volumes all axes; empty where the series holds no image, or volumes of different shapes.
    spacing_mm
        Distance between voxel centres along (i, j, k) in mm; None where the series has no grid, or several. Irregular
        slices have the typical distance along their normal.
    axcodes
        Patient directions in which (i, j, k) grow, such as ``"LPS"``; empty where the series has no grid, or several.
    verdict
        What was found about the geometry, or the reason why the series cannot be read as a volume.
    format
        ``"nifti"``, ``"nrrd"``, ``"metaimage"`` or ``"dicom"``.
    files
        File names relative to the folder given, in slice order where there is one.
    stacks
        Names of the volumes where the series holds several; empty where it is one. Their number in this order, or
        their name, chooses one of them on reading.
    refused_stacks
        Names of those of them that would be refused; the others can be read.
    kind
        ``"scan"``, or what the headers show the series to be instead: ``"localiser"``, ``"secondary capture"``,
        ``"report (Enhanced SR Storage)"``, ``"object without pixels (...)"`` and the like; ``"damaged file"``.
    left_out
        True when reading the path passes over the series because of its kind, unless it is chosen.
    notes
        What of its files was left out.
    identity
        Who the series is of (``"patient_name"``, ``"patient_id"``, ``"birth_date"``, ``"study_date"``, ...); empty
        unless it was asked for.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    n_slices: int
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float] | None
    axcodes: str
    verdict: GeometryVerdict | str
    format: str
    files: tuple[str, ...]
    stacks: tuple[str, ...] = ()
    refused_stacks: tuple[str, ...] = ()
    kind: str = "scan"
    left_out: bool = False
    notes: tuple[str, ...] = ()
    identity: Mapping[str, str] = field(default_factory=dict)

    @property
    def readable(self) -> bool:
        """True when :func:`lesionlens.io.read` would return a volume, as far as the headers tell.

        Of a series of several volumes, one has to be chosen; True when there is one that could be read.
        """
        if not isinstance(self.verdict, GeometryVerdict):
            return False
        return self.verdict.regular or len(self.refused_stacks) < len(self.stacks)
