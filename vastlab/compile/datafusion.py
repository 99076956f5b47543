"""Bound expressions into DataFusion's, over the flat columns of a schema.

Everything is a native expression: it is pushed into the Parquet scan, prunes row groups where
that is possible, and travels to other machines with ``Expr.to_bytes``.

A null cell makes a comparison null or false; a filter drops both. `Not` alone wants the
complement of a selection and turns null into false first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, assert_never

import pyarrow as pa
from datafusion import Expr as Compiled
from datafusion import col, lit
from datafusion import functions as f

from vastlab.compile.arms import arms
from vastlab.compile.regex import to_rust
from vastlab.errors import ExpressionError
from vastlab.expression.ast import (
    And,
    Column,
    Constant,
    Expr,
    MetaExtractor,
    Not,
    Or,
    Predicate,
)
from vastlab.expression.literals import (
    IP,
    Bool,
    Double,
    Duration,
    Int64,
    ListLiteral,
    Literal,
    Null,
    Pattern,
    String,
    Subnet,
    Time,
    UInt64,
)
from vastlab.expression.operators import Operator
from vastlab.types import Kind, Leaf, Schema, Type

__all__ = ["arms", "predicate"]

_BITS = 128
_PLAIN = frozenset(
    {
        Kind.BOOL,
        Kind.INT64,
        Kind.UINT64,
        Kind.TIME,
        Kind.DURATION,
        Kind.STRING,
        Kind.IP,
        Kind.ENUM,
    }
)
_COMPARE: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQ: lambda a, b: a == b,
    Operator.NE: lambda a, b: a != b,
    Operator.LT: lambda a, b: a < b,
    Operator.LE: lambda a, b: a <= b,
    Operator.GT: lambda a, b: a > b,
    Operator.GE: lambda a, b: a >= b,
}


def predicate(expr: Expr, schema: Schema) -> Compiled:
    """Compile a bound expression.

    Parameters
    ----------
    expr
        What `vastlab.expression.resolve.resolve` returned.
    schema
        The schema that it was bound to.

    Returns
    -------
    datafusion.Expr
        A filter over columns named by `Leaf.column`, and ``#import_time``.

    Raises
    ------
    ExpressionError
        The expression is not bound to this schema.

    Examples
    --------
    >>> from vastlab.types import Field, Type
    >>> schema = Schema("zeek.conn", (Field("port", Type(Kind.UINT64)),))
    >>> bound = Predicate(Column(schema.leaves[0]), Operator.LT, UInt64(1024))
    >>> predicate(bound, schema).canonical_name()
    'port < UInt64(1024)'
    """
    match expr:
        case Constant(value):
            return lit(value)
        case And(operands):
            return _balanced(lambda a, b: a & b, [predicate(e, schema) for e in operands])
        case Or(operands):
            return _balanced(lambda a, b: a | b, _alternatives(operands, schema))
        case Not(operand):
            return ~_certain(predicate(operand, schema))
        case Predicate(MetaExtractor(meta), operator, literal):
            return _COMPARE[operator](_column(meta.value), _literal(literal))
        case Predicate(Column(leaf), operator, literal) if _is_of(leaf, schema):
            return _leaf(leaf, operator, literal)
        case Predicate(extractor):
            raise ExpressionError(f"{extractor} is not bound to the schema {schema.name!r}")
        case _:
            assert_never(expr)


def _alternatives(operands: Iterable[Expr], schema: Schema) -> list[Compiled]:
    """Compile the parts of a disjunction; a list is searched once for all plain values.

    Hundreds of searches would take the engine longer to plan than to make.
    """
    sought: dict[Leaf, list[Literal]] = {}
    compiled = []
    for operand in operands:
        match operand:
            case Predicate(Column(leaf), Operator.NI, literal) if (
                _is_of(leaf, schema) and leaf.type.item and _is_plain(leaf.type.item, literal)
            ):
                sought.setdefault(leaf, []).append(literal)
            case _:
                compiled.append(predicate(operand, schema))
    for leaf, literals in sought.items():
        compiled.append(_holds_any(leaf, ListLiteral(tuple(literals))))
    return compiled


def _holds_any(leaf: Leaf, literals: ListLiteral) -> Compiled:
    item = leaf.type.item or Type(Kind.NULL)
    return f.array_any_match(
        _column(leaf.column), lambda element: _holds(item, element, Operator.IN, literals)
    )


# --- leaves ---------------------------------------------------------------------------------


def _is_of(leaf: Leaf, schema: Schema) -> bool:
    return leaf in schema.leaves_by_suffix.get(leaf.name, ())


def _leaf(leaf: Leaf, operator: Operator, literal: Literal) -> Compiled:
    cell = _column(leaf.column)
    match operator, literal:
        case Operator.EQ, Null():
            return cell.is_null()
        case Operator.NE, Null():
            return cell.is_not_null()
        case Operator.NE, _ if leaf.type.kind is Kind.DOUBLE:
            # "!=" would skip row groups whose extremes are both the value; extremes leave out NaN.
            value = _literal(literal)
            return (cell < value) | (cell > value) | f.isnan(cell)
        case Operator.NOT_IN, Subnet() if leaf.type.kind is Kind.IP:
            return ~_holds(leaf.type, cell, Operator.IN, literal)
        case (Operator.NE, _) | (Operator.NOT_IN, ListLiteral()) if _is_plain(leaf.type, literal):
            return _plain(cell, operator, literal)
        case _ if operator.is_negated:
            positive = _holds(leaf.type, cell, operator.positive, literal)
            return cell.is_not_null() & ~_certain(positive)
        case _:
            return _holds(leaf.type, cell, operator, literal)


def _holds(type_: Type, cell: Compiled, operator: Operator, literal: Literal) -> Compiled:
    """Test a cell, or an element of a list, with a positive operator."""
    match type_.kind:
        case Kind.LIST:
            item = type_.item or Type(Kind.NULL)
            return f.array_any_match(cell, lambda e: _holds(item, e, Operator.EQ, literal))
        case Kind.STRING if not operator.is_ordering:
            return _holds_text(cell, operator, literal)
        case Kind.IP if isinstance(literal, Subnet):
            return _between(cell, literal)
        case Kind.SUBNET:
            return cell.is_not_null() & _holds_subnet(cell, operator, literal)
        case Kind.DOUBLE:
            return _holds_double(cell, operator, literal)
        case Kind.ENUM if operator.is_ordering:
            return _holds_order(type_, cell, operator, literal)
        case _:
            return _plain(cell, operator, literal)


def _is_plain(type_: Type, literal: Literal) -> bool:
    return type_.kind in _PLAIN and not isinstance(literal, Pattern)


def _plain(cell: Compiled, operator: Operator, literal: Literal) -> Compiled:
    match operator, literal:
        case Operator.IN | Operator.NOT_IN, ListLiteral(items):
            negated = operator is Operator.NOT_IN
            return f.in_list(cell, [_literal(item) for item in items], negated)
        case _:
            return _COMPARE[operator](cell, _literal(literal))


def _holds_text(cell: Compiled, operator: Operator, literal: Literal) -> Compiled:
    match operator, literal:
        case _, Pattern(regex, ignore_case):
            full = operator is Operator.EQ
            pattern = to_rust(regex, ignore_case=ignore_case, full=full)
            return f.regexp_like(cell, _literal(String(pattern)))
        case Operator.IN, String():
            return f.contains(_literal(literal), cell)
        case Operator.NI, _:
            return f.contains(cell, _literal(literal))
        case _:
            return _plain(cell, operator, literal)


def _holds_double(cell: Compiled, operator: Operator, literal: Literal) -> Compiled:
    if isinstance(literal, ListLiteral) and Double(0.0) in literal.items:
        # Long lists are looked up by bits, where the two zeros differ.
        literal = ListLiteral((*literal.items, Double(0.0), Double(-0.0)))
    # The engine orders NaN beside the infinities, and takes a row group whose extremes are both
    # the value for one in which every row matches; but extremes leave NaN out.
    return _plain(cell, operator, literal) & ~f.isnan(cell)


def _holds_order(type_: Type, cell: Compiled, operator: Operator, literal: Literal) -> Compiled:
    """Order the labels of an enumeration by their keys."""
    keys = dict(type_.labels)
    compare = _COMPARE[operator]
    bound = keys[literal.value] if isinstance(literal, String) else 0
    labels = [String(label) for label, key in type_.labels if compare(key, bound)]
    return f.in_list(cell, [_literal(label) for label in labels]) if labels else lit(False)


# --- networks -------------------------------------------------------------------------------


def _between(address: Compiled, network: Subnet) -> Compiled:
    low, high = _extremes(network)
    return address.between(_address(low), _address(high))


def _holds_subnet(cell: Compiled, operator: Operator, literal: Literal) -> Compiled:
    address, length = cell["address"], cell["length"]
    match operator, literal:
        case Operator.IN, Subnet():
            return _between(address, literal) & (length >= _length(literal.length))
        case Operator.NI, IP(packed):
            return _contains(cell, Subnet(packed, _BITS))
        case Operator.NI, Subnet():
            return _contains(cell, literal)
        case Operator.EQ, Subnet(packed, bits):
            return (address == _address(packed)) & (length == _length(bits))
        case _, Subnet(packed, bits):
            strict = Operator.LT if operator in (Operator.LT, Operator.LE) else Operator.GT
            tie = (address == _address(packed)) & _COMPARE[operator](length, _length(bits))
            return _COMPARE[strict](address, _address(packed)) | tie
        case _:
            raise _unbound(literal)


def _contains(cell: Compiled, inner: Subnet) -> Compiled:
    """Find the networks around a network: for each address the lengths that go with it."""
    address, length = cell["address"], cell["length"]
    lengths: dict[bytes, list[int]] = {}
    for bits in range(inner.length + 1):
        lengths.setdefault(_masked(inner.packed, bits), []).append(bits)
    parts = [
        (address == _address(packed)) & length.between(_length(bits[0]), _length(bits[-1]))
        for packed, bits in lengths.items()
    ]
    return _balanced(lambda a, b: a | b, parts)


def _extremes(network: Subnet) -> tuple[bytes, bytes]:
    low = int.from_bytes(network.packed, "big")
    high = low | ((1 << (_BITS - network.length)) - 1)
    return network.packed, high.to_bytes(_BITS // 8, "big")


def _masked(packed: bytes, length: int) -> bytes:
    host = _BITS - length
    return (int.from_bytes(packed, "big") >> host << host).to_bytes(_BITS // 8, "big")


# --- parts ----------------------------------------------------------------------------------


def _column(name: str) -> Compiled:
    quoted = name.replace('"', '""')
    return col(f'"{quoted}"')


def _certain(expr: Compiled) -> Compiled:
    return f.coalesce(expr, lit(False))


def _balanced(
    join: Callable[[Compiled, Compiled], Compiled], parts: Sequence[Compiled]
) -> Compiled:
    """Join many parts as a flat tree: a chain of thousands would exhaust the planner's stack."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return join(_balanced(join, parts[:middle]), _balanced(join, parts[middle:]))


def _literal(literal: Literal) -> Compiled:
    match literal:
        case Bool(value):
            return lit(value)
        case Int64(value):
            return lit(pa.scalar(value, pa.int64()))
        case UInt64(value):
            return lit(pa.scalar(value, pa.uint64()))
        case Double(value):
            return lit(pa.scalar(value, pa.float64()))
        case Time(nanoseconds):
            return lit(pa.scalar(nanoseconds, pa.timestamp("ns")))
        case Duration(nanoseconds):
            return lit(pa.scalar(nanoseconds, pa.duration("ns")))
        case String(value):
            return lit(pa.scalar(value, pa.string()))
        case IP(packed):
            return _address(packed)
        case _:
            raise _unbound(literal)


def _address(packed: bytes) -> Compiled:
    return lit(pa.scalar(packed, pa.binary(16)))


def _length(bits: int) -> Compiled:
    return lit(pa.scalar(bits, pa.uint8()))


def _unbound(literal: Literal) -> ExpressionError:
    return ExpressionError(f"{literal} must be fixed before an expression is compiled")
