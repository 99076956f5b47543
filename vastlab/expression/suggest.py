"""Warnings for unknown names and for literals that no field can be compared with.

An unknown name is not an error: a schema without the field has no matching events, as in VAST.
But a name that *no* schema has is probably a mistake, and so is a literal that fits no field of
that name. `suggest` finds both and proposes a correction.

A correction is a valid expression with the same meaning: an address is replaced by a string for
``==`` only, a network never, since no comparison of strings tests for an address inside it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from vastlab import _text
from vastlab.errors import ExpressionSyntaxError
from vastlab.expression.ast import (
    AliasExtractor,
    Constant,
    Expr,
    Extractor,
    FieldExtractor,
    Meta,
    MetaExtractor,
    Operator,
    Predicate,
    TypeExtractor,
)
from vastlab.expression.checks import NUMERIC, fit
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
    Pattern,
    RecordLiteral,
    String,
    Subnet,
    Time,
    UInt64,
    is_quotable,
    python_call,
)
from vastlab.expression.parser import parse
from vastlab.expression.resolve import match
from vastlab.expression.rewrite import predicates
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Leaf, Schema, Type

__all__ = ["suggest", "whole_matches"]

_MAX_NAMES = 3
_MAX_LENGTH = 80
_SECOND = 10**9
_MAX_SECONDS = (2**63 - 1) // _SECOND  # seconds that a time or a duration can hold
_ALTERNATIVES = {
    Operator.EQ: (Operator.IN, Operator.NI),
    Operator.IN: (Operator.NI, Operator.EQ),
    Operator.NI: (Operator.IN, Operator.EQ),
}
_TYPE_NAME = re.compile(r":[A-Za-z0-9_.]+")
# Logs with typed fields have at least one of these: nearly every event has a time.
_TYPED_KINDS = frozenset({Kind.IP, Kind.SUBNET, Kind.TIME, Kind.DURATION})
_SAME_AS_TEXT = (UInt64, Int64, Double, Bool, IP, Subnet)  # same text in logs as in expressions
_OPEN_STARTS = ("^", ".*", "(?s:.*)", r"\A")
_OPEN_ENDS = ("$", ".*", "(?s:.*)", r"\z")
_SEARCH_OPERATORS = (Operator.EQ, Operator.NE, Operator.IN, Operator.NOT_IN)


def suggest(
    expr: Expr, schemas: Iterable[Schema], taxonomy: Taxonomy | None = None
) -> tuple[str, ...]:
    """Return warnings for what in an expression matches nothing in any schema, with corrections.

    One line each, in the order of the expression: an unknown field, alias, concept or schema, a
    comparison that fits no field, and a bare value that string fields may contain, which it does
    not search. Parameters may be unbound.
    """
    known = tuple(schemas)
    words = taxonomy or Taxonomy()
    if not known:
        return ()
    found = (_warning(predicate, known, words) for predicate in predicates(expr))
    return tuple(dict.fromkeys(_text.plain(line) for line in found if line is not None))


def _warning(predicate: Predicate, schemas: Sequence[Schema], taxonomy: Taxonomy) -> str | None:
    match predicate:
        case Predicate(MetaExtractor(Meta.TYPE), operator, String(name)):
            names = [schema.name for schema in schemas]
            if operator.positive is Operator.EQ and name not in names:
                return f"no schema is named {name}{_did_you_mean(name, names)}"
        case Predicate(FieldExtractor(name), _, RecordLiteral()) if name in taxonomy.models:
            return _unknown_model_field(name, taxonomy.leaves(name), schemas, taxonomy)
        case Predicate(FieldExtractor() | AliasExtractor() as extractor):
            leaves = [leaf for s in schemas for leaf in _matching_leaves(extractor, s, taxonomy)]
            if not leaves:
                return _unknown(predicate, schemas, taxonomy)
            return _type_mismatch(predicate, leaves)
        case Predicate(TypeExtractor(Type(Kind.STRING)), Operator.EQ, String(text)):
            return _quoted_address_warning(text, schemas)
        case Predicate(TypeExtractor(Type(Kind.STRING)), Operator.IN, ListLiteral(items)):
            first = items[0] if items else None  # to read all of them would take seconds
            return (
                _quoted_address_warning(first.value, schemas) if isinstance(first, String) else None
            )
        case Predicate(TypeExtractor(Type(kind=kind)) as extractor, _, literal) if (
            kind is not Kind.STRING
        ):
            if isinstance(literal, ListLiteral):
                leaves = [leaf for schema in schemas for leaf in match(extractor, schema)]
                if leaves and (found := _type_mismatch(predicate, leaves)):
                    return found
            return _string_fields_warning(predicate, kind, schemas)
    return None


def whole_matches(expr: Expr) -> tuple[str, ...]:
    """Say which patterns could match more: they match whole texts, and not parts of them.

    To be shown where nothing was found, one line for each pattern that is open at an end.

    Examples
    --------
    >>> print(*whole_matches(parse("host == /google/")))
    host == /google/ matches whole texts only: host in /google/ also matches a part
    """
    found = (_whole_match(predicate) for predicate in predicates(expr))
    return tuple(dict.fromkeys(_text.plain(line) for line in found if line is not None))


def _whole_match(predicate: Predicate) -> str | None:
    match predicate:
        case Predicate(_, Operator.EQ, Pattern(regex)):
            if regex.startswith(_OPEN_STARTS) and regex.endswith(_OPEN_ENDS):
                return None
            anywhere = replace(predicate, operator=Operator.IN)
            whole, part = (_text.cut(str(p), _MAX_LENGTH) for p in (predicate, anywhere))
            return f"{whole} matches whole texts only: {part} also matches a part"
    return None


# --- names ----------------------------------------------------------------------------------


def _matching_leaves(extractor: Extractor, schema: Schema, taxonomy: Taxonomy) -> Iterator[Leaf]:
    match extractor:
        case FieldExtractor(name) if name in taxonomy.concepts:
            for field in taxonomy.fields(name):
                yield from match(FieldExtractor(field), schema)
    yield from match(extractor, schema)


def _unknown_model_field(
    model: str, leaves: tuple[str, ...], schemas: Sequence[Schema], taxonomy: Taxonomy
) -> str | None:
    for leaf in leaves:
        meant = (_matching_leaves(FieldExtractor(leaf), schema, taxonomy) for schema in schemas)
        if next(itertools.chain.from_iterable(meant), None) is None:
            return f"no schema has a field for {leaf}, which the model {model} needs"
    return None


def _unknown(predicate: Predicate, schemas: Sequence[Schema], taxonomy: Taxonomy) -> str:
    match extractor := predicate.extractor:
        case FieldExtractor(name) if name in taxonomy.concepts:
            return f"no schema has a field of the concept {extractor}"
        case FieldExtractor(name):
            known = dict.fromkeys(suffix for s in schemas for suffix in s.leaves_by_suffix)
            inside = [path for path in known if path.startswith(f"{name}.")]
            if inside:
                fields = _join_names([_field(path) for path in inside[:_MAX_NAMES]])
                return f"{extractor} is a record; use one of its fields: {fields}"
            if concepts := _concepts_of(name, schemas, taxonomy):  # what other logs call so
                hint = _bare_word_hint(name, predicate, schemas)
                meant = _join_names(concepts)
                return f"no schema has a field {extractor}: did you mean {meant}?{hint}"
            words = [*known, *taxonomy.concepts, *taxonomy.models]
            hint = _did_you_mean(name, words, _field) + _bare_word_hint(name, predicate, schemas)
            return f"no schema has a field {extractor}{hint}"
        case _:
            aliases = dict.fromkeys(
                f":{alias}" for s in schemas for leaf in s.leaves for alias in leaf.type.names
            )
            builtin = (f":{kind.value}" for kind in Kind)
            names = [name for name in (*aliases, *builtin) if _TYPE_NAME.fullmatch(name)]
            return f"no schema has a type {extractor}{_did_you_mean(str(extractor), names)}"


def _concepts_of(name: str, schemas: Sequence[Schema], taxonomy: Taxonomy) -> list[str]:
    """Return the concepts that a field of this name belongs to, and that some schema has.

    Those of most fields come first.
    """
    return [
        concept
        for concept in sorted(taxonomy.concepts, key=lambda name: -len(taxonomy.fields(name)))
        if any(field.endswith(f".{name}") for field in taxonomy.fields(concept))
        and any(_matching_leaves(FieldExtractor(concept), s, taxonomy) for s in schemas)
    ]


def _bare_word_hint(name: str, predicate: Predicate, schemas: Sequence[Schema]) -> str:
    """Suggest what else a bare word, which tests for a field, may mean."""
    if (predicate.operator, predicate.literal) != (Operator.NE, Null()):
        return ""
    if any(schema.name == name for schema in schemas):
        return f" (for events of this schema: #type == {String(name)})"
    return f" (put a string in double quotes: {String(name)})" if is_quotable(name) else ""


def _field(path: str) -> str:
    return str(FieldExtractor(path))


def _did_you_mean(name: str, known: Sequence[str], write: Callable[[str], str] = str) -> str:
    """Suggest close names; for a dotted name, also by its last part."""
    close = _text.close_matches(name, known, _MAX_NAMES)
    close = close or _text.close_matches(name.rpartition(".")[2], known)
    return f": did you mean {_join_names([*map(write, close)])}?" if close else ""


def _join_names(names: Sequence[str]) -> str:
    shown = list(names[:_MAX_NAMES])
    *most, last = shown
    return f"{', '.join(most)} or {last}" if most else last


# --- literals -------------------------------------------------------------------------------


def _type_mismatch(predicate: Predicate, leaves: Sequence[Leaf]) -> str | None:
    operator, literal = predicate.operator, predicate.literal
    if isinstance(literal, Parameter):
        return None
    if any(_fits(leaf, operator, literal) for leaf in leaves):
        return None
    if isinstance(literal, ListLiteral) and len(literal.items) > _MAX_LENGTH:  # more is not shown
        predicate = replace(predicate, literal=ListLiteral(literal.items[:_MAX_LENGTH]))
    kinds = dict.fromkeys(_describe(leaf) for leaf in leaves)
    # A list binds to every field, so its negation matches every value.
    idle = operator.is_negated and isinstance(literal, ListLiteral)
    does = "excludes nothing" if idle else "matches nothing"
    message = (
        f"{_shorten(predicate)} {does} because {predicate.extractor} is {_join_names(list(kinds))}"
    )
    better = next(_corrections(predicate, leaves), None)
    return message if better is None else f"{message}: use {_shorten(better)}{_from_python(better)}"


def _from_python(better: Predicate) -> str:
    """Say how a parameter has the address of a comparison, since as text it would not be one."""
    literal = better.literal
    first = literal.items[0] if isinstance(literal, ListLiteral) and literal.items else literal
    called = python_call(first)
    return f" (a parameter: {called})" if called else ""


def _quoted_address_warning(text: str, schemas: Sequence[Schema]) -> str | None:
    """Warn of an address in quotes, which compares with strings only."""
    if not isinstance(value := next(_parse_unquoted(text), None), IP | Subnet):
        return None
    if _text_schemas(frozenset({Kind.IP}), schemas):
        return None  # these schemas have addresses as strings
    kind = "an address" if isinstance(value, IP) else "a network"
    called = f" (a parameter: {python_call(value)})"
    return f'"{text}" matches only strings; write {kind} without quotes: {text}{called}'


def _string_fields_warning(
    predicate: Predicate, kind: Kind, schemas: Sequence[Schema]
) -> str | None:
    """Warn that a bare value does not search string fields that may contain it."""
    operator, literal = predicate.operator, predicate.literal
    # A bare network is expanded to two comparisons; one warning is enough.
    if (
        operator not in _SEARCH_OPERATORS
        or isinstance(literal, Null | Parameter)
        or kind is Kind.SUBNET
    ):
        return None
    kinds = NUMERIC if kind in NUMERIC else frozenset({kind})
    if kind not in _TYPED_KINDS | NUMERIC or not (found := _text_schemas(kinds, schemas)):
        return None
    texts = [_field(e.name) for e in found[0].leaves if e.type.kind is Kind.STRING]
    instead = f"; use {String(str(literal))} to search strings" if isinstance(literal, IP) else ""
    asked = _text.cut(str(predicate), _MAX_LENGTH) if isinstance(literal, ListLiteral) else literal
    return (
        f"{asked} does not search the string fields of {_join_names([s.name for s in found])}, "
        f"which have no field of type {kind.value}: {_join_names(texts)}{instead}"
    )


def _text_schemas(kinds: frozenset[Kind], schemas: Sequence[Schema]) -> list[Schema]:
    """Return the schemas whose string fields may hold values of these kinds as text.

    They have string fields and no field of the kinds. If other schemas have some, only schemas
    without any typed field count: some logs of Zeek have no address, which needs no warning.
    """
    found = {schema.name: {leaf.type.kind for leaf in schema.leaves} for schema in schemas}
    nowhere = not any(held & kinds for held in found.values())
    without = _TYPED_KINDS if not nowhere else frozenset()
    return [
        schema
        for schema in schemas
        if Kind.STRING in found[schema.name] and not found[schema.name] & (kinds | without)
    ]


def _fits(leaf: Leaf, operator: Operator, literal: Literal) -> bool:
    bound = fit(leaf, operator.positive, literal)
    match literal:
        case ListLiteral(items) if items and operator.positive is Operator.IN:
            return bound != Constant(False) or any(isinstance(i, Parameter) for i in items)
        case _:
            return bound is not None


def _shorten(predicate: Predicate) -> str:
    text = str(predicate)
    return _text.cut(text, _MAX_LENGTH) if isinstance(predicate.literal, ListLiteral) else text


def _describe(leaf: Leaf) -> str:
    if leaf.type.kind is Kind.ENUM:
        labels = [f'"{label}"' for label, _ in leaf.type.labels]
        return f"one of {_text.cut(', '.join(labels), _MAX_LENGTH)}"
    text = str(replace(leaf.type, names=()))
    return f"an {text}" if text[0] in "aei" else f"a {text}"


def _corrections(predicate: Predicate, leaves: Sequence[Leaf]) -> Iterator[Predicate]:
    """Try other literals and operators until one fits."""
    for leaf in leaves:
        values = [predicate.literal, *_conversions(leaf, predicate.operator, predicate.literal)]
        for value, operator in itertools.product(values, _operators(predicate.operator)):
            if _fits(leaf, operator, value) and fit(leaf, operator, value) != Constant(False):
                yield replace(predicate, operator=operator, literal=value)


def _operators(operator: Operator) -> list[Operator]:
    if operator.is_ordering:
        return [operator]
    others = _ALTERNATIVES[operator.positive]
    return [operator, *(o.complement if operator.is_negated else o for o in others)]


def _conversions(leaf: Leaf, operator: Operator, literal: Literal) -> Iterator[Literal]:
    """Convert a literal to other types with the same meaning."""
    kind = leaf.type.kind
    if kind is Kind.LIST and leaf.type.item is not None:
        kind = leaf.type.item.kind
    match literal:
        case String(text):
            labels = [label for label, _ in leaf.type.labels]
            yield from map(String, _text.close_matches(text, labels))
            yield from _parse_unquoted(text)
        case UInt64(value) | Int64(value) | Double(value) if abs(value) <= _MAX_SECONDS:
            if kind is Kind.DURATION:
                yield Duration(int(value * _SECOND))
            if kind is Kind.TIME:
                yield Time(int(value * _SECOND))
            if kind is Kind.BOOL and value in (0, 1):
                yield Bool(bool(value))
        case Duration(nanoseconds) if nanoseconds >= 0 and nanoseconds % _SECOND == 0:
            yield UInt64(nanoseconds // _SECOND)
        case ListLiteral(items):
            yield from _list_conversions(leaf, kind, items)
    if (
        kind is Kind.STRING
        and operator.positive is Operator.EQ
        and isinstance(literal, _SAME_AS_TEXT)
    ):
        yield String(str(literal))


def _list_conversions(leaf: Leaf, kind: Kind, items: Sequence[Literal]) -> Iterator[ListLiteral]:
    if kind is Kind.STRING and any(isinstance(item, Subnet) for item in items):
        return  # a string is never inside a network
    read = (next(_conversions(leaf, Operator.EQ, item), item) for item in items)
    yield ListLiteral(tuple(read))


def _parse_unquoted(text: str) -> Iterator[Literal]:
    try:
        read = parse(f"x == {text}")
    except ExpressionSyntaxError:
        return
    if isinstance(read, Predicate) and not isinstance(read.literal, Parameter | Null | String):
        yield read.literal
