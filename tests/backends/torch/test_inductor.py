"""Under Inductor a drop is a mask and operations that fuse: the bits, the kernels, what is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._functorch import config as functorch
from torch._inductor import config as inductor
from torch._inductor.utils import run_and_get_code
from torch._subclasses.fake_tensor import FakeTensor

import mapdrop
from mapdrop.backends.torch import gpu
from mapdrop.backends.torch.text import option_text

pytestmark = pytest.mark.compiler

SHAPE, SEED = (6, 8, 9, 5), torch.tensor([5])
FUSED: dict[str, dict[str, Any]] = {
    "spatial": {"pattern": "b c h w -> b c"},
    "path": {"pattern": "b ... -> b"},
    "all at once": {"pattern": "b c h w ->"},
    "pixels": {"pattern": "b c h w -> b h w"},
    "grouped": {"pattern": "b (g k) h w -> b g", "k": 4},
    "patches": {"pattern": "b c (h i) w -> b h w", "i": 3},
    "shared and exact": {"pattern": "(m n) c h w -> m c", "n": 3, "exact": "c"},
    "balanced": {"pattern": "b c h w -> c b", "balance": "b"},
    "block": {"pattern": "b c h w -> b h w c", "block": {"h": 3, "w": 2}},
    "unscaled, of a stream": {"pattern": "b c h w -> b c", "scale": None, "stream": "a"},
}
WHOLE: dict[str, dict[str, Any]] = {
    "element": {"pattern": "b c h w -> b c h w"},
    "element, crosswise": {"pattern": "b c h w -> b h w c"},
    "scaled by what is kept": {"pattern": "b c h w -> b c", "scale": "batch"},
}
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
}


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    with inductor.patch(fx_graph_cache=False), functorch.patch(enable_autograd_cache=False):
        yield


def layer(x: Tensor, asked: dict[str, Any]) -> Tensor:
    """Neighbours on both sides, whose results are exact."""
    dropped: Tensor = mapdrop.drop(x.relu(), p=0.37, seed=SEED, **asked)
    return -dropped


def values(layout: str = "contiguous", dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).to(dtype)
    return LAYOUTS[layout](x).requires_grad_()


def trained(function: Callable[..., Tensor], x: Tensor, asked: dict[str, Any]) -> list[Tensor]:
    """What comes out, and x's gradient."""
    y = function(x, asked)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return [y.detach(), *torch.autograd.grad(y, x, direction)]


def compiled(x: Tensor, asked: dict[str, Any]) -> tuple[list[Tensor], str]:
    """The same compiled, and the code for forward and backward."""
    run = torch.compile(layer, fullgraph=True)
    made, code = run_and_get_code(trained, run, x, asked)
    return made, "\n".join(code)


CASES = [
    *((kind, layout, torch.float32) for kind in FUSED for layout in LAYOUTS),
    *(("spatial", "contiguous", dtype) for dtype in (torch.bfloat16, torch.float16, torch.float64)),
]


