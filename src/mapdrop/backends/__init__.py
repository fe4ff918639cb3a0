"""`drop` for every framework's arrays. Each framework has a module here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from mapdrop.backends.registry import as_written, backend_for
from mapdrop.spec.mask_spec import as_sizes
from mapdrop.spec.pattern import Pattern

Array = TypeVar("Array")


@as_written
def drop(
    x: Array,
    pattern: str | Pattern,
    p: float,
    *,
    seed: Any = None,
    stream: str | None = None,
    step: Any = 0,
    exact: str | None = None,
    balance: str | None = None,
    block: Mapping[str, int] | None = None,
    region: str = "valid",
    scale: str | None = "expected",
    inplace: bool = False,
    out: Array | None = None,
    **sizes: int,
) -> Array:
    """Drop a fraction p of the values of x together, as the pattern says, and scale the rest.

    The same arguments give the same mask in every framework, dtype and memory layout
    (https://mapdrop.github.io/mapdrop/mask-v1/): its coins come from Philox 4x32-10, a
    counter-based generator (Salmon et al., SC 2011). The mask never depends on the values of x.

    Args:
        x: an array of float16, bfloat16, float32, float64 or complex numbers (which are dropped
            whole), of any shape and memory layout:
            numpy.ndarray, torch.Tensor, jax.Array or tf.Tensor (tf.Variable is read).
        pattern: the axes of x, an arrow, and the axes that have coins of their own:
            ``"b h w c -> b c"`` drops whole maps. See `mapdrop.Pattern`.
        p: the fraction to drop, from 0 to 1. 0 returns x itself and draws nothing.
        seed: a whole number from 0 to 2**64 - 1; None draws one from the framework's own
            generator (numpy.random, torch's default, what tf.random.set_seed sets); or a
            generator to draw it from. For a tensor also a tensor of one integer, which stays on
            its device, and may be a graph's, or a key of torch.func._random (two uint64, whose four
            words are hashed to two). For a jax.Array also a jax.random key (its two words
            are the seed's low and high word; the four words of an "rbg" key are hashed to two) or
            an array of one integer, traced or not; None and generators, which are NumPy's there,
            are for eager code only.
        stream: a name, so that several layers with one seed draw different coins.
        step: a whole number from 0 to 2**64 - 1 (or a tensor or jax.Array of one): the training
            step.
        exact: a coin axis along which exactly round((1 - p) * n) of n coins survive. A warning
            says where that is another rate, by more than a tenth of p or of 1 - p.
        balance: a coin axis of size n across which every line keeps floor or ceil of
            (1 - p) * n coins, while each single coin keeps its law.
        block: sizes of blocks along coin axes, ``dict(h=7, w=7)`` (DropBlock, Ghiasi et al.,
            NeurIPS 2018, arXiv 1810.12890); the mean drop over the map is p.
        region: where a block's centre may lie: "valid", where the whole block fits, or "full".
        scale: what kept values are multiplied by: "expected", 1 / (1 - p); "sample" or "batch",
            the number of values over the number kept, for each index of the first coin axis or
            over all; None, by nothing. Dropped values are +0.
        inplace: write the result into x (not a jax.Array or a TensorFlow tensor, which never
            change).
        out: a NumPy array to write the result into.
        **sizes: sizes of names inside groups: ``k=8`` for ``"b h w (g k) -> b g"``.

    Returns:
        An array like x: same shape, dtype, device, sharding and memory layout.

    Raises:
        PatternError: where the pattern cannot be read or does not fit x (it is a ValueError).
        ValueError: where p, seed, step, region or scale is out of its range.
        TypeError: where x has another type or dtype.

    Warns:
        UserWarning: where `exact` keeps a rate that is far from 1 - p.

    Examples:
        >>> import numpy as np
        >>> x = np.ones((1, 2, 2, 4), np.float32)  # one image of 2 x 2, with 4 maps
        >>> mapdrop.drop(x, "b h w c -> b c", 0.5, seed=7)[0]
        array([[[2., 2., 0., 0.],
                [2., 2., 0., 0.]],
        <BLANKLINE>
               [[2., 2., 0., 0.],
                [2., 2., 0., 0.]]], dtype=float32)
    """
    backend = backend_for(x)
    spec = backend.mask_spec(
        pattern,
        p,
        exact,
        balance,
        as_sizes(block, "block") if block is not None else (),
        region,
        scale,
        tuple(sizes.items()),
    )
    result: Array = backend.drop(
        x, spec, seed=seed, stream=stream, step=step, inplace=inplace, out=out
    )
    return result
