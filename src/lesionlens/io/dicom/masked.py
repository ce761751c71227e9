"""The files of a folder as they may be called and described: without what their headers say about the patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lesionlens.io.dicom.header import Frame, Instance
from lesionlens.io.dicom.scan import Damaged, Scan
from lesionlens.io.identity import Identities

__all__ = ["folder_name", "masked_scan"]

# Codes that decide what values mean (CT, MR, HU) are no longer than this, and may be somebody's name as well.
_LONGEST_CODE = 3


def masked_scan(found: Scan, identities: Identities) -> Scan:
    """Return what a folder holds, with names, descriptions and traits that do not lead to the patient.

    Different names and values stay different: files, and volumes in one series, are told apart by them.
    """
    names = identities.names(
        [*(one.name for one in found.instances), *(one.name for one in found.damaged), *found.others]
    )
    traits = identities.values(
        value for one in found.instances for frame in one.frames for value in frame.traits.values()
    )
    codes = {code: _code(code, identities) for code in {code for one in found.instances for code in _codes_of(one)}}
    return Scan(
        tuple(_masked(one, names, traits, codes, identities) for one in found.instances),
        tuple(
            Damaged(names[one.name], identities.mask(one.reason.replace(one.name, names[one.name])))
            for one in found.damaged
        ),
        tuple(names[name] for name in found.others),
        tuple(names[name] for name in found.indices),
    )


def folder_name(root: Path, identities: Identities) -> str:
    """Return how to call the folder that was given; the folders that lead to it are never repeated."""
    return identities.mask(root.name) or "."


def _codes_of(one: Instance) -> set[str]:
    """Return what stands where a code of the standard belongs; of a damaged header anything may."""
    return {one.modality, one.photometric, *(frame.rescale_type for frame in one.frames)}


def _code(code: str, identities: Identities) -> str:
    return code if len(code) <= _LONGEST_CODE else identities.mask(code)


def _masked(
    one: Instance, names: Mapping[str, str], traits: Mapping[str, str], codes: Mapping[str, str], identities: Identities
) -> Instance:
    return replace(
        one,
        name=names[one.name],
        description=identities.mask(one.description),
        note=identities.mask(one.note),
        modality=codes[one.modality],
        photometric=codes[one.photometric],
        frames=tuple(_frame(frame, traits, codes) for frame in one.frames),
    )


def _frame(frame: Frame, traits: Mapping[str, str], codes: Mapping[str, str]) -> Frame:
    rescale_type = codes[frame.rescale_type]
    if rescale_type == frame.rescale_type and all(traits[value] == value for value in frame.traits.values()):
        return frame
    own = {word: traits[value] for word, value in frame.traits.items()}
    return replace(frame, traits=own, rescale_type=rescale_type)
