"""A stateless key of PyTorch's as the seed: (seed, offset), two numbers of uint64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mapdrop
from tests import reference
from tests.conftest import framework

PATTERN, SHAPE = "b c h -> b c", (8, 16, 3)
# Keys that differ in one word, and in none that a smaller type would keep.
KEYS = [(7, 0), (7, 1), (7, 2**32), (7 + 2**32, 0), (0, 7), (2**64 - 1, 2**64 - 7)]


def key(numbers: tuple[int, int]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.uint64)


def number(numbers: tuple[int, int]) -> int:
    """The seed that a key stands for, by the reference."""
    four = [word for each in numbers for word in reference.halves(each)]
    low, high, *_ = reference.philox(four, (0, 0))
    seed: int = low | high << 32
    return seed


def dropped(seed: Any, **options: Any) -> Tensor:
    made: Tensor = mapdrop.drop(torch.ones(SHAPE), PATTERN, 0.5, seed=seed, **options)
    return made


@pytest.mark.parametrize("numbers", KEYS)
def test_the_four_words_of_a_key_are_hashed_to_a_seed(numbers: tuple[int, int]) -> None:
    assert torch.equal(dropped(key(numbers)), dropped(number(numbers)))
    options: dict[str, Any] = {"stream": "encoder", "step": 3}
    assert torch.equal(dropped(key(numbers), **options), dropped(number(numbers), **options))


def test_each_key_has_a_mask_of_its_own() -> None:
    masks = [dropped(key(numbers)) for numbers in KEYS] + [dropped(n) for n in (0, 1, 7)]
    for i, first in enumerate(masks):
        assert not any(torch.equal(first, other) for other in masks[i + 1 :])


def test_jax_has_the_same_mask_for_the_same_four_words() -> None:
    jax = framework("jax")
    four = np.array([w for n in KEYS[-1] for w in reference.halves(n)], np.uint32)
    came = mapdrop.drop(jax.numpy.ones(SHAPE), PATTERN, 0.5, seed=jax.numpy.asarray(four))
    assert np.array_equal(np.asarray(came), dropped(key(KEYS[-1])).numpy())


@pytest.mark.skipif(torch.__version__ < "2.13", reason="torch.func._random is of 2.13")
def test_pytorch_s_own_key_is_taken() -> None:
    from torch.func import _random

    assert torch.equal(dropped(_random.key(42)), dropped(number((42, 0))))


@pytest.mark.compiler
def test_compiled_code_takes_keys_as_eager_code_does() -> None:
    compiled = torch.compile(dropped, fullgraph=True)
    for numbers in KEYS[:3]:
        assert torch.equal(compiled(key(numbers)), dropped(key(numbers)))


@pytest.mark.skipif(torch.__version__ < "2.13", reason="no vmap of a view as another dtype")
def test_each_example_under_vmap_has_its_own_key() -> None:
    keys = torch.stack([key(numbers) for numbers in KEYS])
    came = torch.func.vmap(dropped)(keys)
    assert torch.equal(came, torch.stack([dropped(each) for each in keys]))


def test_a_gradient_has_the_mask_of_its_key() -> None:
    x = torch.ones(SHAPE, requires_grad=True)
    seed = key((7, 1))
    made = mapdrop.drop(x, PATTERN, 0.5, seed=seed)
    seed.fill_(3)  # The key may change before backward.
    (slope,) = torch.autograd.grad(made.sum(), x)
    assert torch.equal(slope, made.detach())


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, 2, dtype=torch.uint64),
        torch.zeros(1, 2, dtype=torch.uint64),
        torch.zeros(4, dtype=torch.uint64),
    ],
    ids=str,
)
def test_what_looks_like_no_key_is_an_error(wrong: Tensor) -> None:
    with pytest.raises(ValueError, match=r"has one integer, or is one key of torch\.func"):
        dropped(wrong)


def test_one_number_of_uint64_is_still_that_seed() -> None:
    for shape in [(), (1,), (1, 1)]:
        seed = torch.full(shape, 2**64 - 9, dtype=torch.uint64)
        assert torch.equal(dropped(seed), dropped(2**64 - 9))
