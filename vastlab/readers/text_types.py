"""Inferring the types of columns of text."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from math import isfinite

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vastlab.readers import text_columns, values
from vastlab.readers.problems import BECAME_NULL, Mismatches
from vastlab.readers.values import PLAIN_KINDS, type_error, value_from_text
from vastlab.types import Kind


class Scalar(Enum):
    """The common type of the values of one field."""

    NULL = auto()
    BOOL = auto()
    NATURAL = auto()  # not negative, fits int64: may become int64 or uint64
    INT64 = auto()
    UINT64 = auto()
    DOUBLE = auto()
    IP = auto()
    SUBNET = auto()
    TIME = auto()
    DURATION = auto()
    TEXT = auto()
    # Numbers in quotes in JSON, and ``NaN`` and ``Infinity`` in CSV. They are text, unless the
    # field also has numbers without quotes.
    QUOTED_NATURAL = auto()
    QUOTED_INT64 = auto()
    QUOTED_UINT64 = auto()
    QUOTED_DOUBLE = auto()


KINDS = {
    Scalar.NULL: Kind.NULL,
    Scalar.BOOL: Kind.BOOL,
    Scalar.NATURAL: Kind.INT64,
    Scalar.INT64: Kind.INT64,
    Scalar.UINT64: Kind.UINT64,
    Scalar.DOUBLE: Kind.DOUBLE,
    Scalar.IP: Kind.IP,
    Scalar.SUBNET: Kind.SUBNET,
    Scalar.TIME: Kind.TIME,
    Scalar.DURATION: Kind.DURATION,
    Scalar.TEXT: Kind.STRING,
    Scalar.QUOTED_NATURAL: Kind.STRING,
    Scalar.QUOTED_INT64: Kind.STRING,
    Scalar.QUOTED_UINT64: Kind.STRING,
    Scalar.QUOTED_DOUBLE: Kind.STRING,
}
NUMBERS = (Scalar.NATURAL, Scalar.INT64, Scalar.UINT64, Scalar.DOUBLE)
_QUOTED = {
    Scalar.NATURAL: Scalar.QUOTED_NATURAL,
    Scalar.INT64: Scalar.QUOTED_INT64,
    Scalar.UINT64: Scalar.QUOTED_UINT64,
    Scalar.DOUBLE: Scalar.QUOTED_DOUBLE,
}
_UNQUOTED = {quoted: number for number, quoted in _QUOTED.items()}
_DOUBLES = (Scalar.DOUBLE, Scalar.QUOTED_DOUBLE)
_INTEGERS = frozenset((*NUMBERS, *_UNQUOTED)) - {*_DOUBLES}
_EXACT_JOINS = {
    frozenset((Scalar.NATURAL, Scalar.INT64)): Scalar.INT64,
    frozenset((Scalar.NATURAL, Scalar.UINT64)): Scalar.UINT64,
}
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,19}")
_REAL = r"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,25})?(?:[eE][+-]?[0-9]{1,3})?"
_DOUBLE = re.compile(_REAL)
NOT_FINITE = ("nan", "inf", "-inf")  # as vastlab writes them
_NOT_FINITE = (*NOT_FINITE, "NaN", "Inf", "-Inf", "Infinity", "-Infinity")
_MAX_EXACT_LENGTH = 15  # the number of digits that a double always keeps
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_SPAN = re.compile(r"[+-]?(?:(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:ns|us|ms|s|min|m|h|d|w))+")
_TIMEDELTA = re.compile(r"-?[0-9]+ days? [+-]?[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?")
_WHOLE, _POSITIVE = "^(0|-?[1-9][0-9]{0,17})$", "^(0|[1-9][0-9]{0,17})$"
# Texts that do not change a state; Arrow matches a whole column at once.
_PATTERNS = {
    Scalar.BOOL: "^(true|false)$",
    Scalar.DOUBLE: f"^{_REAL}$",
    Scalar.QUOTED_NATURAL: _POSITIVE,
    Scalar.QUOTED_INT64: _WHOLE,
    Scalar.QUOTED_UINT64: _POSITIVE,
    Scalar.QUOTED_DOUBLE: f"^{_REAL}$",
    Scalar.TIME: f"^(?:{_TIME.pattern})$",
    Scalar.DURATION: f"^(?:{_SPAN.pattern}|{_TIMEDELTA.pattern})$",
}
_WRITTEN_ONE_WAY = (Scalar.NATURAL, Scalar.INT64, Scalar.UINT64)
_MAY_BE_TYPED = frozenset("0123456789+-.:abcdefABCDEFtTinIN")  # first characters of typed text


def join(one: Scalar, other: Scalar) -> Scalar:
    """Return the common type of two types."""
    if one is other or other is Scalar.NULL:
        return one
    if one is Scalar.NULL:
        return other
    left, right = _UNQUOTED.get(one, one), _UNQUOTED.get(other, other)
    if left not in NUMBERS or right not in NUMBERS:
        return Scalar.TEXT
    number = left if left is right else _EXACT_JOINS.get(frozenset((left, right)), Scalar.DOUBLE)
    return _QUOTED[number] if left is not one and right is not other else number


def number_of(value: int) -> Scalar:
    """Return the type of a whole number."""
    if 0 <= value < 1 << 63:
        return Scalar.NATURAL
    if -(1 << 63) <= value < 0:
        return Scalar.INT64
    return Scalar.UINT64 if 0 <= value < 1 << 64 else Scalar.TEXT


def classify(text: str, *, numbers: bool = False) -> Scalar:
    """Return the type of one text; `numbers` in text are numbers in CSV, but not in JSON."""
    if not text or len(text) > 60 or text[0] not in _MAY_BE_TYPED:
        return Scalar.TEXT
    if numbers and text in _NOT_FINITE:
        return Scalar.QUOTED_DOUBLE
    number = _number(text)
    if number is not Scalar.TEXT:
        return number if numbers else _QUOTED[number]
    if text in ("true", "false") or (numbers and text.lower() in ("true", "false")):
        return Scalar.BOOL
    try:
        return _address_or_time(text)
    except ValueError:
        return Scalar.TEXT


def _number(text: str) -> Scalar:
    if _INTEGER.fullmatch(text):
        return number_of(int(text))
    if text != "-0" and _DOUBLE.fullmatch(text) and is_exact(text):
        return Scalar.DOUBLE
    return Scalar.TEXT


def is_exact(number: str) -> bool:
    """Return whether a double keeps all digits of a number."""
    double = float(number)
    return isfinite(double) and Decimal(repr(double)) == Decimal(number)


def _address_or_time(text: str) -> Scalar:
    if _TIME.fullmatch(text):
        values.iso_time(text)
        return Scalar.TIME
    if _SPAN.fullmatch(text) or _TIMEDELTA.fullmatch(text):
        values.span(text)
        return Scalar.DURATION
    if "/" in text:
        ipaddress.ip_network(text)  # strict: no bits of a host
        values.subnet(text)
        return Scalar.SUBNET if text.rpartition("/")[2].isdigit() else Scalar.TEXT
    if "." in text or ":" in text:
        values.address(text)
        return Scalar.IP
    return Scalar.TEXT


@dataclass(frozen=True, slots=True)
class Learned:
    """The result of `learn`."""

    state: Scalar  # the common type of all values
    column: pa.Array  # converted to that type
    mismatch: int | None = None  # the row of the first value that does not match earlier ones


def learn(state: Scalar, texts: pa.Array, *, numbers: bool = False) -> Learned:
    """Find the common type of earlier values and the texts of a column, and convert the texts."""
    if texts.null_count == len(texts):
        return Learned(state, convert(texts, state))
    guess = state
    if state is Scalar.NULL:
        first = texts[pc.index(texts.is_valid(), True).as_py()].as_py()
        guess = classify(first, numbers=numbers)
    column = _convert_uniform(guess, texts, numbers=numbers)
    if column is not None:
        return Learned(guess, column)
    return _one_by_one(state, texts, numbers=numbers)


def convert(texts: pa.Array, state: Scalar) -> pa.Array:
    """Convert texts that all have the same type."""
    kind = KINDS[state]
    if kind is Kind.NULL:
        return pa.nulls(len(texts))
    if kind is Kind.BOOL:
        return text_columns.from_text(pc.utf8_lower(texts), kind)
    return text_columns.from_text(texts, kind)


def _convert_uniform(state: Scalar, texts: pa.Array, *, numbers: bool) -> pa.Array | None:
    """Convert a column if all texts match the type of earlier ones; otherwise return ``None``."""
    if state is Scalar.TIME and (times := text_columns.uniform_times(texts)) is not None:
        return times
    if state in _WRITTEN_ONE_WAY:
        return _whole_numbers(state, texts)
    pattern = _PATTERNS.get(state)
    if pattern is not None:
        ignore_case = numbers and state is Scalar.BOOL
        matches = pc.match_substring_regex(texts, pattern, ignore_case=ignore_case)
        if not pc.all(matches).as_py():
            return None
    elif state is Scalar.SUBNET:
        return None  # usually there are only a few
    column = convert(texts, state)
    if len(text_columns.lost_rows(texts, column)) or _first_inexact(state, texts) is not None:
        return None
    return column


def _whole_numbers(state: Scalar, texts: pa.Array) -> pa.Array | None:
    """Convert whole numbers if all are written as Arrow writes them; cheaper than a pattern."""
    try:
        numbers = texts.cast(pa.uint64() if state is Scalar.UINT64 else pa.int64())
    except pa.ArrowInvalid:
        return None
    if state is Scalar.NATURAL and pc.min(numbers).as_py() < 0:
        return None
    return numbers if numbers.cast(pa.string()).equals(texts) else None


def _first_inexact(state: Scalar, texts: pa.Array) -> int | None:
    """Find the first number with more digits than a double keeps."""
    if state not in _DOUBLES:
        return None
    long = pc.greater(pc.utf8_length(texts), _MAX_EXACT_LENGTH)
    if not pc.any(long).as_py():
        return None
    written_again = convert(texts, Scalar.DOUBLE).cast(pa.string())
    doubtful = pc.and_(long, pc.not_equal(written_again, texts)).fill_null(False)
    for row in np.flatnonzero(doubtful.to_numpy(zero_copy_only=False)).tolist():
        if not is_exact(texts[row].as_py()):
            return int(row)
    return None


def _one_by_one(state: Scalar, texts: pa.Array, *, numbers: bool) -> Learned:
    encoded = texts.dictionary_encode()
    too_long = False  # whether a whole number has more digits than a double keeps
    # Distinct texts are in the order of their first rows.
    for key, text in enumerate(encoded.dictionary.to_pylist()):
        before = state
        scalar = classify(text, numbers=numbers)
        state = join(before, scalar)
        too_long = too_long or (scalar in _INTEGERS and not is_exact(text))
        if state is Scalar.TEXT or (too_long and state in _DOUBLES):
            was_text = KINDS[before] in (Kind.NULL, Kind.STRING)
            row = None if was_text else pc.index(encoded.indices, key).as_py()
            return Learned(Scalar.TEXT, texts, row)
    return Learned(state, convert(texts, state))


LineOf = Callable[[int], int]


def convert_lists(
    texts: pa.Array,
    elements: Callable[[str], list[str | None]],
    read: Callable[[pa.Array], pa.Array],
) -> tuple[pa.Array, dict[int, str]]:
    """Convert texts with lists; returns them, and by row the first element that became null."""
    encoded = texts if pa.types.is_dictionary(texts.type) else texts.dictionary_encode()
    rows = [None if text is None else elements(text) for text in encoded.dictionary.to_pylist()]
    before = pa.array(rows, pa.list_(pa.string()))
    converted = read(before.values)
    mask = before.is_null() if before.null_count else None
    found = pa.ListArray.from_arrays(before.offsets, converted, mask=mask)
    wrong: dict[int, str] = {}
    for position in text_columns.lost_rows(before.values, converted).tolist():
        key = int(np.searchsorted(before.offsets, position, "right")) - 1
        wrong.setdefault(key, before.values[position].as_py())
    keys = encoded.indices.to_pylist() if wrong else []
    lost = {row: wrong[key] for row, key in enumerate(keys) if key in wrong}
    return found.take(encoded.indices), lost


def report_lost(
    mismatches: Mismatches,
    name: str,
    kind: Kind,
    rows: Sequence[int],
    text_of: Callable[[int], str],
    line_of: LineOf,
) -> None:
    """Report the values of a column that became null; `kind` is that of the elements of lists."""
    if len(rows):
        lines = [line_of(row) for row in rows]
        mismatches.add_many(name, lines, lambda i: _reason(text_of(rows[i]), kind) + BECAME_NULL)


def _reason(text: str, kind: Kind) -> str:
    try:
        if kind in PLAIN_KINDS:
            value_from_text(text, kind)
    except ValueError as error:
        return str(error)
    return str(type_error(text, kind))
