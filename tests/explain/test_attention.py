from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from monai.networks.nets import UNETR, SwinUNETR, ViT
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lesionlens.errors import Cancelled, ExplainError
from lesionlens.explain import ClassLogit, Explanation, Inference, RegionMargin, Windows, apply_method, apply_to_targets
from lesionlens.explain.attention import relevance, rolled
from tiny_networks import state_of
from token_networks import Hand, Mixed

CLASS = ClassLogit(1)
SIZE = (16, 24)
IMAGE = torch.rand((1, 1, *SIZE), generator=torch.Generator().manual_seed(3))


def vit(*, save: bool = False, size: tuple[int, ...] = SIZE, patch: tuple[int, ...] = (4, 8)) -> ViT:
    """Return a seeded classifier with a class token, two blocks and two heads on a grid of 4 by 3."""
    torch.manual_seed(1)
    network = ViT(
        1, size, patch, hidden_size=12, mlp_dim=16, num_layers=2, num_heads=2, classification=True, qkv_bias=True,
        spatial_dims=len(size), save_attn=save,
    )  # fmt: skip
    for block in network.blocks:  # sharper than untrained ones, whose attention is nearly uniform
        block.attn.qkv.weight.data *= 4
    return network.eval()


def explained(network: nn.Module, method: str, image: Tensor = IMAGE, **options: int | str) -> Explanation:
    """Explain a class of an image that is seen whole."""
    return apply_method(Inference(network, image), CLASS, method=method, options=options)


def coarse_of(found: Explanation) -> Tensor:
    """Return the map on the cells."""
    assert found.coarse is not None
    return torch.from_numpy(found.coarse)


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_rollout_of_uniform_attention_is_known(blocks: int) -> None:
    """With A = U, (U + I) / 2 to the power L is 2^-L I + (1 - 2^-L) U, as U U = U."""
    uniform, product = torch.full((7, 7), 1 / 7), torch.eye(7)

    for _ in range(blocks):
        product = rolled(product, uniform)

    part = 2.0**-blocks
    assert torch.allclose(product, part * torch.eye(7) + (1 - part) * uniform, atol=1e-6)  # float32


def test_rollout_scales_rows_not_columns() -> None:
    """Rows that do not sum to 1 are scaled to it; scaling the columns instead is a known mistake."""
    product = rolled(torch.eye(2), torch.tensor([[3.0, 0.0], [1.0, 1.0]]))

    assert torch.equal(product, torch.tensor([[1.0, 0.0], [1 / 3, 2 / 3]]))


def test_network_that_looks_everywhere_alike_has_flat_maps() -> None:
    """With queries of zero the class token gives each of 13 tokens 1 / 13, and three quarters of that in rollout."""
    network = vit()
    for block in network.blocks:
        block.attn.qkv.weight.data[:12] = 0
        block.attn.qkv.bias.data[:12] = 0

    one, rollout = explained(network, "attention"), explained(network, "attention_rollout")

    assert torch.allclose(coarse_of(one), torch.full((4, 3), 1 / 13), atol=1e-6)  # float32
    assert torch.allclose(coarse_of(rollout), torch.full((4, 3), 0.75 / 13), atol=1e-6)
    assert one.values.shape == SIZE
    assert one.stride == (4.0, 8.0)


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("head", ["mean", "0", "1"])
def test_attention_is_what_monai_saves(block: int, head: str) -> None:
    """The matrix that is watched in any checkpoint equals the one that ``save_attn=True`` keeps, head by head."""
    saving = vit(save=True)
    saving(IMAGE)
    kept = saving.blocks[block].attn.att_mat[0]
    expected = (kept.mean(dim=0) if head == "mean" else kept[int(head)])[0, 1:]

    found = explained(vit(), "attention", block=block, head=head)

    assert torch.allclose(coarse_of(found), expected.view(4, 3), atol=1e-7)  # rounding of a sum of 13
    assert found.layer == f"blocks.{block}.attn"
    assert not found.target


