"""What tells images of one series apart beside their place: echo, b-value, time, and the like.

A trait is a word and a short text, ``{"echo time": "30"}``. Numbers are rounded to six digits, because scanners write
one echo time as 4.92 in one file and as 4.9200001 in the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.dataset import Dataset

from lesionlens.io.dicom.elements import value_of

__all__ = [
    "CLOCK_TRAITS",
    "MEASURED_ALIKE",
    "NEVER_IN_TURNS",
    "PRIVATE_TAGS",
    "STANDARD_TRAITS",
    "classic_traits",
    "has_private_scale",
    "number_or_none",
    "sortable",
    "trait",
    "trait_name",
]

# Attributes of classic images, and how to call them.
STANDARD_TRAITS = {
    "EchoTime": "echo time",
    "EchoNumbers": "echo number",
    "DiffusionBValue": "b-value",
    "DiffusionGradientOrientation": "gradient direction",
    "InversionTime": "inversion time",
    "FlipAngle": "flip angle",
    "TriggerTime": "trigger time",
    "FrameReferenceTime": "frame reference time",
    "ContrastBolusAgentPhase": "contrast phase",
    "KVP": "tube voltage",
    "ConvolutionKernel": "kernel",
    "ImageType": "image type",
    "TemporalPositionIdentifier": "temporal position",
    "AcquisitionNumber": "acquisition",
    "InstanceNumber": "instance order",
    "AcquisitionTime": "acquisition time",
    "ContentTime": "content time",
}

# When something was done. The values stay out of names and messages: with a date they can point to a patient.
CLOCK_TRAITS = ("acquisition time", "content time")

# What never changes from one slice of a volume to the next and back again.
NEVER_IN_TURNS = (
    "echo time",
    "b-value",
    "contrast phase",
    "tube voltage",
    "kernel",
    "metabolite",
    "complex component",
    "spin label",
    "image type",
    "frame type",
)

# What all slices of a volume have in common, or their values do not compare. Others, such as flip angle and trigger
# time, change from slice to slice in some sequences.
MEASURED_ALIKE = (*NEVER_IN_TURNS, "inversion time", "temporal position")

# What makers write elsewhere; the standard attribute wins. (group, private creator, offsets of the parts, word)
_PRIVATE = (
    (0x0019, "SIEMENS MR HEADER", (0x0C,), "b-value"),
    (0x0043, "GEMS_PARM_01", (0x39,), "b-value"),
    (0x2001, "Philips Imaging DD 001", (0x03,), "b-value"),
    (0x0019, "SIEMENS MR HEADER", (0x0E,), "gradient direction"),
    (0x0019, "GEMS_ACQU_01", (0xBB, 0xBC, 0xBD), "gradient direction"),
    (0x2005, "Philips MR Imaging DD 001", (0xB0, 0xB1, 0xB2), "gradient direction"),
    (0x0043, "GEMS_PARM_01", (0x2F,), "complex component"),
    (0x2001, "Philips Imaging DD 001", (0x08,), "cardiac phase"),
    (0x2005, "Philips MR Imaging DD 005", (0x29,), "spin label"),
)

# Philips' scale slope, by which it makes values of several scans comparable.
_SCALE_SLOPE = (0x2005, "Philips MR Imaging DD 001", 0x0E)

# Where Philips keeps the classic attributes of each frame of an enhanced file.
_PHILIPS_FRAME = (0x2005, 0x140F)


# GE writes four numbers, the b-value first, and adds this to it when directions are averaged or b-values are mixed.
_GE_B_VALUE_OFFSET = 1_000_000_000

# What GE's numbers for the kind of image stand for.
_GE_COMPONENTS = {"0": "MAGNITUDE", "1": "PHASE", "2": "REAL", "3": "IMAGINARY"}

# Makers' private elements stand in the first blocks of their group; those of the creators' names come along.
_BLOCKS = range(0x10, 0x18)

# Tags to ask the parser for, so that the private traits are among what it reads.
PRIVATE_TAGS = tuple(
    sorted(
        {(group << 16) + block for group, *_ in _PRIVATE for block in _BLOCKS}
        | {
            (group << 16) + (block << 8) + offset
            for group, _, offsets, _ in _PRIVATE
            for block in _BLOCKS
            for offset in offsets
        }
        | {(_SCALE_SLOPE[0] << 16) + (block << 8) + _SCALE_SLOPE[2] for block in _BLOCKS}
    )
)

# How a trait with its value is called; by default the word and the value.
_NAMES = {
    "echo time": "echo time {} ms",
    "b-value": "b {}",
    "gradient direction": "direction ({})",
    "inversion time": "inversion time {} ms",
    "flip angle": "flip angle {} degrees",
    "trigger time": "trigger time {} ms",
    "frame reference time": "frame reference time {} ms",
    "tube voltage": "{} kV",
    "diffusion": "diffusion {}",
    "complex component": "{}",
    "image type": "{}",
    "frame type": "{}",
}

# Letters of ImageType that stand for a part of a complex image.
_COMPONENTS = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}

# Longer texts are no traits but damaged lengths, and could draw the patient's name with them.
_LONGEST = 128


def classic_traits(dataset: Dataset) -> Mapping[str, str]:
    """Return the traits of a classic image."""
    found = {word: trait(value_of(dataset, keyword)) for keyword, word in STANDARD_TRAITS.items()}
    groups = {tag >> 16 for tag in dataset.keys()}  # noqa: SIM118 - iterating over a Dataset gives elements
    for group, creator, offsets, word in _PRIVATE:
        if group in groups and not found.get(word):
            found[word] = _private(dataset, group, creator, offsets)
    return {word: value for word, value in found.items() if value}


def trait(value: Any) -> str:
    """Return a value as text, parts joined by backslashes, numbers with six digits; empty when absent or damaged."""
    if value is None:
        return ""
    parts = [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)
    line = "\\".join(_part(part) for part in parts)
    return line if line.isprintable() and len(line) <= _LONGEST else ""


def has_private_scale(dataset: Dataset) -> bool:
    """Say whether a file, or the first frame of one, has a scale of Philips beside that of the standard."""
    first = (dataset.get("PerFrameFunctionalGroupsSequence") or [dataset])[0]
    inner = first.get(_PHILIPS_FRAME)
    group, creator, offset = _SCALE_SLOPE
    items = [first, *(inner.value if inner is not None and inner.VR == "SQ" else ())]
    return any(_private(item, group, creator, (offset,)) for item in items)


def _part(value: Any) -> str:
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float) or type(value).__name__ == "DSdecimal":
        return f"{float(value):.6g}"
    return " ".join(str(value).split())


def _private(dataset: Dataset, group: int, creator: str, offsets: tuple[int, ...]) -> str:
    try:
        block = dataset.private_block(group, creator)
    except KeyError:
        return ""
    value = "\\".join(trait(block[offset].value) for offset in offsets if offset in block)
    if (group, offsets) == (0x0043, (0x39,)):
        first = value.partition("\\")[0]
        return str(int(first) % _GE_B_VALUE_OFFSET) if first.isdecimal() else ""
    if (group, offsets) == (0x0043, (0x2F,)):
        return _GE_COMPONENTS.get(value, value)
    return value


def trait_name(word: str, value: str, among: Sequence[str]) -> str:
    """Return how a part is called: ``"echo time 4.9 ms"``."""
    if not value:
        return f"no {word}"
    if word in CLOCK_TRAITS:
        times = sorted(set(among), key=sortable)
        return f"{word} {times.index(value) + 1} of {len(times)}"
    if word in ("image type", "frame type"):
        return _type_name(value, set(among))
    if word == "complex component":
        return value.lower()
    shown = ", ".join(_short(part) for part in value.split("\\"))
    return _NAMES.get(word, f"{word} {{}}").format(shown)


def _short(part: str) -> str:
    """Return a number with three digits after the point at most; a text as it is."""
    number = number_or_none(part)
    return part if number is None or number.is_integer() else f"{number:.3f}".rstrip("0")


def _type_name(value: str, among: set[str]) -> str:
    """Return the parts of an image type that not all images share; one letter alone is spelled out."""
    shared = set.intersection(*(set(other.split("\\")) for other in among))
    own = [part for part in value.split("\\") if part not in shared]
    letters = [_COMPONENTS[part] for part in own if part in _COMPONENTS]
    return letters[0] if letters else " ".join(own) or value.replace("\\", " ")


def sortable(value: str) -> tuple[tuple[int, float, str], ...]:
    """Return a key that sorts what is absent first, then numbers by size, then texts."""
    keys = []
    for part in value.split("\\"):
        number = number_or_none(part)
        keys.append((1, number, "") if number is not None else (2 if part else 0, 0.0, part))
    return tuple(keys)


def number_or_none(text: str) -> float | None:
    """Return the number that a text is, if it is one."""
    try:
        return float(text)
    except ValueError:
        return None
