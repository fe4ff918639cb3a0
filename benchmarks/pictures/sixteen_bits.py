"""The rate that frameworks really drop in bfloat16, for small rates that were asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from benchmarks.pictures.style import BLUE, GREEN, ORANGE, RED

HEIGHT = 4.4
RATES = tuple(n / 1000 for n in range(1, 25))
COINS = 1 << 18


def _tensorflow(p: float, coins: int) -> int:
    import tensorflow as tf

    tf.random.set_seed(0)
    dropped = tf.nn.dropout(tf.ones(coins, tf.bfloat16), p) == 0
    return int(tf.math.count_nonzero(dropped))


def _drop_path(p: float, coins: int) -> int:
    """As it stands in many models: the coins are drawn in x's dtype."""
    import torch

    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(coins, dtype=torch.bfloat16, generator=generator)
    return int(((1 - p + drawn).floor() == 0).sum())


def _jax_drop_path(p: float, coins: int) -> int:
    import jax
    from jax import numpy as jnp

    drawn = jax.random.uniform(jax.random.key(0), (coins,), jnp.bfloat16)
    return int((jnp.floor(1 - p + drawn) == 0).sum())


def _torch(p: float, coins: int) -> int:
    import torch

    torch.manual_seed(0)
    return int((torch.nn.functional.dropout(torch.ones(coins, dtype=torch.bfloat16), p) == 0).sum())


def _flax(p: float, coins: int) -> int:
    from flax import nnx
    from jax import numpy as jnp

    layer = nnx.Dropout(p, rngs=nnx.Rngs(dropout=0))
    return int((layer(jnp.ones(coins, jnp.bfloat16)) == 0).sum())


def _mapdrop(p: float, coins: int) -> int:
    import torch

    import mapdrop

    dropped = mapdrop.drop(torch.ones(coins, dtype=torch.bfloat16), "n -> n", p, seed=0) == 0
    return int(dropped.sum())


CALLS: dict[str, Callable[[float, int], int]] = {
    "tf.nn.dropout": _tensorflow,
    "floor(keep + rand) in PyTorch": _drop_path,
    "floor(keep + uniform) in JAX": _jax_drop_path,
    "F.dropout": _torch,
    "nnx.Dropout": _flax,
    "mapdrop": _mapdrop,
}
_DRAWN = {
    "tf.nn.dropout": (RED, "-"),
    "floor(keep + rand) in PyTorch": (BLUE, "-"),
    "floor(keep + uniform) in JAX": (ORANGE, "--"),
    "mapdrop": (GREEN, ":"),
}


def figures() -> dict[str, list[float]]:
    """Return the fraction that each call drops, for each rate."""
    return {name: [fraction(name, p) for p in RATES] for name in CALLS}


def fraction(name: str, p: float, coins: int = COINS) -> float:
    """Return what a call drops of so many ones."""
    return round(CALLS[name](p, coins) / coins, 5)


def draw(figure: Figure, found: dict[str, list[float]]) -> None:
    """Draw the real rate against the one that was asked for."""
    axis = figure.subplots()
    percent = 100 * np.array(RATES)
    for name, (colour, dashes) in _DRAWN.items():
        ours = name == "mapdrop"
        # Between two rates nothing is measured: a step is somewhere between them.
        shape = {"lw": 4} if ours else {"drawstyle": "steps-mid"}
        axis.plot(percent, 100 * np.array(found[name]), dashes, color=colour, label=name, **shape)
    axis.set(xlabel="asked for, %", ylabel="really dropped, %", xlim=(0, None), ylim=(0, None))
    axis.legend(loc="upper left", fontsize=11)


def lines(found: dict[str, list[float]]) -> list[str]:
    """Return a table for the page."""
    shown = (0.001, 0.005, 0.01, 0.02)
    rows = [["bfloat16", *(f"p = {p}" for p in shown)], ["---"] * (len(shown) + 1)]
    for name, rates in found.items():
        rows.append([f"`{name}`", *(f"{rates[RATES.index(p)]:.4f}" for p in shown)])
    return [f"| {' | '.join(row)} |" for row in rows]
