"""Swin Transformer (Liu et al. 2021) whose blocks can look at a text.

Shapes: B batch, h, w grid, I = h*w tokens, C width, H heads, W windows, n tokens of a window, T text tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vlfuse.layers.mlp import MLP, DropPath, init_truncated
from vlfuse.ops.windows import Size, merge, partition, region_mask, relative_index, valid_mask
from vlfuse.types import ConfigError


@dataclass(frozen=True)
class SwinConfig:
    """Defaults: Swin-B at 384 px, as published in FIBER (there the window is image size / 32)."""

    embed_dim: int = 128
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 12
    patch: int = 4
    stem: Literal["patch", "convolution"] = (
        "patch"  # what embeds a patch: one matrix, as published, or small convolutions
    )
    mlp_ratio: float = 4.0
    drop_path: float = 0.1  # rises linearly over the blocks from 0
    position_grid: int = 0  # side of a learned table of absolute positions (Swin section 4.4); 0 for none, as published
    attend_padding: bool = False  # quirk of the published detection backbone: padding to windows is looked at

    def __post_init__(self):
        if len(self.depths) != len(self.heads):
            raise ConfigError(f"swin.depths {self.depths} and swin.heads {self.heads} must name the same stages")
        if self.stem == "convolution" and self.patch & (self.patch - 1):
            raise ConfigError(
                f"swin.patch is {self.patch}; a stem of convolutions halves the picture, so it must be a power of 2"
            )
        for stage, heads in enumerate(self.heads):
            if self.width(stage) % heads:
                raise ConfigError(f"swin stage {stage}: width {self.width(stage)} is not a multiple of {heads} heads")

    def width(self, stage: int) -> int:
        return self.embed_dim * 2**stage

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """(stage, index in stage) of every block, in order."""
        return [(stage, block) for stage, depth in enumerate(self.depths) for block in range(depth)]


@dataclass(frozen=True)
class Layout:
    """How one block cuts its grid: the same for every block of a stage with the same shift."""

    grid: Size
    window: Size
    shift: Size
    visible: Tensor | None  # [1 or B, W, n, n] bool


class WindowAttention(nn.Module):
    """Self-attention inside windows with a learned bias for each relative position."""

    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """[B, I, C] -> [B, I, C]. Windows ride in the head dimension, so that one mask serves the batch."""
        B, I, C = x.shape
        x = partition(x.view(B, *layout.grid, C), layout.window, layout.shift)
        W, n = x.shape[1:3]
        query, key, value = self.qkv(x).view(B, W, n, 3, self.heads, C // self.heads).permute(3, 0, 1, 4, 2, 5)
        y = F.scaled_dot_product_attention(
            query.flatten(1, 2), key.flatten(1, 2), value.flatten(1, 2), attn_mask=self._bias(layout, W, query.dtype)
        )
        y = self.proj(y.view(B, W, self.heads, n, -1).transpose(2, 3).reshape(B, W, n, C))
        return merge(y, layout.grid, layout.window, layout.shift).reshape(B, I, C)

    def _bias(self, layout: Layout, windows: int, dtype: torch.dtype) -> Tensor:
        """[1 or B, W*H, n, n]: relative positions, and minus infinity where a token must not look."""
        index = relative_index(layout.window, self.window, self.bias_table.device)
        bias = self.bias_table[index].permute(2, 0, 1)[None, None].to(dtype)
        if layout.visible is not None:
            bias = bias.masked_fill(~layout.visible[:, :, None], float("-inf"))
        return bias.expand(-1, windows, -1, -1, -1).flatten(1, 2)


class SwinBlock(nn.Module):
    def __init__(
        self, width: int, heads: int, window: int, mlp_ratio: float, drop_path: float, cross: nn.Module | None
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.attention = WindowAttention(width, heads, window)
        self.cross = cross
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = MLP(width, int(width * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, layout: Layout, text: Tensor | None = None, text_mask: Tensor | None = None) -> Tensor:
        """x [B, I, C]; text [B, T, D] with mask [B, T] switches the fusion on.

        The fusion reads and corrects the self-attention output before the residual is added (FIBER section 3.1).
        """
        a = self.attention(self.norm1(x), layout)
        if text is not None and self.cross is not None:
            a = a + self.cross(a, text, text_mask)
        x = x + self.drop_path(a)
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchMerging(nn.Module):
    """Halve the grid and double the width; an odd grid is padded with zeros first."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * width, eps=1e-5)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor, grid: Size) -> Tensor:
        B, _, C = x.shape
        h, w = grid
        x = F.pad(x.view(B, h, w, C), (0, 0, 0, w % 2, 0, h % 2))
        x = torch.cat([x[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))], dim=-1)
        return self.reduction(self.norm(x.flatten(1, 2)))


class Stage(nn.Module):
    def __init__(self, blocks: list[SwinBlock], merge: PatchMerging | None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.merge = merge


def convolutions(patch: int, width: int) -> nn.Sequential:
    """A stem of 3 x 3 convolutions, each halving the picture, until a pixel is a patch; then one more.

    A small model from scratch learns edges and textures sooner with it (Xiao et al. 2021, "Early convolutions help transformers
    see better"). Tokens at the border of a padded picture differ slightly from those of the picture alone.
    """
    halvings = patch.bit_length() - 1
    widths = [3, *(max(8, width >> i) for i in reversed(range(halvings)))]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GELU()]
    layers.append(nn.Conv2d(width, width, 3, padding=1))
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers)