def test_rollout_is_made_of_what_monai_saves() -> None:
    """The product of both blocks, written out."""
    saving = vit(save=True)
    saving(IMAGE)
    first, second = (0.5 * block.attn.att_mat[0].mean(dim=0) + 0.5 * torch.eye(13) for block in saving.blocks)

    found = explained(vit(), "attention_rollout")

    assert torch.allclose(coarse_of(found), (second @ first)[0, 1:].view(4, 3), atol=1e-6)  # float32


def test_relevance_of_a_hand_set_network() -> None:
    """Four tokens, one head, two blocks with fixed attention P and Q: everything is known on paper.

    ``x1 = x + P x``, ``T = w (x1 + Q x1)``, so ``dT/dQ_ik = w_i x1_k`` and ``dT/dP_jk = (w + w Q)_j x_k``.
    """
    x, w = torch.tensor([1.0, -2.0, 3.0, 0.5]), torch.tensor([1.0, -1.0, 2.0, 0.0])
    network = Hand(weights=w)
    p, q = network.matrices()
    x1 = x + p @ x
    second = (q * torch.outer(w, x1)).relu()
    first = (p * torch.outer(w + w @ q, x)).relu()
    expected = (((torch.eye(4) + second) @ (torch.eye(4) + first)) - torch.eye(4)).mean(dim=0)

    found = apply_method(Inference(network, x.view(1, 1, 2, 2)), ClassLogit(0), method="attention_relevance")

    assert torch.allclose(coarse_of(found).flatten(), expected, atol=1e-6)  # float32
    assert found.score == pytest.approx(float(w @ (x1 + q @ x1)), rel=1e-5)
    assert (found.kind, found.signed) == ("attribution", False)


