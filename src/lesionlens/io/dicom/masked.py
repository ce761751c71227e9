"""The files of a folder as they may be called and described: without what their headers say about the patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lesionlens.io.dicom.header import Frame, Instance
from lesionlens.io.dicom.scan import Damaged, Scan
from lesionlens.io.identity import Identities

__all__ = ["folder_name", "masked_scan"]


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
    return Scan(
        tuple(_masked(one, names, traits, identities) for one in found.instances),
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


def _masked(one: Instance, names: Mapping[str, str], traits: Mapping[str, str], identities: Identities) -> Instance:
    description, note = identities.mask(one.description), identities.mask(one.note)
    frames = tuple(_frame(frame, traits) for frame in one.frames)
    if (names[one.name], description, note, frames) == (one.name, one.description, one.note, one.frames):
        return one
    return replace(one, name=names[one.name], description=description, note=note, frames=frames)


def _frame(frame: Frame, traits: Mapping[str, str]) -> Frame:
    if all(traits[value] == value for value in frame.traits.values()):
        return frame
    return replace(frame, traits={word: traits[value] for word, value in frame.traits.items()})
