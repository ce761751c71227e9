"""Enhanced multi-frame DICOM: one file holds a whole volume, frame by frame.

What classic series write into every file stands here in functional groups: one shared by all frames, and one per frame
that wins. Several stacks, echoes, time points or b-values in one object are told apart by their traits
(:mod:`lesionlens.io.dicom.stacks`).
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from lesionlens.errors import ReadError
from lesionlens.io.dicom.header import Frame, numbers, scaling_of, text
from lesionlens.io.dicom.traits import trait

__all__ = ["enhanced_frames"]

# (functional group, attribute) and how to call it: what may tell apart two frames at one position.
_TRAITS = (
    ("FrameContentSequence", "StackID", "stack"),
    ("MREchoSequence", "EffectiveEchoTime", "echo time"),
    ("MRDiffusionSequence", "DiffusionBValue", "b-value"),
    ("MRDiffusionSequence", "DiffusionDirectionality", "diffusion"),
    ("MRModifierSequence", "InversionTimes", "inversion time"),
    ("MRTimingAndRelatedParametersSequence", "FlipAngle", "flip angle"),
    ("CTXRayDetailsSequence", "KVP", "tube voltage"),
    ("CTReconstructionSequence", "ConvolutionKernel", "kernel"),
    ("ContrastBolusUsageSequence", "ContrastBolusAgentPhase", "contrast phase"),
    ("MRMetaboliteMapSequence", "MetaboliteMapDescription", "metabolite"),
    ("MRArterialSpinLabelingSequence", "ASLContext", "spin label"),
    ("MRImageFrameTypeSequence", "ComplexImageComponent", "complex component"),
    ("MRImageFrameTypeSequence", "FrameType", "frame type"),
    ("CTImageFrameTypeSequence", "FrameType", "frame type"),
    ("PETFrameTypeSequence", "FrameType", "frame type"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime", "trigger time"),
    ("FrameContentSequence", "TemporalPositionIndex", "temporal position"),
    ("FrameContentSequence", "FrameAcquisitionNumber", "acquisition"),
    ("FrameContentSequence", "FrameAcquisitionDateTime", "acquisition time"),
)


def enhanced_frames(dataset: Dataset, n_frames: int, name: str) -> tuple[Frame, ...]:
    """Return the frames of an enhanced object with their places and scaling.

    Parameters
    ----------
    dataset
        Header with functional groups.
    n_frames
        NumberOfFrames.
    name
        File name for messages.

    Raises
    ------
    ReadError
        If the number of functional groups is not the number of frames.
    """
    own = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if not own and n_frames == 1:
        own = [Dataset()]
    if len(own) != n_frames:
        raise ReadError(
            f"DICOM file {name} is damaged: it promises {n_frames} frames but describes {len(own)}. Export it again."
        )
    shared = next(iter(dataset.get("SharedFunctionalGroupsSequence") or []), Dataset())
    whole = trait(dataset.get("InstanceNumber"))
    return tuple(_frame(index, group, shared, dataset, whole) for index, group in enumerate(own))


def _frame(index: int, own: Dataset, shared: Dataset, top: Dataset, number: str) -> Frame:
    # Some writers leave a group out and repeat its content at the top level.
    measures = _group("PixelMeasuresSequence", own, shared) or top
    transformation = _group("PixelValueTransformationSequence", own, shared) or top
    slope, intercept = scaling_of(transformation)
    return Frame(
        index=index,
        position=numbers(_group("PlanePositionSequence", own, shared) or Dataset(), "ImagePositionPatient", 3),
        orientation=numbers(_group("PlaneOrientationSequence", own, shared) or top, "ImageOrientationPatient", 6),
        spacing=numbers(measures, "PixelSpacing", 2),
        slope=slope,
        intercept=intercept,
        rescale_type=text(transformation, "RescaleType"),
        traits=_traits(own, shared) | ({"instance": number} if number else {}),
    )


def _group(keyword: str, own: Dataset, shared: Dataset) -> Dataset | None:
    """Return the first item of a functional group, the frame's own before the shared one."""
    for groups in (own, shared):
        items = groups.get(keyword)
        if items:
            item: Dataset = items[0]
            return item
    return None


def _traits(own: Dataset, shared: Dataset) -> dict[str, str]:
    found = {}
    for keyword, attribute, word in _TRAITS:
        group = _group(keyword, own, shared)
        value = trait(group.get(attribute)) if group is not None else ""
        if value:
            found[word] = value
    diffusion = _group("MRDiffusionSequence", own, shared) or Dataset()
    for item in diffusion.get("DiffusionGradientDirectionSequence") or []:
        found["gradient direction"] = trait(item.get("DiffusionGradientOrientation"))
    content = _group("FrameContentSequence", own, shared) or Dataset()
    return found | _dimensions(content)


def _dimensions(content: Dataset) -> dict[str, str]:
    """Return the frame's index in every dimension of the file; some tell apart what nothing else does."""
    indices = trait(content.get("DimensionIndexValues"))
    return {f"dimension {n}": value for n, value in enumerate(indices.split("\\"), 1) if value}
