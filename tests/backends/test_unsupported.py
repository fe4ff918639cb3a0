"""What mapdrop does not work on is refused in one sentence, whose remedy works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mapdrop
from tests.conftest import framework

ONES = np.ones((3, 4), np.float32)


def _nested(**options: Any) -> Any:
    torch = framework("torch")
    return torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)], **options)


def _packed() -> Any:
    torch = framework("torch")
    rnn = framework("torch.nn.utils.rnn")
    return rnn.pack_sequence([torch.ones(3, 4), torch.ones(2, 4)])


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "torch COO": (lambda: framework("torch").eye(3).to_sparse(), "layout torch.sparse_coo; drop"),
    "torch jagged": (lambda: _nested(layout=framework("torch").jagged), "from_jagged(mapdrop"),
    "packed": (_packed, "x._replace"),
    "torch integers": (lambda: framework("torch").arange(3), "x.float() makes them"),
    "scipy": (lambda: framework("scipy.sparse").eye(3).tocsr(), "csr_matrix; drop the array of"),
    "masked": (lambda: np.ma.array(ONES, mask=ONES > 2), "numpy.ma.array(mapdrop.drop(x.filled(0)"),
    "objects": (lambda: np.array([1.0, None], object), "x.astype(numpy.float32)"),
    "booleans": (lambda: ONES > 2, "x.astype(numpy.float32)"),
    "BCOO": (
        lambda: framework("jax.experimental.sparse").BCOO.fromdense(framework("jax.numpy").eye(3)),
        "BCOO; drop the array of its values",
    ),
    "tf sparse": (
        lambda: framework("tensorflow").sparse.from_dense(ONES), "SparseTensor; drop the array of",
    ),
    "tf ragged": (
        lambda: framework("tensorflow").ragged.constant([[1.0], [2.0, 3.0]]), "with_flat_values",
    ),
    "a list": (lambda: [1.0, 2.0], "numpy.asarray(x, dtype=float) makes an array"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "remedy"), REFUSED.values(), ids=REFUSED)
def test_the_error_has_a_remedy(make: Callable[[], Any], remedy: str) -> None:
    with pytest.raises(TypeError) as caught:
        mapdrop.drop(make(), "... -> ...", 0.5, seed=1)
    assert str(caught.value).startswith("mapdrop works on")
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["Dropout", "SpatialDropout1d", "DropPath"])
@pytest.mark.parametrize("case", ["packed", "torch jagged"])
def test_layers_say_it_too(case: str, kind: str) -> None:
    make, remedy = REFUSED[case]
    with pytest.raises(TypeError) as caught:
        getattr(framework("mapdrop.torch"), kind)(0.5)(make())
    assert remedy in str(caught.value)


@pytest.mark.parametrize("kind", ["flax", "equinox"])
def test_layers_of_jax_say_it_too(kind: str) -> None:
    make, remedy = REFUSED["BCOO"]
    given = {"flax": "rngs", "equinox": "key"}[kind]
    key = framework("jax").random.key(0)
    with pytest.raises(TypeError) as caught:
        framework(f"mapdrop.{kind}").Dropout(0.5)(make(), **{given: key})
    assert remedy in str(caught.value)


def test_remedies_for_torch_work() -> None:
    nested, x = framework("torch.nested"), _nested(layout=framework("torch").jagged)
    values = mapdrop.drop(x.values(), "n ... -> n ...", 0.5, seed=1)
    made = nested.nested_tensor_from_jagged(values, x.offsets())
    assert [len(part) for part in made.unbind()] == [2, 3]
    assert 0 < (made.values() == 0).sum() < 20
    packed = _packed()
    made = packed._replace(data=mapdrop.drop(packed.data, "n c -> n c", 0.5, seed=1))
    padded, lengths = framework("torch.nn.utils.rnn").pad_packed_sequence(made)
    assert lengths.tolist() == [3, 2]
    assert set(padded.unique().tolist()) == {0.0, 2.0}


def test_the_remedy_for_masked_arrays_works() -> None:
    x = np.ma.array(ONES, mask=np.eye(3, 4) > 0)
    made = np.ma.array(mapdrop.drop(x.filled(0), "a b -> a b", 0.5, seed=1), mask=x.mask)
    assert np.array_equal(made.mask, x.mask)
    assert set(made.compressed().tolist()) == {0.0, 2.0}


def test_the_remedy_for_ragged_tensors_works() -> None:
    x = framework("tensorflow").ragged.constant([[1.0], [1.0] * 19])
    made = x.with_flat_values(mapdrop.drop(x.flat_values, "n ... -> n ...", 0.5, seed=1))
    assert made.row_lengths().numpy().tolist() == [1, 19]
    assert set(made.flat_values.numpy().tolist()) == {0.0, 2.0}
