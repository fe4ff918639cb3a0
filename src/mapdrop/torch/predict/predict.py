"""predict(): Monte-Carlo dropout of any model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from mapdrop.backends.torch._internals import WRAPPERS, dispatch_modes, transformed
from mapdrop.backends.torch.generator import fresh
from mapdrop.spec import seed as numbers
from mapdrop.torch.compact.cost_model import Costs
from mapdrop.torch.graph.graph import GraphError
from mapdrop.torch.graph.hooks import all_hooked
from mapdrop.torch.graph.replicas import RandomStates
from mapdrop.torch.predict.activation import only_drops_active
from mapdrop.torch.predict.capture import Arguments, Captured
from mapdrop.torch.predict.loop import NothingDroppedError, looped
from mapdrop.torch.predict.passes import Passes
from mapdrop.torch.predict.prediction import Collector, Prediction

_SEEN_THROUGH = ("OptimizedModule", "DataParallel", "DistributedDataParallel")
_STREAM = "mapdrop.torch.predict"
_captured: WeakKeyDictionary[nn.Module, Captured] = WeakKeyDictionary()
_predicting = threading.RLock()  # The generators and the model's flags are everybody's.

Output = Callable[[Any], Any]


def predict(
    model: nn.Module,
    inputs: Tensor | Sequence[Any] | Mapping[str, Any],
    samples: int = 50,
    *,
    seed: int | None = None,
    one_mask: str = "sample",
    chunk: int | None = None,
    output: Output | None = None,
    classes: int | None = None,
    keep_samples: bool = False,
    costs: Costs | None = None,
) -> Prediction:
    """Predict by Monte-Carlo dropout (Gal & Ghahramani, ICML 2016): pass after pass, drops on.

    All that drops is on: layers of mapdrop and PyTorch, drop path and DropBlock of other libraries
    (layers without parameters that are named so), and dropout that the model calls as a function.
    All else, as BatchNorm, is in eval mode. What does not depend on a drop is computed once, what
    is dropped is left out where that pays, and the passes run side by side. In the end the model
    and PyTorch's generators are as they were. There are no gradients.

    Args:
        model: any module, on the CPU or on GPUs.
        inputs: a tensor (b, ...); several arguments in a tuple or list; or keyword arguments in a
            mapping. What has the first tensor's b in its first axis is the batch.
        samples: the number of passes, at least 2.
        seed: a whole number from 0 to 2**64 - 1, of which, with the number of the pass, all masks
            are a function; None to draw one from PyTorch's generator.
        one_mask: what sees one mask in a pass: each "sample" of the batch its own, as in training,
            or the whole "batch", as if each sample were predicted alone with the same seed.
        chunk: how many passes run at a time; None for as many as take 256 MiB.
        output: a function of what the model returns, of which mean and deviation are wanted.
        classes: the axis of the output with a logit for each class, for the entropies.
        keep_samples: whether all outputs are kept.
        costs: a machine's constants, which decide where skipping pays, as for `compact`.

    Returns:
        Mean and standard deviation in the form of the model's output, and what else was asked for.

    Raises:
        TypeError, ValueError: for other arguments, and for a model that drops nothing.

    >>> net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 3))
    >>> found = mapdrop.torch.predict(net, torch.ones(4, 8), samples=100, seed=7, classes=1)
    >>> found.mean.shape, found.std.shape, found.mutual_information.shape
    (torch.Size([4, 3]), torch.Size([4, 3]), torch.Size([4]))
    """
    _check(model, samples, one_mask, chunk)
    arguments = _arguments(inputs)
    number = int(fresh(torch.device("cpu"))) % numbers.LIMIT if seed is None else seed
    key = numbers.key(numbers.check_uint64(number, "seed"), _STREAM)
    # Their low words, which are all that a generator of the CPU uses, are different ones.
    seeds = tuple((key + i) % numbers.LIMIT for i in range(samples))
    model = _unwrapped(model)
    devices = _devices(model, arguments)
    collector = Collector(keep_samples, classes)
    modes = torch.inference_mode(False), torch.no_grad()
    with _predicting, modes[0], modes[1], only_drops_active(model, devices):
        run = _Run(model, arguments, output, seeds, one_mask == "batch", chunk, devices, costs)
        for result in run.results():
            collector.add(result)
    return collector.prediction(seeds, run.reason)


@dataclass(eq=False)
class _Run:
    """The passes of one prediction.

    Attributes:
        shared: whether all samples of the batch see one mask.
        reason: why the whole model runs in each pass.
    """

    model: nn.Module
    arguments: Arguments
    output: Output | None
    seeds: Sequence[int]
    shared: bool
    chunk: int | None
    devices: Sequence[torch.device]
    costs: Costs | None
    reason: str = ""

    def results(self) -> Iterator[Any]:
        """Yield the result of each pass. Raises ValueError for a model that drops nothing."""
        done, self.reason = 0, _unfit(self.arguments)
        if not self.reason:
            try:
                for result in self._shared():
                    done += 1
                    yield result
            except GraphError as problem:
                self.reason = str(problem)
        if self.reason:
            states = RandomStates(self.devices)
            args = (self.model, self.output, self.arguments, self.seeds[done:], self.shared, states)
            yield from looped(*args)

    def _shared(self) -> Iterator[Any]:
        """Yield results of passes that share what they can. Raises GraphError before the first."""
        captured = _captured.setdefault(self.model, Captured())
        call = captured(self.model, self.output, self.arguments)
        passes = Passes(call, self.shared, self.devices, self.costs)
        if not passes.varies:
            raise NothingDroppedError
        most = self.chunk or passes.chunk
        chunk = -(-len(self.seeds) // -(-len(self.seeds) // most))  # All but the last are alike.
        for first in range(0, len(self.seeds), chunk):
            yield from passes.run(self.seeds[first : first + chunk])


def _unfit(arguments: Arguments) -> str:
    """Return why a model must run as it is; "" if it need not."""
    if all_hooked():
        return "hooks for all modules are registered, and see every call"
    tensors = [leaf for leaf in arguments.leaves if isinstance(leaf, Tensor)]
    if any(type(tensor) not in (Tensor, nn.Parameter) for tensor in tensors):
        return "its inputs are not plain tensors"
    if transformed() or dispatch_modes():
        return "something transforms its operations"
    return ""


def _check(model: Any, samples: Any, one_mask: Any, chunk: Any) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"predict takes a torch.nn.Module, not {type(model).__name__}")
    for name, value, least in (("samples", samples, 2), ("chunk", chunk, 1)):
        if value is None and name == "chunk":
            continue
        if type(value) is not int or value < least:
            raise ValueError(f"{name} is a whole number from {least} on, not {value!r}")
    if one_mask not in ("sample", "batch"):
        raise ValueError(f'one_mask is "sample" or "batch", not {one_mask!r}')


def _arguments(inputs: Any) -> Arguments:
    if isinstance(inputs, Tensor):
        return Arguments.of((inputs,), {})
    if isinstance(inputs, Mapping):
        return Arguments.of((), dict(inputs))
    if isinstance(inputs, (tuple, list)):
        return Arguments.of(tuple(inputs), {})
    raise TypeError(
        "inputs are a tensor, a tuple or list of arguments, or a mapping of keyword arguments, "
        f"not {type(inputs).__name__}"
    )


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside torch.compile or data parallel wrappers."""
    while type(model).__name__ in _SEEN_THROUGH and type(model).__module__.startswith("torch."):
        model = getattr(model, WRAPPERS[type(model).__name__])
    return model


def _devices(model: nn.Module, arguments: Arguments) -> list[torch.device]:
    """Return the devices of a model and its inputs, but for the CPU. Raises ValueError."""
    tensors = [leaf for leaf in arguments.leaves if isinstance(leaf, Tensor)]
    found = {t.device for t in (*model.parameters(), *model.buffers(), *tensors)}
    other = [device for device in found if device.type not in ("cpu", "cuda")]
    if other:
        raise ValueError(f"predict runs models on the CPU and on CUDA GPUs, not on {other[0]}")
    return sorted((d for d in found if d.type == "cuda"), key=lambda d: d.index)
