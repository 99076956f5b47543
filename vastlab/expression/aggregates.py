"""What `summarize` asks for: groups, buckets of time, and aggregates."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum

from vastlab import _text
from vastlab.errors import UsageError
from vastlab.expression.ast import Extractor, FieldExtractor, Meta, MetaExtractor
from vastlab.expression.literals import Duration
from vastlab.expression.parser import parse_extractor, parse_literal
from vastlab.expression.resolve import match
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Leaf, Schema

TIME = "time"
"""The column of the buckets."""

_LONGEST_BUCKET = 36_525 * 86_400 * 10**9  # nanoseconds
_CALL = re.compile(r"\s*([A-Za-z_]+)\s*\((.*)\)\s*", re.DOTALL)
_NUMBERS = frozenset({Kind.INT64, Kind.UINT64, Kind.DOUBLE, Kind.DURATION})
_NESTED = frozenset({Kind.LIST, Kind.MAP, Kind.RECORD, Kind.NULL})
_VALUES = frozenset(Kind) - _NESTED
_ORDERED = _NUMBERS | {Kind.TIME, Kind.STRING, Kind.IP, Kind.BOOL}


class Function(Enum):
    """A function of the values in a group; null is no value, and neither is NaN.

    The names are those of VAST and Tenzir.
    """

    COUNT = "count"
    """The number of events, or of those that have a value."""
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    MEAN = "mean"
    COUNT_DISTINCT = "count_distinct"
    DISTINCT = "distinct"
    """The different values, as a list."""
    ANY = "any"
    """Whether a value is true."""
    ALL = "all"
    """Whether all values are true."""

    @property
    def kinds(self) -> frozenset[Kind]:
        """The types of fields that it accepts."""
        return _KINDS[self]


_UNNAMED = re.compile(rf"\s*({'|'.join(each.value for each in Function)})\s*\([^)]*\)?")

_KINDS: Mapping[Function, frozenset[Kind]] = {
    Function.COUNT: frozenset(Kind),
    Function.SUM: _NUMBERS,
    Function.MEAN: _NUMBERS,
    Function.MIN: _ORDERED,
    Function.MAX: _ORDERED,
    Function.COUNT_DISTINCT: _VALUES,
    Function.DISTINCT: _VALUES,
    Function.ANY: frozenset({Kind.BOOL}),
    Function.ALL: frozenset({Kind.BOOL}),
}


@dataclass(frozen=True, slots=True)
class Name:
    """A field as it is named in an expression, and the name of its column in the result."""

    column: str
    extractor: Extractor
    of_values: bool = False
    """Whether only fields are meant that can have a value: their type is not null."""

    @classmethod
    def parse(cls, text: str, place: str) -> Name:
        """Parse the name of a field; `place` says in an error what it is for."""
        if not isinstance(text, str):
            raise UsageError(f"{place} must be a text, got {type(text).__name__}")
        extractor = parse_extractor(text.strip())
        if extractor == MetaExtractor(Meta.IMPORT_TIME):
            raise UsageError(f"{place} cannot be #import_time", hint="name a field of the events")
        if extractor is None:
            raise UsageError(
                f"{place} must be the name of a field, got {_text.cut(text, 80)!r}",
                hint='such as "id.orig_h", ":ip", "net.src.ip" or "#type"',
            )
        return cls(text.strip(), extractor)

    def leaves(self, schema: Schema, taxonomy: Taxonomy) -> tuple[Leaf, ...]:
        """Return the fields of a schema that are meant: of a concept, those that it has."""
        found: tuple[Leaf, ...] = ()
        match self.extractor:
            case FieldExtractor(name) if name in taxonomy.concepts:
                fields = map(FieldExtractor, taxonomy.fields(name))
                found = tuple(
                    dict.fromkeys(leaf for field in fields for leaf in match(field, schema))
                )
        found = found or match(self.extractor, schema)
        if not self.of_values:
            return found
        return tuple(leaf for leaf in found if leaf.type.kind is not Kind.NULL)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate of the events in a group.

    Parameters
    ----------
    column
        The name of its column in the result.
    function
        What is computed.
    field
        Of which field; None for ``count()``.

    Examples
    --------
    >>> Aggregate.parse("bytes", "sum(orig_bytes)").function
    <Function.SUM: 'sum'>
    >>> Aggregate.parse("bytes", "total(orig_bytes)")
    Traceback (most recent call last):
        ...
    vastlab.errors.UsageError: bytes: unknown function total...
    """

    column: str
    function: Function
    field: Name | None = None

    @classmethod
    def parse(cls, column: str, text: str) -> Aggregate:
        """Parse an aggregate such as ``sum(orig_bytes)``."""
        found = _CALL.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise UsageError(
                f"{column} must be an aggregate, got {_text.cut(repr(text), 80)}",
                hint='such as "count()", "sum(orig_bytes)" or "count_distinct(id.resp_h)"',
            )
        name, inside = found[1], found[2].strip()
        try:
            function = Function(name)
        except ValueError:
            known = [each.value for each in Function]
            hint = _text.did_you_mean(name, known)
            raise UsageError(f"{column}: unknown function {name}", hint=hint) from None
        if inside:
            field = Name.parse(inside, f"{column}: {name}(...)")
            if isinstance(field.extractor, MetaExtractor):
                raise UsageError(
                    f"{column}: {name}() takes a field, and {inside} is none",
                    hint="count() counts events, and by can be #type",
                )
            return cls(column, function, replace(field, of_values=True))
        if function is not Function.COUNT:
            raise UsageError(f"{column}: {name}() needs a field", hint=f'such as "{name}(ts)"')
        return cls(column, function)


