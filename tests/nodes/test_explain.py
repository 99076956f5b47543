from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from vastlab.arrow import convert
from vastlab.errors import CorruptFileError
from vastlab.expression.ast import FieldExtractor, Operator, Predicate
from vastlab.expression.literals import String, UInt64
from vastlab.nodes import plan
from vastlab.nodes.base import Explanation, LayoutPlan, Query
from vastlab.store.database import Database

ROW_GROUP = 131_072


def below(number):
    return Query(Predicate(FieldExtractor("resp_p"), Operator.LT, UInt64(number)))


def test_files_and_row_groups_are_counted(database, make_conn):
    """Files are chosen by the manifest, row groups by the footers of these files."""
    database.add([make_conn(range(3 * ROW_GROUP))])
    conn, dns = plan.explain(below(50), database.snapshot(), plan.count_row_groups).layouts
    assert (conn.schema, conn.files, conn.all_files) == ("zeek.conn", 2, 4)
    assert (conn.row_groups, conn.all_row_groups) == (2, 4)
    assert conn.events == 100 + 3 * ROW_GROUP
    assert (dns.schema, dns.bound, dns.files, dns.all_files) == ("zeek.dns", None, 0, 1)


@pytest.mark.parametrize("is_sorted", [True, False])
def test_row_groups_are_counted_as_they_are_read(tmp_path, is_sorted):
    """Bounds of texts and Bloom filters leave row groups out, as they do in a scan."""
    count = 3 * ROW_GROUP
    texts = [f"n{number if is_sorted else number * 7919 % count:07}" for number in range(count)]
    columns = {"ts": pa.array(range(count), pa.timestamp("ns")), "query": texts}
    batch = convert.normalise(pa.RecordBatch.from_pydict(columns), "zeek.dns")
    database = Database.create(tmp_path / "texts.db")
    database.add([batch])
    equal = Query(Predicate(FieldExtractor("query"), Operator.EQ, String(texts[ROW_GROUP + 5])))
    (plan_,) = plan.explain(equal, database.snapshot(), plan.count_row_groups).layouts
    assert (plan_.row_groups, plan_.all_row_groups) == (1, 3)
    below = Query(Predicate(FieldExtractor("query"), Operator.LT, String("n0000009")))
    (plan_,) = plan.explain(below, database.snapshot(), plan.count_row_groups).layouts
    assert plan_.row_groups == (1 if is_sorted else 3)


def test_an_explanation_is_readable_text(database):
    """Each layout has its bound form and what it reads."""
    lines = str(plan.explain(below(50), database.snapshot(), plan.count_row_groups)).splitlines()
    assert lines[0] == "resp_p < 50"
    assert "id.resp_p < 50" in lines[1]
    assert lines[2] == "    reads 1 of 3 files, 1 of 1 row groups, 100 events"
    assert lines[3] == "  nothing can match in zeek.dns"


def test_what_matches_is_explained_first():
    """Layouts that are read come first, then those that are bound, then the others in one line."""
    bound = {"a.a": None, "b.b": "x == 1", "c.c": "x == 1", "d\x1b.d": None, "e\n.e": "x == 1"}
    plans = [LayoutPlan(name, text, name > "b.b", 1, 1, 1, 9) for name, text in bound.items()]
    shown = repr(Explanation("x == 1", tuple(plans))).splitlines()
    assert [line.partition(":")[0] for line in shown if not line.startswith("    ")] == [
        "x == 1",
        "  c.c",
        r"  e\x0a.e",
        "  b.b",
        r"  nothing can match in a.a, d\x1b.d",
    ]


def test_a_file_without_a_footer_is_named(database):
    """A damaged file is an error with its path."""
    file = database.snapshot().files[0]
    Path(file.path).write_bytes(b"x" * file.size)
    with pytest.raises(CorruptFileError, match=Path(file.path).name):
        plan.explain(below(50), database.snapshot(), plan.count_row_groups)
