"""Help with names that nobody knows and with literals that never fit.

An unknown name is no error: a schema without the field gives no events, as in VAST. But a name
that *no* schema knows is mostly a slip, and so is a literal that no field of the name can be
compared with. `suggest` finds both and offers what was probably meant.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
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
    Predicate,
    TypeExtractor,
)
from vastlab.expression.fit import fit
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
    RecordLiteral,
    String,
    Subnet,
    Time,
    UInt64,
)
from vastlab.expression.operators import Operator
from vastlab.expression.parser import parse
from vastlab.expression.resolve import match
from vastlab.expression.rewrite import predicates
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Leaf, Schema, Type

__all__ = ["suggest"]

_MOST_NAMES = 3
_CUTOFF = 0.6
_LONGEST = 80
_SECOND = 10**9
_OTHERS = {
    Operator.EQ: (Operator.IN, Operator.NI),
    Operator.IN: (Operator.NI, Operator.EQ),
    Operator.NI: (Operator.IN, Operator.EQ),
}


def suggest(
    expr: Expr, schemas: Iterable[Schema], taxonomy: Taxonomy | None = None
) -> tuple[str, ...]:
    """Say what in an expression can find nothing in any schema, and what may have been meant.

    Parameters
    ----------
    expr
        A parsed expression; parameters may still be open.
    schemas
        All schemas of the node. Without any there is nothing to say.
    taxonomy
        The concepts and models that the expression may name.

    Returns
    -------
    tuple of str
        One line each, for an unknown field, alias, concept or schema, and for a comparison
        that no field fits; in the order of the expression.

    Examples
    --------
    >>> from vastlab.types import Field, Type
    >>> schema = Schema("zeek.conn", (Field("duration", Type(Kind.DURATION)),))
    >>> for line in suggest(parse("durration > 5s || duration > 5"), [schema]):
    ...     print(line)
    no schema has a field durration: did you mean duration?
    duration > 5 finds nothing, since duration is a duration: write duration > 5s
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
                return f"no schema is called {name}{_did_you_mean(name, names)}"
        case Predicate(FieldExtractor(name), _, RecordLiteral()) if name in taxonomy.models:
            return _unknown_part(name, taxonomy.leaves(name), schemas, taxonomy)
        case Predicate(FieldExtractor() | AliasExtractor() as extractor):
            leaves = [leaf for s in schemas for leaf in _meant(extractor, s, taxonomy)]
            if not leaves:
                return _unknown(predicate, schemas, taxonomy)
            return _misfit(predicate, leaves)
        case Predicate(TypeExtractor(Type(Kind.STRING)), Operator.EQ, String(text)):
            return _quoted(text)
    return None


# --- names ----------------------------------------------------------------------------------


def _meant(extractor: Extractor, schema: Schema, taxonomy: Taxonomy) -> Iterator[Leaf]:
    match extractor:
        case FieldExtractor(name) if name in taxonomy.concepts:
            for field in taxonomy.fields(name):
                yield from match(FieldExtractor(field), schema)
    yield from match(extractor, schema)


def _unknown_part(
    model: str, leaves: tuple[str, ...], schemas: Sequence[Schema], taxonomy: Taxonomy
) -> str | None:
    for leaf in leaves:
        meant = (_meant(FieldExtractor(leaf), schema, taxonomy) for schema in schemas)
        if next(itertools.chain.from_iterable(meant), None) is None:
            return f"no schema has a field for {leaf}, which the model {model} needs"
    return None


def _unknown(predicate: Predicate, schemas: Sequence[Schema], taxonomy: Taxonomy) -> str:
    match extractor := predicate.extractor:
        case FieldExtractor(name) if name in taxonomy.concepts:
            return f"no schema has a field of the concept {name}"
        case FieldExtractor(name):
            known = dict.fromkeys(suffix for s in schemas for suffix in s.leaves_by_suffix)
            inside = [path for path in known if path.startswith(f"{name}.")]
            if inside:
                return f"{name} is a record, ask for its fields: {_few(inside)}"
            words = [*known, *taxonomy.concepts, *taxonomy.models]
            meant = _did_you_mean(name, words)
            return f"no schema has a field {name}{meant}{_alone(name, predicate, schemas)}"
        case _:
            aliases = dict.fromkeys(
                f":{alias}" for s in schemas for leaf in s.leaves for alias in leaf.type.names
            )
            builtin = (f":{kind.value}" for kind in Kind)
            return f"no schema has a type {extractor}" + _did_you_mean(
                str(extractor), [*aliases, *builtin]
            )


