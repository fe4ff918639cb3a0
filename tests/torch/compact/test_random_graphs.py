"""Random architectures, written as source code, train the same, compact or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

import mapdrop.torch as md
from tests.torch.compact.training_step import check_same, check_step, skips, step

pytestmark = pytest.mark.training

EXAMPLES = 300
SIDE = 6
WIDTHS = (2, 4, 12, 20, 36)  # Some are more than a block of 16 maps, so that there is less to do.
RATES = ("0.5", "0.5", "0.5", "0.3", "0.8", "0.95", "1.0", "0.0")
DROPS = (
    "nn.Dropout2d({p})",
    "nn.Dropout2d({p})",
    "nn.Dropout2d({p})",
    "md.SpatialDropout2d({p})",
    "md.SpatialDropout2d({p}, share=2)",
    "md.SpatialDropout2d({p}, share=8)",
    "md.SpatialDropout2d({p}, balance=True)",
    "md.SpatialDropout2d({p}, share=2, balance=True)",
    "md.Drop('b (g k) h w -> b g', {p}, k=2)",
    "md.Drop('b c h w -> c', {p})",
    "md.Drop('b c h w -> b c', {p}, exact='c')",
    "md.DropPath({p})",
    "md.Drop('b c h w -> b c', {p}, scale=None)",
    "md.Drop('b c h w -> b c', {p}, scale='sample')",
)
VALUES = ("nn.Dropout(0.3)", "md.Dropout(0.3)", "md.DropBlock2d(0.2, 2)", "nn.AlphaDropout(0.2)")
ACTIVATIONS = (
    "torch.relu({x})",
    "F.relu({x})",
    "{x}.relu()",
    "torch.sigmoid({x})",
    "F.leaky_relu({x}, 0.1)",
    "F.elu({x})",
    "F.softplus({x})",
    "{x}.tanh()",
    "F.gelu({x})",
    "{x} * 2",
    "{x} - 0.5",
    "-{x}",
    "{x}.abs()",
    "{x} / 3",
    "1 - {x}",
    "torch.softmax({x}, 1)",
    "{x}.clamp(0.1, 2)",
    "{x} ** 2",
)
LAYERS = (
    "nn.ReLU()",
    "nn.LeakyReLU(0.2)",
    "nn.ELU()",
    "nn.Sigmoid()",
    "nn.PReLU()",
    "nn.PReLU({c})",
    "nn.SiLU()",
    "nn.Identity()",
    "nn.Hardtanh()",
)
NORMS = (
    "nn.BatchNorm2d({c}, eps=0.01)",
    "nn.BatchNorm2d({c}, eps=0.01).eval()",
    "nn.BatchNorm2d({c}, eps=0.01, affine=False)",
    "nn.BatchNorm2d({c}, eps=0.01, track_running_stats=False)",
    "nn.InstanceNorm2d({c}, eps=0.01)",
    "nn.InstanceNorm2d({c}, eps=0.01, affine=True)",
    "nn.GroupNorm(2, {c}, eps=0.01)",
    "nn.GroupNorm(1, {c}, eps=0.01)",
)
RESIZES = (
    ("nn.MaxPool2d(2)", lambda n: n // 2),
    ("nn.AvgPool2d(2)", lambda n: n // 2),
    ("nn.AvgPool2d(3, 1, 1)", lambda n: n),
    ("nn.AdaptiveAvgPool2d(3)", lambda n: 3),
    ("nn.MaxPool2d(3, 2, 1)", lambda n: (n - 1) // 2 + 1),
    ("nn.ZeroPad2d(1)", lambda n: n + 2),
    ("nn.ConstantPad2d(1, 0.5)", lambda n: n + 2),
    ("nn.ReflectionPad2d(1)", lambda n: n + 2),
    ("nn.Upsample(scale_factor=2)", lambda n: 2 * n),
    ("nn.AdaptiveMaxPool2d(2)", lambda n: 2),
    ("nn.UpsamplingBilinear2d(scale_factor=2)", lambda n: 2 * n),
)
KINDS = (
    *["convolution"] * 5,
    *["drop"] * 6,
    "activation",
    "activation",
    "layer",
    "layer",
    "in_place",
    "norm",
    "norm",
    "resize",
    "resize",
    "transposed",
    "depthwise",
    "add",
    "add",
    "cat",
    "chunk",
    "gate",
    "value",
    "twice",
    "product",
    "scaled",
    "crop",
    "meet",
    "meet",
    "meet",
)


@dataclass
class Program:
    """The source of a module: its layers, and the lines of its forward."""

    samples: int
    seeded: bool
    layers: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        layers = [f"        self.l{i} = {layer}" for i, layer in enumerate(self.layers)]
        lines = [f"        {line}" for line in self.lines]
        head = [f"# {self.samples} samples, seeded={self.seeded}", "class Net(nn.Module):"]
        made = ["    def __init__(self):", "        super().__init__()", *layers]
        return "\n".join([*head, *made, "    def forward(self, x0):", *lines])

    def build(self) -> nn.Module:
        """Return the model, the same each time."""
        space: dict[str, Any] = {"nn": nn, "F": F, "torch": torch, "md": md}
        exec(repr(self), space)
        torch.manual_seed(7)
        net: nn.Module = space["Net"]().double()
        return md.seeded(net, 3) if self.seeded else net


class Writer:
    """Writes a program by drawing from hypothesis; `values` are the names of arrays so far."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.program = Program(draw(st.integers(1, 4)), draw(st.integers(0, 4)) == 4)
        self.values: dict[str, tuple[int, int]] = {"x0": (self.pick(3, 20), SIDE)}
        self.fresh: str | None = None  # What may be overwritten.
        self.convolutions: list[tuple[int, int]] = []

    def pick(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    @property
    def last(self) -> str:
        name: str = next(reversed(self.values))
        return name

    def any(self) -> str:
        names = list(self.values)
        return str(names[max(0, len(names) - 1 - self.pick(0, 0, 0, 0, 1, 2))])

    def layer(self, source: str) -> str:
        self.program.layers.append(source)
        return f"self.l{len(self.program.layers) - 1}"

    def put(self, expression: str, channels: int, side: int, fresh: bool = False) -> str:
        name = f"x{len(self.values)}"
        self.program.lines.append(f"{name} = {expression}")
        self.values[name] = (channels, side)
        self.fresh = name if fresh else None
        return name

    def apply(self, layer: str, x: str, channels: int, side: int, fresh: bool = False) -> str:
        return self.put(f"{self.layer(layer)}({x})", channels, side, fresh)

    def convolution(self, x: str) -> None:
        c, side = self.values[x]
        out, kernel = self.pick(*WIDTHS), self.pick(1, 3, 3)
        stride, dilation = self.pick(1, 1, 1, 2), self.pick(1, 1, 1, 2)
        padding = self.pick(0, 1, 1, 1, 2)
        groups = self.pick(1, 1, 1, 1, 1, 2) if c % 2 == out % 2 == 0 else 1
        after = (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        if after < 2:
            padding, after, stride, kernel = 0, side, 1, 1
        mode = self.pick("", "", "", ", padding_mode='circular'") if 0 < padding < side else ""
        bias = self.pick("", "", ", bias=False")
        how = f"{stride}, {padding}, {dilation}, {groups}{bias}{mode}"
        self.apply(f"nn.Conv2d({c}, {out}, {kernel}, {how})", x, out, after, True)

    def transposed(self, x: str) -> None:
        c, side = self.values[x]
        out, kernel, stride = self.pick(*WIDTHS), self.pick(2, 3), self.pick(1, 2)
        if side > 8:
            return
        extra = self.pick(0, 1) if stride == 2 else 0
        how = f"{stride}, output_padding={extra}"
        after = (side - 1) * stride + kernel + extra
        self.apply(f"nn.ConvTranspose2d({c}, {out}, {kernel}, {how})", x, out, after, True)

    def depthwise(self, x: str) -> None:
        c, side = self.values[x]
        times, bias = self.pick(1, 1, 2), self.pick("", ", bias=False")
        made = f"nn.Conv2d({c}, {c * times}, 3, 1, 1, groups={c}{bias})"
        self.apply(made, x, c * times, side, True)

    def twice(self, x: str) -> None:
        """Use a layer again."""
        c, side = self.values[x]
        made = [
            i for i, s in enumerate(self.program.layers) if s.startswith(f"nn.Conv2d({c}, {c},")
        ]
        if not made:
            self.apply(f"nn.Conv2d({c}, {c}, 1)", x, c, side, True)
            return
        self.put(f"F.adaptive_avg_pool2d(self.l{made[-1]}({x}), {side})", c, side)

    def drop(self, x: str) -> None:
        p, drop = self.pick(*RATES), self.pick(*DROPS, "function", "in place")
        if drop == "function":
            self.put(f"F.dropout2d({x}, {p}, self.training)", *self.values[x])
        elif drop == "in place":
            x, how = (self.last, ", inplace=True") if self.fresh == self.last else (x, "")
            self.apply(f"nn.Dropout2d({p}{how})", x, *self.values[x])
        elif " (g k) " not in drop or self.values[x][0] % 2 == 0:
            self.apply(drop.format(p=p), x, *self.values[x])

    def value(self, x: str) -> None:
        self.apply(self.pick(*VALUES), x, *self.values[x])

    def activation(self, x: str) -> None:
        self.put(self.pick(*ACTIVATIONS).format(x=x), *self.values[x])

    def layer_of_one(self, x: str) -> None:
        self.apply(self.pick(*LAYERS).format(c=self.values[x][0]), x, *self.values[x])

    def in_place(self, x: str) -> None:
        if self.fresh != self.last:
            return
        x = self.last
        how = self.pick("nn.ReLU(inplace=True)", "F.relu({x}, inplace=True)", "{x}.relu_()", "+=")
        if how == "+=":
            others = [n for n, s in self.values.items() if s == self.values[x] and n != x]
            if others:
                self.program.lines.append(f"{x} += {self.pick(*others)}")
        elif how.startswith("nn"):
            self.apply(how, x, *self.values[x])
        else:
            self.put(how.format(x=x), *self.values[x])

    def norm(self, x: str) -> None:
        c, side = self.values[x]
        norm = self.pick(*NORMS)
        if side > 1 and (c % 2 == 0 or "Norm(2" not in norm):
            self.apply(norm.format(c=c), x, c, side, True)

    def resize(self, x: str) -> None:
        c, side = self.values[x]
        made, after = self.pick(*RESIZES)
        if 2 <= after(side) <= 12 and side >= 2:
            self.apply(made, x, c, after(side))

    def same(self, x: str) -> str | None:
        others = [n for n, s in self.values.items() if s == self.values[x] and n != x]
        return self.pick(*others) if others else None

    def add(self, x: str) -> None:
        c, side = self.values[x]
        other = self.same(x) or self.apply(f"nn.Conv2d({c}, {c}, 1)", x, c, side)
        form = self.pick(
            "{a} + {b}",
            "{a} + {b}",
            "{a} - {b}",
            "torch.add({a}, {b})",
            "torch.maximum({a}, {b})",
            "torch.add({a}, {b}, alpha=2)",
        )
        self.put(form.format(a=x, b=other), c, side, "m(" not in form)

    def product(self, x: str) -> None:
        other = self.same(x)
        if other is not None:
            self.put(f"{x} * {other}", *self.values[x])

    def cat(self, x: str) -> None:
        side = self.values[x][1]
        others = [n for n, s in self.values.items() if s[1] == side]
        chosen = [x, *(self.pick(*others) for _ in range(self.pick(1, 1, 2)))]
        total = sum(self.values[n][0] for n in chosen)
        if total <= 80:
            self.put(f"torch.cat([{', '.join(chosen)}], 1)", total, side, True)

    def chunk(self, x: str) -> None:
        c, side = self.values[x]
        if c < 4:
            return
        parts = self.pick(f"{x}.chunk(2, 1)", f"torch.split({x}, [{c // 4}, {c - c // 4}], 1)")
        first = c - c // 2 if "chunk" in parts else c // 4
        self.program.lines.append(f"parts = {parts}")
        self.put("parts[0]", first, side)
        self.put("parts[1]", c - first, side)

    def gate(self, x: str) -> None:
        c, side = self.values[x]
        mean = self.pick(f"F.adaptive_avg_pool2d({x}, 1)", f"{x}.mean((2, 3), keepdim=True)")
        self.put(f"{x} * torch.sigmoid({self.layer(f'nn.Conv2d({c}, {c}, 1)')}({mean}))", c, side)

    def scaled(self, x: str) -> None:
        c, side = self.values[x]
        size = self.pick(f"{c}, 1, 1", "1", f"1, {c}, 1, 1", f"{side}")
        weight = self.layer(f"nn.Parameter(torch.randn({size}))")
        self.put(f"{x} {self.pick('*', '+', '/')} ({weight} + 9)", c, side)

    def meet(self, x: str) -> None:
        """Combine a dropped array with one that is broadcast: dropped too, alone, or not at all."""
        c, side = self.values[x]
        p = self.pick(*RATES)
        drop = self.pick(*DROPS[:6], "md.DropPath({p})").format(p=p)
        one, other = (self.layer(f"nn.Conv2d({c}, {n}, 1)") for n in (c, self.pick(1, c)))
        channels = self.program.layers[-1].split(", ")[1]
        shape = self.pick("", "", ".mean(0)", ".mean((2, 3), keepdim=True)", "[:1]")
        a = f"{self.layer(drop)}({one}({x}))"
        b = (
            f"{self.layer(drop)}({other}({x})){shape}"
            if channels == "1"
            else f"{other}({x}){shape}"
        )
        form = self.pick(
            "{a} + {b}",
            "{b} + {a}",
            "{a} - {b}",
            "torch.maximum({a}, {b})",
            "torch.minimum({b}, {a})",
            "{a} * {b}",
        )
        self.drop(self.put(form.format(a=a, b=b), c, side))

    def crop(self, x: str) -> None:
        c, side = self.values[x]
        if side > 2:
            self.put(f"{x}[:, :, 1:, :-1]", c, side - 1)

    def end(self) -> Program:
        x = self.last
        c, side = self.values[x]
        out = self.pick("none", "1x1", "linear", "pooled", "mean")
        if out == "1x1":
            x = self.apply(f"nn.Conv2d({c}, 3, 1)", x, 3, side)
        elif out == "linear":
            middle = self.pick("{}", "F.relu({})", "F.dropout({}, 0.3)")
            head = self.layer(f"nn.Linear({c * side * side}, 5)")
            x = self.put(f"{head}({middle.format(f'torch.flatten({x}, 1)')})", 5, 1)
        elif out in ("pooled", "mean"):
            pooled = (
                f"F.adaptive_avg_pool2d({x}, 1).flatten(1)"
                if out == "pooled"
                else f"{x}.mean((2, 3))"
            )
            x = self.put(f"{self.layer(f'nn.Linear({c}, 5)')}({pooled})", 5, 1)
        also = self.pick(None, None, None, *self.values)
        self.program.lines.append(f"return {x}" if also is None else f"return [{x}, {also}]")
        return self.program


@st.composite
def programs(draw: Any) -> Program:
    writer = Writer(draw)
    writer.convolution("x0")
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=3, max_size=10)):
        write = writer.layer_of_one if kind == "layer" else getattr(writer, kind)
        write(writer.any())
    return writer.end()


