"""From a bound expression to a DataFusion expression."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, assert_never

import pyarrow as pa

from vastlab._lazy import col, datafusion, lit
from vastlab._lazy import functions as f
from vastlab.arrow.value_sets import AddressSet, PlainSet, TextSet, ValueSet, disjoint
from vastlab.compile.regex import required, to_rust
from vastlab.errors import ExpressionError
from vastlab.expression.ast import (
    And,
    Column,
    Constant,
    Expr,
    MetaExtractor,
    Not,
    Operator,
    Or,
    Predicate,
)
from vastlab.expression.checks import all_of
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
    Values,
)
from vastlab.types import Kind, Leaf, Schema, Type

if TYPE_CHECKING:
    from datafusion import Expr as Compiled

__all__ = [
    "bounds",
    "column_named",
    "disjuncts",
    "lookup",
    "plain",
    "predicate",
    "sample",
    "value_set",
]

_MAX_DISJUNCTS = 8
_SAMPLED = 64


def disjuncts(expr: Expr) -> tuple[Expr, ...]:
    """Split a bound expression into at most eight disjoint ones; their union is the expression.

    The expression is split if it compares addresses in several columns, joined by ``or``: then each
    part can skip row groups by the statistics of its own column.
    """
    operands = expr.operands if isinstance(expr, And) else (expr,)
    for i, operand in enumerate(operands):
        if isinstance(operand, Or):
            groups = _groups(operand)
            if 1 < len(groups) <= _MAX_DISJUNCTS:
                rest = operands[:i] + operands[i + 1 :]
                return tuple(
                    all_of((*rest, group, *(Not(other) for other in groups[:n])))
                    for n, group in enumerate(groups)
                )
    return (expr,)


def _groups(expr: Or) -> list[Expr]:
    """Group the operands by their selective column; empty if an operand has none."""
    groups: dict[str, list[Expr]] = {}
    for operand in expr.operands:
        column = _selective_column(operand)
        if column is None:
            return []
        groups.setdefault(column, []).append(operand)
    return [Or(tuple(group)) if len(group) > 1 else group[0] for group in groups.values()]


def _selective_column(expr: Expr) -> str | None:
    match expr:
        case Predicate(Column(leaf), Operator.EQ | Operator.IN, literal):
            selective = leaf.type.kind is Kind.IP and not isinstance(literal, Null | Subnet)
            if isinstance(literal, ListLiteral) and literal.is_long:
                return None  # no statistics exclude row groups here, and each disjunct needs a scan
            return leaf.column if selective else None
        case And(operands):
            return next((c for c in map(_selective_column, operands) if c is not None), None)
        case _:
            return None


def bounds(literal: ListLiteral) -> tuple[Sequence[Any], Sequence[Any]]:
    """Return the sorted lower and upper bounds of the ranges that a list consists of."""
    return literal.cached("bounds", lambda: _bounds(literal))


def sample(literal: ListLiteral) -> Sequence[Any]:
    """Return some of the single values of a list."""
    some = (item for item in literal.items[:_SAMPLED] if not isinstance(item, Subnet))
    return literal.cached("sample", lambda: [plain(item) for item in some])


def value_set(literal: ListLiteral, type_: pa.DataType) -> ValueSet:
    """Return the set that tests which values of a column are in a list."""
    return literal.cached(("set", type_), lambda: _value_set(literal.items, type_))


def plain(literal: Literal) -> Any:
    """Return the value of a literal for Arrow, or None if it is not a single value."""
    read = _READ.get(type(literal))
    return None if read is None else read(literal)


_READ: dict[type[Literal], Callable[[Any], Any]] = {
    **dict.fromkeys((Bool, Int64, UInt64, Double, String), attrgetter("value")),
    **dict.fromkeys((Time, Duration), attrgetter("nanoseconds")),
    IP: attrgetter("packed"),
}


def _bounds(literal: ListLiteral) -> tuple[Sequence[Any], Sequence[Any]]:
    if isinstance(literal.items, Values):
        ordered = sorted(literal.items.plain.to_pylist())
        return ordered, ordered
    values = {plain(item) for item in literal.items if not isinstance(item, Subnet)}
    if Subnet not in literal.kinds:
        ordered = sorted(values)  # the order of code points is that of UTF-8 bytes
        return ordered, ordered
    networks = (item.extremes for item in literal.items if isinstance(item, Subnet))
    lows, highs = zip(*disjoint([*((value, value) for value in values), *networks]), strict=True)
    return lows, highs


def _value_set(items: Sequence[Literal], type_: pa.DataType) -> ValueSet:
    if isinstance(items, Values):
        return TextSet(items.plain) if items.make is String else AddressSet(items.plain, ())
    if type_ == pa.string_view():
        return TextSet(map(plain, items))
    if pa.types.is_fixed_size_binary(type_):
        return AddressSet(
            (item.packed for item in items if isinstance(item, IP)),
            (item.extremes for item in items if isinstance(item, Subnet)),
        )
    return PlainSet(pa.array([plain(item) for item in items], type_))


_BITS = 128
_PLAIN_KINDS = frozenset(
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
# The Arrow types of the kinds that are looked up in a table of a long list.
_TABLE_TYPES = {
    Kind.STRING: pa.string_view(),
    Kind.IP: pa.binary(16),
    Kind.INT64: pa.int64(),
    Kind.UINT64: pa.uint64(),
}
_ANYWHERE = frozenset({Kind.STRING, Kind.IP})  # in no order: bounds exclude no row group
_COUNTER = itertools.count()
_OPERATORS: dict[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQ: lambda a, b: a == b,
    Operator.NE: lambda a, b: a != b,
    Operator.LT: lambda a, b: a < b,
    Operator.LE: lambda a, b: a <= b,
    Operator.GT: lambda a, b: a > b,
    Operator.GE: lambda a, b: a >= b,
}


def predicate(expr: Expr, schema: Schema) -> Compiled:
    """Compile an expression bound to this schema to a filter over its columns."""
    match expr:
        case Constant(value):
            return lit(pa.scalar(value))
        case And(operands):
            return _balanced(lambda a, b: a & b, [predicate(e, schema) for e in operands])
        case Or(operands):
            return _balanced(lambda a, b: a | b, _compile_disjunction(operands, schema))
        case Not(operand):
            return ~_null_to_false(predicate(operand, schema))
        case Predicate(MetaExtractor(meta), operator, literal):
            return _OPERATORS[operator](column_named(meta.value), _literal(literal))
        case Predicate(Column(leaf), operator, literal) if _belongs_to(leaf, schema):
            return _leaf(leaf, operator, literal)
        case Predicate(extractor):
            raise ExpressionError(f"{extractor} is not bound to the schema {schema.name!r}")
        case _:
            assert_never(expr)


def _compile_disjunction(operands: Iterable[Expr], schema: Schema) -> list[Compiled]:
    """Compile the operands of ``or``; all plain values for one list column share one search.

    Planning hundreds of searches would take the engine longer than running them.
    """
    values_by_leaf: dict[Leaf, list[Literal]] = {}
    compiled = []
    for operand in operands:
        match operand:
            case Predicate(Column(leaf), Operator.NI, literal) if (
                _belongs_to(leaf, schema) and leaf.type.item and _is_plain(leaf.type.item, literal)
            ):
                values_by_leaf.setdefault(leaf, []).append(literal)
            case _:
                compiled.append(predicate(operand, schema))
    for leaf, literals in values_by_leaf.items():
        compiled.append(_contains_any(leaf, ListLiteral(tuple(literals))))
    return compiled


def _contains_any(leaf: Leaf, literals: ListLiteral) -> Compiled:
    item = leaf.type.item or Type(Kind.NULL)
    return f.array_any_match(
        column_named(leaf.column), lambda element: _compare(item, element, Operator.IN, literals)
    )


# --- leaves ---------------------------------------------------------------------------------


def _belongs_to(leaf: Leaf, schema: Schema) -> bool:
    return leaf in schema.leaves_by_suffix.get(leaf.name, ())


def _leaf(leaf: Leaf, operator: Operator, literal: Literal) -> Compiled:
    cell = column_named(leaf.column)
    match operator, literal:
        case Operator.EQ, Null():
            return cell.is_null()
        case Operator.NE, Null():
            return cell.is_not_null()
        case Operator.NE, _ if leaf.type.kind is Kind.DOUBLE:
            # "!=" skips row groups whose minimum and maximum are the value, but these ignore NaN.
            value = _literal(literal)
            return (cell < value) | (cell > value) | f.isnan(cell)
        case Operator.NOT_IN, Subnet() if leaf.type.kind is Kind.IP:
            return ~_compare(leaf.type, cell, Operator.IN, literal)
        case (Operator.IN | Operator.NOT_IN, ListLiteral()) if literal.is_long and (
            leaf.type.kind in _TABLE_TYPES
        ):
            return _in_table(leaf, operator, literal)
        case (Operator.NE, _) | (Operator.NOT_IN, ListLiteral()) if _is_plain(leaf.type, literal):
            return _plain(cell, operator, literal)
        case _ if operator.is_negated:
            positive = _compare(leaf.type, cell, operator.positive, literal)
            return cell.is_not_null() & ~_null_to_false(positive)
        case _:
            return _compare(leaf.type, cell, operator, literal)


def _compare(type_: Type, cell: Compiled, operator: Operator, literal: Literal) -> Compiled:
    """Compare a cell, or an element of a list, with a positive operator."""
    match type_.kind:
        case Kind.LIST:
            item = type_.item or Type(Kind.NULL)
            return f.array_any_match(cell, lambda e: _compare(item, e, Operator.EQ, literal))
        case Kind.STRING if not operator.is_ordering:
            return _compare_text(cell, operator, literal)
        case Kind.IP if isinstance(literal, Subnet):
            return _between(cell, literal)
        case Kind.SUBNET:
            return cell.is_not_null() & _compare_subnet(cell, operator, literal)
        case Kind.DOUBLE:
            return _compare_double(cell, operator, literal)
        case Kind.ENUM if operator.is_ordering:
            return _compare_enum(type_, cell, operator, literal)
        case _:
            return _plain(cell, operator, literal)


def _is_plain(type_: Type, literal: Literal) -> bool:
    return type_.kind in _PLAIN_KINDS and not isinstance(literal, Pattern)


def _plain(cell: Compiled, operator: Operator, literal: Literal) -> Compiled:
    match operator, literal:
        case Operator.IN | Operator.NOT_IN, ListLiteral(items):
            negated = operator is Operator.NOT_IN
            return f.in_list(cell, [_literal(item) for item in items], negated)
        case _:
            return _OPERATORS[operator](cell, _literal(literal))


def _compare_text(cell: Compiled, operator: Operator, literal: Literal) -> Compiled:
    match operator, literal:
        case _, Pattern(regex, ignore_case):
            full = operator is Operator.EQ
            pattern = to_rust(regex, ignore_case=ignore_case, full=full)
            found = f.regexp_like(cell, _literal(String(pattern)))
            needed = "" if ignore_case else required(regex)
            return f.contains(cell, _literal(String(needed))) & found if needed else found
        case Operator.IN, String():
            return f.contains(_literal(literal), cell)
        case Operator.NI, _:
            return f.contains(cell, _literal(literal))
        case _:
            return _plain(cell, operator, literal)


def _compare_double(cell: Compiled, operator: Operator, literal: Literal) -> Compiled:
    if isinstance(literal, ListLiteral) and Double(0.0) in literal.items:
        # Long lists are compared by bits, in which the two zeros differ.
        literal = ListLiteral((*literal.items, Double(0.0), Double(-0.0)))
    # The engine orders NaN like a number, and skips the filter for row groups whose minimum and
    # maximum are the value, but these ignore NaN.
    return _plain(cell, operator, literal) & ~f.isnan(cell)


def _compare_enum(type_: Type, cell: Compiled, operator: Operator, literal: Literal) -> Compiled:
    """Order the labels of an enumeration by their keys."""
    keys = dict(type_.labels)
    compare = _OPERATORS[operator]
    bound = keys[literal.value] if isinstance(literal, String) else 0
    labels = [String(label) for label, key in type_.labels if compare(key, bound)]
    return (
        f.in_list(cell, [_literal(label) for label in labels]) if labels else lit(pa.scalar(False))
    )


# --- long lists -----------------------------------------------------------------------------


def lookup(expr: Expr) -> tuple[ValueSet, bool] | None:
    """Return the set that a whole expression looks values up in, and whether it is negated."""
    match expr:
        case Predicate(
            Column(leaf), Operator.IN | Operator.NOT_IN as operator, ListLiteral() as literal
        ) if literal.is_long and leaf.type.kind in _TABLE_TYPES:
            return value_set(literal, _TABLE_TYPES[leaf.type.kind]), operator.is_negated
        case _:
            return None


def _in_table(leaf: Leaf, operator: Operator, literal: ListLiteral) -> Compiled:
    """Look a cell up in a table: planning thousands of literals for each file takes seconds."""
    type_ = _TABLE_TYPES[leaf.type.kind]
    # Functions with the same name are treated as equal.
    name = f"is_one_of_{next(_COUNTER)}"
    contains = value_set(literal, type_).contains
    function = datafusion.udf(contains, [type_], pa.bool_(), "immutable", name)
    cell = column_named(leaf.column)
    if operator is Operator.NOT_IN:
        return cell.is_not_null() & ~function(cell)
    if leaf.type.kind in _ANYWHERE:
        return function(cell)
    # Minimum and maximum exclude row groups; few of their rows are compared with them.
    lows, highs = bounds(literal)
    low, high = (lit(pa.scalar(end, type_)) for end in (lows[0], highs[-1]))
    return function(cell) & cell.between(low, high)


# --- networks -------------------------------------------------------------------------------


def _between(address: Compiled, network: Subnet) -> Compiled:
    low, high = network.extremes
    return address.between(_address(low), _address(high))


def _compare_subnet(cell: Compiled, operator: Operator, literal: Literal) -> Compiled:
    address, length = cell["address"], cell["length"]
    match operator, literal:
        case Operator.IN, Subnet():
            return _between(address, literal) & (length >= _length(literal.length))
        case Operator.NI, IP(packed):
            return _contains_network(cell, Subnet(packed, _BITS))
        case Operator.NI, Subnet():
            return _contains_network(cell, literal)
        case Operator.EQ, Subnet(packed, bits):
            return (address == _address(packed)) & (length == _length(bits))
        case _, Subnet(packed, bits):
            strict = Operator.LT if operator in (Operator.LT, Operator.LE) else Operator.GT
            tie = (address == _address(packed)) & _OPERATORS[operator](length, _length(bits))
            return _OPERATORS[strict](address, _address(packed)) | tie
        case _:
            raise _unbound(literal)


def _contains_network(cell: Compiled, inner: Subnet) -> Compiled:
    """Match the networks that contain a network: each address with its possible lengths."""
    address, length = cell["address"], cell["length"]
    lengths: dict[bytes, list[int]] = {}
    for bits in range(inner.length + 1):
        lengths.setdefault(_masked(inner.packed, bits), []).append(bits)
    parts = [
        (address == _address(packed)) & length.between(_length(bits[0]), _length(bits[-1]))
        for packed, bits in lengths.items()
    ]
    return _balanced(lambda a, b: a | b, parts)


def _masked(packed: bytes, length: int) -> bytes:
    host = _BITS - length
    return (int.from_bytes(packed, "big") >> host << host).to_bytes(_BITS // 8, "big")


# --- parts ----------------------------------------------------------------------------------


def column_named(name: str) -> Compiled:
    """Return a column of a file, whatever its name contains."""
    quoted = name.replace('"', '""')
    return col(f'"{quoted}"')


def _null_to_false(expr: Compiled) -> Compiled:
    return f.coalesce(expr, lit(pa.scalar(False)))


def _balanced(
    join: Callable[[Compiled, Compiled], Compiled], parts: Sequence[Compiled]
) -> Compiled:
    """Join many parts as a balanced tree: a chain of thousands exhausts the planner's stack."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return join(_balanced(join, parts[:middle]), _balanced(join, parts[middle:]))


def _literal(literal: Literal) -> Compiled:
    match literal:
        case Bool(value):
            return lit(pa.scalar(value))
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
    return ExpressionError(
        f"{literal} must be replaced by a value before the expression is compiled"
    )
