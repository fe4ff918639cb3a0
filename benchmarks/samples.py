"""Training steps without the samples that drop path drops: `python -m benchmarks.samples [WORDS]`.

A step is forward, loss and backward; there is no optimizer. The same weights are trained by
`compact`, as the model is, without any drop path, and, where the blocks are ours to write, by
DINOv2's code (a floor of samples: its rate is not p). The rows go to results/samples-cpu.jsonl.
WORDS choose the rows that have one of them in their names; "added" is the last row.

The bound is T / (T - sum of p_i t_i): T is the time of a step without drop path, p_i the rate of
layer i, and t_i the time of its residual branches, forward and backward. That is the time of the
layer alone, called with the inputs that it has in the model, less that of its modules which belong
to no branch that drops. The two additions of a layer are thus counted with its branches, which
makes the bound a little too high, and our share of it a little too low. The bound of arithmetic
leaves memory out: a step with fewer activations in the caches may pass it.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from benchmarks.models.vision import VISION_MODELS, VisionModel
from benchmarks.models.vit import Block, Size, SubsetBlock, ramped, stack, uniform
from benchmarks.overhead import ALWAYS, NEVER
from benchmarks.pages import RESULTS as FOLDER
from mapdrop.system.timing import Times, interleaved, ratio
from mapdrop.tools.bench.environment import environment
from mapdrop.tools.memory import peak
from mapdrop.torch import Drop, compact, compact_report

RESULTS = FOLDER / "samples-cpu.jsonl"
OURS, BALANCED = "compact", "compact, balanced"
AS_IS, NONE, SUBSETS = "as it is", "no drop path", "DINOv2's way"
WHOLE = ""  # The name of a model among those of its modules, as PyTorch has it.
ROUNDS, BOUND_ROUNDS, PEAKS = 10, 5, 5
VIT = Size(width=384, heads=6, depth=6, tokens=196, batch=16)
TINY = Size(width=8, heads=1, depth=12, tokens=2, batch=16)
BRANCHES = 2  # Of a block.

balanced = partial(Block, drop=partial(Drop, "b ... -> b", balance="b"))
"""A block that keeps floor or ceil of (1 - p) b samples, each with probability 1 - p."""


@dataclass(frozen=True)
class Place:
    """Where a row is measured, and in which type."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32

    def wait(self) -> None:
        """Return when everything that was called is done."""
        if self.device != "cpu":
            torch.cuda.synchronize()


CPU = Place()


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: the row's.
        model, rates: what it trains and how it drops, for tables.
        build: returns each model by its name. Those in `OURS` and `BALANCED` become compact.
        shape: of the input, the batch first.
        compiled: whether all of them are compiled.
        outside: modules of a layer that belong to none of its branches that drop.
    """

    name: str
    model: str
    rates: str
    build: Callable[[], dict[str, nn.Module]]
    shape: tuple[int, ...]
    compiled: bool = False
    outside: tuple[str, ...] = ()


def main() -> None:
    """Measure the rows that were asked for, and keep each as soon as it is there."""
    words = sys.argv[1:] or [""]
    works: dict[str, Callable[[], dict[str, Any]]] = {
        row.name: partial(measured, row) for row in ROWS
    }
    works["added"] = added
    chosen = [name for name in works if any(word in name for word in words)]
    if not chosen:
        sys.exit(f"no row has one of {words} in its name: there are {list(works)}")
    for name in chosen:
        versions = {package: version(package) for package in ("torch", "transformers")}
        record = works[name]() | environment(versions)
        print(_line(record), flush=True)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def measured(row: Row, place: Place = CPU, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the row's record: milliseconds, gains of ours over the others, bytes, and the bound.

    A gain is the median over the rounds of the other's time through ours. Bytes are the most that a
    step holds at once beyond the weights and the input, the median of some steps.
    """
    torch._dynamo.reset()
    counters.clear()
    models = made(row, place)
    x = torch.randn(row.shape, device=place.device, dtype=place.dtype)
    with torch.no_grad():
        target = torch.randn_like(_output(models[AS_IS](x)))
    limit = bound(layer_rates(models[AS_IS]), models[NONE], x, row.outside, place)
    ready = {name: _ready(name, model, row.compiled) for name, model in models.items()}
    steps = {name: partial(step, model, x, target) for name, model in ready.items()}
    times = interleaved(steps, rounds, warmup=3, wait=place.wait)
    report = None if row.compiled else compact_report(ready[OURS])
    return {
        "row": row.name,
        "model": row.model,
        "rates": row.rates,
        "compiled": row.compiled,
        "rounds": rounds,
        "milliseconds": {name: t.milliseconds for name, t in times.items()},
        "gains": {name: ratio(times[OURS], t) for name, t in times.items() if name != OURS},
        "bytes": {name: _peak(models[name], run, place) for name, run in steps.items()},
        "bound": limit,
        "graph_breaks": sum(counters["graph_break"].values()) if row.compiled else None,
        # A model that could not be captured runs as it is: the record says so, and why.
        "not_planned": (report and report.reason) or None,
    }