@pytest.mark.parametrize(("kind", "layout", "dtype"), CASES, ids=str)
def test_one_kernel_each_way_has_the_bits_and_the_layout_of_eager(
    kind: str, layout: str, dtype: torch.dtype
) -> None:
    x = values(layout, dtype)
    expected = trained(layer, x, FUSED[kind])
    made, code = compiled(x, FUSED[kind])
    for one, other in zip(made, expected, strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()
    zeros = (expected[0] == 0).float().mean()
    assert 0.4 < zeros < 1 or kind == "all at once"
    assert code.count("torch.ops.mapdrop.mask.default(") == 1  # The same for backward.
    assert "drop_whole" not in code
    kernels = [line for line in code.splitlines() if line.startswith("cpp_fused_")]
    assert len(kernels) == 2, kernels


@pytest.mark.parametrize("kind", WHOLE)
def test_what_draws_and_applies_at_once_stays_whole(kind: str) -> None:
    x = values()
    expected = trained(layer, x, WHOLE[kind])
    made, code = compiled(x, WHOLE[kind])
    for one, other in zip(made, expected, strict=True):
        assert torch.equal(one, other)
    assert code.count("torch.ops.mapdrop.drop_whole.default(") == 2
    assert "mapdrop.mask" not in code


@pytest.mark.parametrize(
    ("kind", "kept"), [({"pattern": "b c h w -> b c"}, 6 * 8 * 4), (WHOLE["element"], 8)],
    ids=["a number a map", "the seed"],
)  # fmt: skip
def test_what_is_kept_for_backward(kind: dict[str, Any], kept: int) -> None:
    assert kept_for_backward(kind) == kept


def kept_for_backward(kind: dict[str, Any]) -> int:
    """Bytes."""
    saved: list[Tensor] = []

    def pack(x: Tensor) -> Tensor:
        saved.append(x)
        return x

    run = torch.compile(lambda x: mapdrop.drop(x * 2, p=0.5, seed=5, **kind), fullgraph=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        run(values())
    return sum(x.numel() * x.element_size() for x in saved)


def _like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where code reads bits; what draws them sees the CPU that it is."""
    monkeypatch.setattr(gpu, "known", lambda x: isinstance(x, FakeTensor))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [SHAPE, (3, 5, 7, 2)], ids=str)
def test_where_code_reads_bits_every_value_has_one(
    shape: tuple[int, ...], layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU; the CPU stands for it."""
    _like_a_gpu(monkeypatch)
    every = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    x = LAYOUTS[layout](every).requires_grad_()
    asked = {"pattern": "b c h w -> b h w c"} if layout == "channels last" else WHOLE["element"]
    expected = trained(layer, x, asked)
    made, code = compiled(x, asked)
    for one, other in zip(made, expected, strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()
    bits = code.count("torch.ops.mapdrop.bits.default(")
    assert (bits, "drop_whole" in code) == ((0, True) if layout == "transposed" else (1, False))


def test_where_code_reads_bits_they_are_what_is_kept_for_backward(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _like_a_gpu(monkeypatch)
    assert kept_for_backward(WHOLE["element"]) == -(-6 * 8 * 9 * 5 // 32) * 4


def test_a_fresh_seed_does_not_ask_for_the_values() -> None:
    def fresh(x: Tensor) -> Tensor:
        return mapdrop.drop(x.relu(), "b c h w -> b c", 0.5)

    with torch.no_grad():
        _, code = run_and_get_code(torch.compile(fresh, fullgraph=True), values())
    (kernel,) = [line for line in code[0].splitlines() if line.startswith("cpp_fused_")]
    assert "relu" in kernel
    assert kernel.count("const float*") == 2  # x and the mask.


@pytest.mark.parametrize("kind", FUSED)
def test_the_mask_is_what_the_compiler_was_told(kind: str) -> None:
    asked = dict(FUSED[kind])
    pattern, stream = asked.pop("pattern"), asked.pop("stream", None)
    sizes = tuple((name, asked[name]) for name in "kin" if name in asked)
    block = tuple(asked.get("block", {}).items())
    given = asked.get("exact"), asked.get("balance"), block, "valid", "expected", sizes, False
    rest = option_text(given)
    for dtype in (torch.bool, torch.float32):
        arguments = (SEED, stream, pattern, 0.4, rest, list(SHAPE), [0, 2, 3, 1], dtype)
        torch.library.opcheck(torch.ops.mapdrop.mask.default, arguments)


FIRST = """
import torch
x = torch.ones(64, 32, 2, 2)
torch.compile(lambda x: x + 1)(x)
import mapdrop
from mapdrop.backends.torch import gpu
from torch._inductor.utils import run_and_get_code
run = torch.compile(lambda x: mapdrop.drop(x, "b c h w -> b c", 0.5, seed=3), fullgraph=True)
y, code = run_and_get_code(run, x)
assert "mapdrop.mask" in code[0], code[0]
assert torch.equal(y, mapdrop.drop(x, "b c h w -> b c", 0.5, seed=3))
"""


@pytest.mark.subprocess
def test_the_first_drop_of_all_may_be_a_compiled_one_after_others_things() -> None:
    # Each graph is lowered anew; what the C++ compiler made of a kernel may be kept.
    environment = {"TORCHINDUCTOR_FX_GRAPH_CACHE": "0", "TORCHINDUCTOR_AUTOGRAD_CACHE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", FIRST], env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
