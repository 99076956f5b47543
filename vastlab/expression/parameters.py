"""Parameters of an expression (``$name``): Python values, and lists of indicators from files."""

from __future__ import annotations

import csv
import datetime
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab._lazy import is_loaded, pd
from vastlab._text import did_you_mean
from vastlab.arrow.address import DOTTED, Mask, Octets, parse_ipv4
from vastlab.endpoints import as_path
from vastlab.errors import ParameterError, UsageError
from vastlab.expression.ast import Constant, Expr, Not, Operator, Or, Predicate, TypeExtractor
from vastlab.expression.checks import problem
from vastlab.expression.literals import (
    IP,
    LONG_LIST_LENGTH,
    MAPPED,
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
    Values,
    python_call,
    type_of,
)
from vastlab.expression.long_lists import addresses
from vastlab.expression.rewrite import (
    any_field_equals,
    literals_of,
    map_predicates,
    normalise,
    typed,
)
from vastlab.expression.scanner import (
    INT64_MAX,
    INT64_MIN,
    UINT64_MAX,
    network,
    whole_address,
)
from vastlab.types import Kind, Type

__all__ = ["Indicator", "bind", "indicators", "names", "to_literal"]

Indicator = (
    ipaddress.IPv4Address
    | ipaddress.IPv6Address
    | ipaddress.IPv4Network
    | ipaddress.IPv6Network
    | str
)

_MAX_BYTES = 1 << 28  # bytes
_DELIMITERS = ",;\t|"
_TABLE_SUFFIXES = (".csv", ".tsv", ".psv")
_TRAILING_COMMENT = r"""^([^\s"']\S*)\s+[#;](?:\s.*)?$"""
_IN_QUOTES = r"""^(".*"|'.*')$"""
_DEFANGED_SCHEME = re.compile(r"(?i)\bh(?:xx|\*\*)p(s?)(?=\[?:)")
_DEFANGED_SEPARATOR = re.compile(r"\[(\.|:|://|@)\]|\((\.)\)|[\[(](?:dot)[\])]", re.IGNORECASE)
_DEFANGED = r"(?i)\[|\(\.|\(dot|h(xx|\*\*)p"
_IPV4_NETWORK = rf"{DOTTED[:-1]}/(3[0-2]|[12]?[0-9])$"
_IPV6 = r"^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]{1,3})?$"
_MAX_SHOWN = 20  # column names in an error message
_HINT = "a list of indicators is a file such as iocs.txt, or iocs.csv:column"


def indicators(path: str | Path) -> list[Indicator]:
    r"""Read a list of indicators, as a value for ``$name`` in an expression.

    Each line of the file is one value. Blank lines and lines that start with ``#`` are ignored, and
    so are blanks and one pair of quotes around a value, and a comment after it that starts with
    ``#`` or ``;`` and a blank. Defanged values are restored:
    ``hxxp://`` and ``hxxps://``, and ``[.]``, ``(.)``, ``[dot]``, ``(dot)``, ``[:]``, ``[://]``
    and ``[@]``. Addresses and networks are parsed; all other values, such as domains, URLs and
    digests, are strings, unchanged.

    Parameters
    ----------
    path
        A text file in UTF-8 or UTF-16; or ``file.csv:column`` for one column of a CSV file, whose
        header may be a comment. Commas, semicolons, tabs or bars separate its columns.

    Returns
    -------
    list
        Each value once, in the order of the file: addresses and networks of `ipaddress`, and
        strings. ``:ip in $list`` uses the addresses and networks, ``:string in $list`` the
        strings; a bare ``$list`` searches each value in all fields of its type.

    Raises
    ------
    UsageError
        The file cannot be read, is larger than 256 MB or has no such column, or it is a table
        of several columns and `path` names none.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "iocs.txt")
    ...     _ = file.write_text("# campaign 7\n203.0.113[.]7\n198.51.100.0/24\nevil.example\n")
    ...     indicators(file)
    [IPv4Address('203.0.113.7'), IPv4Network('198.51.100.0/24'), 'evil.example']
    """
    if not str(path):
        raise UsageError("the list of indicators has no file name", hint=_HINT)
    file, column = _split_column(str(as_path(path, "the list of indicators")))
    text = _read_text(file)
    raw = pa.array(
        _read_column(text, column, file) if column else _list_values(text, file), pa.string()
    )
    raw = raw if column else pc.replace_substring_regex(raw, _TRAILING_COMMENT, r"\1")
    return _parse_addresses_in(_refang_all(_strip_quotes(raw)).unique())


