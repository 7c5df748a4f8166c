"""CLIP's Vision Transformer (Radford et al. 2021; Dosovitskiy et al. 2021), run block by block, at any resolution.

Shapes: B images, I patches, S = 1 + I tokens (the class token first), C width, H heads, h, w patch grid.
"""

from dataclasses import dataclass
from math import isqrt
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlfuse.backbones.swin import convolutions
from vlfuse.types import ConfigError

Size = tuple[int, int]


@dataclass(frozen=True)
class ViTConfig:
    """Defaults: ViT-B/16 at 288 px, as BridgeTower-Base is pre-trained."""

    width: int = 768
    layers: int = 12
    heads: int = 12  # published: width / 64
    patch: int = 16
    image_size: int = 288  # of the table of positions; other sizes stretch it
    norm_eps: float = 1e-5
    stem: Literal["patch", "convolution"] = "patch"  # one matrix, as published, or small convolutions (from scratch)

    def __post_init__(self):
        if self.width % self.heads:
            raise ConfigError(f"image.width {self.width} is not a multiple of image.heads {self.heads}")
        if self.image_size < self.patch or self.image_size % self.patch:
            raise ConfigError(
                f"image.image_size is {self.image_size}; it must be a multiple of the patch, {self.patch}"
            )
        if self.stem == "convolution" and self.patch & (self.patch - 1):
            raise ConfigError(f"image.patch is {self.patch}; a stem of convolutions needs a power of 2")

    @property
    def side(self) -> int:
        """Patches along one side at `image_size`."""
        return self.image_size // self.patch


class QuickMLP(nn.Module):
    """Two linear layers around CLIP's approximate GELU, x sigmoid(1.702 x)."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        return self.fc2(x * (1.702 * x).sigmoid_())


class ViTAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """x [B, S, C]; visible, broadcastable to [B, H, S, S] bool, or None: every token sees every other."""
        B, S, C = x.shape
        query, key, value = self.qkv(x).view(B, S, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self.proj(y.transpose(1, 2).reshape(B, S, C))


class ViTBlock(nn.Module):
    """Pre-norm. No dropout, as published."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attention = ViTAttention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = QuickMLP(config.width)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        x = x + self.attention(self.norm1(x), visible)
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """The backbone as a list of blocks that a system runs one by one.
    `norm_post` is for the outputs the system keeps."""

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.config = config
        self.recompute = False  # activation checkpointing, set from outside
        width, patch = config.width, config.patch
        matrix = config.stem == "patch"
        self.patch_embed = nn.Conv2d(3, width, patch, patch, bias=False) if matrix else convolutions(patch, width)
        self.class_token = nn.Parameter(torch.empty(width))
        self.position = nn.Parameter(torch.empty(1 + config.side**2, width))
        self.norm_pre = nn.LayerNorm(width, eps=config.norm_eps)
        self.blocks = nn.ModuleList(ViTBlock(config) for _ in range(config.layers))
        self.norm_post = nn.LayerNorm(width, eps=config.norm_eps)
        self._initialise()

    def _initialise(self) -> None:
        """CLIP's: everything by the width, what adds to the residual stream also by the depth."""
        std = self.config.width**-0.5
        residual = std * (2 * self.config.layers) ** -0.5
        for parameter in (self.class_token, self.position):
            nn.init.normal_(parameter, std=std)
        for name, module in self.blocks.named_modules():
            if isinstance(module, nn.Linear):
                wide = (2 * self.config.width) ** -0.5 if name.endswith("fc1") else std
                nn.init.normal_(module.weight, std=residual if name.endswith(("proj", "fc2")) else wide)
                nn.init.zeros_(module.bias)

    def embed(self, pixels: Tensor, sizes: Tensor) -> tuple[Tensor, Size, Tensor | None]:
        """pixels [B, 3, H, W], sizes [B, 2] the true (height, width) -> tokens [B, S, C], the grid, and valid [B, I]
        bool, None when nothing is padded. A picture gets the positions of its own shape, wherever it was padded to."""
        patch = self.config.patch
        x = self.patch_embed(F.pad(pixels, (0, -pixels.shape[-1] % patch, 0, -pixels.shape[-2] % patch)))
        grid = (x.shape[2], x.shape[3])
        whole = bool((sizes == sizes.new_tensor(pixels.shape[-2:])).all())
        extent = -(-sizes // patch)
        pictures: list[Size] = [grid] if whole else [(h, w) for h, w in extent.tolist()]
        table = {size: self._positions(size, grid) for size in set(pictures)}
        position = torch.stack([table[size] for size in pictures]).to(x.dtype)
        class_token = self.class_token.to(x.dtype).expand(len(x), 1, -1)
        x = self.norm_pre(torch.cat([class_token, x.flatten(2).transpose(1, 2)], dim=1) + position)
        if whole:
            return x, grid, None
        rows, columns = torch.arange(grid[0], device=sizes.device), torch.arange(grid[1], device=sizes.device)
        valid = (rows[None, :, None] < extent[:, :1, None]) & (columns[None, None] < extent[:, 1:, None])
        return x, grid, valid.flatten(1)

    def _positions(self, picture: Size, grid: Size) -> Tensor:
        """[S, C]: the table for one picture of `picture` patches, zero where the grid is padding."""
        table = resize_positions(self.position, picture)
        if picture == grid:
            return table
        patches = table[1:].view(*picture, -1)
        padded = F.pad(patches, (0, 0, 0, grid[1] - picture[1], 0, grid[0] - picture[0]))
        return torch.cat([table[:1], padded.flatten(0, 1)])

    def block(self, number: int, x: Tensor, valid: Tensor | None) -> Tensor:
        """Run block `number` on x [B, S, C]; valid as `embed` gave it."""
        visible = None if valid is None else F.pad(valid, (1, 0), value=True)[:, None, None, :]
        if self.recompute and self.training:
            return checkpoint(self.blocks[number], x, visible, use_reentrant=False)  # type: ignore[return-value]
        return self.blocks[number](x, visible)


def resize_positions(table: Tensor, grid: Size) -> Tensor:
    """A table of positions [1 + side^2, C], the class token's first, for another grid: [1 + h w, C].

    Bicubic, align_corners off, no antialiasing, as published; the table itself when the grid is its own.
    """
    side = isqrt(len(table) - 1)
    if grid == (side, side):
        return table
    patches = table[1:].float().view(1, side, side, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([table[:1], patches.flatten(2)[0].T.to(table.dtype)])