def test_relevance_averages_heads_after_the_negative_is_taken_out() -> None:
    """A head that speaks against the target must not cancel one that speaks for it."""
    attention = torch.tensor([[[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]])
    gradient = torch.tensor([[[2.0, 0.0], [0.0, 0.0]], [[-2.0, 4.0], [0.0, 0.0]]])

    found = relevance(torch.tensor([[1.0, 0.0]]), [attention], [gradient])

    assert torch.equal(found, torch.tensor([[0.5, 1.0]]))


def test_blocks_without_gradient_add_nothing_to_relevance() -> None:
    """A block behind the last one that decides has no gradient at all."""
    queries, attention = torch.tensor([[1.0, 0.0]]), torch.full((1, 2, 2), 0.5)

    assert torch.equal(relevance(queries, [attention], [None]), torch.zeros(1, 2))


@pytest.mark.parametrize("method", ["attention", "attention_rollout", "attention_relevance"])
def test_maps_turn_with_the_image(method: str) -> None:
    """A network with tokens in another order gives the same map: places are proven, not reshaped."""
    straight, mixed = Mixed(order=list(range(6))), Mixed(order=[4, 1, 5, 0, 2, 3])
    image = torch.rand((1, 1, 4, 6), generator=torch.Generator().manual_seed(0))

    found = [explained(network, method, image) for network in (straight, mixed)]

    assert torch.allclose(coarse_of(found[0]), coarse_of(found[1]), atol=1e-6)  # sums in another order
    assert coarse_of(found[0]).std() > 0


def test_seen_from_the_target_the_map_is_the_mean_of_its_rows() -> None:
    """A segmentation is seen from the tokens of its region: here two cells, one of them by half."""
    network = unetr()
    region = torch.zeros((32, 48), dtype=torch.bool)
    region[:16, :16] = True  # all of cell 0
    region[16:, 32:40] = True  # half of cell 5
    network.vit.blocks[3].attn.save_attn = True
    image = torch.rand((1, 1, 32, 48), generator=torch.Generator().manual_seed(0))
    network(image)
    rows = network.vit.blocks[3].attn.att_mat[0].mean(dim=0)

    inference, target = Inference(network, image), RegionMargin(1, region=region)
    found = apply_method(inference, target, method="attention", options={"block": 3})
    everywhere = apply_method(inference, target, method="attention", options={"block": 3, "query": "all"})

    # Of a margin the gradient has the same magnitude at each voxel of the region.
    assert torch.allclose(coarse_of(found).flatten(), (2 * rows[0] + rows[5]) / 3, atol=1e-6)  # float32
    assert torch.allclose(coarse_of(everywhere).flatten(), rows.mean(dim=0), atol=1e-6)
    assert found.target.startswith("mean margin of class 1 over the region")
    assert found.score is not None
    assert not everywhere.target


def unetr() -> UNETR:
    """Return a seeded 2D UNETR on a grid of 2 by 3."""
    torch.manual_seed(2)
    network = UNETR(1, 2, (32, 48), feature_size=2, hidden_size=8, mlp_dim=8, num_heads=2, spatial_dims=2)
    return network.eval()


def swin(*, fused: bool = False) -> SwinUNETR:
    """Return a seeded 2D SwinUNETR whose windows of 3 by 5 do not fit its grids."""
    torch.manual_seed(4)
    return SwinUNETR(
        1, 2, feature_size=12, depths=(2, 1, 1, 1), num_heads=(2, 2, 2, 2), window_size=(3, 5), spatial_dims=2,
        use_flash_attention=fused,
    ).eval()  # fmt: skip


@pytest.mark.parametrize("block", [0, 1])
def test_windows_of_swin_lie_where_their_tokens_are(block: int) -> None:
    """With queries and biases of zero each token of a window is seen alike: by hand, window by window, rolled back."""
    network = swin()
    for module in network.swinViT.layers1[0].blocks:
        module.attn.qkv.weight.data[:12] = 0
        module.attn.qkv.bias.data[:12] = 0
        module.attn.relative_position_bias_table.data[:] = 0
    image = torch.rand((1, 1, 32, 64), generator=torch.Generator().manual_seed(0))

    found = explained(network, "attention", image, block=block, query="all")

    assert torch.allclose(coarse_of(found), uniform_windows((16, 32), (3, 5), shifted=block == 1), atol=1e-6)  # float32
    assert any("padding of windows" in note for note in found.notes)


def uniform_windows(grid: tuple[int, int], window: tuple[int, int], *, shifted: bool) -> Tensor:
    """Return what each cell receives where all real tokens look at all tokens that they may see alike.

    Written with coordinates: a cell lies in the window of its rolled place; rolled windows hold parts of the map that
    are no neighbours, and these do not see each other.
    """
    shift = tuple(w // 2 if shifted else 0 for w in window)
    full = tuple(-(-g // w) * w for g, w in zip(grid, window, strict=True))
    groups: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for i in range(full[0]):
        for j in range(full[1]):
            place = ((i - shift[0]) % full[0], (j - shift[1]) % full[1])
            parts = tuple(
                0 if p < f - w else 1 if p < f - s else 2 for p, f, w, s in zip(place, full, window, shift, strict=True)
            )
            groups.setdefault((place[0] // window[0], place[1] // window[1], *(parts if shifted else ())), []).append(
                (i, j)
            )
    received = torch.zeros(full)
    for cells in groups.values():
        real = sum(i < grid[0] and j < grid[1] for i, j in cells)
        for cell in cells:
            received[cell] = real / len(cells) / (grid[0] * grid[1])
    return received[: grid[0], : grid[1]]


@pytest.mark.parametrize("make", [vit, swin])
def test_fused_attention_gives_the_same_map(make: Callable[[], nn.Module]) -> None:
    """Fused kernels never make the matrix; the same weights give the same map, and the switch is as it was."""
    image = IMAGE if make is vit else torch.rand((1, 1, 32, 64), generator=torch.Generator().manual_seed(0))
    plain, fused = make(), make()
    switches = [module for module in fused.modules() if hasattr(module, "use_flash_attention")]
    for module in switches:
        module.use_flash_attention = True

    found = [explained(network, "attention", image, query="all") for network in (plain, fused)]

    assert torch.equal(coarse_of(found[0]), coarse_of(found[1]))
    assert all(module.use_flash_attention for module in switches)


@pytest.mark.parametrize("method", ["attention", "attention_rollout", "attention_relevance"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_network_is_left_as_it_was(method: str, mode: Callable[[], torch.no_grad]) -> None:
    """Hooks, flags, gradients, random state, forwards and the image: as they were, in any mode of the caller."""
    network = vit().train()
    network.blocks[0].attn.drop_weights.eval()
    network.norm.weight.requires_grad_(False)
    before, image = state_of(network), IMAGE.clone()

    with mode():
        found = explained(network, method, image)

    assert state_of(network) == before
    assert not any("forward" in module.__dict__ for module in network.modules())
    assert torch.equal(image, IMAGE)
    assert torch.allclose(coarse_of(found), coarse_of(explained(vit(), method)))


def test_network_is_left_as_it_was_after_an_error() -> None:
    """An error in the middle of a trial restores everything too."""
    network = vit()
    before = state_of(network)

    with pytest.raises(ExplainError, match="no block 7; 2 attention modules run"):
        explained(network, "attention", block=7)
    with pytest.raises(ExplainError, match="head is 'mean' or a number from 0 to 1; found '2'"):
        explained(network, "attention", head="2")

    assert state_of(network) == before
    assert not any("forward" in module.__dict__ for module in network.modules())


@pytest.mark.parametrize("method", ["attention", "attention_rollout", "attention_relevance"])
def test_cancelling_leaves_everything_as_it_was(method: str) -> None:
    """Whoever stops at any moment has the network that he had."""
    network = vit().train()
    before = state_of(network)
    steps: list[tuple[str, int, int]] = []

    def run(stop_at: int | None) -> None:
        def progress(*step: Any) -> None:
            steps.append(step)
            if len(steps) == stop_at:
                raise Cancelled("stop")

        steps.clear()
        apply_method(Inference(network, IMAGE), CLASS, method=method, progress=progress)

    run(None)
    for stop_at in range(1, len(steps) + 1):
        with pytest.raises(Cancelled, match="stop"):
            run(stop_at)
        assert state_of(network) == before
        assert not any("forward" in module.__dict__ for module in network.modules())


@pytest.mark.parametrize("method", ["attention", "attention_rollout", "attention_relevance"])
def test_values_that_are_not_finite_are_refused(method: str) -> None:
    """Zeros in their place would look like an answer."""
    image = IMAGE.clone()
    image[0, 0, 3, 5] = torch.nan

    with pytest.raises(ExplainError, match="not finite"):
        explained(vit(), method, image)


def test_several_targets_have_the_maps_that_each_alone_has() -> None:
    """Classes that are asked for together must not be mixed up."""
    targets = [ClassLogit(0), ClassLogit(1)]

    together = apply_to_targets(Inference(vit(), IMAGE), targets, method="attention_relevance")

    alone = [apply_method(Inference(vit(), IMAGE), target, method="attention_relevance") for target in targets]
    assert all(torch.equal(coarse_of(a), coarse_of(b)) for a, b in zip(together, alone, strict=True))
    assert not torch.equal(coarse_of(alone[0]), coarse_of(alone[1]))


@pytest.mark.parametrize("method", ["attention", "attention_rollout", "attention_relevance"])
def test_checkpointed_blocks_give_the_same_map(method: str) -> None:
    """A block that is run again for its gradients does not add a second matrix, or lose the first."""

    class Again(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.block, x, use_reentrant=False)

    plain, again = Mixed(order=list(range(6))), Mixed(order=list(range(6)))
    again.blocks = nn.Sequential(*(Again(block) for block in again.blocks))
    image = torch.rand((1, 1, 4, 6), generator=torch.Generator().manual_seed(0))

    found = [explained(network, method, image) for network in (plain, again)]

    assert torch.equal(coarse_of(found[0]), coarse_of(found[1]))


def test_network_of_double_precision_is_watched_too() -> None:
    """The noise of the trial has the type of the image."""
    found = explained(vit().double(), "attention_relevance", IMAGE.double())

    assert torch.allclose(coarse_of(found), coarse_of(explained(vit(), "attention_relevance")), atol=1e-5)  # float32


def test_callers_autocast_does_not_round_the_map() -> None:
    """The network may run in bfloat16; what is computed from its matrices must not lose more digits."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = explained(vit(), "attention_rollout")

    # The matrices themselves have three digits.
    assert torch.allclose(coarse_of(found), coarse_of(explained(vit(), "attention_rollout")), atol=2e-3)


def test_windows_of_the_image_are_blended() -> None:
    """Each window is a pass of its own; where two overlap the map is their mean."""
    image = torch.rand((1, 1, 16, 36), generator=torch.Generator().manual_seed(0))
    network = Mixed(order=list(range(6)), voxels=True, grid=(2, 3), size=(16, 24))
    windows = Windows.sliding((16, 36), (16, 24), overlap=0.5)
    target = RegionMargin(0)
    parts = [
        apply_method(
            Inference(network, image[..., start : start + 24].clone()),
            target,
            method="attention",
            options={"query": "all"},
        ).values
        for start in (0, 12)
    ]

    found = apply_method(
        Inference(network, image, windows), target, method="attention", options={"query": "all"}
    ).values

    expected = torch.zeros(16, 36)
    expected[:, :24] += torch.from_numpy(parts[0])
    expected[:, 12:] += torch.from_numpy(parts[1])
    expected[:, 12:24] /= 2
    assert torch.allclose(torch.from_numpy(found), expected, atol=1e-6)  # float32


@pytest.mark.parametrize("method", ["attention", "attention_rollout", "attention_relevance"])
def test_windows_without_the_target_show_nothing(method: str) -> None:
    """A region in the first window alone: nobody looks from the second, which stays 0; the first is as if alone."""
    image = torch.rand((1, 1, 16, 48), generator=torch.Generator().manual_seed(0))
    network = Mixed(order=list(range(6)), voxels=True, grid=(2, 3), size=(16, 24))
    region = torch.zeros((16, 48), dtype=torch.bool)
    region[2:9, 3:7] = True
    alone = apply_method(
        Inference(network, image[..., :24].clone()), RegionMargin(0, region=region[:, :24]), method=method
    )

    found = apply_method(
        Inference(network, image, Windows.sliding((16, 48), (16, 24), overlap=0.0)),
        RegionMargin(0, region=region),
        method=method,
    )

    assert torch.allclose(torch.from_numpy(found.values[:, :24]), torch.from_numpy(alone.values), atol=1e-6)  # float32
    assert not found.values[:, 24:].any()
    assert found.score == pytest.approx(alone.score)


@pytest.mark.parametrize(
    ("network", "image", "method", "options", "message"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3)), IMAGE, "attention", {}, r"no attention matrices.*Sequential.*a CAM"),
        (
            nn.Sequential(nn.TransformerEncoderLayer(8, 2)), IMAGE, "attention", {},
            r"'0.self_attn' is a torch.nn.MultiheadAttention",
        ),
        (swin(), torch.rand(1, 1, 32, 64), "attention_rollout", {}, r"same tokens; .* windows of 15 tokens"),
        (swin(), torch.rand(1, 1, 32, 64), "attention_relevance", {}, r"same tokens; .* windows of 15 tokens"),
        (swin(), torch.rand(1, 1, 32, 64), "attention", {"query": "class", "block": 0}, r"has no class token"),
        (vit(), IMAGE, "attention", {"query": "target"}, r"output for each voxel.*found \(1, 2\)"),
        (vit(), IMAGE, "attention", {"query": "left"}, r"no query 'left'.*auto, class, target, all"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused(
    network: nn.Module, image: Tensor, method: str, options: dict[str, str | int], message: str
) -> None:
    """The message says what is missing, and what to do."""
    with pytest.raises(ExplainError, match=message):
        explained(network, method, image, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("fused", r"never made an attention matrix: it uses a fused kernel"),
        ("unscaled", r"must sum to 1; found sums from"),
        ("heads", r"must give attention of shape \(1, 3, 6, 6\)"),
        ("infinite", r"not finite"),
    ],
)
def test_matrices_that_are_no_attention_are_refused(change: str, message: str) -> None:
    """A dropout of that name may stand elsewhere; what goes through it is looked at before it is shown."""
    network = Mixed(order=list(range(6)), change=change)

    with pytest.raises(ExplainError, match=message):
        explained(network, "attention", torch.rand(1, 1, 4, 6))


def test_output_that_is_detached_from_attention_is_refused() -> None:
    """Without gradients there is no relevance, and a map of zeros would look like an answer."""
    with pytest.raises(ExplainError, match="does not depend on the attention through gradients"):
        explained(Mixed(order=list(range(6)), change="detached"), "attention_relevance", torch.rand(1, 1, 4, 6))