def made(row: Row, place: Place = CPU) -> dict[str, nn.Module]:
    """Return the row's models with the same weights, before compact and the compiler."""
    torch.manual_seed(0)
    with torch.device(place.device):
        models = row.build()
    weights = models[AS_IS].state_dict()
    for model in models.values():
        model.load_state_dict(weights)
        model.to(dtype=place.dtype).train()
    return models


def step(model: nn.Module, x: Tensor, target: Tensor) -> None:
    """Forward, loss and backward."""
    model.zero_grad(set_to_none=True)
    F.mse_loss(_output(model(x)), target).backward()


def bound(
    rates: Mapping[str, float],
    plain: nn.Module,
    x: Tensor,
    outside: tuple[str, ...] = (),
    place: Place = CPU,
) -> float:
    """Return how many times faster a step is that runs branches for the samples they keep alone.

    Args:
        rates: those of the layers, by their names in the model.
        plain: the model without drop path, which is timed.
        x: what it is called with.
        outside: modules of a layer that belong to no branch that drops.
        place: where they are.
    """
    inner = [f"{layer}.{name}" for layer in rates for name in outside]
    with torch.no_grad():
        target = torch.randn_like(_output(plain(x)))
    works = {WHOLE: partial(step, plain, x, target)} | _alone(plain, x, [*rates, *inner])
    times = interleaved(works, BOUND_ROUNDS, warmup=1, wait=place.wait)
    shares = {name: 1 / ratio(t, times[WHOLE]) for name, t in times.items()}
    return 1 / (1 - saved(rates, shares, outside))


def saved(
    rates: Mapping[str, float], shares: Mapping[str, float], outside: tuple[str, ...] = ()
) -> float:
    """Return the share of a step's time that the dropped samples of all branches take.

    >>> saved({"a": 0.5, "b": 0.25}, {"a": 0.5, "b": 0.5, "b.mlp": 0.25, "a.mlp": 0.25}, ("mlp",))
    0.1875
    """
    return sum(
        p * (shares[layer] - sum(shares[f"{layer}.{name}"] for name in outside))
        for layer, p in rates.items()
    )


def layer_rates(model: nn.Module) -> dict[str, float]:
    """Return the rate of each layer that drops, by its name in the model.

    >>> layer_rates(stack(TINY, (0.0, 0.5)))
    {'1': 0.5}
    """
    found = {}
    for name, layer in model.named_modules():
        rate = max((getattr(child, "drop_prob", 0.0) for child in layer.children()), default=0.0)
        if rate:
            found[name] = float(rate)
    return found


def added(rounds: int = 300) -> dict[str, Any]:
    """Return the microseconds that compact adds to a step for each branch, beside no arithmetic.

    "as usual" is `compact(model)`; the other two skip wherever they can, and nowhere.
    """
    row = vit_row(TINY, 0.5)
    model = made(row)[AS_IS]
    views = {"as usual": None, "skips": ALWAYS, "skips nothing": NEVER}
    works: dict[str, nn.Module] = {AS_IS: model}
    works |= {name: compact(model, costs) for name, costs in views.items()}
    x, target = torch.randn(row.shape), torch.randn(row.shape)
    steps = {name: partial(step, work, x, target) for name, work in works.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = interleaved(steps, rounds, warmup=5)
    finally:
        torch.set_num_threads(threads)
    branches = BRANCHES * TINY.depth
    return {
        "row": "added",
        "model": row.model,
        "rounds": rounds,
        "milliseconds": {name: t.milliseconds for name, t in times.items()},
        "us added a branch": {
            name: _difference(times[name], times[AS_IS]) * 1e6 / branches for name in views
        },
    }


def _difference(ours: Times, peer: Times) -> float:
    pairs = zip(ours.seconds, peer.seconds, strict=True)
    return statistics.median(own - theirs for own, theirs in pairs)


def _ready(name: str, model: nn.Module, compiled: bool) -> Any:
    if name in (OURS, BALANCED):
        model = compact(model)
    return torch.compile(model) if compiled else model


def _output(y: Any) -> Tensor:
    """The tensor itself, or the features of a model of the transformers package."""
    found: Tensor = y if isinstance(y, Tensor) else y[0]
    return found


def _alone(model: nn.Module, x: Tensor, names: list[str]) -> dict[str, Callable[[], object]]:
    """Forward and backward of each module by itself, with the inputs that it has in the model."""
    calls: dict[str, tuple[Any, Any]] = {}

    def keep(name: str, _: nn.Module, args: Any, kwargs: Any) -> None:
        calls[name] = args, kwargs

    handles = [
        model.get_submodule(name).register_forward_pre_hook(partial(keep, name), with_kwargs=True)
        for name in names
    ]
    model(x)
    for handle in handles:
        handle.remove()
    return {name: _pass(model.get_submodule(name), *call) for name, call in calls.items()}


def _pass(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], object]:
    args = tuple(map(_leaf, args))
    inputs = [x for x in args if isinstance(x, Tensor) and x.requires_grad]
    sources = [*inputs, *module.parameters()]
    with torch.no_grad():
        gradient = torch.randn_like(_output(module(*args, **kwargs)))

    def run() -> object:
        y = _output(module(*args, **kwargs))
        return torch.autograd.grad(y, sources, gradient, allow_unused=True)

    return run