def inputs(program: Program) -> torch.Tensor:
    first = program.layers[0]
    channels = int(first[len("nn.Conv2d(") :].split(",")[0])
    own = torch.Generator().manual_seed(1)
    return torch.randn(program.samples, channels, SIDE, SIDE, generator=own, dtype=torch.float64)


def test_compact_models_train_like_the_models() -> None:
    count = SimpleNamespace(all=0, with_drops=0, skipping=0)

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(programs())
    def check(program: Program) -> None:
        fast = check_same(program.build, [inputs(program)])
        count.all += 1
        count.with_drops += any("Drop" in source for source in program.layers)
        count.skipping += skips(fast)

    check()
    assert count.all >= EXAMPLES
    assert count.skipping >= 0.2 * count.all, count


def test_the_comparison_sees_another_mask_and_another_weight() -> None:
    program = Program(3, False, ["nn.Conv2d(3, 20, 3)", "nn.Dropout2d(0.5)", "nn.Conv2d(20, 2, 1)"])
    program.lines = ["return self.l2(self.l1(torch.relu(self.l0(x0))))"]
    assert skips(check_same(program.build, [inputs(program)]))
    nudged = program.build()
    with pytest.raises(AssertionError, match="output"):
        check_step(step(nudged, [inputs(program)]), step(program.build(), [inputs(program)], 1))
    with torch.no_grad():
        next(nudged.parameters()).view(-1)[0] += 1e-7
    with pytest.raises(AssertionError, match="apart"):
        check_step(step(nudged, [inputs(program)]), step(program.build(), [inputs(program)]))
