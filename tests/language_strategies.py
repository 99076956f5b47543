"""Hypothesis strategies for expressions as the parser makes them: normalised and printable.

``literals()`` draws any literal, ``predicates()`` comparisons that pass validation and
``expressions()`` whole trees. Their texts are what quotes can hold; `texts` has the rest, too.
"""

from __future__ import annotations

from hypothesis import strategies as st

from vastlab.expression import literals as lit
from vastlab.expression.ast import (
    AliasExtractor,
    And,
    Expr,
    Extractor,
    FieldExtractor,
    Meta,
    MetaExtractor,
    Not,
    Operator,
    Or,
    Predicate,
    TypeExtractor,
)
from vastlab.expression.checks import problem
from vastlab.expression.literals import MAPPED, is_quotable
from vastlab.expression.rewrite import any_field_equals, normalise, typed
from vastlab.expression.scanner import network
from vastlab.types import Field, Kind, Type

NAMES = (
    "id.orig_h",
    "a-b",
    "x:y",
    "_path",
    "2nd",
    "nowhere",
    "not",
    "and",
    "in",
    "ni",
    "1e5",
    "or.x",
)
ALIASES = ("port", "timestamp", "list", "record", "enum", "suricata.component.flow", "times", "8")
BUILT_IN = (
    Kind.BOOL,
    Kind.INT64,
    Kind.UINT64,
    Kind.DOUBLE,
    Kind.DURATION,
    Kind.TIME,
    Kind.STRING,
    Kind.IP,
    Kind.SUBNET,
)
REGEXES = ("", ".*", "a|b", "^ab[0-9]{3}$", "a/b", r"a\\", r"\.", "(?i)x", "é+", r"\x0a", r'"')
INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from((0, 10**9, -(10**9), 86_400 * 10**9))
SECONDS = st.integers(-(2**33), 2**33).map(lambda seconds: seconds * 10**9)


def texts() -> st.SearchStrategy[str]:
    """Any text without lone surrogates, with a taste for quotes and backslashes."""
    return st.text(st.characters(exclude_categories=("Cs",))) | st.text('\\"/ab\n\x7f', max_size=8)


def packed() -> st.SearchStrategy[bytes]:
    """Addresses, with those that begin like a duration."""
    return st.one_of(
        st.binary(min_size=16, max_size=16),
        st.binary(min_size=4, max_size=4).map(lambda tail: MAPPED + tail),
        st.sampled_from((b"\x00\x5d", b"\x5e\x5d", b"\x12\xde")).map(lambda head: head + bytes(14)),
        st.just(bytes(16)),
    )


def literals(*, nested: bool = True) -> st.SearchStrategy[lit.Literal]:
    """Any literal that a text can hold."""
    simple = st.one_of(*(of_kind(kind) for kind in BUILT_IN), st.just(lit.Null()))
    return st.recursive(simple, _containers, max_leaves=6) if nested else simple


def of_kind(kind: Kind) -> st.SearchStrategy[lit.Literal]:
    """Literals of one built-in type."""
    match kind:
        case Kind.BOOL:
            return st.booleans().map(lit.Bool)
        case Kind.INT64:
            return INT64.map(lit.Int64)
        case Kind.UINT64:
            return st.integers(0, 2**64 - 1).map(lit.UInt64)
        case Kind.DOUBLE:
            return st.floats().map(lit.Double)
        case Kind.DURATION:
            return INT64.map(lit.Duration)
        case Kind.TIME:
            times = INT64 | SECONDS
            return times.map(lit.Time) | times.map(lit.RelativeTime)
        case Kind.STRING:
            strings = texts().filter(is_quotable).map(lit.String)
            patterns = st.builds(lit.Pattern, st.sampled_from(REGEXES), st.booleans())
            return strings | patterns
        case Kind.IP:
            return packed().map(lit.IP)
        case _:
            return st.builds(network, packed(), st.integers(0, 128))


