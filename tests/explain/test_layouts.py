from __future__ import annotations

from itertools import product

import pytest
import torch
from monai.networks.nets import ViT
from monai.networks.nets.swin_unetr import SwinTransformer, window_partition
from torch import Tensor, nn
from torch.nn import functional

from lesionlens.errors import ExplainError
from lesionlens.explain.attention_modules import watching_attention
from lesionlens.explain.layouts import Layout
from token_networks import Mixed


def layouts_of(network: nn.Module, shape: tuple[int, ...], *, block: int = -1) -> list[Layout]:
    """Return the layouts of all blocks up to one."""
    with watching_attention(network) as attention:
        return attention.layouts(torch.zeros(shape), block=block, earlier=True)


def swin(window: tuple[int, ...]) -> SwinTransformer:
    """Return four stages, of which the first two have a block without shift and one with."""
    torch.manual_seed(0)
    return SwinTransformer(
        1, 4, window, (2,) * len(window), depths=(2, 2, 1, 1), num_heads=(2, 2, 2, 2), spatial_dims=len(window)
    ).eval()


def painted(grid: tuple[int, ...], window: tuple[int, ...], *, shifted: bool) -> Tensor:
    """Paint each token's id and send it through MONAI's own padding, roll and window partition; 0 is padding."""
    fits = tuple(g <= w for g, w in zip(grid, window, strict=True))
    size = tuple(g if fit else w for g, w, fit in zip(grid, window, fits, strict=True))
    shift = tuple(-(w // 2) if shifted and not fit else 0 for w, fit in zip(window, fits, strict=True))
    ids = torch.arange(1, torch.tensor(grid).prod() + 1).view(grid)
    widths = [w for g, s in zip(reversed(grid), reversed(size), strict=True) for w in (0, -g % s)]
    rolled = functional.pad(ids, widths).roll(shift, dims=tuple(range(len(grid))))
    return window_partition(rolled[None, ..., None], size)[..., 0]


@pytest.mark.parametrize(
    ("window", "size"),
    [
        ((2, 2, 2), (16, 8, 12)),  # no padding in the first stage
        ((3, 2, 4), (16, 12, 8)),  # padding, an axis that the window covers, three different shifts
        ((7, 7, 7), (12, 24, 16)),  # larger than some axes: no shift there
        ((3, 5), (16, 32)),
        ((4, 4), (36, 20)),
    ],
)
def test_an_id_painted_through_swins_windows_comes_back_at_its_place(
    window: tuple[int, ...], size: tuple[int, ...]
) -> None:
    """The trial finds for every token the cell that MONAI's partition, roll and padding put there, in all blocks."""
    found = layouts_of(swin(window), (1, 1, *size), block=3)

    for layout, (stage, shifted) in zip(found, product((0, 1), (False, True)), strict=True):
        grid = tuple(n // 2 ** (stage + 1) for n in size)
        assert layout.grid == grid
        assert torch.equal(layout.slots + 1, painted(grid, window, shifted=shifted))


@pytest.mark.parametrize("proj_type", ["conv", "perceptron"])
@pytest.mark.parametrize("classification", [False, True])
def test_tokens_of_vit_lie_in_the_order_of_the_axes(proj_type: str, *, classification: bool) -> None:
    """Grids that are no cubes tell the axes apart; a class token in front sees nothing of the image."""
    network = ViT(
        2, (8, 12, 10), (4, 4, 2), hidden_size=12, mlp_dim=8, num_layers=2, num_heads=2, proj_type=proj_type,
        classification=classification,
    ).eval()  # fmt: skip

    found = layouts_of(network, (1, 2, 8, 12, 10))

    slots = torch.arange(30) if not classification else torch.cat([torch.tensor([-1]), torch.arange(30)])
    assert [layout.name for layout in found] == ["blocks.0.attn", "blocks.1.attn"]
    assert all(torch.equal(layout.slots, slots[None]) and layout.grid == (2, 3, 5) for layout in found)


def test_order_of_tokens_is_found_not_assumed() -> None:
    """A network that shuffles its tokens is seen through."""
    order = [4, 1, 5, 0, 2, 3]

    (first, second) = layouts_of(Mixed(order=order), (1, 1, 4, 6))

    assert first.slots.tolist() == second.slots.tolist() == [order]


def test_values_go_to_the_tokens_and_back() -> None:
    """What is brought to rolled and padded windows and back is unchanged; padding gets 0."""
    layout = layouts_of(swin((3, 2, 4)), (1, 1, 16, 12, 8), block=1)[1]
    values = torch.rand(layout.cells)

    slots = layout.to_slots(values)

    assert torch.equal(layout.to_cells(slots).flatten(), values)
    assert not slots[layout.slots < 0].any()
    assert bool((layout.slots < 0).any())


@pytest.mark.parametrize("change", ["overlap", "normed", "twice", "lost"])
def test_tokens_that_are_not_boxes_one_to_one_are_refused(change: str) -> None:
    """Overlapping boxes, a mean over the image, a box seen twice or by none: a map would be a guess."""
    with pytest.raises(ExplainError, match=r"Where they lie cannot be proven, so no map is drawn"):
        layouts_of(Mixed(order=list(range(6)), change=change), (1, 1, 4, 6))


def test_a_network_without_residual_path_is_refused() -> None:
    """Behind a block that keeps nothing of its tokens, a token belongs to no place."""

    class Forgetting(nn.Module):
        def __init__(self, attn: nn.Module) -> None:
            super().__init__()
            self.attn = attn

        def forward(self, x: Tensor) -> Tensor:
            return self.attn(x)

    network = Mixed(order=list(range(6)))
    network.blocks = nn.Sequential(*(Forgetting(block.attn) for block in network.blocks))

    assert len(layouts_of(network, (1, 1, 4, 6), block=0)) == 1
    with pytest.raises(ExplainError, match=r"'blocks.1.attn'.*no map is drawn"):
        layouts_of(network, (1, 1, 4, 6))


def test_forward_that_a_module_was_given_is_given_back() -> None:
    """Whoever replaced a module's forward before finds it again."""
    network = Mixed(order=list(range(6)))
    attn = network.blocks[1].attn
    mine = attn.forward
    attn.forward = mine

    layouts_of(network, (1, 1, 4, 6))

    assert attn.__dict__["forward"] is mine
    assert "forward" not in network.blocks[0].attn.__dict__
