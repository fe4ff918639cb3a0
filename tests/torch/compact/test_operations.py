"""Models with each kind of operation between convolutions and drops: the results are the model's.

One spelling of each: tests/torch/graph/test_registry.py has the others of the same record.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from mapdrop.torch.compact.report import Line
from tests.torch.compact.agreement import check, forced, outcome, pixels, report, skips

C = 48
SPACE = {1: (8,), 2: (6, 6), 3: (4, 4, 4)}
CONV: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
DROP: dict[int, type[nn.Module]] = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}
Work = Callable[[Tensor], Tensor]
pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel"),
]


@dataclass(frozen=True)
class Case:
    """An operation.

    Attributes:
        key: its function, layer, or method.
        make: returns a function of an array of C maps.
        dims: of a map.
        reads: whether a convolution after it need not read what a drop before it dropped.
        makes: whether a convolution before it need not make what a drop after it drops.
    """

    key: Any
    make: Callable[[], Work]
    dims: int = 2
    reads: bool = True
    makes: bool = True
    note: str = ""

    def __str__(self) -> str:
        key = (
            self.key if isinstance(self.key, str) else f"{self.key.__module__}.{self.key.__name__}"
        )
        return " ".join(filter(None, (key if self.key != self.note else "", self.note)))


class With(nn.Module):
    """A function with parameters of the model."""

    def __init__(self, work: Callable[..., Tensor], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.work = work
        for i, shape in enumerate(shapes):
            setattr(self, f"p{i}", nn.Parameter(pixels(*shape) * 0.3))
        self.count = len(shapes)

    def forward(self, x: Tensor) -> Tensor:
        return self.work(x, *[getattr(self, f"p{i}") for i in range(self.count)])


class Normed(With):
    """A norm by running statistics."""

    def __init__(self) -> None:
        super().__init__(lambda x, *given: F.batch_norm(x, *given), *[(C,)] * 4)
        for p in (self.p0, self.p1):
            p.requires_grad_(False)
            p.abs_()

    p0: nn.Parameter
    p1: nn.Parameter


class Net(nn.Module):
    """first -> (drop) -> op -> (drop) -> last, where last fits the result."""

    def __init__(self, op: Work, dims: int, before: bool, after: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = CONV[dims](3, C, 3, padding=1)
        self.before = DROP[dims](0.5) if before else nn.Identity()
        self.op = op
        probe = op.double() if isinstance(op, nn.Module) else op
        shape = probe(torch.ones(2, C, *SPACE[dims], dtype=torch.float64)).shape
        rank = len(shape) - 2
        drops = rank in DROP and after
        self.after = DROP[rank](0.5) if drops else nn.Identity()
        self.last: nn.Module = nn.Identity()
        if rank == 0:
            self.last = nn.Linear(shape[1], 4)
        elif rank in CONV:
            self.last = CONV[rank](shape[1], 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = x if isinstance(self.before, nn.Identity) else self.before(x)
        y: Tensor = self.last(self.after(self.op(x)))
        return y


def fresh(layer: Callable[[], nn.Module]) -> Callable[[], Work]:
    def make() -> Work:
        torch.manual_seed(2)
        module = layer()
        for buffer in module.buffers():
            if buffer.dtype.is_floating_point:
                buffer.add_(torch.rand_like(buffer))
        for parameter in module.parameters():
            nn.init.uniform_(parameter, 0.2, 0.8)
        return module

    return make


def layer(kind: type[nn.Module], *args: Any, dims: int = 2, **more: Any) -> Case:
    given = {k: more.pop(k) for k in ("reads", "makes", "note") if k in more}
    return Case(kind, fresh(lambda: kind(*args, **more)), dims, **given)


def function(key: Any, work: Callable[..., Any], *shapes: tuple[int, ...], **given: Any) -> Case:
    return Case(key, (lambda: With(work, *shapes)) if shapes else (lambda: work), **given)


def by_dims(pattern: str, *args: Any, **more: Any) -> list[Case]:
    return [layer(getattr(nn, pattern.format(d)), *args, dims=d, **more) for d in (1, 2, 3)]


CASES: list[Case] = [
    *by_dims("Conv{}d", C, C, 3, reads=True),
    *by_dims("Conv{}d", C, 40, 3, stride=2, padding=2, dilation=2, note="strided"),
    *by_dims("Conv{}d", C, C, 3, padding="same", padding_mode="circular", note="circular"),
    layer(nn.Conv2d, C, C, (4, 3), padding="same", note="same, even kernel"),
    layer(nn.Conv2d, C, C, 3, padding=1, groups=C, reads=False, note="depthwise"),
    layer(nn.Conv2d, C, C, 3, padding=1, groups=C, bias=False, note="depthwise without bias"),
    layer(nn.Conv2d, C, C, 3, groups=4, reads=False, makes=False, note="groups"),
    *by_dims("ConvTranspose{}d", C, C, 3),
    *by_dims("ConvTranspose{}d", C, 40, 3, stride=2, padding=1, output_padding=1, note="strided"),
    *[
        layer(kind)
        for kind in (
            nn.ReLU,
            nn.LeakyReLU,
            nn.Identity,
            nn.ELU,
            nn.SELU,
            nn.CELU,
            nn.GELU,
            nn.SiLU,
            nn.Mish,
            nn.ReLU6,
            nn.Tanh,
            nn.Hardtanh,
            nn.Hardswish,
            nn.Softsign,
            nn.Softshrink,
            nn.Hardshrink,
            nn.Tanhshrink,
        )
    ],
    *[
        layer(kind, reads=False)
        for kind in (nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.LogSigmoid)
    ],
    *[layer(kind, inplace=True, note="in place") for kind in (nn.ReLU, nn.LeakyReLU, nn.SiLU)],
    layer(nn.Threshold, 0.1, 0.0),
    layer(nn.Threshold, 0.1, 3.0, reads=False, note="to a number"),
    *by_dims("MaxPool{}d", 2),
    *by_dims("AvgPool{}d", 3, stride=1, padding=1),
    *by_dims("AdaptiveAvgPool{}d", 2),
    *by_dims("AdaptiveMaxPool{}d", 2),
    layer(nn.Upsample, scale_factor=2),
    layer(nn.Upsample, scale_factor=2, mode="bilinear", note="bilinear"),
    *by_dims("ZeroPad{}d", 1),
    *by_dims("ReflectionPad{}d", 1),
    *by_dims("ReplicationPad{}d", 1),
    *by_dims("ConstantPad{}d", 1, 2.5, reads=False),
    layer(nn.PReLU),
    layer(nn.PReLU, C, note="by channel"),
    *by_dims("BatchNorm{}d", C, reads=False),  # Of two samples, one may not need a map.
    *by_dims("InstanceNorm{}d", C),
    *by_dims("InstanceNorm{}d", C, affine=True, reads=False, note="affine"),
    layer(nn.InstanceNorm2d, C, track_running_stats=True, reads=False, makes=False, note="tracked"),
    layer(nn.Flatten, makes=False, note="no drop after it"),
    layer(nn.Linear, 6, 5, reads=False, makes=False, note="of rows"),
    layer(nn.GroupNorm, 4, C, reads=False, makes=False),
    layer(nn.LayerNorm, (C, 6, 6), reads=False, makes=False),
    layer(nn.Softmax, 1, reads=False, makes=False),
    layer(nn.LocalResponseNorm, 3, reads=False, makes=False),
    # Functions.
    function(
        F.conv2d, lambda x, w: F.conv2d(x, w - w.mean()), (C, C, 3, 3), note="weight computed"
    ),
    function(
        F.linear, lambda x, w, b: F.linear(x.flatten(1), w, b), (C, C * 36), (C,), makes=False
    ),
    Case(F.batch_norm, lambda: Normed(), reads=False),
    function(
        F.batch_norm,
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True),
        (C,),
        (C,),
        reads=False,
        note="training",
    ),
    *[function(key, key) for key in (torch.neg, torch.abs, torch.square, torch.sin)],
    *[function(key, key, reads=False) for key in (torch.exp, torch.cos)],
    function(F.leaky_relu, lambda x: F.leaky_relu(x, 0.1, True), note="in place by position"),
    function("relu", lambda x: x.relu()),
    function("contiguous", lambda x: x.contiguous()),
    function(F.pad, lambda x: F.pad(x, (1, 1, 2, 0))),
    function(torch.clamp, lambda x: torch.clamp(x, -0.3, 0.2)),
    function("clamp", lambda x: x.clamp(min=0.1), reads=False),
    function(operator.pow, lambda x: x**2),
    function(operator.pow, lambda x: 2.0**x, reads=False, note="of a number"),
    *[
        function(key, lambda x, key=key: key(x, dim=(2, 3)), makes=False, note="of space")
        for key in (torch.mean, torch.sum, torch.amax)
    ],
    *[
        function(key, lambda x, key=key: getattr(x, key)((-1, -2), keepdim=True), note="keepdim")
        for key in ("mean", "sum", "amax")
    ],
    *[
        function(key, lambda x, key=key: key(x, torch.relu(x)), note="of two")
        for key in (
            operator.add,
            operator.sub,
            operator.mul,
            torch.maximum,
            torch.minimum,
        )
    ],
    function(operator.iadd, lambda x: operator.iadd(x * 2.0, torch.relu(x))),  # type: ignore[no-untyped-call]
    function(operator.imul, lambda x: operator.imul(x * 2.0, torch.relu(x) + 1.0)),  # type: ignore[no-untyped-call]
    function(operator.add, lambda x: x + 1.5, reads=False, note="a number"),
    function(operator.sub, lambda x: 1.5 - x, reads=False, note="from a number"),
    function(operator.mul, lambda x: x * -2.5, note="by a number"),
    function(operator.add, lambda x: x + x, note="to itself"),
    function(operator.mul, lambda x: x * x, note="by itself"),
    function(
        operator.add, lambda x, b: x + b, (1, C, 1, 1), reads=False, note="a shift by channel"
    ),
    function(
        operator.mul, lambda x, b: x * b, (C, 1, 1), note="a factor by channel, no batch axis"
    ),
    function(operator.mul, lambda x, b: x * b, (1, 1, 6, 6), note="a factor by place"),
    function(
        operator.mul, lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), note="squeeze, excite"
    ),
    function(
        operator.mul, lambda x: x * x.mean(1, keepdim=True).sigmoid(), note="attention", makes=False
    ),
    function(operator.truediv, lambda x: x / (x.abs() + 1.0), reads=False, makes=False),
    function(torch.div, lambda x: torch.div(x, 3.0)),
    function(
        operator.truediv,
        lambda x: 1.0 / (x.square() + 1.0),
        reads=False,
        makes=False,
        note="of a number",
    ),
    function(torch.cat, lambda x: torch.cat([x, torch.relu(x)], 1)),
    function(torch.concat, lambda x: torch.concat([x, torch.tanh(x), x.abs()], dim=1)),
    function(torch.cat, lambda x: torch.cat([x, torch.exp(x)], dim=-3), note="half of it whole"),
    function(torch.cat, lambda x: torch.cat([x, x], 1), note="with itself"),
    function(operator.getitem, lambda x: x[:, :, ::2, 1:]),
    function(operator.getitem, lambda x: x[..., 1:], note="ellipsis"),
    function(operator.getitem, lambda x: x[:, 4:], reads=False, makes=False, note="of channels"),
    function(torch.chunk, lambda x: torch.chunk(x, 2, 1)[1]),
    function("chunk", lambda x: operator.mul(*x.chunk(2, dim=1))),
    function(torch.split, lambda x: torch.split(x, [10, 38], 1)[-1]),
    function("split", lambda x: x.split(16, 1)[0] + x.split(16, 1)[2]),
    function(torch.flatten, lambda x: torch.flatten(x, 1), makes=False),
    function("flatten", lambda x: x.flatten(1).relu(), makes=False),
    function("view", lambda x: x.view(x.size(0), -1), makes=False),
    function("reshape", lambda x: x.reshape(2, -1), makes=False),
    function("view", lambda x: x.view(2, C, 6, 6), note="the same shape"),
]
OPAQUE: list[tuple[Any, Work]] = [
    ("size", lambda x: x * x.size(0)),
    ("dim", lambda x: x * x.dim()),
    (getattr, lambda x: x * x.shape[1]),
    ("permute", lambda x: x.permute(0, 1, 3, 2)),
    ("transpose", lambda x: x.transpose(1, 2)),
    (torch.matmul, lambda x: torch.matmul(x, x)),
    (F.normalize, lambda x: F.normalize(x)),
    (torch.squeeze, lambda x: torch.squeeze(x, 1)),
    (torch.unsqueeze, lambda x: torch.unsqueeze(x, 2)),
    ("expand", lambda x: x.expand(2, C, 6, 6)),
    ("to", lambda x: x.to(torch.float64)),
    ("float", lambda x: (x > 0).float() - x),
    (operator.floordiv, lambda x: x.mean((2, 3)).view(x.shape[0], x.shape[1] // 2, 2)),
    (operator.mod, lambda x: x * (x.shape[1] % 7)),
]
PASSES_ON = ("size", "dim", getattr, operator.mod)
CASES += [
    Case(key, lambda work=work: work, reads=key in PASSES_ON, makes=key in PASSES_ON)  # type: ignore[misc]
    for key, work in OPAQUE
]


class Nets:
    """The nets of a case, by where they drop. Each is captured once, for all tests of the case."""

    def __init__(self, case: Case) -> None:
        self.case, self.inputs = case, (pixels(2, 3, *SPACE[case.dims]),)
        self.made: dict[str, tuple[nn.Module, nn.Module]] = {}

    def __getitem__(self, drops: str) -> tuple[nn.Module, nn.Module]:
        """Return a net, and the same net made compact."""
        if drops not in self.made:
            net = Net(self.case.make(), self.case.dims, drops != "after", drops != "before")
            self.made[drops] = net.double(), forced(net)
        return self.made[drops]

    def lines(self, drops: str) -> tuple[Line, ...]:
        """Return the report's lines of a step."""
        _, fast = self[drops]
        outcome(fast, self.inputs, seed=0)  # The step that was captured.
        return report(fast).lines


