"""Random residual models, written as source code.

Values are tokens (b, n, c) with n = 16, or maps (b, c, 4, 4). A batch may have 4 samples too, so
that its axis is found by where it is and not by its size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

import mapdrop.torch as md
from tests.torch.compact import residual_drops as rd

WIDTH, SIDE = 8, 4
TOKENS = SIDE * SIDE

# In each `{x}` is the value, `{c}` its width, `{l}` a layer of the width c to c.
ON_TOKENS = (
    "{l}({x})",
    "nn.functional.gelu({l}({x}))",
    "F.layer_norm({x}, ({c},))",
    "F.layer_norm({x}, ({n}, {c}))",
    "{x}.softmax(1)",
    "{x}.softmax(-1)",
    "{x}.roll(3, 1)",
    "{x}.roll((1, 2), (1, 2))",
    "{x}.flip(1)",
    "{x} - {x}.mean(1, keepdim=True)",
    "{x}.mean(1).unsqueeze(1).expand_as({x}) + {x}",
    "{x} * {l}({x}.mean(1)).sigmoid()[:, None]",
    "{x} / (1 + {x}.norm(dim=(1, 2), keepdim=True))",
    "{x}.cumsum(1) / 4",
    "{l}({x}.transpose(0, 1)).transpose(0, 1)",
    "{x}.permute(2, 0, 1).softmax(0).permute(1, 2, 0)",
    "{l}({x}.reshape(-1, {c})).view({x}.shape)",
    "{l}({x}.flatten(0, 1)).unflatten(0, ({x}.shape[0], -1))",
    "{x} @ ({x}.transpose(1, 2) @ {x} / 16).softmax(-1)",
    "torch.einsum('bnm,bmc->bnc', torch.einsum('bnc,bmc->bnm', {x}, {x}).softmax(2), {x})",
    "torch.stack([{x}, {l}({x})], 0).sum(0)",
    "torch.stack([{x}, {l}({x})], 1).mean(1)",
    "attention({l}({x}), {x}, 2)",
    "windows({l}(windows({x}, 2).softmax(1)), 2, {x}.shape)",
    "windows(attention(windows({x}, 2), {l}(windows({x}, 2)), 1), 2, {x}.shape)",
    "{x}.masked_fill({x} > 1, 0.5)",
    "torch.where({x} > 0, {x}, {l}({x}))",
    "{x} * self.scales[:{c}] + self.tokens",
    "F.pad({x}, (0, 0, 1, 0))[:, :-1] + {x}",
    "torch.cat([{x}[:, :3], {l}({x}[:, 3:])], 1)",
    "condition.sigmoid().mean(-1)[:, None, None] * {x}",
    "{x} + condition.unsqueeze(1).mean(-1, keepdim=True)",
    "{x} * (1 + torch.arange({x}.shape[0])).view(-1, 1, 1)",
    "{x} + self.samples[:{x}.shape[0]]",
    "md.Dropout(0.3)({x})",
)
ON_MAPS = (
    "F.relu({x})",
    "F.group_norm({x}, 2)",
    "F.instance_norm({x})",
    "{x}.softmax(1)",
    "{k}({x})",
    "F.silu({k}({x}))",
    "F.avg_pool2d({x}, 3, 1, 1)",
    "F.interpolate(F.max_pool2d({x}, 2), scale_factor=2)",
    "{x} * {x}.mean((2, 3), keepdim=True).sigmoid()",
    "{x}.roll((1, 1), (2, 3))",
    "{k}({x}.transpose(2, 3)).transpose(2, 3)",
    "md.SpatialDropout2d(0.5)({x})",
    "md.SpatialDropout2d(0.5)({k}({x}))",
)
MEETING = (
    "{x} - {x}.mean(0)",
    "{x} + {x}[:1]",
    "{x}.softmax(0)",
    "{x}.flip(0)",
    "{x}.roll(1, 0)",
    "{x}.cumsum(0)",
    "{x} / (1 + {x}.norm())",
    "torch.cat([{x}[1:], {x}[:1]])",
    "{x} * {x}.amax((0, 1), keepdim=True)",
    "F.batch_norm({x}, None, None, training=True)",
    "{x}.reshape({x}.shape[1], -1, *{x}.shape[2:]).softmax(0).reshape({x}.shape)",
)
"""In these samples meet."""
DROPS = ("timm", "transformers", "torchvision-row", "drop-path", "balance", "batch", "unscaled")
SUMS = (
    "{x} + {y}",
    "{y} + {x}",
    "torch.add({x}, {y})",
    "{x} - {y}",
    "{x} + {y} * 0.5",
    "{x} + self.scales[:{c}] * {y}",
    "torch.add({x}, {y}, alpha=2)",
    "{x}.add_({y})",
)


def attention(q: Tensor, kv: Tensor, heads: int) -> Tensor:
    """Return attention of (b, n, c), by PyTorch's own function."""
    q, kv = (v.unflatten(-1, (heads, -1)).transpose(1, 2) for v in (q, kv))
    return F.scaled_dot_product_attention(q, kv, kv).transpose(1, 2).flatten(2)


def windows(x: Tensor, size: int, back: torch.Size | None = None) -> Tensor:
    """Return tokens (b, n, c) as windows (b * windows, size * size, c), or the way back."""
    parts, c = SIDE // size, x.shape[-1]
    if back is None:
        cut = x.reshape(-1, parts, size, parts, size, c).permute(0, 1, 3, 2, 4, 5)
        return cut.reshape(-1, size * size, c)
    cut = x.reshape(-1, parts, parts, size, size, c).permute(0, 1, 3, 2, 4, 5)
    return cut.reshape(back)