class PatchEmbed(nn.Module):
    def __init__(self, patch: int, width: int, stem: str):
        super().__init__()
        self.patch = patch
        matrix = stem == "patch"
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch) if matrix else convolutions(patch, width)
        self.norm = nn.LayerNorm(width, eps=1e-5)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Size]:
        H, W = pixels.shape[-2:]
        pixels = F.pad(pixels, (0, -W % self.patch, 0, -H % self.patch))
        x = self.proj(pixels)
        return self.norm(x.flatten(2).transpose(1, 2)), (x.shape[2], x.shape[3])


class Swin(nn.Module):
    """The backbone as a list of blocks that a system runs from one index to another.

    cross: fusion modules by (stage, block); blocks not named have none.
    """

    def __init__(self, config: SwinConfig, cross: Mapping[tuple[int, int], nn.Module] | None = None):
        super().__init__()
        self.config = config
        self.recompute = False  # activation checkpointing, set from outside
        rates = torch.linspace(0, config.drop_path, len(config.blocks), device="cpu").tolist()
        self.patch_embed = PatchEmbed(config.patch, config.embed_dim, config.stem)
        # Relative biases alone say where a token is only through the borders; a model from scratch learns "top left" far
        # sooner from a table. Pre-trained backbones do without.
        side = config.position_grid
        self.position = nn.Parameter(torch.zeros(1, config.embed_dim, side, side)) if side else None
        self.stages = nn.ModuleList()
        for stage, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
            width = config.width(stage)
            first = sum(config.depths[:stage])
            blocks = [
                SwinBlock(
                    width, heads, config.window, config.mlp_ratio, rates[first + i], (cross or {}).get((stage, i))
                )
                for i in range(depth)
            ]
            self.stages.append(Stage(blocks, PatchMerging(width) if stage < len(config.depths) - 1 else None))
        self.norm = nn.LayerNorm(config.width(len(config.depths) - 1), eps=1e-5)
        self.apply(init_truncated)
        if self.position is not None:
            nn.init.trunc_normal_(self.position, std=0.02)
        for module in self.modules():
            if isinstance(module, WindowAttention):
                nn.init.trunc_normal_(module.bias_table, std=0.02)

    def embed(self, pixels: Tensor, sizes: Tensor) -> tuple[Tensor, Size, Tensor | None]:
        """pixels [B, 3, H, W], sizes [B, 2] -> tokens [B, I, C], grid, valid [B, I] or None when nothing is padded."""
        tokens, grid = self.patch_embed(pixels)
        whole = self.config.attend_padding or bool((sizes == sizes.new_tensor(pixels.shape[-2:])).all())
        extent = -(-sizes // self.config.patch)
        if self.position is not None:
            pictures = [grid] if whole else [(h, w) for h, w in extent.tolist()]
            tokens = tokens + torch.cat([self._positions(size, grid) for size in pictures]).to(tokens.dtype)
        if whole:
            return tokens, grid, None
        rows, columns = torch.arange(grid[0], device=sizes.device), torch.arange(grid[1], device=sizes.device)
        valid = (rows[None, :, None] < extent[:, :1, None]) & (columns[None, None] < extent[:, 1:, None])
        return tokens, grid, valid.flatten(1)

    def _positions(self, picture: Size, grid: Size) -> Tensor:
        """[1, I, C]: the table stretched over the tokens of one picture, zero where the grid is padding."""
        table = self.position
        assert table is not None
        if table.shape[-2:] != picture:
            table = F.interpolate(table, size=picture, mode="bicubic", align_corners=False)
        return F.pad(table, (0, grid[1] - picture[1], 0, grid[0] - picture[0])).flatten(2).transpose(1, 2)

    def block(self, number: int, x: Tensor, grid: Size, valid: Tensor | None, *text: Tensor) -> Tensor:
        """Run block `number` (counted over all stages); text = (states [B, T, D], mask [B, T]) or nothing."""
        stage, index = self.config.blocks[number]
        block: nn.Module = self.stages[stage].blocks[index]  # type: ignore[index,assignment]
        layout = self.layout(grid, valid, shifted=index % 2 == 1)
        if self.recompute and self.training:
            return checkpoint(block, x, layout, *text, use_reentrant=False)  # type: ignore[return-value]
        return block(x, layout, *text)

    def after(self, number: int, x: Tensor, grid: Size, valid: Tensor | None) -> tuple[Tensor, Size, Tensor | None]:
        """What follows block `number`: patch merging where a stage ends, else nothing."""
        stage, index = self.config.blocks[number]
        merging: nn.Module | None = self.stages[stage].merge  # type: ignore[assignment]
        if merging is None or index < self.config.depths[stage] - 1:
            return x, grid, valid
        if valid is not None:  # a merged token is real when any of its four was; what is not real counts as zero
            x = x * valid[..., None]
            cells = F.pad(valid.view(-1, 1, *grid).float(), (0, grid[1] % 2, 0, grid[0] % 2))
            valid = F.max_pool2d(cells, 2).flatten(1).bool()
        return merging(x, grid), (-(-grid[0] // 2), -(-grid[1] // 2)), valid

    def layout(self, grid: Size, valid: Tensor | None, shifted: bool) -> Layout:
        """A grid that fits in one window is never shifted, and the window shrinks to it (so does Swin as published)."""
        full = self.config.window
        keep = self.config.attend_padding
        window = (full, full) if keep else (min(full, grid[0]), min(full, grid[1]))
        slide = (full // 2 if keep or grid[0] > full else 0, full // 2 if keep or grid[1] > full else 0)
        shift = slide if shifted else (0, 0)
        device = self.norm.weight.device
        visible = region_mask(grid, window, shift, device, keep)
        if valid is not None and not keep:
            real = valid_mask(valid, grid, window, shift)
            visible = real if visible is None else real & visible
        return Layout(grid, window, shift, visible)
