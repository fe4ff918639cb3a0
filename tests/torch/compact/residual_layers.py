"""Branches of residual blocks in plain PyTorch, as the papers' models have them.

b samples, n tokens, c features, h heads of d features, windows of w by w tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

HEADS = 2


class Mlp(nn.Module):
    """LayerNorm, two Linears, LayerScale, of (b, ..., c)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.scale = nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        return self.scale * self.down(F.gelu(self.up(self.norm(x))))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Attention of (b, n, c) as timm writes it, by PyTorch's own function."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        return self.proj(y)  # type: ignore[no-any-return]


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate pairs of features of (b, h, n, d) by angles (b, n, d / 2): RoPE."""
    sin, cos = angles.sin().unsqueeze(1), angles.cos().unsqueeze(1)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class AttentionByHand(Attention):
    """The same by a softmax, with a mask (b, n) and RoPE's angles (b, n, d / 2)."""

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        mask, angles = others
        b, n, c = x.shape
        qkv = self.qkv(self.norm(x)).view(b, n, 3, HEADS, -1)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        scores = rotated(q, angles) @ rotated(k, angles).transpose(-2, -1) * (c // HEADS) ** -0.5
        weights = scores.masked_fill(~mask[:, None, None, :], -1e9).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class LayerAttention(nn.Module):
    """`nn.MultiheadAttention` of (b, n, c), in one of the orders of axes that it knows."""

    def __init__(self, width: int, batch_first: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=batch_first)

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        y = self.norm(x)
        y = y if self.attention.batch_first else y.transpose(0, 1)
        y, _weights = self.attention(y, y, y, need_weights=False)
        back: Tensor = y if self.attention.batch_first else y.transpose(0, 1)
        return back


class WindowAttention(nn.Module):
    """Swin's: attention in windows of (b, H, W, c), rolled by half of one if `shifted`."""

    def __init__(self, width: int, side: int, window: int = 3, shifted: bool = False) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shifted else 0
        self.norm = nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.randn(HEADS, window**2, window**2))
        region = torch.zeros(1, side, side, 1)
        for i, part in enumerate(
            (slice(-window), slice(-window, -self.shift), slice(-self.shift, None))
        ):
            region[:, part] += 3 * i
            region[:, :, part] += i
        ids = self.partitioned(region).squeeze(-1)
        apart = ids.unsqueeze(1) != ids.unsqueeze(2)
        self.register_buffer("mask", apart.float() * -100)  # (windows, w * w, w * w)

    def partitioned(self, x: Tensor) -> Tensor:
        """Return (b * windows, w * w, c): the batch axis with the windows folded into it."""
        b, height, width, c = x.shape
        w = self.window
        x = x.view(b, height // w, w, width // w, w, c)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, c)

    def merged(self, windows: Tensor, height: int, width: int) -> Tensor:
        """Return (b, H, W, c), from windows."""
        w = self.window
        x = windows.view(-1, height // w, width // w, w, w, windows.shape[-1])
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, windows.shape[-1])

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        _b, height, width, c = x.shape
        y = self.norm(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        y = self.partitioned(y)
        rows, n, _c = y.shape
        q, k, v = self.qkv(y).reshape(rows, n, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / (c // HEADS) ** 0.5 + self.bias
        if self.shift:
            mask = self.get_buffer("mask")
            scores = scores.view(-1, len(mask), HEADS, n, n) + mask.unsqueeze(1).unsqueeze(0)
            scores = scores.view(-1, HEADS, n, n)
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, n, c)
        y = self.merged(self.proj(y), height, width)
        return torch.roll(y, (self.shift, self.shift), (1, 2)) if self.shift else y


class ConvNeXtBranch(nn.Module):
    """ConvNeXt's: a depthwise convolution of (b, c, H, W), then Linears of (b, H, W, c)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        y = self.depthwise(x).permute(0, 2, 3, 1)
        return self.mlp(y).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class SqueezeExcite(nn.Module):
    """A gate for each map of each sample of (b, c, H, W), from the means of its maps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(width, width // 4), nn.Linear(width // 4, width)

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        gate = self.excite(F.relu(self.squeeze(x.mean((2, 3))))).sigmoid()
        return x * gate[:, :, None, None]  # type: ignore[no-any-return]


class Modulated(nn.Module):
    """DiT's: shift, scale and gate, each (b, c), around a branch of (b, n, c)."""

    def __init__(self, width: int, inner: nn.Module) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(width, elementwise_affine=False), inner

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        shift, scale, gate = others
        y = self.norm(x) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)
        return gate.unsqueeze(1) * self.inner(y)  # type: ignore[no-any-return]
