"""Maps of several layers made one.

Fine layers point well and know little, coarse ones the other way round; LayerCAM [1]_ scales the maps of several layers
to one range and takes the largest value at each voxel. Here each map is brought to voxels and scaled so that its
largest magnitude is that of the map of the first layer named, whose unit is kept: a head twice as strong still gives a
map twice as large, and a brain without evidence is not stretched to look like one with it. Of the maps' values at a
voxel the one of largest magnitude is taken, with its sign. LayerCAM's ``tanh``, which saturates, is left out.

.. [1] Jiang et al., LayerCAM: Exploring Hierarchical Class Activation Maps for Localization, IEEE TIP 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from lesionlens.explain.explanation import Explanation, Request, evidence_notes
from lesionlens.explain.targets import Target

__all__ = ["fused", "over_layers"]


def over_layers(
    request: Request, targets: Sequence[Target], of_layer: Callable[[Request, Sequence[Target], str], list[Explanation]]
) -> list[Explanation]:
    """Return one map for each target: of the only layer, or of several layers made one."""
    if len(request.layers) > 1 and request.logits is None:
        request = replace(request, logits=request.known_logits())
    by_layer = [of_layer(request, targets, layer) for layer in request.layers]
    return [fused(maps) for maps in zip(*by_layer, strict=True)]


def fused(maps: Sequence[Explanation]) -> Explanation:
    """Return the maps of one target in several layers as one; a single one as it is."""
    first = maps[0]
    if len(maps) == 1:
        return first
    largest = [float(np.abs(one.values).max()) for one in maps]
    unit = next(filter(None, largest), 0.0)
    scaled = [one.values * np.float32(unit / top) for one, top in zip(maps, largest, strict=True) if top]
    values = np.zeros_like(first.values)
    for one in scaled:
        values = np.where(np.abs(one) > np.abs(values), one, values)
    names = [one.layer for one in maps]
    # Of each axis those of the layer with the largest cells: the map points no better than they do.
    borders = (one.border or (0.0,) * len(one.stride) for one in maps)
    placed = (zip(one.stride, border, strict=True) for one, border in zip(maps, borders, strict=True))
    stride, border = zip(*map(max, zip(*placed, strict=True)), strict=True)
    cells = ", ".join(f"{' x '.join(f'{s:g}' for s in one.stride)} voxels in {one.layer!r}" for one in maps)
    note = (
        f"The maps of {len(maps)} layers are joined: each is scaled to the largest magnitude in the map of {names[0]!r}"
        " and the value of largest magnitude taken at each voxel. It points no better than the largest cells of these:"
        f" {cells}."
    )
    return replace(
        first,
        values=values,
        stride=stride,
        border=border,
        layer="+".join(names),
        coarse=None,
        weights=None,
        notes=(note, *_notes(maps), *evidence_notes(torch.from_numpy(values))),
    )


def _notes(maps: Sequence[Explanation]) -> list[str]:
    """Return what the notes of all maps say, once; whether there is evidence is a matter of the joined map."""
    alone = {text for one in maps for text in evidence_notes(torch.from_numpy(one.values))}
    return [text for text in dict.fromkeys(text for one in maps for text in one.notes) if text not in alone]