@pytest.fixture(params=CASES, ids=str, scope="module")
def nets(request: pytest.FixtureRequest) -> Nets:
    """All tests of a case run before those of the next one."""
    return Nets(request.param)


@pytest.mark.parametrize("drops", ["before", "after", "around"])
def test_an_operation_next_to_drops_equals_the_dense_one(nets: Nets, drops: str) -> None:
    for seed in range(3):  # The masks change, the captured model does not.
        check(*nets[drops], nets.inputs, seed)


def test_maps_dropped_before_it_are_not_read(nets: Nets) -> None:
    first, reader = nets.lines("before")[:2]  # The reader is the operation itself, where it mixes.
    assert first.makes < 1 or not nets.case.reads
    assert (reader.reads < 1) == nets.case.reads


def test_maps_dropped_after_it_are_not_computed(nets: Nets) -> None:
    maker, last = nets.lines("after")[-2:]  # The maker is the operation itself, where it mixes.
    assert last.name == "last"
    assert (maker.makes < 1) == nets.case.makes


def same(work: Callable[..., Any], *shapes: tuple[int, ...]) -> Callable[[], Work]:
    return function(None, work, *shapes).make


# All axes are of one size, so that a wrong one has the right size: 20 samples of 20 maps, 20 x 20.
N = 20
TURNED: dict[str, Callable[[], Work]] = {
    "mean over channels": same(lambda x: x.mean(1)),
    "mean over samples": same(lambda x: x.mean(0)),
    "mean over samples, kept": same(lambda x: x + x.mean(0, keepdim=True)),
    "mean over channels, kept": same(lambda x: x + x.mean(dim=1, keepdim=True)),
    "sum over channels by a negative number": same(lambda x: torch.sum(x, (-3,))),
    "sum over a list": same(lambda x: torch.sum(x, [1, 2])),
    "maximum over channels": same(lambda x: x.amax(1)),
    "mean over an axis called axis": same(lambda x: x.mean(axis=1)),
    "mean over everything": same(lambda x: x * x.mean()),
    "a transposed view": same(lambda x: x.transpose(1, 2)),
    "maps turned round": same(lambda x: x.permute(1, 0, 2, 3)),
    "view of other axes": same(lambda x: x.view(N, N * N, N)),
    "reshape to a matrix of rows": same(lambda x: x.reshape(N * N, N * N)),
    "flatten from the third axis": same(lambda x: x.flatten(2)),
    "flatten of the first axes": same(lambda x: torch.flatten(x, 0, 1)),
    "sum, then a view as maps": same(lambda x: x.sum(1).view(N, N, N, 1)),
    "concatenated samples": same(lambda x: torch.cat([x, x.relu()], 0)),
    "concatenated rows": same(lambda x: torch.cat([x, x.relu()], 2)),
    "concatenated columns": same(lambda x: torch.cat([x, x.relu()], dim=-1)),
    "channels padded at the front, cut at the end": same(lambda x: F.pad(x, (0, 0, 0, 0, 1, -1))),
    "channels padded": same(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2))),
    "samples padded, cut": same(lambda x: F.pad(x, (0, 0, 0, 0, 0, 0, 1, -1))),
    "chunks of rows": same(lambda x: x.chunk(2, 2)[0]),
    "chunks of samples": same(lambda x: x.chunk(2)[0]),
    "one chunk": same(lambda x: x.chunk(1, 1)[0]),
    "one sample": same(lambda x: x[0]),
    "some samples": same(lambda x: x[2:]),
    "a new axis": same(lambda x: x[:, None, :, 0]),
    "softmax over channels": same(lambda x: torch.softmax(x, 1)),
    "unknown: cumulative sum over channels": same(lambda x: torch.cumsum(x, 1)),
    "unknown: channels rolled": same(lambda x: torch.roll(x, 1, 1)),
    "unknown: channels flipped": same(lambda x: x.flip(1)),
    "matrix product": same(lambda x: x @ x),
    "a vector that belongs to columns": same(lambda x, b: x * b, (N,)),
    "a matrix that belongs to places": same(lambda x, b: x + b, (N, N)),
    "a factor by sample": same(lambda x: x * x.mean((1, 2, 3), keepdim=True)),
    "gates without axes of space": same(lambda x: x * x.mean((2, 3))),
    "gates by row": same(lambda x: x + x.mean(3)),
}


