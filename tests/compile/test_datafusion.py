"""The compiled form of an expression, against the reference evaluator."""

from __future__ import annotations

from ipaddress import IPv6Address
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datafusion import Expr, SessionConfig, SessionContext, col, functions, lit
from hypothesis import given
from hypothesis import strategies as st

from tests import expression_strategies as strategies
from tests import reference_evaluator as reference
from vastlab.compile.datafusion import lookup, predicate
from vastlab.errors import ExpressionError
from vastlab.expression import bind, literals, parse
from vastlab.expression.ast import And, Column, FieldExtractor, Not, Operator, Or, Predicate
from vastlab.expression.literals import ListLiteral, Null, RelativeTime, String, UInt64
from vastlab.expression.resolve import resolve
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Field, Kind, Schema, Type

NO_TAXONOMY = Taxonomy()
ROW = "#row"
# What Parquet can hold in a flat column; see `vastlab.readers.columns` for the rest.
STORED = tuple(k for k in Kind if k not in (Kind.MAP, Kind.RECORD))


def compiled(expr, events, taxonomy=NO_TAXONOMY):
    """Compile an expression for some events."""
    bound = resolve(expr, events.schema, taxonomy)
    return lit(False) if bound is None else predicate(bound, events.schema)


def selected(events, filters):
    """Filter in memory: for each filter a list of bools."""
    certain = [functions.coalesce(e, lit(False)).alias(f"e{i}") for i, e in enumerate(filters)]
    table = SessionContext().read_batches([events.flat]).select(*certain).to_arrow_table()
    return [column.to_pylist() for column in table.columns]


def check(events, exprs, taxonomy=NO_TAXONOMY):
    """Compare both evaluators on every row."""
    filters = [compiled(expr, events, taxonomy) for expr in exprs]
    for expr, got in zip(exprs, selected(events, filters), strict=True):
        expected = reference.answers(expr, events.schema, events.rows, taxonomy)
        assert got == expected, (expr, resolve(expr, events.schema, taxonomy))


@given(st.data())
def test_equals_reference(data):
    """Every expression selects the rows that the specification says."""
    events = data.draw(strategies.events())
    expression = strategies.expressions(events)
    check(events, data.draw(st.lists(expression, min_size=6, max_size=12)))


@strategies.share(60)
@pytest.mark.parametrize("kind", [k for k in Kind if k not in (Kind.NULL, Kind.BLOB, Kind.MAP)])
@given(data=st.data())
def test_equals_reference_for_kind(kind, data):
    """Every comparison with leaves and list elements of each kind selects as specified."""
    kinds = (kind,) if kind in (Kind.LIST, Kind.RECORD) else (kind, Kind.LIST)
    more = (Kind.STRING, Kind.IP) if kind in (Kind.LIST, Kind.RECORD) else ()
    events = data.draw(strategies.events(kinds=(*kinds, *more), depth=1))
    check(events, data.draw(st.lists(strategies.predicates(events), min_size=6, max_size=8)))


def small_is_long():
    """Let lists of two values count as long."""
    return mock.patch.object(literals, "LONG_LIST_LENGTH", 1)


@strategies.share(60)
@pytest.mark.parametrize("kind", [Kind.STRING, Kind.IP, Kind.INT64, Kind.UINT64, Kind.DOUBLE])
@given(data=st.data())
def test_long_lists_equal_reference(kind, data):
    """What is looked up in a table is found as by comparing with each value."""
    events = data.draw(strategies.events(kinds=(kind,), depth=1))
    exprs = data.draw(st.lists(strategies.long_lists(events), min_size=3, max_size=6))
    with small_is_long():
        check(events, exprs)


@strategies.share(40)
@given(data=st.data())
def test_scan_for_long_lists_equals_reference(tmp_path_factory, data):
    """Extremes of a file's row groups rule out only what has no answer."""
    events = data.draw(strategies.events(kinds=(Kind.STRING, Kind.IP), depth=0, max_rows=12))
    path = tmp_path_factory.mktemp("scan") / "events.parquet"
    write(events, path)
    frame = SessionContext(scanning()).read_parquet(str(path), skip_metadata=False)
    for expr in data.draw(st.lists(strategies.long_lists(events), min_size=2, max_size=4)):
        with small_is_long():
            found = frame.filter(compiled(expr, events)).select(col(f'"{ROW}"')).to_arrow_table()
        expected = reference.answers(expr, events.schema, events.rows, NO_TAXONOMY)
        rows = [i for i, holds in enumerate(expected) if holds]
        assert sorted(found.column(0).to_pylist()) == rows, expr


