"""Eight windows side by side: a vector of float64 that compiled code handles like a number.

A kernel written with ``Lanes`` values computes the same formula for eight windows at once, one a
lane. No operation mixes lanes, so the bits of a window depend on nothing beside it. Comparisons
give a ``LaneMask``; ``where`` chooses lane by lane. Inside compiled code alone: the functions here
have no meaning in the interpreter.

Every operation is rounded as IEEE 754 says and none is fused or moved by the compiler, so that a
kernel's bits do not depend on what it was compiled with or beside; where a product is added,
``fma`` rounds once and is as fast as either. Only the logarithm is the platform's own.
"""

import operator
from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model
from numba.np.arrayobj import make_array

WIDTH = 8
"""Windows a vector holds: the 512 bits of the widest registers; narrower ones take two or four."""

_DOUBLES = ir.VectorType(ir.DoubleType(), WIDTH)
_INTEGERS = ir.VectorType(ir.IntType(64), WIDTH)
_BITS = ir.VectorType(ir.IntType(1), WIDTH)
_FRACTION_BITS, _BIAS = 52, 1023  # of an IEEE 754 double


class LanesType(types.Type):
    """The compiled type of eight float64."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


class MaskType(types.Type):
    """The compiled type of eight truth values."""

    def __init__(self) -> None:
        super().__init__(name="LaneMask")


_lanes, _mask = LanesType(), MaskType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, compiled_type: Any) -> None:
        super().__init__(manager, compiled_type, _DOUBLES)


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager: Any, compiled_type: Any) -> None:
        super().__init__(manager, compiled_type, _BITS)


def _intrinsic(function: Callable[..., Any]) -> Any:
    """Return what compiled code calls: without the typing context that its definition takes."""
    return intrinsic(function)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_DOUBLES, [value] * WIDTH)


def _spread(context: Any, builder: Any, value: Any, kind: Any) -> Any:
    """Return ``value`` in every lane, if it is not lanes already."""
    if isinstance(kind, LanesType):
        return value
    scalar = context.cast(builder, value, kind, types.float64)
    index = ir.IntType(32)
    first = builder.insert_element(ir.Constant(_DOUBLES, ir.Undefined), scalar, index(0))
    zeros = ir.Constant(ir.VectorType(index, WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(first, ir.Constant(_DOUBLES, ir.Undefined), zeros)


def _pairs() -> Iterator[tuple[type, type]]:
    yield LanesType, LanesType
    yield LanesType, types.Number
    yield types.Number, LanesType


def _declare(function: Callable[..., Any], resolve: Callable[..., Any]) -> None:
    """Tell the compiler the type of ``function`` of lanes: what ``resolve`` says, None for none.

    What is declared for the processor is tried before all that numba knows of an operator. Trying
    that first, for every sum in a kernel, took a quarter of the time of compiling it.
    """

    def generic(_template: Any, args: Any, kws: Any) -> Any:
        found = None if kws else resolve(*args)
        return None if found is None else signature(found, *args)

    members = {"key": function, "generic": generic, "metadata": {"target": "cpu"}}
    template = type(f"Lanes_{function.__name__}", (AbstractTemplate,), members)
    infer_global(function, types.Function(template))


def _binary(function: Callable[..., Any], result: Any, emit: Callable[..., Any]) -> None:
    """Teach the compiler ``function`` of two lanes, or of lanes and a number."""

    def resolve(left: Any, right: Any) -> Any:
        known = any(isinstance(left, a) and isinstance(right, b) for a, b in _pairs())
        return result if known else None

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        left, right = (
            _spread(context, builder, value, kind)
            for value, kind in zip(args, signature.args, strict=True)
        )
        return emit(builder, left, right)

    _declare(function, resolve)
    for left, right in _pairs():
        lower_builtin(function, left, right)(lower)


def _arithmetic(name: str) -> Callable[[Any, Any, Any], Any]:
    return lambda builder, left, right: getattr(builder, name)(left, right)


def _comparison(symbol: str) -> Callable[[Any, Any, Any], Any]:
    return lambda builder, left, right: builder.fcmp_ordered(symbol, left, right)


for _name, _instruction in (("add", "fadd"), ("sub", "fsub"), ("mul", "fmul"), ("truediv", "fdiv")):
    for _operator in (getattr(operator, _name), getattr(operator, f"i{_name}")):
        _binary(_operator, _lanes, _arithmetic(_instruction))

for _name, _symbol in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">=")):
    _binary(getattr(operator, _name), _mask, _comparison(_symbol))


def _unary(function: Callable[..., Any], kind: type, result: Any, emit: Callable[..., Any]) -> None:
    def resolve(value: Any) -> Any:
        return result if isinstance(value, kind) else None

    def lower(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return emit(builder, args[0])

    _declare(function, resolve)
    lower_builtin(function, kind)(lower)


_unary(
    operator.neg,
    LanesType,
    _lanes,
    lambda builder, value: builder.fsub(_constant(-0.0), value),
)
_unary(
    operator.invert,
    MaskType,
    _mask,
    lambda builder, value: builder.xor(value, ir.Constant(_BITS, [1] * WIDTH)),
)


def _logical(function: Callable[..., Any], name: str) -> None:
    def resolve(left: Any, right: Any) -> Any:
        both = isinstance(left, MaskType) and isinstance(right, MaskType)
        return _mask if both else None

    def lower(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return getattr(builder, name)(*args)

    _declare(function, resolve)
    lower_builtin(function, MaskType, MaskType)(lower)


_logical(operator.and_, "and_")
_logical(operator.or_, "or_")


def _pointer(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = make_array(signature.args[0])(context, builder, args[0])
    row = context.cast(builder, args[1], signature.args[1], types.intp)
    first = builder.mul(row, ir.Constant(row.type, WIDTH))
    return builder.bitcast(builder.gep(array.data, [first]), _DOUBLES.as_pointer())


@_intrinsic
def load(_typing: Any, array: Any, row: Any) -> Any:
    """Return row ``row`` of a C-contiguous float64 array whose last axis has ``WIDTH`` entries.

    Rows are counted over all leading axes together; there is no bounds check.
    """

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature, args), align=8)

    return _lanes(array, row), emit


@_intrinsic
def store(_typing: Any, array: Any, row: Any, value: Any) -> Any:
    """Write ``value`` to row ``row``, counted as ``load`` does; a number goes to every lane."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        spread = _spread(context, builder, args[2], signature.args[2])
        builder.store(spread, _pointer(context, builder, signature, args), align=8)
        return context.get_dummy_value()

    return types.none(array, row, value), emit


