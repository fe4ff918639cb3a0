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
from mapdrop.torch.predict.capture import Arguments, Call, Capture, Output, Reader
from mapdrop.torch.predict.loop import NothingDroppedError, looped
from mapdrop.torch.predict.passes import PassByPass
from mapdrop.torch.predict.prediction import Collector, Prediction
from mapdrop.torch.predict.side_by_side import SideBySide

_SEEN_THROUGH = ("OptimizedModule", "DataParallel", "DistributedDataParallel")
_STREAM = "mapdrop.torch.predict"


class _Readers:
    """Read a model: for the batch itself, and for batches of any size."""

    def __init__(self) -> None:
        self.exact, self.any_batch = Reader(any_batch=False), Reader(any_batch=True)


_readers: WeakKeyDictionary[nn.Module, _Readers] = WeakKeyDictionary()
_predicting = threading.RLock()  # The generators and the model's flags are everybody's.


def _none(module: nn.Module) -> bool:
    return False


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
    active: Callable[[nn.Module], bool] | None = None,
    costs: Costs | None = None,
) -> Prediction:
    """Predict by Monte-Carlo dropout, pass after pass with drops on (Gal & Ghahramani, ICML 2016).

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
        active: says which other modules are to be in training mode, as attention of transformers,
            which hands its rate to a function then: `lambda m: isinstance(m, BertSelfAttention)`.
        costs: a machine's constants, which decide where skipping pays, as for `compact`.

    Returns:
        Mean and standard deviation in the form of the model's output, and what else was asked for.

    Raises:
        TypeError: where the model is no module, and for a model that returns what has no mean.
        ValueError: for other arguments, and for a model that drops nothing.

    References:
        Gal and Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016, arXiv 1506.02142.

    Examples:
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
    with _predicting, modes[0], modes[1], only_drops_active(model, devices, active or _none):
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
        done, self.reason = 0, _unfit(self.model, self.arguments)
        if not self.reason:
            try:
                for result in self._sharing():
                    done += 1
                    yield result
            except GraphError as problem:
                self.reason = str(problem)
        if self.reason:
            states, seeds = RandomStates(self.devices), self.seeds[done:]
            arguments = (self.model, self.output, self.arguments, seeds, self.shared, states)
            yield from looped(*arguments)

    def _sharing(self) -> Iterator[Any]:
        """Yield results of passes that share what they can. Raises GraphError before the first."""
        readers = _readers.setdefault(self.model, _Readers())
        first: list[tuple[PassByPass, list[Any], bool]] = []

        def compute(capture: Capture, inputs: tuple[Any, ...]) -> list[Any]:
            passes = PassByPass(capture, inputs, self.devices, self.costs)
            outputs = passes.outputs(self.seeds[0])
            first.append((passes, outputs, passes.plan.states.differ()))
            return outputs

        call = readers.exact(self.model, self.output, self.arguments, compute)
        ((alone, outputs, drawn),) = first
        if not (alone.varies and drawn):  # At a scheduled rate of 0 nothing is drawn.
            raise NothingDroppedError
        together = self._together(readers, alone, call, outputs)
        by_row = self.shared and self.arguments.rows > 1
        if together is None and by_row:
            raise GraphError("samples of the batch meet, so that each runs by itself")
        if not by_row:
            yield call.result(outputs, self.arguments)
        seeds = self.seeds if by_row else self.seeds[1:]
        chunk = _even(len(seeds), self.chunk or alone.chunk)
        found = alone.each(seeds) if together is None else together.each(seeds, chunk)
        for values in found:
            yield call.result(values, self.arguments)

    def _together(
        self, readers: _Readers, alone: PassByPass, call: Call, outputs: list[Any]
    ) -> SideBySide | None:
        """Return what runs several passes at a time; None if they run one by one."""

        def again(capture: Capture, inputs: tuple[Any, ...]) -> list[Any]:
            return outputs

        def read(arguments: Arguments) -> Call:
            return readers.any_batch(self.model, self.output, arguments, again)

        def read_row(arguments: Arguments) -> Call:
            return readers.exact(self.model, self.output, arguments, again)

        by_row = self.shared and self.arguments.rows > 1
        try:
            found = SideBySide(alone, call, read, read_row if by_row else None, self.costs)
            found.prepare(_even(len(self.seeds) - (not by_row), self.chunk or alone.chunk))
        except GraphError:
            return None
        return found


def _even(passes: int, most: int) -> int:
    """Return how many passes to run at a time, so that all chunks but the last are alike."""
    return -(-passes // -(-passes // most))


def _unfit(model: nn.Module, arguments: Arguments) -> str:
    """Return why a model must run as it is; "" if it need not."""
    if all_hooked():
        return "hooks for all modules are registered, and see every call"
    tensors = [leaf for leaf in arguments.leaves if isinstance(leaf, Tensor)]
    if any(type(tensor) not in (Tensor, nn.Parameter) for tensor in tensors):
        return "its inputs are not plain tensors"
    if any(t.is_inference() for t in (*model.parameters(), *model.buffers())):
        return "it was made in inference mode"
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
