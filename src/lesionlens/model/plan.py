"""What is settled about an explanation before the network sees the scan: windows, layer, registration."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lesionlens.explain import Windows
from lesionlens.explain.final import FinalKind
from lesionlens.methods import method_info
from lesionlens.model.boundary import foreign_code
from lesionlens.model.bundle import Bundle
from lesionlens.model.detection import box_notes, check_windows
from lesionlens.model.inference import windows_of
from lesionlens.model.placement import registration_of
from lesionlens.model.preprocess import Prepared
from lesionlens.model.wish import Wish
from lesionlens.registration import Registration

__all__ = ["Plan", "planned"]


@dataclass(frozen=True, eq=False)
class Plan:
    """What is settled about an explanation before the network sees the scan.

    Parameters
    ----------
    wish
        What was asked for, with the layer that was chosen.
    prepared
        The input.
    windows
        How the network sees it.
    notes
        Why the layer was chosen.
    final
        The activation module that the network ends in; logits are read before it.
    registration
        Where the cells of layers were measured to lie; None where they were not, or that is not wanted.
    """

    wish: Wish
    prepared: Prepared
    windows: Windows
    notes: tuple[str, ...]
    final: FinalKind | None
    registration: Registration | None = None


def planned(bundle: Bundle, prepared: Prepared, wish: Wish) -> Plan:
    """Choose windows and layer.

    Raises
    ------
    ExplainError
        If the inferer cannot be explained, or no layer can.
    ReadError
        If the file of measured offsets is damaged.
    """
    windows = windows_of(bundle.inferer, prepared.tensor.shape[2:])
    info = method_info(wish.method)
    check_windows(bundle, prepared, wish.method)
    notes = box_notes(bundle, info.name)
    if wish.why:
        notes = (f"{info.title} was chosen: {wish.why}.", *notes)
    with foreign_code(bundle, prepared):
        if wish.layer is None and info.takes_layer:
            layer, why = bundle.default_layer(windows.size)
            wish = replace(wish, layer=layer)
            notes = (f"Layer {layer!r} was chosen: {why}.", *notes)
        final = bundle.final_activation(windows.size)
    if not (wish.registration and (info.takes_layer or info.family == "attention")):  # maps of voxels have no cells
        return Plan(wish, prepared, windows, notes, final)
    registration, stale = registration_of(bundle)
    return Plan(wish, prepared, windows, (*notes, *filter(None, (stale,))), final, registration)