@dataclass(frozen=True, slots=True)
class Summary:
    """Groups of events, and what is computed of each.

    Parameters
    ----------
    by
        What events of one group have in common.
    every
        The length of the buckets of the event time in nanoseconds; 0 for none.
    aggregates
        What is computed.
    """

    by: tuple[Name, ...]
    every: int
    aggregates: tuple[Aggregate, ...]

    @classmethod
    def parse(
        cls,
        by: str | Iterable[str] | None,
        every: str | timedelta | None,
        aggregates: Mapping[str, str],
    ) -> Summary:
        """Parse the arguments of `summarize`; without aggregates, ``events="count()"``."""
        if not isinstance(by, Iterable | None):
            raise UsageError(f"by must be a field or several, got {_text.cut(repr(by), 80)}")
        if not isinstance(aggregates, Mapping):
            raise UsageError(
                f"aggregates must be a dict, got {_text.cut(repr(aggregates), 80)}",
                hint='such as {"bytes": "sum(orig_bytes)"}',
            )
        listed = (by,) if isinstance(by, str) else tuple(by or ())
        names = tuple(Name.parse(text, "by") for text in listed)
        parsed = tuple(
            Aggregate.parse(column, text)
            for column, text in (aggregates or {"events": "count()"}).items()
        )
        bucket = 0 if every is None else _bucket(every)
        columns = [(TIME, "the buckets of time")] if bucket else []
        columns += [(name.column, "a field") for name in names]
        columns += [(each.column, "an aggregate") for each in parsed]
        _check_columns(columns)
        return cls(names, bucket, parsed)


def check_unnamed(expression: str) -> None:
    """Raise an error where an aggregate stands in place of an expression, which begins with none.

    Examples
    --------
    >>> check_unnamed("sum(orig_bytes)")
    Traceback (most recent call last):
        ...
    vastlab.errors.UsageError: the aggregate 'sum(orig_bytes)' has no name ...
    """
    if isinstance(expression, str) and (found := _UNNAMED.match(expression)):
        call = _text.cut(found[0].strip(), 80)
        raise UsageError(f"the aggregate {call!r} has no name", hint=f"such as {found[1]}={call}")


def _check_columns(columns: Sequence[tuple[str, str]]) -> None:
    """Raise an error where two columns have one name; they are given with what they hold."""
    held: dict[str, str] = {}
    for name, what in columns:
        if name in held:
            raise UsageError(
                f"two columns are called {name!r}: {held[name]}, and {what}",
                hint=f"the path of a field may be longer, such as SCHEMA.{name}"
                if what == "a field"
                else "rename the aggregate, or name the field by a longer path",
            )
        held[name] = what


def _bucket(every: str | timedelta) -> int:
    """Return nanoseconds."""
    if isinstance(every, timedelta):
        literal: object = Duration(every // timedelta(microseconds=1) * 1000)
    else:
        literal = parse_literal(every) if isinstance(every, str) else None
    if not isinstance(literal, Duration):
        raise UsageError(
            f"every must be a span of time, got {_text.cut(repr(every), 80)}",
            hint='such as "15min", "1h" or "1d"',
        )
    if literal.nanoseconds <= 0:
        raise UsageError(f"every must be more than 0 s, got {every}")
    if literal.nanoseconds > _LONGEST_BUCKET:
        raise UsageError(f"every must be at most 100 years, got {every}")
    return literal.nanoseconds


def field_of(name: Name, schema: Schema, taxonomy: Taxonomy) -> tuple[Leaf, ...]:
    """Return the one field of a schema that is meant, or the fields of a concept.

    Raises
    ------
    UsageError
        The name means several fields.
    """
    found = name.leaves(schema, taxonomy)
    is_concept = isinstance(name.extractor, FieldExtractor) and (
        name.extractor.name in taxonomy.concepts
    )
    if len(found) > 1 and not is_concept:
        listed = ", ".join(leaf.column for leaf in found)
        raise UsageError(
            f"{name.column} means several fields of {_text.plain(schema.name)}: "
            f"{_text.plain(_text.cut(listed, 200))}",
            hint="name one of them",
        )
    if len({leaf.type.kind for leaf in found}) > 1:
        listed = ", ".join(f"{leaf.column} ({leaf.type.kind.value})" for leaf in found)
        raise UsageError(
            f"{name.column} means fields of different types in {_text.plain(schema.name)}: "
            f"{_text.plain(_text.cut(listed, 200))}",
            hint="name one of them",
        )
    return found
