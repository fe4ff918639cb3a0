"""Monte-Carlo predictions: `python -m benchmarks.predict [WORDS]`.

`mapdrop.torch.predict` beside the two usual ways, which torch-uncertainty's `mc_dropout` has, too:
a loop over the whole network, and one call of it with the batch repeated. All return the mean and
the standard deviation. The rows go to results/predict-cpu.jsonl; WORDS choose those that have one
of them in their names.

The bound is that of arithmetic: the multiplications of all passes of the network, over those of
what no drop leads to, once, and of what is kept in the rest, for each pass. It leaves memory out: a
classifier whose weights are read once for all passes may pass it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.models.medical import unet
from benchmarks.models.resnet import resnet34
from benchmarks.models.vgg import vgg16
from benchmarks.pages import RESULTS as FOLDER
from mapdrop.system.timing import interleaved, ratio
from mapdrop.tools.bench.environment import environment
from mapdrop.tools.memory import peak
from mapdrop.torch import predict
from mapdrop.torch.compact.products import products
from mapdrop.torch.graph.analysis import analyse
from mapdrop.torch.graph.facts import ChannelMixing
from mapdrop.torch.graph.graph import Node
from mapdrop.torch.graph.replicas import RandomStates
from mapdrop.torch.predict.activation import only_drops_active
from mapdrop.torch.predict.capture import Arguments, Reader
from mapdrop.torch.predict.split import split

RESULTS = FOLDER / "predict-cpu.jsonl"
OURS, LOOP, REPEATED = "predict", "a loop", "the batch repeated"
ROUNDS = 5


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: the row's.
        build: makes the model.
        shape: of the input, the batch first.
        samples: how many passes.
    """

    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    samples: int


def main() -> None:
    """Measure the rows that were asked for, and keep each as soon as it is there."""
    words = sys.argv[1:] or [""]
    chosen = [row for row in ROWS if any(word in row.name for word in words)]
    if not chosen:
        sys.exit(f"no row has one of {words} in its name: there are {[row.name for row in ROWS]}")
    for row in chosen:
        versions = {package: version(package) for package in ("torch", "monai")}
        record = measured(row) | environment(versions)
        print(_line(record), flush=True)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def measured(row: Row, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the record of a row."""
    torch.manual_seed(1)
    net, x = row.build().eval(), torch.randn(row.shape)
    functions = ways(net, x, row.samples)
    times = interleaved(functions, rounds, warmup=1)
    gains = {name: ratio(times[OURS], times[name]) for name in functions if name != OURS}
    return {
        "row": row.name,
        "shape": list(row.shape),
        "samples": row.samples,
        "rounds": rounds,
        "milliseconds": {name: found.milliseconds for name, found in times.items()},
        "gains": gains,
        "bytes": {name: peak(run, "cpu") for name, run in functions.items()},
        "bound": bound(net, x, row.samples),
    }


def ways(net: nn.Module, x: Tensor, samples: int) -> dict[str, Callable[[], Any]]:
    """Return what is compared."""
    drops = [m for m in net.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]

    def active(call: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
        for drop in drops:
            drop.train()
        with torch.no_grad():
            found = call()
        for drop in drops:
            drop.eval()
        return found.mean(0), found.std(0)

    def repeated() -> Tensor:
        made: Tensor = net(x.repeat(samples, *[1] * (x.dim() - 1)))
        parts: Tensor = made.unflatten(0, (samples, -1))
        return parts

    return {
        OURS: lambda: predict(net, x, samples),
        LOOP: lambda: active(lambda: torch.stack([net(x) for _ in range(samples)])),
        REPEATED: lambda: active(repeated),
    }


def bound(net: nn.Module, x: Tensor, samples: int) -> float:
    """Return how many times fewer multiplications a prediction needs than a loop."""
    arguments = Arguments.of((x,), {})
    with only_drops_active(net, ()), torch.no_grad():
        call = Reader(any_batch=False)(net, None, arguments, lambda c, inputs: c.module(*inputs))
        inputs = call.given
        found = split(call.capture.graph(inputs), inputs, RandomStates())
    analysis = analyse(found.graph)
    every = {node: float(_products(node)) for node in found.graph.nodes}
    kept = dict(every)
    for node, facts in analysis.facts.items():
        if isinstance(facts, ChannelMixing):
            kept[node] *= analysis.needed[facts.sources[0]].density * analysis.needed[node].density
    once = sum(work for node, work in every.items() if node not in found.varying)
    each = sum(work for node, work in kept.items() if node in found.varying)
    return samples * sum(every.values()) / (once + samples * each)


def _products(node: Node) -> int:
    """Return the number of multiplications of a convolution or a matrix product."""
    if node.operation.startswith("conv_transpose"):
        source, weight, *_ = node.tensors
        return prod(source.shape) * prod(weight.shape[1:])
    return products(node)


def _line(record: dict[str, Any]) -> str:
    ours, held = record["milliseconds"][OURS]["median"], record["bytes"]
    gains = ", ".join(f"{gain:.1f}x than {name}" for name, gain in record["gains"].items())
    memory = ", ".join(f"{size / 2**20:.0f} MiB {name}" for name, size in held.items())
    return f"{record['row']}: {ours:.0f} ms, {gains}; bound {record['bound']:.1f}x; {memory}"


def _unet() -> nn.Module:
    net = unet((32, 64, 128, 256, 512), spatial=True)
    for module in net.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.5
    return net


ROWS = (
    Row("VGG-16, its classifier", vgg16, (1, 3, 224, 224), 50),
    Row("ResNet-34, its last third", partial(resnet34, 0.5), (1, 3, 224, 224), 50),
    Row("ResNet-34, its last third, of more images", partial(resnet34, 0.5), (8, 3, 224, 224), 20),
    Row("U-Net, everywhere", _unet, (1, 1, 256, 256), 20),
)

if __name__ == "__main__":
    main()