@dataclass
class Program:
    """The source of a module: its layers, and the lines of its forward."""

    samples: int
    layers: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    meets: bool = False
    """Whether samples meet somewhere."""

    def __repr__(self) -> str:
        made = [f"        self.l{i} = {layer}" for i, layer in enumerate(self.layers)]
        lines = [f"        {line}" for line in self.lines]
        head = [f"# {self.samples} samples", "class Net(nn.Module):", "    def __init__(self):"]
        own = [
            "        super().__init__()",
            f"        self.scales = nn.Parameter(torch.randn({4 * WIDTH}))",
            f"        self.tokens = nn.Parameter(torch.randn({TOKENS}, 1))",
            f"        self.samples = nn.Parameter(torch.randn({self.samples}, 1, 1))",
        ]
        return "\n".join([*head, *own, *made, "    def forward(self, x0, condition):", *lines])

    def build(self) -> nn.Module:
        """Return the model, the same each time."""
        space: dict[str, Any] = {"nn": nn, "F": F, "torch": torch, "md": md, "DROPS": rd.DROPS}
        space |= {"attention": attention, "windows": windows}
        exec(repr(self), space)
        torch.manual_seed(7)
        net: nn.Module = space["Net"]().double()
        return net

    def inputs(self) -> list[Tensor]:
        """Return tokens and what they are conditioned on."""
        own = torch.Generator().manual_seed(1)
        shapes = (self.samples, TOKENS, WIDTH), (self.samples, WIDTH)
        return [torch.randn(shape, generator=own, dtype=torch.float64) for shape in shapes]


class Writer:
    """Writes a program by drawing from hypothesis."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.program = Program(self.pick(4, 4, 5, 3, 1))
        self.names = 0

    def pick(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def layer(self, source: str) -> str:
        self.program.layers.append(source)
        return f"self.l{len(self.program.layers) - 1}"

    def put(self, expression: str) -> str:
        self.names += 1
        self.program.lines.append(f"x{self.names} = {expression}")
        return f"x{self.names}"

    def apply(self, form: str, x: str, c: int) -> str:
        """Write an operation of one of the lists above, with the layers that it has."""
        if "md." in form:
            made = form[form.index("md.") : form.index(")(") + 1]
            form = form.replace(made, self.layer(made))
        linear = self.layer(f"nn.Linear({c}, {c})") if "{l}" in form else ""
        groups = self.pick(1, c) if "{k}" in form else 1
        kernel = f"nn.Conv2d({c}, {c}, 3, padding=1, groups={groups})"
        convolution = self.layer(kernel) if "{k}" in form else ""
        return self.put(form.format(x=x, c=c, n=TOKENS, l=linear, k=convolution))

    def on_maps(self, x: str, c: int) -> str:
        x = self.put(f"{x}.transpose(1, 2).reshape(-1, {c}, {SIDE}, {SIDE})")
        for _ in range(self.pick(1, 2, 3)):
            x = self.apply(self.pick(*ON_MAPS), x, c)
        return self.put(self.pick(f"{x}.flatten(2).mT", f"{x}.permute(0, 2, 3, 1).flatten(1, 2)"))

    def wider(self, x: str, c: int) -> str:
        """Go to another width and back, by parts of the features."""
        other = self.pick(c, 2 * c)
        up = self.layer(f"nn.Linear({c}, {2 * other})")
        self.program.lines.append(f"a, b = {up}({x}).chunk(2, dim=-1)")
        x = self.put(f"torch.cat([a * b.sigmoid(), {x}], 2)")
        return self.put(f"{self.layer(f'nn.Linear({other + c}, {c})')}({x})")

    def branch(self, x: str, c: int) -> str:
        for kind in self.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5)):
            if kind == "meet":
                self.program.meets = True
                x = self.apply(self.pick(*MEETING), x, c)
            elif kind == "tokens":
                x = self.apply(self.pick(*ON_TOKENS), x, c)
            else:
                x = getattr(self, kind)(x, c)
        return x

    def residual(self, x: str, c: int) -> str:
        name, rate = self.pick(*DROPS), self.pick(0.5, 0.5, 0.3, 0.8)
        drop = self.layer(f"DROPS[{name!r}]({rate})")
        y = self.branch(self.put(f"{x} + 0") if self.pick(0, 0, 1) else x, c)
        form = self.pick(*SUMS)
        x = self.put(f"{x} * 1") if "add_" in form else x  # No input is overwritten.
        return self.put(form.format(x=x, y=self.put(f"{drop}({y})"), c=c))

    def end(self, x: str) -> Program:
        also = self.pick(None, None, None, *(f"x{i}" for i in range(1, self.names + 1)))
        self.program.lines.append(f"return {x}" if also is None else f"return [{x}, {also}]")
        return self.program


KINDS = (*["tokens"] * 8, "on_maps", "on_maps", "wider", "wider", "residual", "meet")


@st.composite
def programs(draw: Any) -> Program:
    """Draw a program of one to three residual blocks."""
    writer, x = Writer(draw), "x0"
    for _ in range(writer.pick(1, 2, 2, 3)):
        x = writer.residual(x, WIDTH)
    return writer.end(x)
