"""Whether a comparison fits a leaf, and what it then is in the leaf's own type.

`fit` returns expressions over one `Column` in which nothing is left to interpret:

===========  ====================================================================
leaf         what may stand on the right
===========  ====================================================================
any          ``== null``, ``!= null``
bool         ``== <`` and the like with a bool; ``in`` a list of bools
number       the same with a number of the leaf's own type, never NaN
time etc.    the same with a value of the leaf's own kind
string       the same, ``in`` and ``ni`` a string; ``==`` and ``in`` a pattern
ip           the same; ``in`` a subnet
subnet       the same; ``in`` a subnet, ``ni`` a subnet or an ip
enum         the same with one of its labels as a string
list         ``ni`` a value of the elements' own type, or a pattern
===========  ====================================================================

each with its negation. Lists on the right hold at least two different values of the leaf's own
type and neither null nor patterns.
"""

from __future__ import annotations

from collections.abc import Iterable

from vastlab.expression import numeric
from vastlab.expression.ast import And, Column, Constant, Expr, Or, Predicate
from vastlab.expression.literals import (
    IP,
    Bool,
    Double,
    Duration,
    Int64,
    ListLiteral,
    Literal,
    MapLiteral,
    Null,
    Pattern,
    RecordLiteral,
    RelativeTime,
    String,
    Subnet,
    Time,
    UInt64,
)
from vastlab.expression.operators import Operator
from vastlab.types import Kind, Leaf, Type

_NO = Constant(False)
_SIMPLE: dict[Kind, tuple[type, ...]] = {
    Kind.BOOL: (Bool,),
    Kind.STRING: (String, Pattern),
    Kind.IP: (IP,),
    Kind.SUBNET: (Subnet,),
    Kind.TIME: (RelativeTime,),
}


def fit(leaf: Leaf, operator: Operator, literal: Literal) -> Expr | None:
    """Bind a comparison to a leaf; ``None`` says that the two are not compatible.

    Parameters
    ----------
    leaf
        The field.
    operator, literal
        The comparison.

    Returns
    -------
    Expr or None
        Over ``Column(leaf)``, as the module describes.
    """
    if isinstance(literal, Null):
        return _fit_null(leaf, operator)
    bound = _fit(leaf, operator.positive, literal)
    return _negate(bound, leaf) if bound is not None and operator.is_negated else bound


def any_of(operands: Iterable[Expr]) -> Expr:
    """Join by ``or``, without what repeats or decides nothing."""
    unique = [e for e in dict.fromkeys(operands) if e != _NO]
    if Constant(True) in unique:
        return Constant(True)
    return Or(tuple(unique)) if len(unique) > 1 else (unique[0] if unique else _NO)


def all_of(operands: Iterable[Expr]) -> Expr:
    """Join by ``and``, without what repeats or decides nothing."""
    unique = [e for e in dict.fromkeys(operands) if e != Constant(True)]
    if _NO in unique:
        return _NO
    return And(tuple(unique)) if len(unique) > 1 else (unique[0] if unique else Constant(True))


# --- null -----------------------------------------------------------------------------------


def _fit_null(leaf: Leaf, operator: Operator) -> Expr | None:
    match operator:
        case Operator.EQ | Operator.NE:
            return Predicate(Column(leaf), operator, Null())
        case Operator.NI | Operator.NOT_NI if leaf.type.kind is Kind.LIST:
            return _NO
        case _:
            return None


def _present(leaf: Leaf) -> Expr:
    return Predicate(Column(leaf), Operator.NE, Null())


def _negate(bound: Expr, leaf: Leaf) -> Expr:
    """Complement on the cells that are not null."""
    match bound:
        case Predicate(extractor, operator, literal):
            return Predicate(extractor, operator.complement, literal)
        case Or(operands):
            return all_of(_negate(operand, leaf) for operand in operands)
        case _:
            return _present(leaf)


# --- positive operators ---------------------------------------------------------------------


def _fit(leaf: Leaf, operator: Operator, literal: Literal) -> Expr | None:
    match operator:
        case Operator.IN:
            return _fit_in(leaf, literal)
        case Operator.NI:
            return _fit_ni(leaf, literal)
        case _:
            return _fit_comparison(leaf, operator, literal)