def _split_column(path: str) -> tuple[Path, str]:
    """Split off the column; an existing file whose name contains a colon is used as it is."""
    if Path(path).exists() or ":" not in path:
        return Path(path), ""
    file, _, column = path.rpartition(":")
    # A single letter is a drive, followed by a path.
    return (Path(path), "") if len(file) == 1 else (Path(file), column)


def _read_text(file: Path) -> str:
    try:
        with file.open("rb") as source:
            data = source.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot read {str(file)!r}: {reason}", hint=_HINT) from None
    if len(data) > _MAX_BYTES:
        raise UsageError(
            f"{str(file)!r} is larger than {_MAX_BYTES >> 20} MB", hint="split the file"
        )
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{str(file)!r} is not valid UTF-8 text: line {line}", hint="save it as UTF-8"
        ) from None


def _list_values(text: str, file: Path) -> Iterator[str]:
    """Return the lines that are values; a table of several columns is an error."""
    lines = [*_without_comments(text.splitlines())]
    header = next((line for line in lines if line.strip()), "")
    is_table = file.suffix.lower() in _TABLE_SUFFIXES
    names = max((_header_names(header, d) for d in _DELIMITERS), key=len) if is_table else []
    if len(names) > 1:
        hint = f"name one, as in {file.name}:{names[0]}; there are {', '.join(names[:_MAX_SHOWN])}"
        raise UsageError(f"{str(file)!r} has {len(names)} columns", hint=hint)
    return (line.strip() for line in lines)


def _without_comments(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if not line.lstrip().startswith("#"))


def _strip_quotes(texts: pa.StringArray) -> pa.StringArray:
    """Remove blanks and quotes around each value, then drop empty values."""
    texts = pc.utf8_trim_whitespace(texts)
    quoted = pc.match_substring_regex(texts, _IN_QUOTES)
    inside = pc.utf8_trim_whitespace(pc.utf8_slice_codeunits(texts, 1, -1))
    texts = pc.if_else(quoted, inside, texts)
    return texts.filter(pc.not_equal(texts, ""))


def _read_column(text: str, column: str, file: Path) -> Iterator[str]:
    lines = text.splitlines(keepends=True)
    head = next((i for i, line in enumerate(lines) if not _is_comment(line)), len(lines))
    # Some feeds have their header in the last comment.
    for header in lines[head : head + 1] + lines[:head][::-1]:
        for delimiter in _DELIMITERS:
            names = _header_names(header.lstrip("# "), delimiter)
            if column in names:
                body = lines[head:] if _is_comment(header) else lines[head + 1 :]
                return _cells(body, delimiter, names.index(column), file)
    known = ", ".join(_header_names(lines[head], ",")[:_MAX_SHOWN]) if head < len(lines) else ""
    raise UsageError(
        f"{str(file)!r} has no column {column!r}",
        hint=f"its columns are {known}" if known else "the file is empty",
    )


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _header_names(header: str, delimiter: str) -> list[str]:
    try:
        row = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:  # a field is longer than the module allows
        row = [header[:_MAX_SHOWN]]
    return [name.strip() for name in row]


def _cells(lines: list[str], delimiter: str, index: int, file: Path) -> Iterator[str]:
    rows = csv.reader(_without_comments(lines), delimiter=delimiter, skipinitialspace=True)
    try:
        yield from (row[index] for row in rows if index < len(row))
    except csv.Error as error:
        raise UsageError(f"{str(file)!r} is not valid CSV: {error}") from None