@strategies.share(60)
@given(st.data())
def test_taxonomy_equals_reference(data):
    """Concepts and models select the rows that section 6 says."""
    events = data.draw(strategies.events().filter(lambda e: e.schema.leaves))
    taxonomy = data.draw(strategies.taxonomies(events))
    predicates = strategies.taxonomy_predicates(events)
    check(events, data.draw(st.lists(predicates, min_size=4, max_size=8)), taxonomy)


@strategies.share(40)
@given(data=st.data())
def test_scan_equals_reference(tmp_path_factory, data):
    """Statistics, bloom filters and pushed-down filters of a file change no answer."""
    events = data.draw(strategies.events(kinds=STORED, depth=1, max_rows=12))
    path = tmp_path_factory.mktemp("scan") / "events.parquet"
    write(events, path)
    context = SessionContext(scanning())
    frame = context.read_parquet(str(path), skip_metadata=False)
    exprs = data.draw(st.lists(strategies.expressions(events), min_size=4, max_size=6))
    for expr in exprs:
        found = frame.filter(compiled(expr, events)).select(col(f'"{ROW}"')).to_arrow_table()
        expected = reference.answers(expr, events.schema, events.rows, NO_TAXONOMY)
        rows = [i for i, holds in enumerate(expected) if holds]
        assert sorted(found.column(0).to_pylist()) == rows, expr


def scanning():
    """Return the settings that the store scans with."""
    prefix = "datafusion.execution.parquet"
    return (
        SessionConfig()
        .set("datafusion.execution.collect_statistics", "false")
        .set(f"{prefix}.pushdown_filters", "true")
        .set(f"{prefix}.schema_force_view_types", "false")
        .set(f"{prefix}.skip_metadata", "false")
        .set(f"{prefix}.bloom_filter_on_read", "true")
    )


def write(events, path):
    """Write small row groups with statistics, page indexes and bloom filters."""
    rows = pa.array(range(events.flat.num_rows), pa.int64())
    table = pa.Table.from_batches([events.flat.append_column(ROW, rows)])
    flat = {leaf.column for leaf in events.schema.leaves if leaf.type.kind is Kind.IP}
    pq.write_table(
        table,
        path,
        row_group_size=3,
        write_page_index=True,
        bloom_filter_options={name: {"ndv": 3, "fpp": 0.01} for name in flat},
        use_compliant_nested_type=False,
    )


@strategies.share(50)
@given(st.data())
def test_travels_as_bytes(data):
    """A compiled expression means the same after a trip to another machine."""
    events = data.draw(strategies.events(kinds=STORED))
    there = compiled(data.draw(strategies.expressions(events)), events)
    back = Expr.from_bytes(there.to_bytes(), SessionContext())
    first, second = selected(events, [there, back])
    assert first == second


# --- by hand --------------------------------------------------------------------------------

PORT = Schema("conn", (Field("port", Type(Kind.UINT64)), Field('a"b', Type(Kind.STRING))))


@pytest.mark.parametrize("text", ["x == 1", "x != 1", "x in [1, 2]", "x !in [1, 2]", "x < 2"])
def test_nan_in_uniform_row_group(tmp_path, text):
    """Extremes leave NaN out, but a row group of one value and NaN is not one of that value."""
    schema = Schema("x", (Field("x", Type(Kind.DOUBLE)),))
    values = [1.0, float("nan"), None]
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"x": values}), path)
    frame = SessionContext(scanning()).read_parquet(str(path))
    bound = resolve(parse(text), schema)
    found = frame.filter(predicate(bound, schema)).to_pydict()["x"]
    rows = [{"x": value, "#import_time": 0} for value in values]
    expected = reference.answers(parse(text), schema, rows, NO_TAXONOMY)
    assert [v == 1.0 for v in found] == [
        v == 1.0 for v, holds in zip(values, expected, strict=True) if holds
    ]


@pytest.mark.parametrize("text", ["x == 1", "x in [1, 2]"])
def test_limit_beside_nan(tmp_path, text):
    """A limit is filled, also from row groups that hold one value and NaN."""
    schema = Schema("x", (Field("x", Type(Kind.DOUBLE)),))
    nan = float("nan")
    path = tmp_path / "events.parquet"
    pq.write_table(pa.table({"x": [1.0, nan, 1.0, nan, 1.0, 1.0]}), path, row_group_size=2)
    bound = resolve(parse(text), schema)
    for limit in range(1, 5):
        frame = SessionContext(scanning()).read_parquet(str(path)).filter(predicate(bound, schema))
        assert frame.limit(limit).to_pydict()["x"] == [1.0] * limit


