"""Errors for arrays that mapdrop does not work on, each with a remedy."""

from __future__ import annotations

from typing import Any

_KNOWN = "numpy.ndarray, torch.Tensor, jax.Array, tensorflow.Tensor"
_ARRAYS = "for plain numbers and lists, numpy.asarray(x, dtype=float) makes an array"
_SPARSE = "drop the array of its values by 'n -> n', and make another with the same indices"
# The beginning of the name of a class, or of one of its bases: the remedy.
_REMEDIES = {
    "torch.nn.utils.rnn.PackedSequence": (
        "x._replace(data=mapdrop.drop(x.data, 'n c -> n c', p)) drops its values"
    ),
    "scipy.sparse.": _SPARSE,
    "jax.experimental.sparse.": _SPARSE,
    "tensorflow.python.framework.sparse_tensor.": _SPARSE,
    "tensorflow.python.framework.indexed_slices.": _SPARSE,
    "tensorflow.python.ops.ragged.": (
        "x.with_flat_values(mapdrop.drop(x.flat_values, 'n ... -> n ...', p)) drops its values"
    ),
    "numpy.ma.": "numpy.ma.array(mapdrop.drop(x.filled(0), ...), mask=x.mask) drops its values",
}
_NESTED = (
    "torch.nested.nested_tensor_from_jagged(mapdrop.drop(x.values(), 'n ... -> n ...', p), "
    "x.offsets()) drops the values of a jagged one, and x.to_padded_tensor(0) is a dense one"
)


def unsupported(x: Any) -> TypeError:
    """Return the error for x, whose type or layout is not supported."""
    kind = f"{type(x).__module__}.{type(x).__qualname__}"
    if getattr(x, "is_nested", False):
        return _error("nested tensors", _NESTED)
    layout = str(getattr(x, "layout", ""))
    if layout.startswith("torch."):
        return _error(f"tensors of layout {layout}", f"{_SPARSE}; or drop x.to_dense()")
    names = [f"{base.__module__}.{base.__qualname__}" for base in type(x).__mro__]
    found = (text for start, text in _REMEDIES.items() for n in names if n.startswith(start))
    return _error(kind, next(found, _ARRAYS))


def _error(kind: str, remedy: str) -> TypeError:
    return TypeError(f"mapdrop works on {_KNOWN}, not on {kind}; {remedy}")