def _refang_all(texts: pa.StringArray) -> pa.StringArray:
    """Restore defanged indicators."""
    defanged = pc.match_substring_regex(texts, _DEFANGED)
    if not pc.any(defanged).as_py():
        return texts
    chosen = [_refang(text) for text in texts.filter(defanged).to_pylist()]
    return pc.replace_with_mask(texts, defanged, pa.array(chosen, pa.string()))


def _refang(text: str) -> str:
    text = _DEFANGED_SCHEME.sub(r"http\1", text)
    return _DEFANGED_SEPARATOR.sub(lambda found: found[1] or ".", text)


def _parse_addresses_in(texts: pa.StringArray) -> list[Indicator]:
    matrix, ipv4 = parse_ipv4(texts)
    values: list[Indicator] = texts.to_pylist()
    _replace_rows(values, ipv4, map(ipaddress.IPv4Address, _ipv4_integers(matrix[ipv4])))
    networks = pc.match_substring_regex(texts, _IPV4_NETWORK).to_numpy(zero_copy_only=False)
    _replace_rows(values, networks, _ipv4_networks(texts.filter(pa.array(networks))))
    six = pc.match_substring_regex(texts, _IPV6).to_numpy(zero_copy_only=False)
    _replace_rows(values, six, map(_parse_ipv6, texts.filter(pa.array(six)).to_pylist()))
    return values


def _replace_rows(values: list[Indicator], mask: Mask, found: Iterable[Indicator]) -> None:
    for row, value in zip(np.flatnonzero(mask).tolist(), found, strict=True):
        values[row] = value


def _ipv4_integers(matrix: Octets) -> list[int]:
    words: list[int] = np.ascontiguousarray(matrix[:, 12:]).view(">u4").ravel().tolist()
    return words


def _ipv4_networks(texts: pa.StringArray) -> Iterator[Indicator]:
    """Parse networks; host bits are cleared, as in an expression."""
    parts = pc.list_flatten(pc.split_pattern(texts, "/"))
    matrix, _ = parse_ipv4(parts[::2])
    for word, length in zip(
        _ipv4_integers(matrix), parts[1::2].cast(pa.int64()).to_pylist(), strict=True
    ):
        yield ipaddress.IPv4Network((word >> (32 - length) << (32 - length), length))


def _parse_ipv6(text: str) -> Indicator:
    try:
        if "/" in text:
            return ipaddress.IPv6Network(text, strict=False)
        return ipaddress.IPv6Address(socket.inet_pton(socket.AF_INET6, text))
    except (OSError, ValueError):
        return text


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_COMPOUND = frozenset({Kind.LIST, Kind.MAP, Kind.RECORD})
_DAY = 86_400 * 10**9  # nanoseconds
_MICROSECOND = datetime.timedelta(microseconds=1)
_COLLECTIONS = (list, tuple, set, frozenset)
_ACCEPTED = "strings, numbers, bools, None, times, durations, addresses, networks or lists of these"


def names(expr: Expr) -> tuple[str, ...]:
    """Return the names of the parameters, in order of first appearance."""
    found = (literal.name for literal in literals_of(expr) if isinstance(literal, Parameter))
    return tuple(dict.fromkeys(found))


def bind(expr: Expr, params: Mapping[str, object]) -> Expr:
    """Replace every parameter by the literal of its value; unused values are ignored.

    A bare ``$name`` becomes what the bare literal would be; a bare list becomes a comparison for
    each of its values, except that a field of networks may also contain a smaller one.
    """
    values = {name: _value(name, params) for name in names(expr)}
    if not values:
        return expr
    return map_predicates(expr, lambda predicate: _bind(predicate, values))


def to_literal(value: object) -> Literal:
    """Convert a Python, numpy or pandas value to a literal.

    Times without zone are UTC, a date is its midnight. A categorical whose values are all addresses
    or networks, as a data frame has it, becomes those. A literal is returned unchanged.
    """
    if isinstance(value, Literal) and not isinstance(value, Parameter):
        return value
    is_list = isinstance(value, _COLLECTIONS) or _is_array(value)
    return _list_literal(cast("Iterable[object]", value)) if is_list else _scalar_literal(value)


