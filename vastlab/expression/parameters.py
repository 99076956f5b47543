"""Parameters: ``$name`` in an expression stands for a value that comes later.

A value becomes a literal node of its own type. No text is made from it and none is read, so
that no value can change what the rest of the expression says.
"""

from __future__ import annotations

import datetime
import difflib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from vastlab.errors import ParameterError
from vastlab.expression._addresses import MAPPED, address, network
from vastlab.expression._numbers import INT64_MAX, INT64_MIN, UINT64_MAX
from vastlab.expression._scan import Fault
from vastlab.expression.ast import Expr, Not, Predicate, TypeExtractor
from vastlab.expression.literals import (
    IP,
    Bool,
    Double,
    Duration,
    Int64,
    ListLiteral,
    Literal,
    Null,
    Parameter,
    String,
    Time,
    UInt64,
)
from vastlab.expression.operators import Operator
from vastlab.expression.rewrite import alone, literals, map_predicates, normalise, typed
from vastlab.expression.validation import problem

__all__ = ["bind", "names", "to_literal"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_DAY = 86_400 * 10**9  # nanoseconds
_MICROSECOND = datetime.timedelta(microseconds=1)
_ARRAYS = (pd.Series, pd.Index, pd.api.extensions.ExtensionArray, np.ndarray)
_COLLECTIONS = (list, tuple, set, frozenset, *_ARRAYS)
_ACCEPTED = "text, numbers, bools, None, times, durations, addresses, networks or lists of these"


def names(expr: Expr) -> tuple[str, ...]:
    """Return the names of the parameters, in order of their first appearance.

    Examples
    --------
    >>> from vastlab.expression import parse
    >>> names(parse("src_ip in $net && port == $port && dst_ip in $net"))
    ('net', 'port')
    """
    found = (literal.name for literal in literals(expr) if isinstance(literal, Parameter))
    return tuple(dict.fromkeys(found))


def bind(expr: Expr, params: Mapping[str, object]) -> Expr:
    """Replace every parameter by the literal of its value.

    Parameters
    ----------
    expr
        A parsed expression.
    params
        Values by name; those that the expression does not name are not looked at.

    Returns
    -------
    Expr
        The same tree with literals in place of the parameters. Only ``$name`` standing alone
        becomes what the literal alone would be.

    Raises
    ------
    ParameterError
        A parameter has no value, or one that no literal can express or that does not fit.

    Examples
    --------
    >>> from ipaddress import ip_network
    >>> from vastlab.expression import parse
    >>> print(bind(parse("src_ip in $net"), {"net": ip_network("10.0.0.0/8")}))
    src_ip in 10.0.0.0/8
    """
    values = {name: _value(name, params) for name in names(expr)}
    if not values:
        return expr
    return map_predicates(expr, lambda predicate: _bind(predicate, values))


def to_literal(value: object) -> Literal:
    """Turn a Python, numpy or pandas value into a literal.

    Parameters
    ----------
    value
        A text, number, bool, ``None``, time, duration, address or network, or a flat list,
        tuple, set, Series, Index or array of these. Times without zone are UTC, and a date
        is its midnight. A category whose values are all addresses or networks, as a frame has
        it, stands for those. A literal stands for itself.

    Raises
    ------
    ParameterError
        No literal can express the value.

    Examples
    --------
    >>> print(to_literal([1, -1, 0.5, "one"]))
    [1, -1, 0.5, "one"]
    """
    if isinstance(value, Literal) and not isinstance(value, Parameter):
        return value
    return _list(value) if isinstance(value, _COLLECTIONS) else _scalar(value)


def _value(name: str, params: Mapping[str, object]) -> Literal:
    if name not in params:
        known = [key for key in params if isinstance(key, str)]
        close = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(f'${key}' for key in close)}?" if close else None
        raise ParameterError(f"the parameter ${name} has no value", hint=hint)
    try:
        return to_literal(params[name])
    except ParameterError as error:
        raise ParameterError(f"the parameter ${name}: {error.message}", hint=error.hint) from None


def _bind(predicate: Predicate, values: Mapping[str, Literal]) -> Expr:
    extractor, operator, parameter = predicate.extractor, predicate.operator, predicate.literal
    if not isinstance(parameter, Parameter):
        return predicate
    literal = values[parameter.name]
    if extractor == TypeExtractor(None):
        expr = alone(literal)
        return normalise(Not(expr)) if operator is Operator.NE else expr
    if found := problem(extractor, operator, literal):
        message = f"the parameter ${parameter.name} does not fit: {found.message}"
        raise ParameterError(message, hint=found.hint or f"expected {found.expected}")
    return typed(replace(predicate, literal=literal))


