"""Every node gives the same rows in SQL: those that pandas computes of its export."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vastlab.frames import to_frames
from vastlab.table_slice import collect_pyarrow

pytestmark = pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")

EXPRESSIONS = ("", "resp_p < 100", "orig_bytes > 1000 || :string == /.*a/", "10.1.4.17")
KEYS = ("id.orig_h", "id.resp_p", "proto", "service", "local_orig", "uid")


class Exported(dict):
    """What was exported, by kind of node and expression; too much to print."""

    __repr__ = object.__repr__


@pytest.fixture(scope="session")
def exported():
    """Return what was exported before."""
    return Exported()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=6)
@given(
    expression=st.sampled_from(EXPRESSIONS),
    keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=2, unique=True),
)
async def test_a_statement_is_a_group_by(demo, exported, expression, keys):
    """Keys of any type, with sums and extremes, over what an expression leaves."""
    asked = demo.kind, expression
    if asked not in exported:
        parts = await collect_pyarrow(demo.client.export(expression, limit=0))
        exported[asked] = to_frames(parts)["zeek.conn"]
    named = ", ".join(keys)
    found = await demo.client.sql(
        f"select {named}, count(*) as n, sum(orig_bytes) as b, min(ts) as first, max(duration) as d"
        f" from zeek.conn group by {named}",
        expression,
    )
    frame = exported[asked]
    groups = frame.groupby(keys, dropna=False, observed=True)
    wanted = groups.agg(
        n=("uid", "size"), b=("orig_bytes", plain_sum), first=("ts", "min"), d=("duration", "max")
    ).reset_index()
    assert rows(found) == rows(wanted)


def plain_sum(values):
    """Add numbers of any size, which pandas does not; nothing of nothing."""
    known = values.dropna()
    return sum(map(int, known)) if len(known) else None


def rows(frame: pd.DataFrame) -> list[str]:
    """Return the rows as text, sorted."""
    plain = frame.astype(object).where(frame.notna(), None)
    return sorted(repr([value_of(value) for value in row]) for row in plain.to_numpy().tolist())


def value_of(value):
    """Return a value without the type that pandas has for it."""
    if isinstance(value, pd.Timestamp | pd.Timedelta):
        return value.value
    return value