@pytest.mark.parametrize("make", TURNED.values(), ids=TURNED)
def test_operations_over_other_axes_equal_the_dense_ones(make: Callable[[], Work]) -> None:
    net = Square(make(), before=True, after=True)
    check(net.double(), forced(net), (pixels(N, 3, N, N),))


class Square(Net):
    """The same net, with as many samples as channels, rows and columns."""

    def __init__(self, op: Work, before: bool, after: bool) -> None:
        nn.Module.__init__(self)
        torch.manual_seed(1)
        self.first = nn.Conv2d(3, N, 1)
        self.before = nn.Dropout2d(0.5) if before else nn.Identity()
        self.op = op
        shape = op(torch.ones(N, N, N, N)).shape
        fits = after and len(shape) == 4
        self.after = nn.Dropout2d(0.5) if fits else nn.Identity()
        self.last = nn.Conv2d(shape[1], 2, 1) if len(shape) == 4 else nn.Identity()


UNBATCHED: dict[str, tuple[int, Callable[[], Work]]] = {
    # What a layer takes for one sample without a batch axis: its channels are our samples.
    "MaxPool2d of (b c t)": (1, fresh(lambda: nn.MaxPool2d(3, 1, 1))),
    "AvgPool2d of (b c t)": (1, fresh(lambda: nn.AvgPool2d(3, 1, 1))),
    "max_pool2d of (b c t)": (1, lambda: lambda x: F.max_pool2d(x, 3, 1, 1)),
    "AdaptiveAvgPool2d of (b c t)": (1, fresh(lambda: nn.AdaptiveAvgPool2d((C, 4)))),
    "MaxPool3d of (b c h w)": (2, fresh(lambda: nn.MaxPool3d(3, 1, 1))),
    "ZeroPad2d of (b c t)": (1, fresh(lambda: nn.ZeroPad2d((0, 0, 1, -1)))),
    "ZeroPad3d of (b c h w)": (2, fresh(lambda: nn.ZeroPad3d((0, 0, 0, 0, 1, -1)))),
    "ReflectionPad2d of (b c t)": (1, fresh(lambda: nn.ReflectionPad2d((0, 0, 1, -1)))),
    "InstanceNorm2d of (b c t)": (1, fresh(lambda: nn.InstanceNorm2d(2))),
    "Conv2d of (b c t)": (1, fresh(lambda: nn.Conv2d(2, 2, 3, padding=1))),
    "MaxPool1d of features": (2, lambda: lambda x: F.max_pool1d(x.flatten(1), 3, 1, 1)),
    "AvgPool1d of features": (2, lambda: lambda x: F.avg_pool1d(x.flatten(1), 3, 1, 1)),
}