def _is_array(value: object) -> bool:
    arrays = (pd.Series, pd.Index, pd.api.extensions.ExtensionArray) if is_loaded(pd) else ()
    return isinstance(value, (np.ndarray, *arrays))


def _value(name: str, params: Mapping[str, object]) -> Literal:
    if name not in params:
        known = [key for key in params if isinstance(key, str)]
        hint = did_you_mean(name, known, "", most=3, write="${}".format)
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
        expr = (
            _any_field_in(literal)
            if isinstance(literal, ListLiteral)
            else any_field_equals(literal)
        )
        return normalise(Not(expr)) if operator is Operator.NE else expr
    if found := problem(extractor, operator, literal):
        message = f"the parameter ${parameter.name} has an invalid value: {found.message}"
        read = whole_address(literal.value) if isinstance(literal, String) else None
        expected = found.expected if read is None else python_call(read)
        raise ParameterError(message, hint=found.hint or f"expected {expected}")
    return typed(replace(predicate, literal=literal))


def _any_field_in(values: ListLiteral) -> Expr:
    """Expand a bare list: fields of the type of each item, compared with the items of that type."""
    if isinstance(values.items, Values):
        kind = type_of(values.items[0])
        return normalise(Predicate(TypeExtractor(kind), Operator.IN, values))
    by_kind: dict[Kind, list[Literal]] = {}
    for item in values.items:
        type_ = type_of(item)
        if type_ is not None and type_.kind not in _COMPOUND:  # no field equals these or null
            by_kind.setdefault(type_.kind, []).append(item)
    if networks := by_kind.get(Kind.SUBNET):
        by_kind[Kind.IP] = by_kind.get(Kind.IP, []) + networks
    asked = [
        Predicate(TypeExtractor(Type(kind)), Operator.IN, ListLiteral(tuple(items)))
        for kind, items in by_kind.items()
    ]
    return normalise(Or(tuple(asked))) if asked else Constant(False)


def _list_literal(value: Iterable[object]) -> ListLiteral:
    given = list(_items(value))
    if len(given) > LONG_LIST_LENGTH and (values := _values(given, value)) is not None:
        return ListLiteral(values)
    items = [_FAST_LITERALS.get(type(item), _scalar_literal)(item) for item in given]
    if is_loaded(pd) and isinstance(getattr(value, "dtype", None), pd.CategoricalDtype):
        items = _parse_addresses(items)
    if isinstance(value, set | frozenset):
        items.sort(key=lambda item: (type(item).__name__, str(item)))
    return ListLiteral(tuple(items))


def _values(given: list[Any], value: object) -> Values | None:
    """Return many strings or addresses without a literal for each; None for others."""
    kinds = set(map(type, given))
    is_set = isinstance(value, set | frozenset)  # which has no order of its own
    if kinds <= {ipaddress.IPv4Address, ipaddress.IPv6Address}:
        return _packed(sorted(given, key=lambda each: each.packed) if is_set else given)
    if kinds != {str}:
        return None
    try:
        texts = pa.array(sorted(given) if is_set else given, pa.string())
    except UnicodeEncodeError:
        return None
    if is_loaded(pd) and isinstance(getattr(value, "dtype", None), pd.CategoricalDtype):
        matrix, ipv4 = parse_ipv4(texts)
        return addresses(matrix) if ipv4.all() else None
    return Values(String, texts)