def _list(value: Iterable[object]) -> ListLiteral:
    items = [_scalar(item) for item in _items(value)]
    if isinstance(getattr(value, "dtype", None), pd.CategoricalDtype):
        items = _addresses(items)
    if isinstance(value, set | frozenset):
        items.sort(key=lambda item: (type(item).__name__, str(item)))
    return ListLiteral(tuple(items))


def _addresses(items: list[Literal]) -> list[Literal]:
    """Read categories that are all addresses or networks: frames hold such columns so."""
    texts = {item.value for item in items if isinstance(item, String)}
    found = {text: address(text, 0) for text in texts}
    read = {text: f[0] for text, f in found.items() if f and f[1] == len(text)}
    known = {text: v for text, v in read.items() if not isinstance(v, Fault)}
    if len(known) < len(texts):
        return items
    return [known[item.value] if isinstance(item, String) else item for item in items]


def _items(value: Iterable[object]) -> Iterable[object]:
    if not isinstance(value, _ARRAYS):
        return value
    if value.ndim != 1 or isinstance(value, pd.MultiIndex):
        raise _refused(value, "values in one dimension")
    # Where a column of text has no value, pandas has a NaN, which is no number there.
    return (None if gone else item for item, gone in zip(value, pd.isna(value), strict=True))


def _scalar(value: object) -> Literal:
    match _plain(value):
        case None:
            return Null()
        case Time() | Duration() as literal:
            return literal
        case bool(truth):
            return Bool(truth)
        case int(number):
            return _integer(number)
        case float(number):
            return Double(number)
        case str(text):
            return _string(text)
        case datetime.datetime() as moment:
            naive = moment.utcoffset() is None
            utc = moment.replace(tzinfo=datetime.UTC) if naive else moment
            return Time(_in_range((utc - _EPOCH) // _MICROSECOND * 1000))
        case datetime.date() as day:
            return Time(_in_range((day.toordinal() - _EPOCH.toordinal()) * _DAY))
        case datetime.timedelta() as span:
            return Duration(_in_range(span // _MICROSECOND * 1000))
        case other:
            return _address(other)


def _plain(value: object) -> object:
    """Turn what numpy and pandas hold into what Python has, times into literals."""
    try:
        match value:
            case np.datetime64():
                return _plain(pd.Timestamp(value))
            case np.timedelta64():
                return _plain(pd.Timedelta(value))
            case _ if value is pd.NA or value is pd.NaT:
                return None
            case pd.Timestamp():
                return Time(value.as_unit("ns").value)
            case pd.Timedelta():
                return Duration(value.as_unit("ns").value)
            case np.bool_():
                return bool(value)
            case np.integer():
                return int(value)
            case np.floating():
                return float(value)
            case _:
                return value
    except ValueError as error:
        raise ParameterError(str(error)) from None


def _address(value: object) -> Literal:
    match value:
        case ipaddress.IPv4Interface() | ipaddress.IPv6Interface():
            raise _refused(value, "its .ip or its .network")
        case ipaddress.IPv4Address():
            return IP(MAPPED + value.packed)
        case ipaddress.IPv6Address(scope_id=None):
            return IP(value.packed)
        case ipaddress.IPv4Network():
            return network(MAPPED + value.network_address.packed, 96 + value.prefixlen)
        case ipaddress.IPv6Network():
            return network(value.network_address.packed, value.prefixlen)
        case _:
            raise _refused(value, _ACCEPTED)


def _integer(value: int) -> Literal:
    if INT64_MIN <= value < 0:
        return Int64(value)
    if 0 <= value <= UINT64_MAX:
        return UInt64(value)
    raise ParameterError(f"the number does not fit in 64 bits: {value.bit_length()} bits long")


def _string(value: str) -> Literal:
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ParameterError("the text holds half of a character") from None
    return String(text)


def _in_range(nanoseconds: int) -> int:
    if not INT64_MIN <= nanoseconds <= INT64_MAX:
        raise ParameterError("the time is out of range", hint="times end in the year 2262")
    return nanoseconds


def _refused(value: object, accepted: str) -> ParameterError:
    kind = type(value)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    return ParameterError(f"no literal can express a {name}", hint=f"expected {accepted}")
