"""The inner loops of a matrix product, written for the processor's vector registers.

A tile of `ROWS` rows and up to `VECTORS` vectors of columns stays in registers while the sum over k
runs. Where row and column k lie is read from a table, so that chosen maps need not be copied
together first. LLVM does not find this by itself from loops, so it is given the instructions.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mapdrop.kernels.jit import compiled

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_WIDE = bool(binding.get_host_cpu_features().get("avx512f"))
ROWS = 8 if _WIDE else 4
VECTORS = 3  # 4 x 3 sums, 3 vectors and 1 factor fill 16 registers; 8 x 3 leave 4 of 32.
BYTES = 64 if _WIDE else 32  # Of a vector. NEON takes two registers for one, and has as many.


def _vector(kind: Any) -> tuple[ir.VectorType, int]:
    """The vector type of a Numba float, and the bytes of one element."""
    element = ir.FloatType() if kind == types.float32 else ir.DoubleType()
    size = kind.bitwidth // 8
    return ir.VectorType(element, BYTES // size), size


def _number(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _load(builder: Any, address: Any, kind: Any, align: int | None = None) -> Any:
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    if align is not None:  # Of one element: vectors begin anywhere.
        value.align = align
    return value


def _store(builder: Any, value: Any, address: Any, align: int) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = align


def _entry(builder: Any, array: Any, index: Any) -> Any:
    """array[index], of 64-bit numbers at an address."""
    return builder.load(builder.gep(builder.inttoptr(array, _I64.as_pointer()), [index]))


def _multiplier(vectors: int) -> Any:
    """The intrinsic for tiles of so many vectors."""

    @intrinsic
    def multiply(
        typing: Any, like: Any, rows: Any, table: Any, n: Any, columns: Any, sums: Any
    ) -> Any:
        vector, size = _vector(like)
        lanes = vector.count

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, rows, table, n, columns, sums = args
            starts = [_entry(builder, rows, _number(i)) for i in range(ROWS)]
            lines = [_entry(builder, sums, _number(i)) for i in range(ROWS)]
            ends = [[builder.add(a, _number(j * BYTES)) for j in range(vectors)] for a in lines]
            places = [[cgutils.alloca_once(builder, vector) for _ in row] for row in ends]
            for end, place in zip(chain(*ends), chain(*places), strict=True):
                builder.store(_load(builder, end, vector, size), place)
            fused = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(vector, [vector] * 3),
                f"llvm.fmuladd.v{lanes}f{8 * size}",
            )
            with cgutils.for_range(builder, n) as loop:
                entry = _entry(builder, table, loop.index)
                down = builder.lshr(entry, _number(32))
                base = builder.add(columns, builder.and_(entry, _number(0xFFFFFFFF)))
                values = [
                    _load(builder, builder.add(base, _number(j * BYTES)), vector, size)
                    for j in range(vectors)
                ]
                for start, row in zip(starts, places, strict=True):
                    factor = _load(builder, builder.add(start, down), vector.element)
                    spread = _everywhere(builder, factor, vector)
                    for value, place in zip(values, row, strict=True):
                        total = builder.call(fused, [spread, value, builder.load(place)])
                        builder.store(total, place)
            for end, place in zip(chain(*ends), chain(*places), strict=True):
                _store(builder, builder.load(place), end, size)
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 5), emit

    return multiply


def _everywhere(builder: Any, value: Any, vector: Any) -> Any:
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(_I32, 0))
    lanes = ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, nothing, lanes)


_one, _two, _three = map(_multiplier, range(1, VECTORS + 1))


@compiled()
def multiply(
    vectors: int, like: Any, rows: int, table: int, n: int, columns: int, sums: int
) -> None:
    """One tile, of 1 to VECTORS vectors.

        sums[i][:] += sum over k < n of *(rows[i] + table[k].high) * (columns + table[k].low)[:]

    All but `like`, any number of the elements' type, are addresses: of the addresses of rows, of
    the table's entries (two 32-bit distances in bytes), of the columns' first value, and of the
    addresses of the sums' rows.
    """
    if vectors == 1:
        _one(like, rows, table, n, columns, sums)
    elif vectors == 2:
        _two(like, rows, table, n, columns, sums)
    else:
        _three(like, rows, table, n, columns, sums)


@intrinsic
def scale(typing: Any, factor: Any, source: Any, target: Any, n: Any) -> Any:
    """target[:] = factor * source[:], n values each; the last vectors may do some of them twice."""
    vector, size = _vector(factor)
    lanes = vector.count

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        factor, source, target, n = args
        spread = _everywhere(builder, factor, vector)

        def at(index: Any, kind: Any, by: Any) -> None:
            offset = builder.mul(index, _number(size))
            value = _load(builder, builder.add(source, offset), kind, size)
            _store(builder, builder.fmul(value, by), builder.add(target, offset), size)

        with builder.if_else(builder.icmp_signed(">=", n, _number(lanes))) as (wide, narrow):
            with wide:
                with cgutils.for_range(builder, builder.sdiv(n, _number(lanes))) as loop:
                    at(builder.mul(loop.index, _number(lanes)), vector, spread)
                at(builder.sub(n, _number(lanes)), vector, spread)
            with narrow, cgutils.for_range(builder, n) as loop:
                at(loop.index, vector.element, factor)
        return context.get_dummy_value()

    return types.void(factor, *[types.intp] * 3), emit


@intrinsic
def transpose(typing: Any, like: Any, rows: Any, offset: Any, out: Any, step: Any) -> Any:
    """Write a square of as many rows as a vector has lanes, transposed.

    `rows` is the address of the rows' addresses, to which `offset` is added; rows of the result lie
    `step` bytes apart from `out` on.
    """
    vector, size = _vector(like)
    lanes = vector.count

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, rows, offset, out, step = args
        square = [
            _load(builder, builder.add(_entry(builder, rows, _number(i)), offset), vector, size)
            for i in range(lanes)
        ]
        half = 1
        while half < lanes:
            square = _swapped(builder, square, half)
            half *= 2
        for i, row in enumerate(square):
            _store(builder, row, builder.add(out, builder.mul(step, _number(i))), size)
        return context.get_dummy_value()

    return types.void(like, *[types.intp] * 4), emit


def _swapped(builder: Any, square: list[Any], half: int) -> list[Any]:
    """In each 2 half x 2 half block, the upper right and the lower left quarter change places."""
    n = len(square)
    low = [i + n - half if i & half else i for i in range(n)]
    high = [i + n if i & half else i + half for i in range(n)]
    masks = [ir.Constant(ir.VectorType(_I32, n), mask) for mask in (low, high)]
    result = list(square)
    for i in (i for i in range(n) if not i & half):
        pair = square[i], square[i + half]
        result[i], result[i + half] = (builder.shuffle_vector(*pair, mask) for mask in masks)
    return result
