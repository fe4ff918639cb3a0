"""Layers: `mapdrop.drop` with its arguments remembered, active in training only."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.jit import is_scripting  # type: ignore[attr-defined] # It has no __all__.

from mapdrop._layers.patterns import SPACE, BlockSize, RankCheck, axes, blocks, shared
from mapdrop._layers.settings import Settings
from mapdrop.backends.torch import drop, mask_spec
from mapdrop.backends.torch._internals import DropoutBase
from mapdrop.backends.torch.rate import ScheduledRate
from mapdrop.backends.torch.source import Source
from mapdrop.spec.mask_spec import OPTIONS, keywords
from mapdrop.spec.pattern import Pattern

STEP = "mapdrop_step"  # In the state dict of a seeded layer.


# By PyTorch's base class of its own dropout layers, tools that switch dropout on find ours, too.
class Drop(Settings, RankCheck, DropoutBase):
    """Drop what the pattern says shares a coin, in training; the identity in eval mode.

    Args:
        pattern: the axes of the input, an arrow, and the axes that have coins of their own.
        p: the fraction to drop, from 0 to 1.
        exact: a coin axis along which exactly round((1 - p) * n) of n coins survive.
        balance: a coin axis across which every line keeps floor or ceil of (1 - p) * n coins.
        block: sizes of blocks along coin axes, ``dict(h=7, w=7)``.
        region: where a block's centre may lie: "valid", where all of it fits, or "full".
        scale: what kept values are multiplied by: "expected", "sample", "batch" or None.
        inplace: overwrite the input.
        **sizes: sizes of names inside groups, ``k=4`` for ``"b (g k) h w -> b g"``.

    `mapdrop.drop` says more of these. The attributes (p, which is drop_prob too, exact, balance,
    block, region, scale, inplace, pattern) may be set at any time: they are checked then, and hold
    from the next call on. Only a `schedule` sets p itself. Each call draws a fresh seed from
    PyTorch's generator for the input's device, unless the model was `seeded`: only then the layer
    has an entry in the state dict, the number of its calls so far, `mapdrop_step`.

    Shape: any input that fits the pattern; the output has its shape, dtype and memory format.

    Raises:
        PatternError: when made, for a pattern that cannot be read; when called, for an input that
            it does not fit (it is a ValueError).
        ValueError: for another argument that is out of its range, when made or set.

    Examples:
        >>> layer = mapdrop.torch.Drop("b (g k) h w -> b g", p=0.5, k=4)  # groups of 4 maps
        >>> layer(torch.ones(2, 8, 5, 5)).shape
        torch.Size([2, 8, 5, 5])
    """

    other_rank = "x.unsqueeze(0) for one sample without a batch axis"
    scheduled: ScheduledRate | None = None  # Set by `schedule`.
    # What TorchScript need not read: to it a layer is the identity, or an error.
    __jit_ignored_attributes__: ClassVar[tuple[str, ...]] = (
        "pattern",
        "source",
        "scheduled",
        *(name for name, _ in OPTIONS),
    )
    __jit_unused_properties__: ClassVar[tuple[str, ...]] = (
        "drop_prob",
        "block_size",
        "mapdrop_step",
        "_mask_options",
    )

    def __init__(
        self,
        pattern: str | Pattern,
        p: float = 0.5,
        *,
        exact: str | None = None,
        balance: str | None = None,
        block: Mapping[str, int] | None = None,
        region: str = "valid",
        scale: str | None = "expected",
        inplace: bool = False,
        **sizes: int,
    ) -> None:
        super().__init__()
        self._set_mask(pattern, p, exact, balance, block, region, scale, sizes)
        self.inplace = inplace
        self.source: Source | None = None  # Set by `seeded`.

    @property
    def drop_prob(self) -> float:
        """The rate p, by the name that other libraries' layers have for it."""
        return self.p

    @drop_prob.setter
    def drop_prob(self, p: float) -> None:
        self.p = p

    def _checked_rate(self, name: str, value: Any) -> float:
        p = super()._checked_rate(name, value)
        if self.scheduled is not None and p != self.scheduled.p:
            raise AttributeError(
                f"p of this {type(self).__name__} follows a schedule, which would set it again at "
                "its next step: call the schedule's remove() first"
            )
        return p

    def forward(self, x: Tensor) -> Tensor:
        """Return x with its dropped values +0 and the others scaled (in eval mode: x).

        Args:
            x: a tensor that fits the pattern, of any floating or complex dtype.

        Raises:
            PatternError: where the pattern does not fit x.
            RuntimeError: in training mode, of a layer that torch.jit.script compiled.
        """
        if not is_scripting():  # What TorchScript leaves out.
            if isinstance(x, Proxy) and x.tracer.root is not self:
                # A call, for every tracer of torch.fx: traced in eval, it drops in training.
                return x.tracer.create_proxy("call_module", x.tracer.path_of_module(self), (x,), {})
            if self.dims and isinstance(x, Tensor) and not x.is_nested and x.dim() != self.dims + 2:
                raise self._wrong_rank(x.shape)
            if not self.training:
                return x
            p = self.p if self.scheduled is None else self.scheduled.read()
            if not isinstance(p, Tensor) and p == 0:
                return x
            spec = mask_spec(self.pattern, p, *self._mask_options)
            return drop(x, spec, seed=self.source, inplace=self.inplace)
        if self.training and self.p > 0:
            raise RuntimeError("a scripted drop layer of mapdrop is for inference: call eval()")
        return x

    def __prepare_scriptable__(self) -> Drop:
        """Return the layer to torch.jit.script, to which it is the identity.

        Raises TypeError in training mode, where it is not.
        """
        if self.training and self.p > 0:
            raise TypeError(
                f"torch.jit.script compiles {type(self).__name__} for inference alone: call eval() "
                "on the model first; torch.jit.trace, torch.export and torch.compile keep a drop"
            )
        return self

    def __copy__(self) -> Drop:
        """Return a shallow copy, which is free of a schedule and counts alone, as deep ones are."""
        state = {**vars(self), "source": copy.copy(self.source)}
        state.pop("scheduled", None)
        made = type(self).__new__(type(self))
        vars(made).update(state)
        return made

    @property
    def mapdrop_step(self) -> int:
        """How many masks a seeded layer has drawn; 0 for another."""
        return 0 if self.source is None else self.source.count

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.source is not None:
            destination[prefix + STEP] = torch.tensor(self.source.count, device="cpu")

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Take the count, 0 where the state dict has none, as an unseeded model's."""
        step = state_dict.pop(prefix + STEP, 0)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        if self.source is not None:
            try:
                self.source.restart(int(step))
            except (TypeError, ValueError, RuntimeError, NotImplementedError):
                *_, errors = rest
                errors.append(f"{prefix}{STEP} is the number of a layer's calls, not {step!r}")

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """See `nn.Module.to`. A base for torch.func's ensembles is moved to the meta device."""
        if self.source is not None:
            self.source.of_many = fn(torch.empty(1, device="cpu")).is_meta
        base: Any = super()  # Which PyTorch does not type.
        return base._apply(fn, recurse)

    def _replicate_for_data_parallel(self) -> Any:
        if self.training and self.source is not None:
            raise RuntimeError(
                "DataParallel runs copies of a seeded layer in threads, in no certain order; "
                "use DistributedDataParallel, with mapdrop.torch.shard for one mask of the whole"
            )
        base: Any = super()
        return base._replicate_for_data_parallel()

    def extra_repr(self) -> str:
        """Return what differs from the defaults, as in a call."""
        parts = [repr(self.pattern), f"p={self.p}", *keywords(self._mask_options)]
        return ", ".join(parts + ["inplace=True"] * self.inplace)


