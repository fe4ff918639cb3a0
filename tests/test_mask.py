"""The mask as a thing of its own: what it says of itself, applied, saved, loaded, shown."""

from __future__ import annotations

import io
import math
import os
import pickle
import random
import stat
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

import mapdrop
from mapdrop import Mask, PatternError
from tests import checks, reference
from tests.cases import ALL, Case

cases = pytest.mark.parametrize("case", ALL, ids=str)


def _mask(case: Case) -> Mask:
    return mapdrop.mask(case.pattern, case.shape, case.p, **case.options)


# --- What it says.


@cases
def test_attributes(case: Case) -> None:
    mask = _mask(case)
    _, bits, _ = reference.mask(case.pattern, case.shape, case.p, **case.options)
    assert mask.pattern == mapdrop.Pattern.parse(case.pattern)
    assert mask.shape == case.shape
    assert mask.p == case.p
    assert mask.coins.dtype == bool
    assert mask.kept == sum(bits.values())
    if bits:
        assert math.isclose(mask.dropped, 1 - sum(bits.values()) / len(bits), abs_tol=1e-15)
    else:
        assert math.isnan(mask.dropped)
    assert repr(mask).startswith(f"Mask({str(mask.pattern)!r}, shape={case.shape}, p=")
    assert f"{mask.kept} of {mask.coins.size} coins kept" in repr(mask)


@cases
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_apply(case: Case, dtype: str) -> None:
    x = checks.inputs(case.shape, dtype)
    came = _mask(case).apply(x)
    assert checks.same_bits(came, checks.expected(case, x)[1])
    assert checks.same_bits(x, checks.inputs(case.shape, dtype))


@cases
def test_apply_is_drop(case: Case) -> None:
    x = checks.inputs(case.shape)
    dropped = mapdrop.drop(x, case.pattern, case.p, **case.options)
    assert checks.same_bits(_mask(case).apply(x), dropped)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0])
def test_apply_to_what_is_not_finite(value: float) -> None:
    mask = mapdrop.mask("b c -> b c", (4, 8), 0.5, seed=3)
    came = mask.apply(np.full((4, 8), value, np.float32))
    assert (came[~mask.coins].view(np.uint32) == 0).all()
    assert np.array_equal(came[mask.coins], np.full(mask.kept, value), equal_nan=True)
    assert (np.signbit(came[mask.coins]) == np.signbit(value)).all()


def test_apply_wants_its_shape() -> None:
    mask = mapdrop.mask("b c -> b", (2, 3), 0.5, seed=1)
    with pytest.raises(ValueError, match=r"for shape \(2, 3\), the array has \(3, 2\)"):
        mask.apply(np.ones((3, 2)))


def test_apply_refuses_integers_and_lists() -> None:
    mask = mapdrop.mask("b c -> b", (2, 3), 0.5, seed=1)
    with pytest.raises(TypeError, match="int64"):
        mask.apply(np.ones((2, 3), np.int64))
    with pytest.raises(TypeError, match=r"not on builtins\.list"):
        mask.apply([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def test_not_changeable() -> None:
    mask = mapdrop.mask("b c -> b", (2, 3), 0.5, seed=1)
    with pytest.raises(AttributeError):
        mask.p = 0.3  # type: ignore[misc]


# --- The ends of the range.


@pytest.mark.parametrize("scale", ["expected", "sample", "batch", None])
@pytest.mark.parametrize("kind", ["independent", "exact", "balance", "block"])
@pytest.mark.parametrize("p", [0, 1])
def test_all_or_nothing(scale: str | None, kind: str, p: int) -> None:
    options: dict[str, dict[str, Any]] = {
        "independent": {}, "exact": {"exact": "c"}, "balance": {"balance": "c"},
        "block": {"block": {"c": 3}},
    }  # fmt: skip
    mask = mapdrop.mask("b c -> b c", (3, 5), p, seed=1, scale=scale, **options[kind])
    assert mask.kept == (0 if p else 15)
    x = checks.inputs((3, 5))
    came = mask.apply(x)
    assert checks.same_bits(came, np.zeros_like(x) if p else x)
    assert np.isfinite(np.asarray(mask.scale)).all()


@pytest.mark.parametrize("scale", ["sample", "batch"])
def test_a_sample_without_survivors_has_no_nan(scale: str) -> None:
    mask = mapdrop.mask("b c -> b c", (40, 2), 0.7, seed=5, scale=scale)
    assert (~mask.coins.any(1)).any()
    x = np.full((40, 2), np.nan, np.float32)
    x[mask.coins] = 1
    came = mask.apply(x)
    assert np.isfinite(came).all()
    # What the scale is for: the mean of what is counted stays as it was.
    means = came.mean(1)[mask.coins.any(1)] if scale == "sample" else came.mean()
    np.testing.assert_allclose(means, 1, rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)], ids=str)
