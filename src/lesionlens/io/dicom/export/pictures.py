"""Key images as secondary captures: pictures in colours that lie where their slice lies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lesionlens.io.boundary import quiet
from lesionlens.io.dicom.export.objects import Place, patient_words

__all__ = ["key_image"]

_DECIMALS = 6

# What the standard calls the directions up and down.
_LETTERS = {"S": "H", "I": "F"}


def key_image(place: Place, k: int, factor: int, picture: NDArray[np.uint8]) -> Dataset:
    """Return a picture of a plane as a secondary capture.

    Parameters
    ----------
    place
        Where it belongs.
    k
        Which plane of the scan it shows, whole.
    factor
        Pixels of the picture side by side for one of the plane.
    picture
        (row, column, 3) colours.
    """
    from highdicom.sc import SCImage

    frames = place.frames
    images = frames.images()
    right, down = (_LETTERS.get(letter, letter) for letter in frames.volume.grid.axcodes[:2])
    spacing = np.array(frames.spacing_mm) / factor
    with quiet():
        made: Dataset = SCImage(
            pixel_array=picture,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=(right, down),
            pixel_spacing=tuple(spacing.round(_DECIMALS).tolist()),
            **patient_words(images[0]),
            **place.words(),
        )
        made.copy_patient_and_study_information(images[0])
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = frames.frame_of_reference, ""
    made.ImageOrientationPatient = frames.orientation.tolist()
    row, column = frames.orientation[:3], frames.orientation[3:]
    # The first pixel of the picture is a corner of the plane's first pixel.
    corner = row * (spacing[1] - frames.spacing_mm[1]) / 2 + column * (spacing[0] - frames.spacing_mm[0]) / 2
    made.ImagePositionPatient = (frames.positions[k] + corner).round(_DECIMALS).tolist()
    made.SliceThickness, made.Laterality = frames.thickness_mm, ""
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = images[k].SOPClassUID, images[k].SOPInstanceUID
    made.SourceImageSequence = [source]
    return made