@pytest.mark.parametrize(("dims", "make"), UNBATCHED.values(), ids=UNBATCHED)
def test_layers_that_take_the_batch_for_channels_equal_the_dense_ones(
    dims: int, make: Callable[[], Work]
) -> None:
    net = Net(make(), dims, before=True, after=True).double()
    check(net, forced(net), (pixels(2, 3, *SPACE[dims]),))


FEATURES: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm1d": lambda: nn.BatchNorm1d(C * 36),
    "BatchNorm1d in eval mode": lambda: nn.BatchNorm1d(C * 36).eval(),
    "PReLU": lambda: nn.PReLU(C * 36),
    "PReLU with one slope": lambda: nn.PReLU(),
    "ReLU": lambda: nn.ReLU(),
    "Sigmoid": lambda: nn.Sigmoid(),
    "LayerNorm": lambda: nn.LayerNorm(C * 36),
    "Dropout": lambda: nn.Dropout(0.5),
}


@pytest.mark.parametrize("make", FEATURES.values(), ids=FEATURES)
def test_layers_of_flat_features_equal_the_dense_ones(make: Callable[[], nn.Module]) -> None:
    norm = fresh(make)()
    assert isinstance(norm, nn.Module)
    net = nn.Sequential(
        nn.Conv2d(3, C, 1),
        nn.Dropout2d(0.5),
        nn.Flatten(),
        norm,
        nn.Linear(C * 36, 5),
        nn.ReLU(),
        nn.Linear(5, 2),
    ).double()
    check(net, forced(net), (pixels(4, 3, 6, 6),))