def _alone(name: str, predicate: Predicate, schemas: Sequence[Schema]) -> str:
    """Say what else a word may have meant that stands alone, which asks for a field."""
    if (predicate.operator, predicate.literal) != (Operator.NE, Null()):
        return ""
    if any(schema.name == name for schema in schemas):
        return f' (the events of a schema: #type == "{name}")'
    return f' (a text stands in double quotes: "{name}")'


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    """Find close names, whatever their case; the last part of a dotted one counts alone, too."""
    spelled = {word.lower(): word for word in known}
    if name.lower() in spelled:
        return f": did you mean {spelled[name.lower()]}?"
    last = name.rpartition(".")[2].lower()
    close = difflib.get_close_matches(name.lower(), spelled, n=_MOST_NAMES, cutoff=_CUTOFF)
    close = close or difflib.get_close_matches(last, spelled, n=1, cutoff=_CUTOFF)
    return f": did you mean {_few([spelled[word] for word in close])}?" if close else ""


def _few(names: Sequence[str]) -> str:
    shown = list(names[:_MOST_NAMES])
    *most, last = shown
    return f"{', '.join(most)} or {last}" if most else last


# --- literals -------------------------------------------------------------------------------


def _misfit(predicate: Predicate, leaves: Sequence[Leaf]) -> str | None:
    operator, literal = predicate.operator, predicate.literal
    if isinstance(literal, Parameter):
        return None
    if any(_fits(leaf, operator, literal) for leaf in leaves):
        return None
    kinds = dict.fromkeys(_described(leaf) for leaf in leaves)
    # A list binds to every field, so that its negation holds wherever there is a value.
    idle = operator.is_negated and isinstance(literal, ListLiteral)
    does = "excludes nothing" if idle else "finds nothing"
    message = f"{_short(predicate)} {does}, since {predicate.extractor} is {_few(list(kinds))}"
    better = next(_fitting(predicate, leaves), None)
    return f"{message}: write {_short(better)}" if better is not None else message


def _quoted(text: str) -> str | None:
    """Tell texts from the addresses that they spell: quotes are a habit of other languages."""
    if not isinstance(value := next(_unquoted(text), None), IP | Subnet):
        return None
    kind = "an address" if isinstance(value, IP) else "a network"
    return f'"{text}" asks for texts only: {kind} has no quotes, as in {text}'


def _fits(leaf: Leaf, operator: Operator, literal: Literal) -> bool:
    bound = fit(leaf, operator.positive, literal)
    match literal:
        case ListLiteral(items) if items and operator.positive is Operator.IN:
            return bound != Constant(False) or any(isinstance(i, Parameter) for i in items)
        case _:
            return bound is not None


def _short(predicate: Predicate) -> str:
    text = str(predicate)
    return _text.cut(text, _LONGEST) if isinstance(predicate.literal, ListLiteral) else text


def _described(leaf: Leaf) -> str:
    if leaf.type.kind is Kind.ENUM:
        labels = [f'"{label}"' for label, _ in leaf.type.labels]
        return f"one of {_text.cut(', '.join(labels), _LONGEST)}"
    text = str(replace(leaf.type, names=()))
    return f"an {text}" if text[0] in "aei" else f"a {text}"


def _fitting(predicate: Predicate, leaves: Sequence[Leaf]) -> Iterator[Predicate]:
    """Try other literals and other operators until one fits."""
    for leaf in leaves:
        values = [predicate.literal, *_readings(leaf, predicate.literal)]
        for value, operator in itertools.product(values, _operators(predicate.operator)):
            if _fits(leaf, operator, value) and fit(leaf, operator, value) != Constant(False):
                yield replace(predicate, operator=operator, literal=value)


def _operators(operator: Operator) -> list[Operator]:
    if operator.is_ordering:
        return [operator, Operator.NE, Operator.NI]
    others = _OTHERS[operator.positive]
    return [operator, *(o.complement if operator.is_negated else o for o in others)]


def _readings(leaf: Leaf, literal: Literal) -> Iterator[Literal]:
    """Read a literal as one of another type."""
    kind = leaf.type.kind
    if kind is Kind.LIST and leaf.type.item is not None:
        kind = leaf.type.item.kind
    match literal:
        case String(text):
            labels = [label for label, _ in leaf.type.labels]
            close = difflib.get_close_matches(text, labels, n=1)
            yield from map(String, close)
            yield from _unquoted(text)
        case UInt64(value) | Int64(value) | Double(value) if math.isfinite(value):
            if kind is Kind.DURATION:
                yield Duration(int(value * _SECOND))
            if kind is Kind.TIME:
                yield Time(int(value * _SECOND))
            if kind is Kind.BOOL and value in (0, 1):
                yield Bool(bool(value))
        case Duration(nanoseconds):
            yield UInt64(abs(nanoseconds) // _SECOND)
        case ListLiteral(items):
            yield ListLiteral(tuple(next(_readings(leaf, item), item) for item in items))
    if isinstance(literal, UInt64 | Int64 | Double | Bool | IP | Subnet) and kind is Kind.STRING:
        yield String(str(literal))


def _unquoted(text: str) -> Iterator[Literal]:
    try:
        read = parse(f"x == {text}")
    except ExpressionSyntaxError:
        return
    if isinstance(read, Predicate) and not isinstance(read.literal, Parameter | Null | String):
        yield read.literal
