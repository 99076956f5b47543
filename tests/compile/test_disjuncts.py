"""Disjunctions as disjoint scans."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests import expression_strategies as strategies
from tests.compile.test_datafusion import selected
from vastlab.compile.datafusion import disjuncts, predicate
from vastlab.expression.ast import And, Column, Operator, Or, Predicate, TypeExtractor
from vastlab.expression.literals import IP, ListLiteral, Null, Subnet, UInt64
from vastlab.expression.resolve import resolve
from vastlab.types import Field, Kind, Schema, Type


@st.composite
def needles(draw, events):
    """Comparisons of all addresses with one or several."""
    known = [row[e.column] for row in events.rows for e in events.schema.leaves]
    some = [IP(e) for e in known if isinstance(e, bytes)] or [IP(bytes(16))]
    address = draw(st.sampled_from(some))
    several = ListLiteral((address, draw(st.sampled_from(some))))
    op, literal = draw(st.sampled_from(((Operator.EQ, address), (Operator.IN, several))))
    return Predicate(TypeExtractor(Type(Kind.IP)), op, literal)


@strategies.share(40)
@given(st.data())
def test_disjoint_and_whole(data):
    """No row is in two disjuncts, and together they select what the expression selects."""
    events = data.draw(strategies.events(kinds=(Kind.IP, Kind.UINT64, Kind.RECORD), min_fields=2))
    part = st.one_of(needles(events), strategies.predicates(events))
    join = st.sampled_from((Or, And))
    exprs = data.draw(
        st.lists(
            st.one_of(
                part,
                st.builds(lambda j, a, b: j((a, b)), join, part, part),
                st.builds(lambda a, b, c: And((c, Or((a, b)))), part, part, part),
                st.builds(lambda a, b, c: Or((And((a, c)), And((b, c)))), part, part, part),
            ),
            min_size=4,
            max_size=6,
        )
    )
    for bound in (resolve(expr, events.schema) for expr in exprs):
        if bound is None:
            continue
        split = disjuncts(bound)
        whole, *parts = selected(events, [predicate(e, events.schema) for e in (bound, *split)])
        assert [sum(row) for row in zip(*parts, strict=True)] == whole
        assert 1 <= len(split) <= 8


SCHEMA = Schema(
    "conn",
    (
        *(Field(f"ip{i}", Type(Kind.IP)) for i in range(9)),
        Field("port", Type(Kind.UINT64)),
    ),
)
IPS = [Column(leaf) for leaf in SCHEMA.leaves[:9]]
PORT = Column(SCHEMA.leaves[9])
X, Y = IP(bytes(16)), IP(bytes(15) + b"\1")


def equal(column, literal=X):
    """Equality with an address."""
    return Predicate(column, Operator.EQ, literal)


def test_same_column_stays_together():
    """Lookups in one column are one disjunct: its statistics answer for all of them."""
    expr = Or((equal(IPS[0]), equal(IPS[1]), equal(IPS[0], Y)))
    assert disjuncts(expr)[0] == Or((equal(IPS[0]), equal(IPS[0], Y)))
    assert len(disjuncts(expr)) == 2


def test_rest_of_conjunction_is_in_every_disjunct():
    """The other operands of the conjunction are in every disjunct."""
    port = Predicate(PORT, Operator.EQ, UInt64(80))
    split = disjuncts(And((port, Or((equal(IPS[0]), equal(IPS[1]))))))
    assert len(split) == 2
    assert all(part.operands[0] == port for part in split)


def test_no_split_if_it_reads_more():
    """Without a lookup in every operand, or with too many columns, nothing is split."""
    port = Predicate(PORT, Operator.EQ, UInt64(80))
    network = Predicate(IPS[1], Operator.IN, Subnet(bytes(16), 0))
    missing = Predicate(IPS[1], Operator.EQ, Null())
    for expr in (
        equal(IPS[0]),
        Or((equal(IPS[0]), equal(IPS[0], Y))),
        Or((equal(IPS[0]), port)),
        Or((equal(IPS[0]), network)),
        Or((equal(IPS[0]), missing)),
        Or((equal(IPS[0]), And((port, network)))),
        Or((equal(IPS[0]), Or((equal(IPS[1]), port)))),
        Or(tuple(map(equal, IPS))),
    ):
        assert disjuncts(expr) == (expr,)


def test_long_lists_stay_in_one_scan():
    """No filter rules out one of many addresses, so that more scans would only cost more."""
    addresses = ListLiteral(tuple(IP(i.to_bytes(16)) for i in range(200)))
    bound = resolve(Predicate(TypeExtractor(Type(Kind.IP)), Operator.IN, addresses), SCHEMA)
    assert isinstance(bound, Or)
    assert disjuncts(bound) == (bound,)