OF_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda w: w - w.mean(1, keepdim=True),
    "mean of all": lambda w: w - w.mean(),
    "sum": lambda w: w / w.abs().sum(0),
    "norm": lambda w: w / torch.linalg.vector_norm(w, dim=1, keepdim=True),
    "padded": lambda w: F.pad(w[:, 1:], (1, 0)),
    "softmax": lambda w: w.softmax(1),
    "copied": lambda w: torch.cat([w[:1], w[1:]]).flatten().view_as(w),
    "chunks": lambda w: torch.cat(w.chunk(2, 1)[::-1], 1),
    "a vector": lambda w: w * w.amax(0).sigmoid(),
}


@pytest.mark.parametrize("work", OF_WEIGHTS.values(), ids=OF_WEIGHTS)
def test_what_a_layer_computes_of_its_weights_is_computed_whole(
    work: Callable[[Tensor], Tensor],
) -> None:
    class Standardized(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, work(self.weight), self.bias)

    net = nn.Sequential(
        nn.Conv2d(3, C, 1),
        nn.Dropout2d(0.5),
        nn.Conv2d(C, C, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        Standardized(C, 5),
    ).double()
    fast = forced(net)
    check(net, fast, (pixels(4, 3, 6, 6),))
    assert skips(fast)


def test_the_output_size_of_a_transposed_convolution_is_used() -> None:
    class Up(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose2d(C, 4, 3, stride=2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.up(x, output_size=[14, 14])
            return y

    net = Net(Up(), 2, True, False).double()
    check(net, forced(net), (pixels(2, 3, 6, 6),))


BRANCHES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
    "maximum": torch.maximum,
    "side by side": lambda a, b: torch.cat([a, b], 1),
    "side by side, and again": lambda a, b: torch.cat([torch.cat([a, b], 1), b.relu()], 1),
    "the same array twice, and another": lambda a, b: torch.cat([a, b, a], 1),
    "one side": lambda a, b: a,
}


@pytest.mark.parametrize("drops", ["left", "both", "left and after", "all"])
@pytest.mark.parametrize("combine", BRANCHES.values(), ids=BRANCHES)
def test_two_branches_equal_the_dense_ones(
    combine: Callable[[Tensor, Tensor], Tensor], drops: str
) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, C, 1)
            self.a, self.b = nn.Conv2d(C, C, 1), nn.Conv2d(C, C, 3, padding=1)
            self.left = nn.Dropout2d(0.5)
            self.right = nn.Dropout2d(0.4 if drops in ("both", "all") else 0.0)
            self.after = nn.Dropout2d(0.5 if drops in ("left and after", "all") else 0.0)
            width = combine(torch.ones(1, C), torch.ones(1, C)).shape[1]
            self.last = nn.Conv2d(width, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            joined = combine(self.left(self.a(x)), self.right(self.b(x).relu()))
            y: Tensor = self.last(self.after(joined))
            return y

    net = Two().double()
    fast = forced(net)
    check(net, fast, (pixels(2, 3, 6, 6),))
    assert skips(fast)
