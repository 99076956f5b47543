"""The compiled form of an expression, against the reference evaluator."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datafusion import SessionContext, functions, lit
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import arrow_strategies as arrow
from tests import expression_strategies as strategies
from tests import reference_evaluator as reference
from vastlab.arrow import schema as arrow_schema
from vastlab.compile.datafusion import arms, predicate
from vastlab.expression.resolve import resolve
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind

NO_TAXONOMY = Taxonomy()
EXPRESSIONS = 12
LEAF_KINDS = tuple(Kind)


def selected(events, exprs, taxonomy=NO_TAXONOMY):
    """What DataFusion selects, one list of bools per expression."""
    compiled = []
    for expr in exprs:
        bound = resolve(expr, events.schema, taxonomy)
        compiled.append(lit(False) if bound is None else predicate(bound, events.schema))
    certain = [
        functions.coalesce(e, lit(False)).alias(f"e{i}") for i, e in enumerate(compiled)
    ]
    frame = SessionContext().read_batches([events.flat]).select(*certain)
    table = frame.to_arrow_table()
    return [column.to_pylist() for column in table.columns]


def check(events, exprs, taxonomy=NO_TAXONOMY):
    """Compare both evaluators on every row."""
    for expr, got in zip(exprs, selected(events, exprs, taxonomy), strict=True):
        expected = reference.answers(expr, events.schema, events.rows, taxonomy)
        assert got == expected, (expr, resolve(expr, events.schema, taxonomy), events.rows)


@given(st.data())
def test_equals_reference(data):
    """Every expression selects the rows that the specification says."""
    events = data.draw(strategies.events())
    expression = strategies.expressions(events)
    check(events, data.draw(st.lists(expression, min_size=1, max_size=EXPRESSIONS)))
