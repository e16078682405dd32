"""A vector of eight numbers that a compiled loop carries in one register: one number of each image of a batch.

Eight images whose pixels are interleaved need no gathers: the numbers that a ray meets lie side by side. LLVM does not
find that by itself, so the vector is a type of numba's, and the functions here are what can be done with it.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, register_model

LANES = 8

_NUMBERS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
_FAST = ("contract", "nsz")

Generated = tuple[Any, Callable[..., Any]]


class Lanes(types.Type):
    """Of numba's type ``dtype``, float32 or float64."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


@register_model(Lanes)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, _vector(kind.dtype))


def _vector(dtype: Any) -> ir.VectorType:
    return ir.VectorType(_NUMBERS[dtype], LANES)


@intrinsic
def zeros(context: Any, like: Any) -> Generated:
    """Zeros of the dtype of an array."""

    def generate(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        return ir.Constant(_vector(like.dtype), [0.0] * LANES)

    return Lanes(like.dtype)(like), generate


@intrinsic
def load(context: Any, array: Any, index: Any) -> Generated:
    """``array[index : index + 8]`` of a flat array."""

    def generate(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        loaded = builder.load(_address(target, builder, signature, values))
        loaded.align = array.dtype.bitwidth // 8
        return loaded

    return Lanes(array.dtype)(array, index), generate


@intrinsic
def store(context: Any, array: Any, index: Any, lanes: Any) -> Generated:
    """``array[index : index + 8] = lanes`` of a flat array."""

    def generate(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store(values[2], _address(target, builder, signature, values)).align = array.dtype.bitwidth // 8
        return target.get_dummy_value()

    return types.void(array, index, lanes), generate


@intrinsic
def scaled(context: Any, lanes: Any, factor: Any) -> Generated:
    """``factor lanes``; the factor has the dtype of the lanes."""

    def generate(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.fmul(_in_all(builder, values[1]), values[0])

    return lanes(lanes, lanes.dtype), generate


@intrinsic
def plus_between(context: Any, total: Any, lanes: Any, other: Any, part: Any) -> Generated:
    """``total + lanes + part (other - lanes)``, a linear interpolation; ``part`` has the dtype of the lanes."""

    def generate(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        before, first, second, part = values
        rest = builder.fmul(_in_all(builder, part), builder.fsub(second, first, flags=_FAST), flags=_FAST)
        return builder.fadd(before, builder.fadd(first, rest, flags=_FAST), flags=_FAST)

    return total(total, lanes, lanes, total.dtype), generate


@intrinsic
def plus_weighted(context: Any, total: Any, lanes: Any, weight: Any, other: Any, its_weight: Any) -> Generated:
    """``total + (weight lanes + its_weight other)``; the weights have the dtype of the lanes."""

    def generate(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        before, first, weight, second, its_weight = values
        product = builder.fmul(_in_all(builder, weight), first, flags=_FAST)
        other_product = builder.fmul(_in_all(builder, its_weight), second, flags=_FAST)
        return builder.fadd(before, builder.fadd(product, other_product, flags=_FAST), flags=_FAST)

    return total(total, lanes, total.dtype, lanes, total.dtype), generate


def _address(target: Any, builder: Any, signature: Any, values: Any) -> Any:
    kind = signature.args[0]
    data = target.make_array(kind)(target, builder, values[0]).data
    return builder.bitcast(builder.gep(data, [values[1]]), _vector(kind.dtype).as_pointer())


def _in_all(builder: Any, number: Any) -> Any:
    """The vector with the number in each lane."""
    nothing = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
    one = builder.insert_element(nothing, number, ir.IntType(32)(0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))
