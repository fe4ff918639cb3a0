"""What a Monte-Carlo prediction returns, from passes that come one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mapdrop.backends.torch._internals import pytree
from mapdrop.torch.predict.capture import CONSTANTS


@dataclass(frozen=True, eq=False)
class Prediction:
    """Hold a model's output under dropout, over many passes. `predict` returns one.

    Attributes:
        mean: of each value of the output, over the passes; in the output's own form.
        std: the standard deviation, in the same form: that of a sample (divided by samples - 1).
        seeds: what `torch.manual_seed` gets before each pass: with that seed the model alone, its
            drops on and all else in eval mode, has the same masks.
        samples: the outputs of all passes, with the passes in a new first axis; or None.
        probabilities: of the classes, the mean over the passes; or None.
        entropy: of these, in nats: what is uncertain in all; or None.
        mutual_information: in nats: how much of that is the passes' disagreement, which more data
            would settle (Houlsby et al., 2011, "BALD"); or None.
        reason: why the whole network ran in each pass; "" if what the passes share ran once.

    Examples:
        >>> net = nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5), nn.Linear(64, 3))
        >>> found = mapdrop.torch.predict(net, torch.ones(4, 8), samples=100, keep_samples=True)
        >>> found.samples.shape, torch.allclose(found.samples.std(0), found.std)
        (torch.Size([100, 4, 3]), True)
    """

    mean: Any
    std: Any
    seeds: tuple[int, ...]
    samples: Any = None
    probabilities: Tensor | None = None
    entropy: Tensor | None = None
    mutual_information: Tensor | None = None
    reason: str = ""


class Moments:
    """The mean and the variance of arrays that come one after the other (Welford, 1962)."""

    def __init__(self) -> None:
        self.count: int = 0
        self.mean: Tensor = torch.empty(0)
        self._squares: Tensor = torch.empty(0)

    def add(self, x: Tensor) -> None:
        """Take another array."""
        value = x.detach().to(_accumulated(x.dtype))
        self.count += 1
        if self.count == 1:
            self.mean, self._squares = value.clone(), torch.zeros_like(value.abs())
            return
        if value.shape != self.mean.shape:
            shapes = f"{tuple(self.mean.shape)} and then {tuple(value.shape)}"
            raise ValueError(f"the model returns other shapes from pass to pass: {shapes}")
        same = value == self.mean  # Infinite values, too, have no difference then.
        difference = (value - self.mean).masked_fill(same, 0)
        self.mean = self.mean + difference / self.count
        rest = (value - self.mean).masked_fill(same, 0)
        self._squares = self._squares + (difference * rest.conj()).real

    @property
    def std(self) -> Tensor:
        """The standard deviation of a sample."""
        return (self._squares / (self.count - 1)).sqrt()


def _accumulated(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which values are added up: of 16 bits and whole numbers a wider one."""
    if dtype in (torch.float64, torch.complex64, torch.complex128):
        return dtype
    return torch.float64 if dtype in (torch.int32, torch.int64) else torch.float32


_TENSOR = object()  # In the place of a tensor.
_ADVICE = "give output=, a function of what the model returns, as `lambda result: result.logits`"


def _check(leaves: list[Any], classes: int | None) -> None:
    """Check that something can be said of an output. Raises TypeError, ValueError."""
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    strange = [leaf for leaf in leaves if not isinstance(leaf, (Tensor, *CONSTANTS))]
    if strange or not tensors:
        kind = type(strange[0] if strange else leaves[0] if leaves else None).__name__
        raise TypeError(f"the model returns a {kind}, of which there is no mean: {_ADVICE}")
    if classes is None:
        return
    if len(tensors) > 1:
        raise TypeError(f"the model returns {len(tensors)} tensors; for entropies {_ADVICE}")
    (logits,) = tensors
    if not logits.is_floating_point() or not -logits.dim() <= classes < logits.dim():
        raise ValueError(
            f"classes is the axis of the output that has a logit for each class, not {classes} of "
            f"an output of shape {tuple(logits.shape)} and type {logits.dtype}"
        )


class Collector:
    """Collects the outputs of passes.

    Args:
        keep: whether all outputs are kept.
        classes: the axis of the output that has a logit for each class; None for no entropies.
    """

    def __init__(self, keep: bool, classes: int | None) -> None:
        self.classes = classes
        self._kept: list[list[Tensor]] | None = [] if keep else None
        self._moments: list[Moments] = []
        self._structure: Any = None
        self._leaves: list[Any] = []
        self._entropies, self._probabilities = Moments(), Moments()

    def add(self, output: Any) -> None:
        """Take the output of a pass. Raises TypeError, ValueError."""
        leaves, self._structure = pytree.tree_flatten(output)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if not self._moments:
            _check(leaves, self.classes)
            self._moments = [Moments() for _ in tensors]
        others = [_TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        if self._leaves not in ([], others):
            raise TypeError(f"the model returns numbers that differ from pass to pass: {_ADVICE}")
        self._leaves = others
        for moments, tensor in zip(self._moments, tensors, strict=True):
            moments.add(tensor)
        if self._kept is not None:
            self._kept.append([tensor.detach().clone() for tensor in tensors])
        if self.classes is not None:
            logs = tensors[0].to(_accumulated(tensors[0].dtype)).log_softmax(self.classes)
            self._probabilities.add(logs.exp())
            self._entropies.add(-(logs.exp() * logs).nan_to_num(0.0).sum(self.classes))

    def prediction(self, seeds: tuple[int, ...], reason: str) -> Prediction:
        """Return what came of all passes."""
        mean = self._output([moments.mean for moments in self._moments])
        std = self._output([moments.std for moments in self._moments])
        kept = None
        if self._kept is not None:
            kept = self._output([torch.stack(each) for each in zip(*self._kept, strict=True)])
        if self.classes is None:
            return Prediction(mean, std, seeds, kept, reason=reason)
        probabilities = self._probabilities.mean
        entropy = torch.special.entr(probabilities).sum(self.classes)
        shared = (entropy - self._entropies.mean).clamp_min(0)  # Below 0 by rounding only.
        return Prediction(mean, std, seeds, kept, probabilities, entropy, shared, reason)

    def _output(self, tensors: list[Tensor]) -> Any:
        """Return tensors in the form of the model's output."""
        given = iter(tensors)
        leaves = [next(given) if leaf is _TENSOR else leaf for leaf in self._leaves]
        return pytree.tree_unflatten(leaves, self._structure)