def _fit_comparison(leaf: Leaf, operator: Operator, literal: Literal) -> Expr | None:
    kind = leaf.type.kind
    number = _number(kind, literal)
    if number is not None:
        match numeric.fold(kind, operator, number):
            case (folded, value):
                return Predicate(Column(leaf), folded, value)
            case True:
                return _present(leaf)
            case _:
                return _NO
    match literal:
        case ListLiteral() if kind is Kind.LIST:
            return _NO  # nothing equals a list, and lists have no order
        case Pattern() if kind is Kind.STRING and operator is not Operator.EQ:
            return _NO
        case String(label) if kind is Kind.ENUM and label in dict(leaf.type.labels):
            return Predicate(Column(leaf), operator, literal)
        case _ if isinstance(literal, _SIMPLE.get(kind, ())):
            return Predicate(Column(leaf), operator, literal)
        case _:
            return None


def _fit_in(leaf: Leaf, literal: Literal) -> Expr | None:
    match leaf.type.kind, literal:
        case _, ListLiteral(items):
            return _fit_members(leaf, items)
        case _, MapLiteral() | RecordLiteral():
            return _NO
        case (Kind.STRING, String() | Pattern()) | (Kind.IP | Kind.SUBNET, Subnet()):
            return Predicate(Column(leaf), Operator.IN, literal)
        case _:
            return None


def _fit_ni(leaf: Leaf, literal: Literal) -> Expr | None:
    match leaf.type.kind, literal:
        case (Kind.STRING, String()) | (Kind.SUBNET, IP() | Subnet()):
            return Predicate(Column(leaf), Operator.NI, literal)
        case Kind.LIST, _:
            element = _equal_in(leaf.type.item or Type(Kind.NULL), literal)
            return _NO if element is None else Predicate(Column(leaf), Operator.NI, element)
        case _:
            return None


def _fit_members(leaf: Leaf, items: tuple[Literal, ...]) -> Expr:
    """Bind ``in [...]``: equality with any element, and containment in a network."""
    kind = leaf.type.kind
    values: dict[Literal, None] = {}
    others: list[Expr] = []
    for item in items:
        if kind in (Kind.IP, Kind.SUBNET) and isinstance(item, Subnet):
            others.append(Predicate(Column(leaf), Operator.IN, item))
            continue
        match _label(leaf.type, item) or _equal_in(leaf.type, item):
            case None:
                continue
            case Pattern() as pattern:
                others.append(Predicate(Column(leaf), Operator.EQ, pattern))
            case value:
                values[value] = None
    return any_of([*_one_of(leaf, tuple(values)), *others])


def _one_of(leaf: Leaf, values: tuple[Literal, ...]) -> list[Expr]:
    match values:
        case ():
            return []
        case (value,):
            return [Predicate(Column(leaf), Operator.EQ, value)]
        case _:
            return [Predicate(Column(leaf), Operator.IN, ListLiteral(values))]


# --- values ---------------------------------------------------------------------------------


def _number(kind: Kind, literal: Literal) -> float | None:
    """Return the number in a literal that compares with cells of a kind by value."""
    match literal:
        case UInt64(value) | Int64(value) | Double(value) if kind in numeric.NUMERIC:
            return value
        case Time(value) if kind is Kind.TIME:
            return value
        case Duration(value) if kind is Kind.DURATION:
            return value
        case _:
            return None


def _equal_in(type_: Type, literal: Literal) -> Literal | None:
    """Return the value of a type that an element of a list would equal.

    Here, and only here, numbers, bools and the keys of enumerations compare with each other.
    """
    kind = type_.kind
    value = _number(kind, literal)
    if value is None and isinstance(literal, UInt64 | Int64 | Double | Bool):
        value = literal.value
        match kind:
            case Kind.BOOL:
                return Bool(bool(value)) if value in (0, 1) else None
            case Kind.ENUM:
                return next((String(label) for label, key in type_.labels if key == value), None)
    if value is not None and (kind in numeric.NUMERIC or isinstance(literal, Time | Duration)):
        return numeric.exact(kind, value)
    return literal if isinstance(literal, _SIMPLE.get(kind, ())) else None


def _label(type_: Type, literal: Literal) -> Literal | None:
    match literal:
        case String(label) if type_.kind is Kind.ENUM and label in dict(type_.labels):
            return literal
        case _:
            return None
