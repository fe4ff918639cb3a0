"""Watch a run of a model: each drop, where it is called, what is before it and what comes after."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mapdrop.backends.torch._internals import DispatchMode, storage_of
from mapdrop.torch.audit.masks import Masks, name_of, tensors_in
from mapdrop.torch.audit.places import Call, Place, is_visible, place
from mapdrop.torch.audit.products import Product, product

_OF_LAST_AXIS = {"addmm", "mm", "native_layer_norm", "embedding", "fused_rms_norm"}
"""Operations that take the last axis for the channels, or make it so."""
_BATCH_NORM = {"native_batch_norm", "native_batch_norm_legit", "cudnn_batch_norm"}
_PASSING = {
    *("relu", "gelu", "silu", "elu", "leaky_relu", "hardtanh", "hardswish", "mish", "sigmoid"),
    *("clone", "to_copy", "unsafe_view", "constant_pad_nd", "cat"),
    *("max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d"),
    *("adaptive_avg_pool2d", "mkldnn_adaptive_avg_pool2d", "mean"),
}
"""Operations behind which an array is still the dropped one: activations, pooling, copies."""


@dataclass(eq=False)
class Seen:
    """A drop, as it was seen in one run.

    Attributes:
        place: where it is called.
        product: how it drops.
        shape, dtype, device: of what it drops from.
        given: how many axes the first tensor has that the called function was given; or None.
        last_axis: whether the operation before or behind it takes the last axis for channels.
        batch_norm: whether BatchNorm in training comes directly behind it.
    """

    place: Place
    product: Product
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    given: int | None
    last_axis: bool
    batch_norm: bool = False

    def example(self) -> Tensor:
        """Return a tensor that it could drop from."""
        return torch.ones(self.shape, dtype=self.dtype, device=self.device)


@dataclass(eq=False)
class Run:
    """What a run of a model showed.

    Attributes:
        names: of the modules.
        drops: in the order of the calls.
        calls: how often each drop layer was called.
    """

    names: Mapping[nn.Module, str]
    drops: list[Seen] = field(default_factory=list)
    calls: dict[nn.Module, int] = field(default_factory=dict)


@contextmanager
def watched(model: nn.Module) -> Iterator[Run]:
    """Watch what is called inside. The model's hooks are changed."""
    run = Run({module: name for name, module in model.named_modules()})
    for layer in run.names:
        if is_visible(layer):
            run.calls[layer] = 0
            layer.register_forward_pre_hook(lambda layer, _: _count(run, layer))
    functions = _Functions()
    with _Operations(run, functions), functions:
        yield run


def _count(run: Run, layer: nn.Module) -> None:
    run.calls[layer] += 1


class _Functions(TorchFunctionMode):
    """Knows which function of PyTorch's the model is calling."""

    def __init__(self) -> None:
        super().__init__()
        self.call: Call | None = None

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        before, self.call = self.call, Call(getattr(function, "__name__", ""), args, kwargs)
        try:
            return function(*args, **kwargs)
        finally:
            self.call = before


class _Operations(DispatchMode):
    """Sees every operation, also inside PyTorch's own functions, and notes the drops."""

    def __init__(self, run: Run, functions: _Functions) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._run, self._functions = run, functions
        self._masks = Masks()
        self._dropped: dict[int, tuple[Seen, ...]] = {}  # By storage: what it was dropped by.
        self._channels_last: dict[int, int] = {}  # By storage: the size of a last axis of channels.

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name, read = name_of(function), tensors_in((args, kwargs))
        self._look_behind(name, read, args)
        dropping = product(function, args, self._masks)
        result = function(*args, **kwargs)
        self._masks.note(function, args, kwargs, result)
        seen = None if dropping is None else self._seen(dropping)
        self._pass_on(name, read, result, seen)
        return result

    def _seen(self, dropping: Product) -> Seen:
        """Note a drop."""
        source, call = dropping.source, self._functions.call
        given = tensors_in((call.args, call.kwargs)) if call is not None else []
        size = self._channels_last.get(storage_of(source))
        # In an array that was permuted the channels are no longer last.
        last = size is not None and source.shape[-1:] == (size,) and source.is_contiguous()
        at = place(self._run.names, call)
        shape = tuple(source.shape)
        axes = given[0].dim() if given else None
        seen = Seen(at, dropping, shape, source.dtype, source.device, axes, last)
        self._run.drops.append(seen)
        return seen

    def _look_behind(self, name: str, read: list[Tensor], args: Any) -> None:
        """Note what an operation does with what was dropped."""
        for tensor in read:
            for seen in self._dropped.get(storage_of(tensor), ()):
                if name in _BATCH_NORM and self._is_of_batch(args):
                    seen.batch_norm = True
                # Behind pooling other axes may be as long.
                whole = tensor.numel() == math.prod(seen.shape)
                if name in _OF_LAST_AXIS and whole and tensor.shape[-1:] == seen.shape[-1:]:
                    seen.last_axis |= tensor.is_contiguous()

    def _is_of_batch(self, args: Any) -> bool:
        """Return whether a normalisation is by the batch: InstanceNorm calls the same operation."""
        call = self._functions.call
        instance = call is not None and call.name == "instance_norm"
        keeps = len(args) > 3 and isinstance(args[3], Tensor)  # The mean for eval mode.
        return keeps and any(value is True for value in args) and not instance

    def _pass_on(self, name: str, read: list[Tensor], result: Any, seen: Seen | None) -> None:
        """Note for each new tensor what dropped it, and whether its last axis has channels."""
        known = {storage_of(tensor) for tensor in read}
        dropped = tuple(one for s in known for one in self._dropped.get(s, ()))
        sizes = {self._channels_last[s] for s in known if s in self._channels_last}
        for tensor in tensors_in(result):
            storage = storage_of(tensor)
            if seen is not None:
                self._dropped[storage] = (seen,)
                if seen.last_axis:
                    self._channels_last[storage] = seen.shape[-1]
            elif storage not in known:
                self._dropped[storage] = dropped if name in _PASSING else ()
                self._channels_last.pop(storage, None)
                last = tensor.shape[-1] if tensor.dim() else 0
                if name in _OF_LAST_AXIS or (name in _PASSING and last in sizes):
                    self._channels_last[storage] = last
