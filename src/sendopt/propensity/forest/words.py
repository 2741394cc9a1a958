# ruff: noqa: ARG001  (numba reads the names of an intrinsic's arguments, and gives their values to `code`)
"""The two steps of the walk that are written as LLVM code, because the compiler makes something slower of numba's."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import extending
from numba.core import cgutils, types
from numba.cpython.unsafe import numbers
from numba.np import arrayobj

from sendopt.propensity.forest.tables import BLOCK

# numba's own annotations describe Python's side of these, not the compiled one
_intrinsic: Any = extending.intrinsic
_local: Any = cgutils.alloca_once
_array: Any = arrayobj.make_array
trailing_zeros: Any = numbers.trailing_zeros

_LANES = 8  # of 64 bits: one AVX-512 word; LLVM splits it where the machine has less
_WORD = ir.IntType(64)


@_intrinsic  # type: ignore[untyped-decorator]
def below(typing: Any, edges: Any, at: Any, x: Any) -> Any:
    """Return -1 where edges[at] < x, else 0, by the sign of the difference.

    A comparison becomes a branch, and half of a search's branches are guessed wrong (measured: 21 ns a value, not 5).
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        edge = builder.load(_pointer(context, builder, signature, args, 0, args[1]))
        bits = builder.bitcast(builder.fsub(edge, args[2]), _WORD)
        return builder.ashr(bits, ir.Constant(_WORD, 63))

    return types.intp(edges, types.intp, types.float64), code


@_intrinsic  # type: ignore[untyped-decorator]
def and_rows(
    typing: Any,
    out: Any,
    to: Any,
    one: Any,
    i: Any,
    two: Any,
    j: Any,
    rows: Any,
    row_of: Any,
    codes: Any,
    c: Any,
    n: Any,
) -> Any:
    """out[to:] = one[i:] & two[j:] & rows[row_of[codes[c]]:] & … & rows[row_of[codes[c + n - 1]]:], BLOCK words each.

    LLVM cannot know that `out` overlaps none of the others, and would go word by word (measured: 4 times slower).
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(_WORD, _LANES)

        def address(array: int, start: Any, part: int) -> Any:
            first = builder.add(start, ir.Constant(_WORD, part))
            pointer = _pointer(context, builder, signature, args, array, first)
            return builder.bitcast(pointer, vector.as_pointer())

        def element(array: int, at: Any) -> Any:
            return builder.zext(builder.load(_pointer(context, builder, signature, args, array, at)), _WORD)

        masks = {part: _local(builder, vector) for part in range(0, BLOCK, _LANES)}
        for part, mask in masks.items():
            both = (builder.load(address(array, args[array + 1], part), align=8) for array in (2, 4))
            builder.store(builder.and_(*both), mask)
        with cgutils.for_range(builder, args[10]) as loop:
            row = element(7, element(8, builder.add(args[9], loop.index)))
            for part, mask in masks.items():
                word = builder.load(address(6, row, part), align=8)
                builder.store(builder.and_(builder.load(mask), word), mask)
        for part, mask in masks.items():
            builder.store(builder.load(mask), address(0, args[1], part), align=8)
        return context.get_dummy_value()

    index = types.intp
    return types.void(out, index, one, index, two, index, rows, row_of, codes, index, index), code


def _pointer(context: Any, builder: Any, signature: Any, args: Any, array: int, at: Any) -> Any:
    data = _array(signature.args[array])(context, builder, args[array]).data
    return builder.gep(data, [at])