def test_two_long_lists_on_one_column():
    """Each list keeps a table of its own."""
    port = Column(PORT.leaves[0])
    lists = [ListLiteral(tuple(map(UInt64, range(n, n + 200)))) for n in (0, 100)]
    both = And(tuple(Predicate(port, Operator.IN, values) for values in lists))
    batch = pa.RecordBatch.from_pydict({"port": pa.array([99, 100, 199, 200, None], pa.uint64())})
    for expr, ports in ((both, [100, 199]), (Not(both), [99, 200, None])):
        frame = SessionContext().read_batches([batch]).filter(predicate(expr, PORT))
        assert frame.to_pydict() == {"port": ports}


def test_long_lists_by_hand():
    """Strings, addresses and networks are looked up; null matches neither `in` nor `!in`."""
    kinds = {"s": Kind.STRING, "a": Kind.IP}
    schema = Schema("x", tuple(Field(name, Type(kind)) for name, kind in kinds.items()))
    texts = ["n1", "other", "zz", None]
    addresses = [bytes(15) + bytes([n]) for n in (1, 32, 100)] + [None]
    batch = pa.RecordBatch.from_pydict(
        {"s": texts, "a": pa.array(addresses, pa.binary(16)), ROW: pa.array(range(4))}
    )
    many = ", ".join(f'"n{i}"' for i in range(200))
    hosts = ", ".join(f"::2:{i:x}" for i in range(200))
    nets = ", ".join(f"::3:{i:x}00/120" for i in range(200))
    for text, rows in (
        (f"s in [{many}]", [0]),
        (f"s !in [{many}]", [1, 2]),
        (f"a in [{hosts}, ::1, ::20]", [0, 1]),
        (f"a !in [{hosts}, ::1, ::20]", [2]),
        (f"a in [{nets}, ::20/124]", [1]),
        (f"a !in [{nets}, ::20/124, ::1]", [2]),
    ):
        bound = resolve(parse(text), schema)
        frame = SessionContext().read_batches([batch]).filter(predicate(bound, schema))
        assert frame.to_pydict()[ROW] == rows, text[:20]


def test_long_lists_of_parameters():
    """The same for values that are given as one array."""
    schema = Schema("x", (Field("s", Type(Kind.STRING)), Field("a", Type(Kind.IP))))
    addresses = [bytes(15) + bytes([n]) for n in (1, 200)] + [None]
    batch = pa.RecordBatch.from_pydict(
        {"s": ["n1", "other", None], "a": pa.array(addresses, pa.binary(16)), ROW: [0, 1, 2]}
    )
    params = {"s": [f"n{i}" for i in range(200)], "a": [*map(IPv6Address, range(150))]}
    for text, rows in (
        ("s in $s", [0]),
        ("s !in $s", [1]),
        ("a in $a", [0]),
        ("a !in $a", [1]),
        ("s in $s || a in $a", [0]),
    ):
        bound = resolve(bind(parse(text), params), schema)
        frame = SessionContext().read_batches([batch]).filter(predicate(bound, schema))
        assert frame.to_pydict()[ROW] == rows, text


def test_an_expression_that_is_one_lookup():
    """Long lists of texts or addresses, negated or not; anything else is none."""
    kinds = {"query": Kind.STRING, "risk": Kind.DOUBLE}
    schema = Schema("x", tuple(Field(name, Type(kind)) for name, kind in kinds.items()))
    texts, doubles = map(Column, schema.leaves)
    literal = ListLiteral(tuple(String(f"host-{number}") for number in range(200)))
    column = pa.array(["host-7", None, "other"])
    for operator in (Operator.IN, Operator.NOT_IN):
        values, is_negated = lookup(Predicate(texts, operator, literal))
        assert values.contains(column).to_pylist() == [True, False, False]
        assert is_negated == (operator is Operator.NOT_IN)
    short = ListLiteral(literal.items[:2])
    assert lookup(Predicate(texts, Operator.IN, short)) is None
    assert lookup(Not(Predicate(texts, Operator.IN, literal))) is None
    assert lookup(Predicate(doubles, Operator.IN, literal)) is None


def test_thousands_of_operands():
    """A disjunction of thousands plans and runs."""
    port = Column(PORT.leaves[0])
    many = Or(tuple(Predicate(port, Operator.EQ, UInt64(i)) for i in range(5000)))
    batch = pa.RecordBatch.from_pydict({"port": pa.array([4999, 5000, None], pa.uint64())})
    frame = SessionContext().read_batches([batch]).filter(predicate(many, PORT))
    assert frame.to_pydict() == {"port": [4999]}