def _packed(given: list[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> Values | None:
    """Return addresses without a literal for each; None if one of them has a zone."""
    long = np.fromiter((type(each) is ipaddress.IPv6Address for each in given), np.bool_)
    matrix = np.zeros((len(given), 16), np.uint8)
    matrix[~long, :12] = np.frombuffer(MAPPED, np.uint8)
    numbers = np.array([int(each) for each in given if type(each) is ipaddress.IPv4Address], ">u4")
    matrix[~long, 12:] = numbers.view(np.uint8).reshape(-1, 4)
    six = [given[row] for row in np.flatnonzero(long).tolist()]
    if any(getattr(each, "scope_id", None) is not None for each in six):
        return None
    matrix[long] = np.frombuffer(b"".join(each.packed for each in six), np.uint8).reshape(-1, 16)
    return addresses(matrix)


def _parse_addresses(items: list[Literal]) -> list[Literal]:
    """Parse categories that are all addresses or networks, as data frames hold them."""
    texts = {item.value for item in items if isinstance(item, String)}
    known = {text: read for text in texts if (read := whole_address(text)) is not None}
    if len(known) < len(texts):
        return items
    return [known[item.value] if isinstance(item, String) else item for item in items]


def _items(value: Any) -> Iterable[object]:
    if not _is_array(value):
        return cast("Iterable[object]", value)
    if value.ndim != 1 or isinstance(value, pd.MultiIndex):
        raise _unsupported(value, "one-dimensional values")
    # pandas marks missing strings by NaN, which is not a number here.
    return (None if gone else item for item, gone in zip(value, pd.isna(value), strict=True))


def _scalar_literal(value: object) -> Literal:
    match _to_python(value):
        case None:
            return Null()
        case Time() | Duration() as literal:
            return literal
        case bool(truth):
            return Bool(truth)
        case int(number):
            return _integer_literal(number)
        case float(number):
            return Double(number)
        case str(text):
            return _string_literal(text)
        case datetime.datetime() as moment:
            naive = moment.utcoffset() is None
            utc = moment.replace(tzinfo=datetime.UTC) if naive else moment
            return Time(_in_range((utc - _EPOCH) // _MICROSECOND * 1000))
        case datetime.date() as day:
            return Time(_in_range((day.toordinal() - _EPOCH.toordinal()) * _DAY))
        case datetime.timedelta() as span:
            return Duration(_in_range(span // _MICROSECOND * 1000))
        case other:
            return _address_literal(other)


def _to_python(value: object) -> object:
    """Convert numpy and pandas values to Python values, times to literals."""
    try:
        match value:
            case np.datetime64():
                return _to_python(pd.Timestamp(value))
            case np.timedelta64():
                return _to_python(pd.Timedelta(value))
            case _ if is_loaded(pd) and (value is pd.NA or value is pd.NaT):
                return None
            case _ if is_loaded(pd) and isinstance(value, pd.Timestamp):
                return Time(value.as_unit("ns").value)
            case _ if is_loaded(pd) and isinstance(value, pd.Timedelta):
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


def _address_literal(value: object) -> Literal:
    match value:
        case ipaddress.IPv4Interface() | ipaddress.IPv6Interface():
            raise _unsupported(value, "its .ip or its .network")
        case ipaddress.IPv4Address():
            return IP(MAPPED + value.packed)
        case ipaddress.IPv6Address(scope_id=None):
            return IP(value.packed)
        case ipaddress.IPv4Network():
            return network(MAPPED + value.network_address.packed, 96 + value.prefixlen)
        case ipaddress.IPv6Network():
            return network(value.network_address.packed, value.prefixlen)
        case _:
            raise _unsupported(value, _ACCEPTED)


def _integer_literal(value: int) -> Literal:
    if INT64_MIN <= value < 0:
        return Int64(value)
    if 0 <= value <= UINT64_MAX:
        return UInt64(value)
    raise ParameterError(f"the number does not fit in 64 bits: it has {value.bit_length()} bits")


def _string_literal(value: str) -> Literal:
    text = str.__str__(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ParameterError("the string contains an unpaired surrogate character") from None
    return String(text)


def _in_range(nanoseconds: int) -> int:
    if not INT64_MIN <= nanoseconds <= INT64_MAX:
        raise ParameterError("the time is out of range", hint="the latest time is in the year 2262")
    return nanoseconds


def _unsupported(value: object, accepted: str) -> ParameterError:
    kind = type(value)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    return ParameterError(f"values of type {name} are not supported", hint=f"expected {accepted}")


# The common types in long lists take a fast path.
_FAST_LITERALS: dict[type, Callable[[Any], Literal]] = {
    str: _string_literal,
    ipaddress.IPv4Address: lambda value: IP(MAPPED + value.packed),
    ipaddress.IPv4Network: _address_literal,
    ipaddress.IPv6Network: _address_literal,
}