@pytest.mark.parametrize("scale", ["expected", "sample", "batch", None])
@pytest.mark.parametrize("kind", [{}, {"exact": "b"}, {"balance": "c"}, {"block": {"b": 2}}])
def test_empty(shape: tuple[int, ...], scale: str | None, kind: dict[str, Any]) -> None:
    mask = mapdrop.mask("b c -> b c", shape, 0.5, seed=1, scale=scale, **kind)
    assert mask.coins.shape == shape
    assert mask.kept == 0
    assert math.isnan(mask.dropped)
    assert mask.apply(np.ones(shape)).shape == shape
    assert str(mask)


def test_p_0_draws_nothing() -> None:
    state = _state()
    mapdrop.mask("b c -> b", (2, 3), 0.0)
    assert _state() == state
    mapdrop.mask("b c -> b", (2, 3), 0.5)
    assert _state() != state


def _state() -> bytes:
    return pickle.dumps(np.random.get_state())


# --- Arguments.

WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "rate nan": ({"p": math.nan}, ValueError, "not nan"),
    "rate below 0": ({"p": -0.5}, ValueError, r"not -0\.5"),
    "rate above 1": ({"p": 1.5}, ValueError, r"not 1\.5"),
    "rate infinite": ({"p": math.inf}, ValueError, "not inf"),
    "rate text": ({"p": "0.5"}, TypeError, r"not '0\.5'"),
    "rate True": ({"p": True}, TypeError, "not True"),
    "rate None": ({"p": None}, TypeError, "not None"),
    "rate list": ({"p": [0.5]}, TypeError, r"not \[0\.5\]"),
    "rates": ({"p": np.array([0.5, 0.5])}, TypeError, r"not array\(\[0\.5, 0\.5\]\)"),
    "rate complex": ({"p": 0.5j}, TypeError, r"not 0\.5j"),
    "seed below 0": ({"seed": -1}, ValueError, "seed is a whole number .* not -1"),
    "seed too large": ({"seed": 2**64}, ValueError, f"not {2**64}"),
    "seed float": ({"seed": 1.0}, TypeError, r"seed is a whole number .* not 1\.0 of type float"),
    "step below 0": ({"step": -1}, ValueError, "step is a whole number .* not -1"),
    "step float": ({"step": 0.5}, TypeError, "step is a whole number"),
    "stream": ({"stream": 3}, TypeError, "stream is a name .* not 3"),
    "region": ({"region": "same"}, ValueError, "'valid', 'full', not 'same'"),
    "scale": ({"scale": "mean"}, ValueError, "'expected', 'sample', 'batch', None, not 'mean'"),
    "exact and balance": ({"exact": "b", "balance": "c"}, ValueError, "exact and balance exclude"),
    "exact and block": ({"exact": "b", "block": {"c": 2}}, ValueError, "exact and block exclude"),
    "exact list": ({"exact": ["b"]}, PatternError, r"exact=\['b'\] does not name"),
    "balance": ({"balance": "d"}, PatternError, "balance='d' does not name"),
    "block axis": ({"block": {"d": 2}}, PatternError, "block='d' does not name"),
    "block size 0": ({"block": {"c": 0}}, ValueError, r"block=\{'c': 0\} is not a size"),
    "block size True": ({"block": {"c": True}}, ValueError, r"block=\{'c': True\} is not a size"),
    "block size 2.0": ({"block": {"c": 2.0}}, ValueError, r"block=\{'c': 2\.0\} is not a size"),
    "block size list": ({"block": {"c": [2]}}, ValueError, r"block=\{'c': \[2\]\} is not a size"),
    "block number": ({"block": 7}, TypeError, "block gives a size for each axis"),
    "size": ({"k": 2}, PatternError, "k=2 gives a size for an axis that"),
    "shape negative": ({"shape": (2, -3)}, ValueError, "a size of the shape .* not -3"),
    "shape float": ({"shape": (2.0, 3)}, TypeError, r"a size of the shape .* not 2\.0"),
    "rank": ({"shape": (2, 3, 4)}, PatternError, "names 2 axes, the array has 3"),
    "pattern": ({"pattern": "b c"}, PatternError, "one '->'"),
    "pattern number": ({"pattern": 3}, TypeError, "a pattern is a string"),
}