LISTS = Schema(
    "lists",
    tuple(
        Field(kind.name.lower(), Type(Kind.LIST, item=Type(kind)))
        for kind in (Kind.BOOL, Kind.INT64, Kind.UINT64, Kind.DOUBLE, Kind.STRING, Kind.IP)
    ),
)
LIST_ROWS = [
    dict.fromkeys(leaf.column for leaf in LISTS.leaves) | row
    for row in (
        {"bool": [True], "int64": [-1, None], "string": ["a", None], "ip": [bytes(15) + b"\1"]},
        {"bool": [], "uint64": [1, 2], "double": [float("nan"), -0.0], "string": ["abc"]},
        {"bool": [False], "uint64": [3], "double": [0.0], "string": [], "int64": [None]},
        {},
    )
]


@pytest.mark.parametrize(
    "text",
    [
        'string ni "a" || string ni "b"',
        'string ni "a" || string ni /.*c/ || string !ni "abc"',
        "int64 ni -1 || int64 ni +2 || uint64 ni 1 || uint64 ni 4",
        "double ni 0.0 || double ni 1.5",
        "double ni -0.0 || " + " || ".join(f"double ni {n}.5" for n in range(9)),
        "ip ni ::1 || ip ni 10.0.0.1 || ip ni 10.0.0.0/8",
        "bool ni true || bool ni false",
        'string ni "a" || string ni null || string == null',
        '!(string ni "a" || string ni "b") && !(uint64 ni 1 || uint64 ni 9)',
    ],
)
def test_a_list_that_holds_any_of_some_values(text):
    """Searches of one list that are compiled together select the same rows as separate ones."""
    stored = (pa.bool_(), pa.int64(), pa.uint64(), pa.float64(), pa.string(), pa.binary(16))
    columns = {
        leaf.column: pa.list_(type_) for leaf, type_ in zip(LISTS.leaves, stored, strict=True)
    }
    batch = pa.RecordBatch.from_pylist(LIST_ROWS, pa.schema(columns))
    bound = resolve(parse(text), LISTS)
    frame = SessionContext().read_batches([batch.append_column(ROW, pa.array(range(4)))])
    found = frame.filter(predicate(bound, LISTS)).to_pydict()[ROW]
    rows = [row | {"#import_time": 0} for row in LIST_ROWS]
    expected = reference.answers(parse(text), LISTS, rows, NO_TAXONOMY)
    assert found == [number for number, holds in enumerate(expected) if holds]


def test_a_list_is_searched_once_for_many_values():
    """Hundreds of values to find in a list are one search, and so is each list of two."""
    bound = resolve(parse('string ni "a" || ip ni ::1 || string ni "b" || ip ni ::2'), LISTS)
    assert str(predicate(bound, LISTS)).count("array_any_match") == 2


def test_quoted_column():
    """A column's name may hold quotes."""
    bound = Predicate(Column(PORT.leaves[1]), Operator.EQ, String("x"))
    batch = pa.RecordBatch.from_pydict({'a"b': ["x", "y"]})
    frame = SessionContext().read_batches([batch]).filter(predicate(bound, PORT))
    assert frame.to_pydict() == {'a"b': ["x"]}


@pytest.mark.parametrize(
    "expr",
    [
        Predicate(FieldExtractor("port"), Operator.EQ, UInt64(1)),
        Predicate(Column(Schema("x", (Field("y", Type(Kind.IP)),)).leaves[0]), Operator.EQ, Null()),
    ],
)
def test_refuses_unbound(expr):
    """What is bound to no schema, or to another one, is an error and no wrong answer."""
    with pytest.raises(ExpressionError, match="not bound"):
        predicate(expr, PORT)


def test_refuses_relative_time():
    """A time that depends on when it is asked has to be fixed before."""
    schema = Schema("x", (Field("ts", Type(Kind.TIME)), Field("net", Type(Kind.SUBNET))))
    for leaf in schema.leaves:
        expr = Predicate(Column(leaf), Operator.GT, RelativeTime(0))
        with pytest.raises(ExpressionError, match="must be replaced by a value"):
            predicate(expr, schema)


def test_not_includes_null_rows():
    """`Not` is the complement of a selection: null rows are in it."""
    expr = Not(Predicate(Column(PORT.leaves[0]), Operator.EQ, UInt64(1)))
    batch = pa.RecordBatch.from_pydict({"port": pa.array([1, 2, None], pa.uint64())})
    frame = SessionContext().read_batches([batch]).filter(predicate(expr, PORT))
    assert frame.to_pydict() == {"port": [2, None]}
