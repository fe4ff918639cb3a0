"""The microkernel: the inner loops of a matrix product, written for the vector registers.

A tile of `ROWS` rows and up to `VECTORS` vectors of columns stays in registers during the sum over
the terms k. Term k has a factor for each row, and a value for each column:

                               values at columns + table[k].low
                               vector 0 | vector 1 | vector 2
    factor at                 +--------------------------------
    rows[0] + table[k].high   | sums[0]
    rows[1] + table[k].high   | sums[1]
    ...                       | ...

Because the table says where both are, chosen maps need not be gathered first. LLVM does not make
this of loops, so the instructions are written out.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
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
    """Return the vector type of a Numba float, and the bytes of one element."""
    element = ir.FloatType() if kind == types.float32 else ir.DoubleType()
    size = kind.bitwidth // 8
    return ir.VectorType(element, BYTES // size), size


def _number(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


def _load(builder: Any, address: Any, kind: Any, align: int | None = None) -> Any:
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    if align is not None:  # That of one element, because vectors may begin anywhere.
        value.align = align
    return value


def _store(builder: Any, value: Any, address: Any, align: int) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = align


def _entry(builder: Any, array: Any, index: Any) -> Any:
    """Return array[index] of an array of 64-bit numbers at an address."""
    return builder.load(builder.gep(builder.inttoptr(array, _I64.as_pointer()), [index]))


def _multiplier(vectors: int) -> Any:
    """Return the intrinsic for tiles of so many vectors."""

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
                    spread = _broadcast(builder, factor, vector)
                    for value, place in zip(values, row, strict=True):
                        total = builder.call(fused, [spread, value, builder.load(place)])
                        builder.store(total, place)
            for end, place in zip(chain(*ends), chain(*places), strict=True):
                _store(builder, builder.load(place), end, size)
            return context.get_dummy_value()

        return types.void(like, *[types.intp] * 5), emit

    return multiply


def _broadcast(builder: Any, value: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    lanes = ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, lanes)


_one, _two, _three = map(_multiplier, range(1, VECTORS + 1))


@compiled()
def multiply(
    vectors: int, like: Any, rows: int, table: int, n: int, columns: int, sums: int
) -> None:
    """Add to the sums of one tile.

        sums[i][:] += sum over k < n of *(rows[i] + table[k].high) * (columns + table[k].low)[:]

    Args:
        vectors: of the tile's columns, from 1 to VECTORS.
        like: any number of the elements' type.
        rows: the address of ROWS addresses, to which the distances of the factors are added.
        table: the address of n entries of 64 bits, each two distances in bytes.
        n: the number of terms.
        columns: the address to which the distances of the columns are added.
        sums: the address of ROWS addresses, those of each row's first sum.
    """
    if vectors == 1:
        _one(like, rows, table, n, columns, sums)
    elif vectors == 2:
        _two(like, rows, table, n, columns, sums)
    else:
        _three(like, rows, table, n, columns, sums)


def _scale(typing: Any, factor: Any, source: Any, target: Any, n: Any) -> Any:
    """See `scale`. The last two vectors overlap, unless n is a multiple of the lanes."""
    vector, size = _vector(factor)
    lanes = vector.count

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        factor, source, target, n = args
        spread = _broadcast(builder, factor, vector)

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


def _transpose(typing: Any, like: Any, rows: Any, offset: Any, out: Any, step: Any) -> Any:
    """See `transpose`. Quarters of ever larger blocks are swapped."""
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


def _scatter_add(
    typing: Any, like: Any, lines: Any, offsets: Any, n: Any, values: Any, step: Any
) -> Any:
    """See `scatter_add`."""
    _, size = _vector(like)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, lines, offsets, n, values, step = args
        starts = [_entry(builder, lines, _number(i)) for i in range(ROWS)]
        sources = [builder.add(values, builder.mul(step, _number(i))) for i in range(ROWS)]
        element = _vector(like)[0].element
        with cgutils.for_range(builder, n) as loop:
            offset = _entry(builder, offsets, loop.index)
            at = builder.mul(loop.index, _number(size))
            places = [builder.add(start, offset) for start in starts]
            sums = [
                builder.fadd(
                    _load(builder, place, element),
                    _load(builder, builder.add(source, at), element),
                )
                for place, source in zip(places, sources, strict=True)
            ]
            for place, total in zip(places, sums, strict=True):
                _store(builder, total, place, size)
        return context.get_dummy_value()

    return types.void(like, *[types.intp] * 5), emit


def _swapped(builder: Any, square: list[Any], half: int) -> list[Any]:
    """Swap the upper right and the lower left quarter of each block of 2 half x 2 half."""
    n = len(square)
    low = [i + n - half if i & half else i for i in range(n)]
    high = [i + n if i & half else i + half for i in range(n)]
    masks = [ir.Constant(ir.VectorType(_I32, n), mask) for mask in (low, high)]
    result = list(square)
    for i in (i for i in range(n) if not i & half):
        pair = square[i], square[i + half]
        result[i], result[i + half] = (builder.shuffle_vector(*pair, mask) for mask in masks)
    return result


scale: Any = intrinsic(_scale)
"""scale(factor, source, target, n): target[:] = factor * source[:], n values at two addresses."""

transpose: Any = intrinsic(_transpose)
"""transpose(like, rows, offset, out, step): write a square of values, transposed.

It has as many rows as a vector has lanes. `rows` is the address of the rows' addresses, to which
`offset` is added. The rows of the result are `step` bytes apart, the first at the address `out`.
"""

scatter_add: Any = intrinsic(_scatter_add)
"""scatter_add(like, lines, offsets, n, values, step): add a tile to sums that are no neighbours.

Value j of the tile's row i is added to the sum at lines[i] + offsets[j]. `lines` is the address of
ROWS addresses, which must not overlap there, `offsets` that of n distances in bytes. The tile
begins at the address `values`; its rows are `step` bytes apart.
"""


def try_out() -> None:
    """Compile each of the above, and run it on zeros. Raises what Numba raises."""
    values = np.zeros((BYTES // 4, BYTES // 4), np.float32)
    _run(values, values.ctypes.data + np.arange(len(values)) * values.strides[0], np.zeros(1, int))


@compiled()
def _run(values: Any, rows: Any, table: Any) -> None:
    zero, first, lines = values[0, 0], values.ctypes.data, rows.ctypes.data
    multiply(1, zero, lines, table.ctypes.data, 0, first, lines)
    scale(zero, first, first, values.size)
    transpose(zero, lines, 0, first, values.itemsize * values.shape[1])
    scatter_add(zero, lines, table.ctypes.data, 1, first, 0)