@pytest.mark.parametrize(("changed", "kind", "message"), WRONG.values(), ids=WRONG)
def test_wrong_arguments(changed: dict[str, Any], kind: type[Exception], message: str) -> None:
    good = {"pattern": "b c -> b c", "shape": (2, 3), "p": 0.5, "seed": 1}
    # Values that are equal to wrong ones, asked for before, must not make them right.
    mapdrop.mask("b c -> b c", (2, 3), 1, seed=1)
    mapdrop.mask("b c -> b c", (2, 3), 0.5, seed=1, block={"c": 1})
    mapdrop.mask("b c -> b c", (2, 3), 0.5, seed=1, block={"c": 2})
    with pytest.raises(kind, match=message) as caught:
        mapdrop.mask(**{**good, **changed})
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize("p", [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5)], ids=repr)
def test_rates_of_every_type(p: Any) -> None:
    mask = mapdrop.mask("b c -> b c", (4, 8), p, seed=1)
    assert type(mask.p) is float
    assert np.array_equal(mask.coins, mapdrop.mask("b c -> b c", (4, 8), 0.5, seed=1).coins)


def test_numpy_s_numbers() -> None:
    step, k, g = (cast("int", kind(n)) for kind, n in ((np.int8, 3), (np.int64, 2), (np.int32, 3)))
    seed = np.uint64(2**64 - 1)
    one = mapdrop.mask(
        "b (g k) -> b g", np.array([4, 8]), 0.5, seed=seed, step=step, k=k, block={"g": g}
    )
    other = mapdrop.mask("b (g k) -> b g", (4, 8), 0.5, seed=2**64 - 1, step=3, k=2, block={"g": 3})
    assert np.array_equal(one.coins, other.coins)
    assert repr(one) == repr(other)


# --- Saved and loaded.


@cases
def test_round_trip(case: Case, tmp_path: Path) -> None:
    mask = _mask(case)
    mask.save(tmp_path / "mask.npz")
    came = Mask.load(tmp_path / "mask.npz")
    assert np.array_equal(came.coins, mask.coins)
    assert came.coins.dtype == bool
    assert came.pattern == mask.pattern
    assert (came.shape, came.p, repr(came)) == (mask.shape, mask.p, repr(mask))
    assert type(came.scale) is type(mask.scale)
    assert np.array_equal(came.scale, mask.scale)
    x = checks.inputs(case.shape)
    assert checks.same_bits(came.apply(x), mask.apply(x))


def test_any_name_and_kind_of_path(tmp_path: Path) -> None:
    mask = mapdrop.mask("b c -> b", (2, 3), 0.5, seed=1)
    mask.save(str(tmp_path / "mäsk"))
    assert [path.name for path in tmp_path.iterdir()] == ["mäsk"]
    assert Mask.load(str(tmp_path / "mäsk")).kept == mask.kept


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_a_new_file_s(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    mapdrop.mask("b c -> b", (2, 3), 0.5, seed=1).save(tmp_path / "mask.npz")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_saved_at_once_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mask.npz"
    mask = mapdrop.mask("b c -> b", (2, 3), 0.5, seed=1)
    mask.save(path)
    before = path.read_bytes()

    def full_disk(file: io.BufferedWriter, **_: Any) -> None:
        file.write(b"PK\3\4 half a file")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="no space left"):
        mask.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Mask.load(tmp_path / "mask.npz")