def predicates() -> st.SearchStrategy[Expr]:
    """Comparisons that the parser accepts."""
    shapes = st.tuples(extractors(), st.sampled_from(Operator), literals())
    free = shapes.filter(lambda shape: problem(*shape) is None).map(lambda shape: Predicate(*shape))
    return st.one_of(free, _typed(), _metas(), literals().map(any_field_equals))


def expressions() -> st.SearchStrategy[Expr]:
    """Normalised trees."""
    trees = st.recursive(
        predicates(),
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=4).map(lambda es: And(tuple(es))),
            st.lists(inner, min_size=2, max_size=4).map(lambda es: Or(tuple(es))),
            inner.map(Not),
        ),
        max_leaves=8,
    )
    return trees.map(normalise)


def extractors() -> st.SearchStrategy[Extractor]:
    """Fields and aliases, which take any literal."""
    plain = st.from_regex(
        r"[A-Za-z0-9_][A-Za-z0-9_:-]{0,5}(\.[A-Za-z0-9_:-]{1,4}){0,2}", fullmatch=True
    )
    names = st.sampled_from(NAMES) | plain
    part = st.text(max_size=6) | st.text("`\\.a0:-_ \0\n\x7f\u202e", max_size=4) | plain
    paths = st.lists(part, min_size=1, max_size=3).map(tuple).map(FieldExtractor.of)
    return names.map(FieldExtractor) | paths | st.sampled_from(ALIASES).map(AliasExtractor)


def types() -> st.SearchStrategy[Type]:
    """Types as they stand behind a colon, built-in at the leaves."""
    simple = st.sampled_from(BUILT_IN).map(Type)
    fields = st.dictionaries(
        st.sampled_from(("a", "b.c", "x y", "")), simple, min_size=1, max_size=3
    )
    return st.one_of(
        simple,
        simple.map(lambda item: Type(Kind.LIST, item=item)),
        st.just(Type(Kind.ENUM, labels=(("red", 0), ("blue", 1)))),
        fields.map(lambda f: Type(Kind.RECORD, fields=tuple(Field(*pair) for pair in f.items()))),
    )


def _containers(inner: st.SearchStrategy[lit.Literal]) -> st.SearchStrategy[lit.Literal]:
    few = st.lists(inner, max_size=3)
    names = st.sampled_from(("a", "b.c", "_", "80"))
    return st.one_of(
        few.map(lambda items: lit.ListLiteral(tuple(items))),
        st.lists(st.tuples(inner, inner), max_size=2).map(lambda p: lit.MapLiteral(tuple(p))),
        few.map(lambda items: lit.RecordLiteral(tuple(("", item) for item in items))),
        st.lists(st.tuples(names, inner), max_size=3).map(lambda f: lit.RecordLiteral(tuple(f))),
    )


@st.composite
def _typed(draw: st.DrawFn) -> Expr:
    type_ = draw(types())
    fitting = [of_kind(type_.kind)] if type_.kind in BUILT_IN else []
    literal = draw(st.one_of(*fitting, of_kind(Kind.SUBNET), literals()))
    extractor = TypeExtractor(type_)
    allowed = [op for op in Operator if problem(extractor, op, literal) is None]
    if not allowed:
        return Predicate(extractor, Operator.NE, lit.Null())
    return typed(Predicate(extractor, draw(st.sampled_from(allowed)), literal))


@st.composite
def _metas(draw: st.DrawFn) -> Expr:
    if draw(st.booleans()):
        operator = draw(st.sampled_from(Operator))
        return Predicate(MetaExtractor(Meta.TYPE), operator, draw(of_kind(Kind.STRING)))
    operator = draw(st.sampled_from([op for op in Operator if op.is_ordering]))
    return Predicate(MetaExtractor(Meta.IMPORT_TIME), operator, draw(of_kind(Kind.TIME)))