class Dropout(Drop, nn.Dropout):
    """Drop each value by a coin of its own: ordinary dropout (Srivastava et al., JMLR 2014).

    It is an `nn.Dropout` to tools that look for one.

    Args:
        p: the fraction to drop, from 0 to 1.
        inplace: overwrite the input.

    Shape: any input; the output has its shape, dtype and memory format.

    Examples:
        >>> mapdrop.torch.Dropout(0.1)
        Dropout('... -> ...', p=0.1)
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__("... -> ...", p, inplace=inplace)


class DropPath(Drop):
    """Drop samples, (b, ...): stochastic depth (Huang et al., ECCV 2016, arXiv 1603.09382).

    It stands at the end of a residual branch. `mapdrop.residual` does not compute what it drops.

    Args:
        p: the fraction of samples to drop, from 0 to 1.
        scale: "expected", "batch" (the number of samples over the number kept) or None, as for
            `mapdrop.drop`.
        inplace: overwrite the input.
        balance: keep floor or ceil of (1 - p) * b of b samples; each is dropped with probability p.

    Examples:
        >>> mapdrop.torch.DropPath(0.2, balance=True)(torch.ones(5, 7)).count_nonzero(0)
        tensor([4, 4, 4, 4, 4, 4, 4])
    """

    def __init__(
        self,
        p: float = 0.1,
        scale: str | None = "expected",
        inplace: bool = False,
        balance: bool = False,
    ) -> None:
        balanced = "b" if balance else None
        super().__init__("b ... -> b", p, balance=balanced, scale=scale, inplace=inplace)


class _SpatialDropout(Drop):
    family = "SpatialDropout{}d"
    fixed: ClassVar[frozenset[str]] = frozenset({"data_format", "share"})

    def __init__(
        self,
        p: float = 0.5,
        data_format: str = "channels_first",
        share: int = 1,
        balance: bool = False,
        inplace: bool = False,
    ) -> None:
        left, first = shared(share)
        pattern = f"{axes(self.dims, data_format, left)} -> {first} c"
        super().__init__(pattern, p, balance=first if balance else None, inplace=inplace)
        # Annotated here: TorchScript reads the annotations of a class, but knows no text as a type.
        self.data_format: str = data_format
        self.share: int = share
        self.ragged: bool = share > 1


class SpatialDropout1d(_SpatialDropout, dims=1):
    """Drop channels of sequences, (b, c, t) or (b, t, c) (Tompson et al., CVPR 2015).

    Args:
        p: the fraction of channels to drop, from 0 to 1.
        data_format: "channels_first" or "channels_last"; one seed has one mask in both.
        share: how many samples in a row have one mask (a batch's last group may be smaller).
        balance: keep every channel in floor or ceil of (1 - p) of the masks of a batch.
        inplace: overwrite the input.

    Examples:
        >>> mapdrop.torch.SpatialDropout1d(0.3)
        SpatialDropout1d('b c t -> b c', p=0.3)
    """


class SpatialDropout2d(_SpatialDropout, dims=2):
    """Drop maps, (b, c, h, w) or (b, h, w, c) (Tompson et al., CVPR 2015, arXiv 1411.4280).

    Args:
        p: the fraction of maps to drop, from 0 to 1.
        data_format: "channels_first" or "channels_last"; one seed has one mask in both.
        share: how many samples in a row have one mask (a batch's last group may be smaller).
        balance: keep every map in floor or ceil of (1 - p) of the masks of a batch.
        inplace: overwrite the input.

    Examples:
        >>> mapdrop.torch.SpatialDropout2d(0.5, share=8, balance=True)
        SpatialDropout2d('(m 8) c h w -> m c', p=0.5, balance='m')
    """


class SpatialDropout3d(_SpatialDropout, dims=3):
    """Drop volumes, (b, c, d, h, w) or (b, d, h, w, c) (Tompson et al., CVPR 2015).

    Args:
        p: the fraction of volumes to drop, from 0 to 1.
        data_format: "channels_first" or "channels_last"; one seed has one mask in both.
        share: how many samples in a row have one mask (a batch's last group may be smaller).
        balance: keep every volume in floor or ceil of (1 - p) of the masks of a batch.
        inplace: overwrite the input.

    Examples:
        >>> mapdrop.torch.SpatialDropout3d(0.3)
        SpatialDropout3d('b c d h w -> b c', p=0.3)
    """


class _DropBlock(BlockSize, Drop):
    family = "DropBlock{}d"
    fixed: ClassVar[frozenset[str]] = frozenset({"data_format"})

    def __init__(
        self,
        p: float = 0.1,
        block_size: int | tuple[int, ...] = 7,
        data_format: str = "channels_first",
        region: str = "valid",
        scale: str | None = "expected",
        inplace: bool = False,
    ) -> None:
        pattern = f"{axes(self.dims, data_format, 'b')} -> b {SPACE[self.dims]} c"
        block = blocks(self.dims, block_size)
        super().__init__(pattern, p, block=block, region=region, scale=scale, inplace=inplace)
        self.data_format = data_format


class DropBlock1d(_DropBlock, dims=1):
    """Drop spans of sequences, (b, c, t) or (b, t, c) (Ghiasi et al., NeurIPS 2018).

    Args:
        p: the fraction of values to drop, from 0 to 1: the mean over the sequence is exactly that.
        block_size: a span's length; longer ones are cut to the sequence.
        data_format: "channels_first" or "channels_last"; one seed has one mask in both.
        region: where a span's centre may lie: "valid", where all of it fits, or "full".
        scale: "expected", "sample", "batch" (the paper's) or None, as for `mapdrop.drop`.
        inplace: overwrite the input.

    Examples:
        >>> mapdrop.torch.DropBlock1d(0.1, 5)
        DropBlock1d('b c t -> b t c', p=0.1, block={'t': 5})
    """


class DropBlock2d(_DropBlock, dims=2):
    """Drop blocks of maps, (b, c, h, w) or (b, h, w, c) (Ghiasi et al., arXiv 1810.12890).

    Args:
        p: the fraction of values to drop, from 0 to 1: the mean over the map is exactly that.
        block_size: the block's side, or one size for each axis; larger ones are cut to the map.
        data_format: "channels_first" or "channels_last"; one seed has one mask in both.
        region: where a block's centre may lie: "valid", where all of it fits, or "full".
        scale: "expected", "sample", "batch" (the paper's) or None, as for `mapdrop.drop`.
        inplace: overwrite the input.

    Examples:
        >>> mapdrop.torch.DropBlock2d(0.1, 7)
        DropBlock2d('b c h w -> b h w c', p=0.1, block={'h': 7, 'w': 7})
    """


class DropBlock3d(_DropBlock, dims=3):
    """Drop boxes of volumes, (b, c, d, h, w) or (b, d, h, w, c) (Ghiasi et al., NeurIPS 2018).

    Args:
        p: the fraction of values to drop, from 0 to 1: the mean over the volume is exactly that.
        block_size: the box's side, or one size for each axis; larger ones are cut to the volume.
        data_format: "channels_first" or "channels_last"; one seed has one mask in both.
        region: where a box's centre may lie: "valid", where all of it fits, or "full".
        scale: "expected", "sample", "batch" (the paper's) or None, as for `mapdrop.drop`.
        inplace: overwrite the input.

    Examples:
        >>> mapdrop.torch.DropBlock3d(0.1, (3, 5, 5))
        DropBlock3d('b c d h w -> b d h w c', p=0.1, block={'d': 3, 'h': 5, 'w': 5})
    """