def _saved(tmp_path: Path) -> Path:
    path = tmp_path / "mask.npz"
    mapdrop.mask("b (g k) -> b g", (4, 8), 0.5, seed=1, k=2, scale="sample").save(path)
    return path


def _refused(path: Path) -> str:
    with pytest.raises(ValueError, match="is not a saved mask") as caught:
        Mask.load(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def test_truncated(tmp_path: Path) -> None:
    whole = _saved(tmp_path).read_bytes()
    path = tmp_path / "cut.npz"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        _refused(path)


def test_damaged(tmp_path: Path) -> None:
    """Whatever byte is changed: the same mask still, or a ValueError."""
    whole = _saved(tmp_path).read_bytes()
    mask = Mask.load(_saved(tmp_path))
    path = tmp_path / "damaged.npz"
    refused = 0
    for at in range(0, len(whole), 3):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1 :])
        with suppress(ValueError):
            assert np.array_equal(Mask.load(path).coins, mask.coins)
            continue
        _refused(path)
        refused += 1
    assert refused > len(whole) / 9


FOREIGN = {
    "empty": b"",
    "text": b"b h w c -> b c\n",
    "image": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "pickle": pickle.dumps({"coins": np.ones(3, bool)}),
    "zip end": b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_foreign(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign.npz"
    path.write_bytes(content)
    assert "no .npz file" in _refused(path)


def test_one_array_is_foreign(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.ones(3))
    _refused(tmp_path / "array.npy")


class Evil:
    """Unpickled, it would leave a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


MALICIOUS: dict[str, tuple[dict[str, Any], str]] = {
    "field missing": ({"coins": None}, "fields are not a mask's"),
    "version": ({"version": np.int64(2)}, "version 2 of the mask"),
    "version array": ({"version": np.array([1, 1])}, ""),
    "pattern": ({"pattern": np.str_("b c")}, "one '->'"),
    "pattern number": ({"pattern": np.int64(3)}, "pattern is int64(), expected text()"),
    "pattern long": ({"pattern": np.str_("b" * 300_000)}, "pattern has 1200000 bytes"),
    "names number": ({"names": np.array([1, 2])}, "names is int64(2,), expected text(n,)"),
    "shape float": ({"shape": np.array([4.0, 8.0])}, "shape is float64(2,), expected int64(n,)"),
    "shape scalar": ({"shape": np.int64(4)}, "shape is int64(), expected int64(n,)"),
    "shape negative": ({"shape": np.array([-4, 8])}, "negative size"),
    "sizes": ({"sizes": np.array([4, 3])}, "array's axis has 8"),
    "sizes float": ({"sizes": np.array([4.0, 2.0])}, "sizes is float64(2,), expected int64(n,)"),
    "sizes too many": ({"sizes": np.array([4, 2, 1])}, ""),
    "rate": ({"p": np.float64(1.5)}, "not 1.5"),
    "rate nan": ({"p": np.float64("nan")}, "not nan"),
    "rate array": ({"p": np.array([0.5, 0.5])}, "p is float64(2,), expected float64()"),
    "rate whole": ({"p": np.int64(1)}, "p is int64(), expected float64()"),
    "coins' shape": ({"coins": np.ones((4, 8), bool)}, "coins is bool(4, 8), expected bool(4, 4)"),
    "coins' dtype": ({"coins": np.ones((4, 4), np.uint8)}, "coins is uint8(4, 4), expected bool"),
    "coins' bytes": ({"coins": np.full((4, 4), 7, np.uint8).view(bool)}, "bytes of 0 and 1"),
    "objects": ({"coins": np.full((4, 4), None)}, "an array is object(4, 4)"),
    "scale's shape": ({"scale": np.ones(3)}, "scale is float64(3,), expected float64() or (4, 1)"),
    "scale's dtype": ({"scale": np.array("two")}, "scale is <U3(), expected float64"),
    "scale single": ({"scale": np.float32(2)}, "scale is float32(), expected float64"),
    "scale nan": ({"scale": np.float64("nan")}, "a scale is finite and not below 0, nan"),
    "scale infinite": ({"scale": np.float64("inf")}, "a scale is finite and not below 0, inf"),
    "scale below 0": ({"scale": np.float64(-2)}, "a scale is finite and not below 0, -2.0"),
    "one scale below 0": ({"scale": np.array([[1], [2], [-1], [2.0]])}, "a scale is finite"),
}


@pytest.mark.parametrize(("changed", "reason"), MALICIOUS.values(), ids=MALICIOUS)
def test_malicious(changed: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = _saved(tmp_path)
    with np.load(path) as file:
        fields = {name: file[name] for name in file.files}
    fields.update(changed)
    with open(path, "wb") as file:
        np.savez(file, **{name: value for name, value in fields.items() if value is not None})
    assert reason in _refused(path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path, mark = _saved(tmp_path), tmp_path / "mark"
    with np.load(path) as file:
        fields = {name: file[name] for name in file.files}
    with open(path, "wb") as file:
        np.savez(file, **{**fields, "coins": np.array(Evil(mark), object)})
    _refused(path)
    assert not mark.exists()
    with np.load(path, allow_pickle=True) as file:  # The twin: it would have.
        file["coins"]
    assert mark.exists()


def _written(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_nested_headers(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    nested = b"\x93NUMPY\x01\x00v\x00" + b"(" * 118
    _written(path, {**_members(path), "coins.npy": nested})
    _refused(path)


def test_a_member_twice(tmp_path: Path) -> None:
    path = _saved(tmp_path)
    coins = _members(path)["coins.npy"]
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("coins.npy", coins)
    assert "'coins' is in it twice" in _refused(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_foreign_compression(method: int, tmp_path: Path) -> None:
    path = _saved(tmp_path)
    _written(path, _members(path), method)
    assert "compressed by another method" in _refused(path)


def _npy(shape: tuple[int, ...], content: bytes) -> bytes:
    file = io.BytesIO()
    header = {"descr": "|b1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


def _whole_numbers(*values: int) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(values, np.int64))
    return file.getvalue()


@pytest.mark.parametrize("claimed", [(4, 1 << 60), (4, 1 << 31), (4, 1 << 24)], ids=str)
def test_what_a_header_claims_is_not_allocated(claimed: tuple[int, ...], tmp_path: Path) -> None:
    path = _saved(tmp_path)
    shape = _whole_numbers(claimed[0], 2 * claimed[1])
    members = {**_members(path), "coins.npy": _npy(claimed, bytes(16)), "shape.npy": shape}
    _written(path, {**members, "sizes.npy": _whole_numbers(claimed[1], 2)})
    _refused(path)  # Whatever is imported for it is.
    tracemalloc.start()
    try:
        reason = _refused(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    coins = 4 * claimed[1]
    assert f"{coins} coins, more than {1 << 28};" in reason or "which its shape denies" in reason


def test_limit(tmp_path: Path) -> None:
    path = tmp_path / "mask.npz"
    mask = mapdrop.mask("b c -> b c", (40, 50), 0.5, seed=1)
    mask.save(path)
    for limit in (2000, None):
        assert np.array_equal(Mask.load(path, limit=limit).coins, mask.coins)
    with pytest.raises(ValueError, match="2000 coins, more than 1999; if you trust it, give limit"):
        Mask.load(path, limit=1999)


@pytest.mark.skipif(os.name != "posix", reason="pipes with a name")
def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "mask.npz"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR)  # So that nobody waits for a writer.
    try:
        os.write(end, b"a mask?")
        with pytest.raises(ValueError, match="is not a regular file"):
            Mask.load(path)
        assert os.read(end, 7) == b"a mask?"
    finally:
        os.close(end)


def _mutated(content: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, taken out, put in, or written over with others of the content."""
    found = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at, length = chance.randrange(len(found)), chance.choice((1, 1, 2, 4, 30))
        other = chance.randrange(len(found))
        found[at : at + length] = chance.choice(
            (
                b"",
                chance.randbytes(length),
                bytes(length),
                b"\xff" * length,
                found[other : other + length],
                found[at : at + length] * 2,
            )
        ) or b"\0" * (len(found) <= length)
    return bytes(found)


def _loaded(path: Path) -> Mask | None:
    """The mask of the file, or None where it is refused."""
    with suppress(ValueError):
        return Mask.load(path)
    _refused(path)
    return None


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["", "deflated"])
def test_hundreds_of_damaged_files(method: int, tmp_path: Path) -> None:
    """A damaged file holds the same mask still, or is refused."""
    path, chance = _saved(tmp_path), random.Random(0)
    mask = Mask.load(path)
    _written(path, _members(path), method)
    whole, refused = path.read_bytes(), 0
    for _ in range(400):
        path.write_bytes(_mutated(whole, chance))
        came = _loaded(path)
        refused += came is None
        if came is not None:
            assert np.array_equal(came.coins, mask.coins)
            assert np.array_equal(came.scale, mask.scale)
            assert (came.shape, came.p, came.pattern) == (mask.shape, mask.p, mask.pattern)
    assert refused > 200


def test_hundreds_of_forged_files(tmp_path: Path) -> None:
    """A member that is changed before it is packed: some mask that can be applied, or refused."""
    path, chance = _saved(tmp_path), random.Random(0)
    whole, refused = _members(path), 0
    for _ in range(400):
        name = chance.choice(list(whole))
        _written(path, {**whole, name: _mutated(whole[name], chance)})
        came = _loaded(path)
        refused += came is None
        if came is not None:
            x = np.ones(came.shape, np.float64)
            kept = np.broadcast_to(came.scale, came.coins.shape)[came.coins]
            assert np.isfinite(came.apply(x)).all()
            assert set(np.unique(came.apply(x))) <= {0.0, *kept}
    assert refused > 200


# --- Shown.


def _drawn(coins: NDArray[np.bool_]) -> str:
    return "".join("·█"[int(bit)] for bit in coins)


def test_picture() -> None:
    mask = mapdrop.mask("b h w c -> b c", (4, 32, 32, 12), 0.5, seed=7)
    assert str(mask).split("\n") == [
        "Mask('b h w c -> b c', shape=(4, 32, 32, 12), p=0.5, 23 of 48 coins kept)",
        "b x c (4 x 12)",
        *(_drawn(row) for row in mask.coins),
    ]


def test_picture_of_pages() -> None:
    mask = mapdrop.mask("b h w c -> b h w", (2, 3, 4, 5), 0.5, seed=7)
    lines = str(mask).split("\n")
    assert lines[1:3] == ["h x w (3 x 4)", "b = 0"]
    assert lines[6] == "b = 1"
    assert len(lines) == 10


def test_picture_of_a_line_and_of_one_coin() -> None:
    line = mapdrop.mask("b c -> b", (5, 2), 0.5, seed=7)
    assert str(line).split("\n")[1:] == ["b (5)", _drawn(line.coins)]
    one = mapdrop.mask("b c -> ", (5, 2), 0.5, seed=7)
    assert str(one).split("\n")[1:] == ["·█"[int(one.coins)]]


def test_picture_of_a_large_mask_is_a_part() -> None:
    rows = str(mapdrop.mask("b c -> b c", (100, 200), 0.5, seed=7)).split("\n")
    assert len(rows) == 2 + 32 + 1
    assert rows[2].endswith(" ...")
    assert rows[-1] == "... 68 more rows"
    pages = str(mapdrop.mask("b h w -> b h w", (100, 8, 8), 0.5, seed=7)).split("\n")
    assert len(pages) < 42
    assert pages[-1] == "... 96 more"