def _leaf(x: Any) -> Any:
    return x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x


def _peak(model: nn.Module, run: Callable[[], object], place: Place) -> float:
    """The median over a few steps: how much is held depends on how many samples are kept."""
    found = []
    for seed in range(PEAKS):
        torch.manual_seed(seed)
        model.zero_grad(set_to_none=True)  # What a step frees of the last one's is not its own.
        found.append(peak(run, place.device))
    return statistics.median(found)


def _line(record: dict[str, Any]) -> str:
    if "gains" not in record:
        return json.dumps(record)
    ours, limit = record["milliseconds"][OURS]["median"], record["bound"]
    gains = ", ".join(f"{gain:.2f}x than {name}" for name, gain in record["gains"].items())
    share = record["bytes"][OURS] / record["bytes"][AS_IS]
    near = f"bound {limit:.2f}x, {record['gains'][AS_IS] / limit:.0%} of it"
    return f"{record['row']}: {ours:.0f} ms, {gains}; {near}; {share:.2f} of the memory"


def vit_row(
    size: Size, p: float, *, ramps: bool = False, compiled: bool = False, both: bool = False
) -> Row:
    """Return the row of a stack of blocks: ours drops as timm does, compiled by balanced coins.

    `both` adds `BALANCED`: balanced coins beside those of timm.
    """
    rates = ramped(p, size.depth) if ramps else uniform(p, size.depth)

    def build() -> dict[str, nn.Module]:
        models: dict[str, nn.Module] = {
            OURS: stack(size, rates, balanced if compiled else Block),
            AS_IS: stack(size, rates),
            NONE: stack(size, uniform(0.0, size.depth)),
            SUBSETS: stack(size, rates, SubsetBlock),
        }
        return models | ({BALANCED: stack(size, rates, balanced)} if both else {})

    return Row(
        f"ViT, p = {_rates(p, ramps)}{', compiled' if compiled else ''}",
        f"ViT, width {size.width}, {size.depth} blocks, {size.tokens} tokens, batch {size.batch}",
        _rates(p, ramps),
        build,
        (size.batch, size.tokens, size.width),
        compiled,
    )


def package_row(model: VisionModel, p: float = 0.4, *, small: bool = False) -> Row:
    """Return the row of a model of the transformers package."""
    build, images = partial(model.build, small=small), model.images(small=small)
    return Row(
        f"{model.name}, p = {_rates(p, model.ramps)}",
        f"{model.name}, {images[-1]}x{images[-1]}, batch {images[0]}",
        _rates(p, model.ramps),
        lambda: {OURS: build(p), AS_IS: build(p), NONE: build(0.0)},
        images,
        outside=model.outside,
    )


def _rates(p: float, ramps: bool) -> str:
    return f"0 to {p}" if ramps else f"{p}"


RATES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
ROWS = [
    *(vit_row(VIT, p) for p in RATES),
    *(vit_row(VIT, p, ramps=True) for p in RATES),
    *(vit_row(VIT, p, compiled=True) for p in (0.1, 0.3, 0.5)),
    *map(package_row, VISION_MODELS),
]

if __name__ == "__main__":
    main()