@_intrinsic
def spread(_typing: Any, value: Any) -> Any:
    """Return a number in every lane."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _spread(context, builder, args[0], signature.args[0])

    return _lanes(value), emit


@_intrinsic
def where(_typing: Any, mask: Any, chosen: Any, other: Any) -> Any:
    """Return ``chosen`` in the lanes of ``mask``, and ``other`` elsewhere."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(
            args[0],
            _spread(context, builder, args[1], signature.args[1]),
            _spread(context, builder, args[2], signature.args[2]),
        )

    return _lanes(mask, chosen, other), emit


@_intrinsic
def any_lane(_typing: Any, mask: Any) -> Any:
    """Return whether a lane of ``mask`` is true."""

    def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        bits = ir.IntType(WIDTH)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], bits), bits(0))

    return types.boolean(mask), emit


def _of_llvm(name: str) -> Any:
    """Return a function of lanes that LLVM knows."""

    def function(_typing: Any, value: Any) -> Any:
        def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
            kind = ir.FunctionType(_DOUBLES, [_DOUBLES])
            known = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{WIDTH}f64")
            return builder.call(known, args)

        return _lanes(value), emit

    function.__name__ = name
    return _intrinsic(function)


sqrt, log, absolute = _of_llvm("sqrt"), _of_llvm("log"), _of_llvm("fabs")


@_intrinsic
def fma(_typing: Any, left: Any, right: Any, added: Any) -> Any:
    """Return ``left * right + added``, rounded once."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_DOUBLES, [_DOUBLES] * 3)
        known = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{WIDTH}f64")
        spread = [
            _spread(context, builder, value, kind)
            for value, kind in zip(args, signature.args, strict=True)
        ]
        return builder.call(known, spread)

    return _lanes(left, right, added), emit


@_intrinsic
def exponent(_typing: Any, value: Any) -> Any:
    """Return the binary exponent of each lane, ``floor(log2(value))``; normal values > 0."""

    def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], _INTEGERS)
        raised = builder.lshr(bits, ir.Constant(_INTEGERS, [_FRACTION_BITS] * WIDTH))
        return builder.sitofp(
            builder.sub(raised, ir.Constant(_INTEGERS, [_BIAS] * WIDTH)), _DOUBLES
        )

    return _lanes(value), emit


@_intrinsic
def mantissa(_typing: Any, value: Any) -> Any:
    """Return ``value / 2**exponent(value)``, in [1, 2); normal values > 0.

    Of a long product, the exponent is set aside now and then and one logarithm taken in the end.
    """

    def emit(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        fraction = ir.Constant(_INTEGERS, [(1 << _FRACTION_BITS) - 1] * WIDTH)
        one = ir.Constant(_INTEGERS, [_BIAS << _FRACTION_BITS] * WIDTH)
        bits = builder.and_(builder.bitcast(args[0], _INTEGERS), fraction)
        return builder.bitcast(builder.or_(bits, one), _DOUBLES)

    return _lanes(value), emit
