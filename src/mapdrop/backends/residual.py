"""`residual` for every framework's arrays: a branch that runs for the kept samples only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mapdrop.backends.registry import as_written, backend_for
from mapdrop.spec.pattern import Pattern

Array = TypeVar("Array")


@as_written
def residual(
    branch: Callable[..., Any],
    x: Array,
    p: float,
    pattern: str | Pattern = "b ... -> b",
    *,
    inputs: Sequence[Any] = (),
    seed: Any = None,
    stream: str | None = None,
    step: Any = 0,
    exact: str | None = None,
    balance: str | None = None,
    scale: str | None = "expected",
    **sizes: int,
) -> Array:
    """Return ``x + mapdrop.drop(branch(x), pattern, p)``, running the branch for kept samples only.

    That is stochastic depth (drop path; Huang et al., ECCV 2016, arXiv 1603.09382) whose dropped
    samples cost nothing: the branch is given the
    kept samples, in their order, and what it returns is scaled and added to them. It must treat
    each sample by itself, as layer normalisation and attention within a sample do, and batch
    normalisation in training does not. Where no sample is kept it runs on an empty batch, so that
    its parameters have gradients (zeros); in a graph of TensorFlow on one sample, whose result is
    not used, as convolutions fail for none there. The mask is the one that `mapdrop.drop` draws for
    the same arguments; it is drawn before the branch runs.

    What is compiled needs sizes that are known. Under jax.jit and torch.compile, `balance` and
    `exact` run the branch for the most samples that may be kept: one more, at times, whose result
    is not used. Without them, and under torch.func's transforms, it runs for all samples, and
    nothing is saved. Each batch size is compiled by itself. A graph of TensorFlow has sizes of its
    own, and XLA needs them known. An array of JAX whose type says that its samples lie on several
    devices (explicit sharding) runs the branch for all, each device for its own.

    Args:
        branch: a function of x, and of `inputs`, that returns an array of the shape of its x.
        x: an array as for `mapdrop.drop`, with the samples along its first axis.
        p: the fraction of samples to drop, from 0 to 1.
        pattern: as for `mapdrop.drop`, with coins for the first axis alone, for groups of samples
            (``"(m s) ... -> m"``), or one for the batch (``"... ->"``).
        inputs: other arrays with a first axis of samples, such as masks and conditions: the branch
            is given those of the kept samples, after x.
        seed: a whole number from 0 to 2**64 - 1, None, a generator or a key, as for `mapdrop.drop`.
        stream: a name, so that several branches with one seed draw different coins.
        step: the training step, a whole number from 0 to 2**64 - 1.
        exact: the axis of samples, ``"b"``: exactly round((1 - p) * n) of n samples are kept.
        balance: the same axis: floor or ceil of (1 - p) * n samples are kept, each with
            probability 1 - p.
        scale: what the result of the branch is multiplied by, as for `mapdrop.drop`.
        **sizes: sizes of names inside groups, ``m=4`` for ``"(m s) ... -> m"``.

    Returns:
        An array of the shape of x; its dtype is that of ``x + branch(x)``.

    Raises:
        PatternError: where the pattern cannot be read, does not fit x, or has coins of another
            axis than the first (it is a ValueError).
        ValueError: where p, seed, step or scale is out of its range, inputs have another number of
            samples, or the branch returns another shape.
        TypeError: where x, or what the branch returns, has a type or dtype that cannot be dropped,
            and where inputs are no arrays.

    Examples:
        >>> import numpy as np
        >>> def branch(kept):
        ...     print("given", kept.shape)
        ...     return 3 * kept
        >>> mapdrop.residual(branch, np.ones((4, 2)), 0.5, balance="b", seed=7)
        given (2, 2)
        array([[7., 7.],
               [7., 7.],
               [1., 1.],
               [1., 1.]])
    """
    backend = backend_for(x)
    spec = backend.mask_spec(pattern, p, exact, balance, (), "valid", scale, tuple(sizes.items()))
    result: Array = backend.residual(
        branch, x, tuple(inputs), spec, seed=seed, stream=stream, step=step
    )
    return result
