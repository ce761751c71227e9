"""Small networks of tokens, whose attention and whose places are known."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attend(nn.Module):
    """Self-attention with one head, or more that are alike, as networks have it; ``change`` breaks it."""

    def __init__(self, channels: int, *, change: str = "") -> None:
        super().__init__()
        self.num_heads = 3 if change == "heads" else 1
        self.qk = nn.Linear(channels, 2 * channels)
        self.attn_drop = nn.Dropout(0.0)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of the tokens as each sees them."""
        query, key = self.qk(x).chunk(2, dim=-1)
        if self.change == "fused":
            return nn.functional.scaled_dot_product_attention(query, key, x)
        matrix = (query @ key.transpose(-2, -1)).softmax(dim=-1)[:, None]
        if self.change == "unscaled":
            matrix = 2 * matrix
        if self.change == "infinite":
            matrix = matrix / 0
        if self.change == "detached":
            matrix = self.attn_drop(matrix).detach()
            return matrix[:, 0] @ x
        return self.attn_drop(matrix)[:, 0] @ x


class Block(nn.Module):
    """Attention beside a residual path."""

    def __init__(self, attn: nn.Module) -> None:
        super().__init__()
        self.attn = attn

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens and what they see."""
        return x + self.attn(x)


class Mixed(nn.Module):
    """A 2D network of two blocks whose tokens are boxes of the image in any order; the same map whatever the order.

    Parameters
    ----------
    order
        Which box each token is.
    voxels
        Whether it segments, each voxel by its box, instead of classifying by the mean.
    grid, size
        Boxes and voxels along the axes.
    change
        See :class:`Attend`; also ``overlap``: boxes that see their neighbours; ``normed``: all see the mean of the
        image; ``twice``: a box that two tokens see; ``lost``: one that none sees.
    """

    def __init__(
        self,
        order: list[int],
        *,
        voxels: bool = False,
        grid: tuple[int, int] = (2, 3),
        size: tuple[int, int] = (4, 6),
        change: str = "",
    ) -> None:
        super().__init__()
        torch.manual_seed(7)
        box = (size[0] // grid[0], size[1] // grid[1])
        self.order, self.voxels, self.grid, self.size, self.change = order, voxels, grid, size, change
        wide = (box[0] + 2, box[1] + 2)
        self.embed = nn.Conv2d(1, 8, wide, box, padding=1) if change == "overlap" else nn.Conv2d(1, 8, box, box)
        self.blocks = nn.Sequential(*(Block(Attend(8, change=change)) for _ in range(2)))
        self.head = nn.Linear(8, 2)
        for parameter in self.parameters():
            parameter.data *= 2  # sharper attention

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        if self.change == "normed":
            x = x - x.mean()
        tokens = self.embed(x).flatten(2).transpose(1, 2)[:, self.order]
        if self.change == "twice":
            tokens = torch.cat([tokens, tokens[:, :1]], dim=1)
        if self.change == "lost":
            tokens = tokens * (torch.arange(tokens.shape[1]) > 0)[:, None]
        tokens = self.blocks(tokens)
        if not self.voxels:
            return self.head(tokens.mean(dim=1))
        back = torch.empty_like(tokens)
        back[:, self.order] = tokens
        cells = self.head(back).transpose(1, 2).reshape(1, 2, *self.grid)
        return nn.functional.interpolate(cells, size=self.size, mode="nearest")


class Fixed(nn.Module):
    """Attention that is a given matrix."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.attn_drop = nn.Dropout(0.0)
        self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        """Return the matrix times the tokens."""
        return self.attn_drop(self.matrix[None, None])[:, 0] @ x


class Hand(nn.Module):
    """Four tokens, the voxels of a 2 by 2 image, one head, two blocks with given attention, logit ``w x``."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        first = torch.tensor([[4.0, 3, 2, 1], [1, 1, 1, 7], [2, 2, 5, 1], [0, 5, 5, 0]]) / 10
        second = torch.tensor([[1.0, 2, 3, 4], [7, 1, 1, 1], [2, 3, 3, 2], [0, 0, 9, 1]]) / 10
        self.blocks = nn.Sequential(Block(Fixed(first)), Block(Fixed(second)))
        self.weights = weights

    def matrices(self) -> list[Tensor]:
        """Return the attention of both blocks."""
        return [block.attn.matrix for block in self.blocks]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logit (1, 1)."""
        tokens = self.blocks(x.flatten(2).transpose(1, 2))
        return (tokens[..., 0] @ self.weights)[:, None]


class Look(nn.Module):
    """Attention of every token to the brightest ones."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.attn_drop = nn.Dropout(0.0)
        self.gain = nn.Parameter(torch.tensor(sharpness))

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of the tokens (1, n, 1), weighted by the softmax of what they hold."""
        matrix = (self.gain * x.transpose(1, 2)).softmax(dim=-1).expand(-1, x.shape[1], -1)
        return self.attn_drop(matrix[:, None])[:, 0] @ x


class Bright(nn.Module):
    """A 3D network of tokens, means of 4 x 4 x 4 voxels, that look at the brightest: logits 0 and their mean.

    With ``voxels`` it segments instead: the logit of a voxel is its token minus 1.
    """

    def __init__(self, sharpness: float = 12.0, *, voxels: bool = False) -> None:
        super().__init__()
        self.voxels = voxels
        self.block = Block(Look(sharpness))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (1, 2) or (1, 2, *spatial)."""
        cells = nn.functional.avg_pool3d(x, 4)
        tokens = self.block(cells.flatten(2).transpose(1, 2))
        if self.voxels:
            logits = nn.functional.interpolate(tokens.view_as(cells) - 1, size=x.shape[2:], mode="nearest")
            return torch.cat([torch.zeros_like(logits), logits], dim=1)
        score = tokens.mean(dim=1)
        return torch.cat([torch.zeros_like(score), score], dim=1)
