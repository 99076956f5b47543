"""SQL over tables in memory: every value, addresses, and statements that may only read."""

from __future__ import annotations

import datetime as dt
import errno
import ipaddress
import os
import threading
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import arrow_strategies as arrow
from tests import hostile
from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.compile import sql, sql_functions
from vastlab.compile.sql import Statement
from vastlab.errors import UsageError, VastlabError
from vastlab.frames import table_frame
from vastlab.store.layout import union
from vastlab.types import Field, Kind, Paths, Schema, Type

V4 = b"\0" * 10 + b"\xff\xff"
MOMENT = 1_772_600_767_123_456_000
CONN = Schema(
    "zeek.conn",
    (
        Field("ts", Type(Kind.TIME, names=("timestamp",))),
        Field(
            "id",
            Type(
                Kind.RECORD,
                fields=(Field("orig_h", Type(Kind.IP)), Field("resp_p", Type(Kind.UINT64))),
            ),
        ),
        Field("net", Type(Kind.SUBNET)),
        Field("proto", Type(Kind.ENUM, labels=(("tcp", 0), ("udp", 1)))),
        Field("orig_bytes", Type(Kind.UINT64)),
        Field("AA", Type(Kind.DOUBLE)),
        Field("took", Type(Kind.DURATION)),
    ),
)
ROWS: list[list[Any]] = [
    [MOMENT, MOMENT + 1, None, MOMENT - 1],
    [(V4 + bytes([10, 0, 0, n]), 80 + n) for n in (1, 10, 9)] + [(bytes(15) + b"\1", None)],
    [(V4 + bytes([10, 0, 0, 0]), 104), None, (bytes(16), 0), (V4 + bytes([10, 0, 0, 0]), 104)],
    ["udp", "tcp", None, "tcp"],
    [5, 7, None, 2**63],
    [1.5, float("nan"), None, -0.0],
    [10**9, None, -1, 0],
]


def events(schema: Schema, columns: list[list[Any]]) -> pa.RecordBatch:
    """Make a batch of rows of each field."""
    arrays = [arrow.array(f.type, c) for f, c in zip(schema.fields, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema.to_arrow(schema))


class Reads:
    """Tables in memory that remember what was asked for."""

    def __init__(self, *batches: pa.RecordBatch) -> None:
        self.batches: dict[str, list[pa.RecordBatch]] = {}
        for batch in batches:
            self.batches.setdefault(arrow_schema.name_of(batch.schema), []).append(batch)
        self.asked: list[tuple[str, list[tuple[str, ...]]]] = []

    @property
    def schemas(self) -> dict[str, Schema]:
        """The union of the layouts of each name."""
        return {
            name: union(arrow_schema.from_arrow(each.schema) for each in parts)
            for name, parts in self.batches.items()
        }

    def __call__(self, name: str, fields: Paths) -> Iterator[pa.RecordBatch]:
        self.asked.append((name, sorted(fields)))
        return iter(self.batches[name])

    def run(self, text: str, **params: object) -> pa.Table:
        """Run a statement."""
        return Statement(self.schemas, self).run(text, params)

    def rows(self, text: str, **params: object) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        return [tuple(row.values()) for row in self.run(text, **params).to_pylist()]


@pytest.fixture
def conn() -> Reads:
    """Four connections."""
    return Reads(events(CONN, ROWS))


# --- what statements give -------------------------------------------------------------------


def test_a_table_that_another_thread_asks_for_is_kept_in_a_file(tmp_path):
    """It is read in the thread of the statement, and by the other one from the file."""
    reads = Reads(events(CONN, ROWS))
    statement = Statement(reads.schemas, reads)
    table = sql._Table(reads.schemas["zeek.conn"], reads, statement)
    (column,) = (name for name, leaf in table._leaves.items() if leaf.name == "orig_bytes")
    statement._thread = 0
    with pytest.raises(sql._SideBySide):
        list(table.batches([column]))
    statement._thread = threading.get_ident()
    statement._keep(str(tmp_path))
    statement._thread = 0
    (kept,) = table.batches([column])
    assert set(kept.column(0).to_pylist()) == {5, 7, 2**63, None}
    assert len(reads.asked) == 1


def test_tables_of_a_union_are_read_in_the_thread_of_the_statement():
    """The engine's own threads may be needed to read what is asked for; each part is read once."""
    reads = Reads(events(CONN, ROWS))
    threads = set()

    def scan(name: str, fields: Paths) -> Iterator[pa.RecordBatch]:
        threads.add(threading.get_ident())
        return reads(name, fields)

    half = "select orig_bytes as x from zeek.conn"
    text = f"select x, count(*) as n from ({half} union all {half}) group by 1 order by 1"
    rows = Statement(reads.schemas, scan).run(text).to_pylist()
    assert [tuple(row.values()) for row in rows] == [(5, 2), (7, 2), (2**63, 2), (None, 2)]
    assert threads == {threading.get_ident()}
    assert reads.asked == [("zeek.conn", [("orig_bytes",)])]


def test_an_aggregate_of_text_is_one_short_line(conn):
    """And not the list of all types that the engine would take."""
    with pytest.raises(UsageError, match=r"^sum\(\) takes no string \(cast"):
        conn.run("select sum(proto) from zeek.conn")


def test_a_temporary_folder_that_is_full_is_an_error(conn, monkeypatch):
    """Tables that are read side by side are written to it."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pa.ipc, "new_file", full)
    with pytest.raises(VastlabError, match=r"written to .*: No space .*TMPDIR"):
        conn.run("select proto from zeek.conn union all select proto from zeek.conn")


def test_record_fields_are_named_with_dots(conn):
    """``id.orig_h`` is a field of the record, and the column is called like that."""
    table = conn.run("select id.orig_h, sum(orig_bytes) from zeek.conn group by 1 order by 1")
    assert table.column_names == ["id.orig_h", "sum(orig_bytes)"]
    assert [str(a) for a in table.column(0).to_pylist()] == [
        "::1",
        "10.0.0.1",
        "10.0.0.9",
        "10.0.0.10",
    ]
    assert table.column(1).to_pylist() == [2**63, 5, None, 7]
    assert conn.asked == [("zeek.conn", [("id", "orig_h"), ("orig_bytes",)])]
    quoted = conn.run('select max(id.resp_p), max("zeek.conn".AA) from "zeek.conn"')
    assert quoted.column_names == ["max(id.resp_p)", "max(AA)"]


def test_only_named_tables_and_columns_are_read(conn):
    """Nothing is asked of other schemas, and a count asks for no column."""
    other = Reads(*conn.batches["zeek.conn"], arrow_named(conn, "zeek.dns"))
    assert other.rows("select count(*) from zeek.dns") == [(4,)]
    assert other.asked == [("zeek.dns", [])]


def arrow_named(reads: Reads, name: str) -> pa.RecordBatch:
    """Return the connections under another name."""
    return reads.batches["zeek.conn"][0].replace_schema_metadata({"VAST:name:0": name})


def test_frames_have_the_order_of_the_statement_and_vastlabs_types(conn):
    """Rows stay as ordered; addresses are categories, times carry UTC, integers are nullable."""
    frame = table_frame(
        conn.run("select *, ts as again from zeek.conn order by ts desc nulls last")
    )
    assert frame["ts"].tolist()[:1] == [pd.Timestamp(MOMENT + 1, tz="UTC")]
    assert frame["id.orig_h"].tolist() == ["10.0.0.10", "10.0.0.1", "::1", "10.0.0.9"]
    assert frame["id.orig_h"].cat.categories.tolist() == [
        "::1",
        "10.0.0.1",
        "10.0.0.9",
        "10.0.0.10",
    ]
    assert str(frame["orig_bytes"].dtype) == "UInt64"
    assert frame["took"].tolist()[1] == pd.Timedelta(seconds=1)
    assert frame["net"].tolist()[1:] == ["10.0.0.0/8", "10.0.0.0/8", "::/0"]


@pytest.mark.parametrize(
    "where, count",
    [
        ("in_subnet(id.orig_h, '10.0.0.0/8')", 3),
        ("not in_subnet(id.orig_h, '10.0.0.0/29')", 3),
        ("in_subnet(id.orig_h, '::/0')", 4),
        ("in_subnet(id.orig_h, net)", 2),
        ("in_subnet(ip('10.0.0.7'), '10.0.0.7')", 4),
        ("id.orig_h = ip('10.0.0.9')", 1),
        ("id.orig_h in (ip('::1'), ip('::ffff:10.0.0.1'))", 2),
        ("id.orig_h > ip('10.0.0.1')", 2),
        ("ip_text(id.orig_h) like '10.0.0.1%'", 2),
        ("id.orig_h = try_ip('x')", 0),
        ("try_ip(ip_text(id.orig_h)) = id.orig_h", 4),
        ("net = subnet('10.1.2.3/8')", 2),
        ("net = '10.0.0.0/8'", 2),
        ("proto = 'tcp'", 2),
        ("ts >= '2026-03-04T05:06:07.123456'", 2),
        ("ts < now()", 3),
        ("took > interval '500 milliseconds'", 1),
        ("orig_bytes not in (5, 6)", 2),
        ("orig_bytes not in (5, null)", 0),  # SQL's rule, which Arrow's filter has not
        ("AA > 1", 2),  # NaN is the largest, as in an order
        ("AA is null", 1),
        ("AA = 0", 1),
    ],
)
def test_conditions(conn, where, count):
    """Addresses, networks, labels and times are compared as what they are."""
    assert conn.rows(f"select count(*) from zeek.conn where {where}") == [(count,)]


@given(
    st.lists(
        st.sampled_from(["10.0.0.1", "10.1.0.1", "192.0.2.1", "2001:db8::1", "::1"]), min_size=1
    ),
    st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0", "2001:db8::/32", "::/0", "::1/128"]),
)
def test_in_subnet_is_what_ipaddress_says(hosts, network):
    """Given as a literal and in a column; IPv4 lies in ``::/0``, as in VAST."""
    schema = Schema("x", (Field("a", Type(Kind.IP)), Field("n", Type(Kind.STRING))))
    packed = [ipaddress.ip_address(host).packed for host in hosts]
    packed = [each if len(each) == 16 else V4 + each for each in packed]
    reads = Reads(events(schema, [packed, [network] * len(hosts)]))
    known = ipaddress.ip_network(network)
    expected = [(network == "::/0" or ipaddress.ip_address(host) in known,) * 2 for host in hosts]
    assert reads.rows("select in_subnet(a, $n), in_subnet(a, n) from x", n=network) == expected


def test_parameters_are_values(conn):
    """``$names`` are typed values, and hostile text stays text."""
    host = ipaddress.ip_address("10.0.0.9")
    assert conn.rows("select id.resp_p from zeek.conn where id.orig_h = $h", h=host) == [(89,)]
    since = dt.datetime(2026, 3, 4, 5, 6, 7, 123456, tzinfo=dt.UTC)
    assert conn.rows("select count(*) from zeek.conn where ts >= $t", t=since) == [(2,)]
    network = ipaddress.ip_network("10.0.0.8/29")
    asked = "select count(*) from zeek.conn where in_subnet(id.orig_h, $n)"
    assert conn.rows(asked, n=network) == [(2,)]
    evil = "x' or 1=1; drop table zeek.conn; --"
    assert conn.rows("select $evil from zeek.conn where proto = $evil", evil=evil) == []
    assert conn.rows("select $evil limit 1", evil=evil) == [(evil,)]
    with pytest.raises(UsageError, match=r"\$list must be a single value"):
        conn.run("select $list", list=[1, 2])
    with pytest.raises(UsageError, match=r"the parameter \$none has no value"):
        conn.run("select $none")


def test_layouts_of_one_name_are_one_table():
    """A field that a layout lacks is null; integers beside doubles widen; conflicts are text."""
    one = Schema("x", (Field("a", Type(Kind.INT64)), Field("b", Type(Kind.IP))))
    two = Schema("x", (Field("a", Type(Kind.DOUBLE)), Field("b", Type(Kind.STRING))))
    three = Schema("x", (Field("c", Type(Kind.RECORD, fields=(Field("d", Type(Kind.BOOL)),))),))
    four = Schema("x", (Field("c", Type(Kind.RECORD, fields=(Field("e", Type(Kind.BOOL)),))),))
    reads = Reads(
        events(one, [[1], [V4 + bytes([10, 0, 0, 1])]]),
        events(two, [[2.5], ["x"]]),
        events(three, [[(True,)]]),
        events(four, [[(False,)]]),
    )
    assert reads.rows("select a, b, c.d, c.e from x") == [
        (1.0, "10.0.0.1", None, None),
        (2.5, "x", None, None),
        (None, None, True, None),
        (None, None, None, False),
    ]


@pytest.mark.parametrize(
    "name, table",
    [
        ("conn", "conn"),
        ("zeek.conn", '"zeek.conn"'),
        ("a.b.c", "a.b.c"),
        ("a.b.c.d", '"a.b.c.d"'),
        ("Zeek.Conn", "Zeek.Conn"),
        ('<b>"x"', '"<b>""x"""'),
        ("../x", '"../x"'),
        ("public.x", "public.x"),
        ("information_schema.tables", "information_schema.tables"),
        ("select", '"select"'),
    ],
)
def test_tables_of_any_name(conn, name, table):
    """Plain names are written as they are; any name in double quotes."""
    reads = Reads(arrow_named(conn, name))
    assert reads.rows(f"select count(*) from {table}") == [(4,)]


def test_fields_of_any_name_and_case():
    """Fields are case-sensitive without quotes; hostile ones are written in quotes."""
    names = ("AA", "aa", "a.b", *hostile.EVIL)
    schema = Schema("x", tuple(Field(name, Type(Kind.INT64)) for name in names))
    reads = Reads(events(schema, [[i] for i in range(len(names))]))
    assert reads.rows('select AA, aa, "a.b" from x') == [(0, 1, 2)]
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in hostile.EVIL)
    assert reads.rows(f"select {quoted} from x") == [tuple(range(3, len(names)))]


@settings(max_examples=60)
@given(arrow.tables(names=st.just("x"), min_fields=1))
def test_any_events_can_be_selected(pair):
    """``select *`` gives the values of any events, as the frame of a result has them."""
    schema, batch = pair
    reads = Reads(batch)
    if not reads.schemas or not list(sql._readable(schema.fields)):
        return
    table = reads.run("select * from x")
    assert table.num_rows == batch.num_rows
    flat = convert.flatten(batch)
    found = table_frame(table)
    for place, leaf in enumerate(schema.leaves):
        if leaf.type.kind in (Kind.MAP, Kind.LIST) or leaf.name not in found:
            continue
        text = render.text(flat.column(place), flat.schema.field(place)).to_pylist()
        if leaf.type.kind in (Kind.IP, Kind.SUBNET, Kind.ENUM, Kind.STRING):
            values = found[leaf.name].astype(object)
            assert values.where(values.notna(), None).tolist() == text


def test_joins_windows_and_subqueries(conn):
    """More than one table, the same one twice, and what else SQL has."""
    reads = Reads(conn.batches["zeek.conn"][0], arrow_named(conn, "zeek.dns"))
    joined = (
        "select c.id.resp_p, d.proto from zeek.conn c join zeek.dns d on c.id.orig_h = d.id.orig_h "
        "where d.orig_bytes > 5 and c.proto = 'tcp' order by 1"
    )
    assert reads.rows(joined) == [(90, "tcp"), (None, "tcp")]
    twice = "select count(*) from zeek.conn a, zeek.conn b where a.orig_bytes < b.orig_bytes"
    assert reads.rows(twice) == [(3,)]
    window = "select row_number() over (order by orig_bytes) from zeek.conn order by 1"
    assert reads.rows(window) == [(1,), (2,), (3,), (4,)]
    big = "select id.resp_p as p from zeek.conn where orig_bytes > 5"
    inner = f"with big as ({big}) select count(p) from big"
    assert reads.rows(inner) == [(1,)]


# --- what statements may not ----------------------------------------------------------------

WRITES = (
    "drop table zeek.conn",
    "create table x as select 1",
    "create view x as select 1",
    "create schema x",
    "create function f(int) returns int return $1",
    "create external table x stored as csv location '{path}'",
    "insert into zeek.conn select * from zeek.conn",
    "delete from zeek.conn",
    "update zeek.conn set orig_bytes = 1",
    "truncate table zeek.conn",
    "copy (select 1) to '{path}.out'",
    "copy zeek.conn to '{path}.parquet'",
    "set datafusion.execution.batch_size = 1",
    "prepare x as select 1",
    "begin",
    "explain analyze copy (select 1) to '{path}.out'",
    "select 1; drop table zeek.conn",
    "with x as (delete from zeek.conn returning 1) select * from x",
)
READS = (
    "select * from '{path}'",
    'select * from "{path}"',
    "select * from 'file://{path}'",
    "select * from read_parquet('{path}')",
    "select * from read_csv('{path}')",
    "select * from parquet_metadata('{path}')",
    "select * from information_schema.tables",
    "select * from information_schema.df_settings",
    "show tables",
    "show all",
    "load data inpath '{path}' into table x",
    "select * from glob('{path}')",
    "select read_file('{path}')",
)


@pytest.mark.parametrize("statement", [*WRITES, *READS])
def test_statements_neither_write_nor_read_files(conn, tmp_path, statement):
    """One clear line; the folder stays as it was, and so do the events."""
    (tmp_path / "some.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError) as raised:
        conn.run(statement.format(path=tmp_path / "some.csv"))
    assert len(str(raised.value).splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["some.csv"]
    assert conn.asked == []
    assert conn.rows("select count(*) from zeek.conn") == [(4,)]


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.none() | st.integers(-9, 9) | st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=9,
    )
)
@settings(max_examples=60, deadline=None)
def test_a_sum_is_right(rows):
    """The engine adds in 64 bits, and would say nothing of sums that do not fit."""
    schema = Schema("t", (Field("k", Type(Kind.STRING)), Field("x", Type(Kind.INT64))))
    reads = Reads(events(schema, [[k for k, _ in rows], [x for _, x in rows]]))
    values = {k: [x for key, x in rows if key == k and x is not None] for k, _ in rows}
    text = "select k, sum(x), avg(x), count(*) from t group by 1 order by sum(x)"
    found = {k: total for k, total, *_ in reads.rows(text)}
    assert found == {k: sum(v) if v else None for k, v in values.items()}


LARGE = Schema(
    "t",
    (
        Field("k", Type(Kind.STRING)),
        Field("u", Type(Kind.UINT64)),
        Field("d", Type(Kind.DURATION)),
        Field("f", Type(Kind.DOUBLE)),
    ),
)
LARGE_ROWS: list[list[Any]] = [
    ["a", "a", "b"],
    [2**63, 2**63, 1],
    [2**62, 2**62, 1],
    [float("inf"), 1e308, float("nan")],
]


@pytest.mark.parametrize(
    "statement, expected",
    [
        ("select sum(u) from t", [2**64 + 1]),
        ('select SUM ( all u ) from t group by k order by "sum"(u)', [1, 2**64]),
        ("select sum(u) over (partition by k) from t order by u", [1, 2**64, 2**64]),
        ("select sum(u) over w from t window w as (order by k desc)", [1, 2**64 + 1, 2**64 + 1]),
        ("select sum(u) ignore nulls over (partition by k) from t order by u", [1, 2**64, 2**64]),
        ("select sum(u) filter (where k = 'a') /* sum(u) */ from t", [2**64]),
        (
            "select (select sum(b.u) from t b where b.k = a.k) as s from t a order by s",
            [1, 2**64, 2**64],
        ),
        ("select sum(u), k from t group by 2 order by 1", [1, 2**64]),
        ("select * from (select sum(u), 1 from t group by k) order by 1", [1, 2**64]),
        ("with q as (select sum(f) as s, sum(u) as u from t) select u from q", [2**64 + 1]),
        ("select k from t group by k having sum(u) > 1", ["a"]),
        ("select sum(sum(u)) over () from t group by k", 2 * [2**64 + 1]),
        ("select sum(a.u) from t a join t b on a.k = b.k where a.k = 'a'", [2**65]),
        ("select coalesce(sum(u), 0) + sum(u) from t", [2**65 + 2]),
        ("select avg(u) from t", [2**64 / 3]),
        ("select sum(u) / 2 from t where k = 'a'", [2.0**63]),
        ("select 'sum(u)' from t where k = 'b' -- sum(u)", ["sum(u)"]),
        ("select sum(f)::text from t where k = 'a'", ["inf"]),
        ("select sum(distinct u) from t where k = 'a'", [2**63]),
        ("select sum(u order by d) from t", [2**64 + 1]),
    ],
)
def test_no_sum_wraps_around(statement, expected):
    """Wherever it stands; others are as they were, also those of doubles that are no numbers."""
    frame = table_frame(Reads(events(LARGE, LARGE_ROWS)).run(statement))
    assert frame.iloc[:, 0].tolist() == expected


@pytest.mark.parametrize("function", ["sum", "avg"])
def test_durations_beyond_all_spans_are_an_error(function):
    """As for `summarize`."""
    reads = Reads(events(LARGE, LARGE_ROWS))
    assert reads.run(f"select {function}(d) as x from t where k = 'b'")["x"].cast("i8")[0].as_py()
    with pytest.raises(UsageError, match="sum of durations does not fit in 64 bits"):
        reads.run(f"select {function}(d), sum(u) from t")


def test_sums_within_sums_are_bounded():
    """Each level is written three times."""
    statement = f"select length('{'x' * 2_000}')"
    for _ in range(7):
        statement = f"select sum(({statement})) from t"
    with pytest.raises(UsageError, match="the statement is too long"):
        Reads(events(LARGE, LARGE_ROWS)).run(statement)


def test_signed_and_unsigned_numbers_meet():
    """The engine plans with other decimals than it computes."""
    reads = Reads(events(LARGE, LARGE_ROWS))
    text = "select u - 1 as a, u / 2 as b, sum(u) over () * 10 / 4 as c, u * 2 as d from t"
    frame = table_frame(reads.run(f"{text} where k = 'b'"))
    assert frame.to_dict("list") == {"a": [0], "b": [0.5], "c": [2.5], "d": [2]}
    assert table_frame(reads.run("select u - 1 as a from t"))["a"].max() == 2**63 - 1
    assert reads.run(f"{text} where k = 'c'").num_rows == 0


def test_a_sum_keeps_its_name_and_says_so_where_it_cannot():
    """The check changes no column, and a name that the engine made up cannot be asked for."""
    reads = Reads(events(LARGE, LARGE_ROWS))
    assert reads.run("select sum(u) from t").column_names == ["sum(u)"]
    with pytest.raises(UsageError, match=r"cannot be checked: .* as total"):
        reads.run("select \"sum(t.u)\" from (select sum(u) from t where k = 'b')")


def test_writing_is_named(conn):
    """The error says that a statement may only read."""
    with pytest.raises(UsageError, match="may only read, and this one is DropTable"):
        conn.run("drop table zeek.conn")


@pytest.mark.parametrize(
    "statement, message",
    [
        ("selec 1", "at Line: 1, Column: 1"),
        ("select 1 from zeek.conn\nwhere (", "found: EOF"),
        (" \n", "the statement is empty"),
        ('select 1 as "a\0b"', "cannot hold a null character"),
        ("select nope from zeek.conn", "No field named nope"),
        ("select resp_p from zeek.conn", r"no field 'resp_p' \(did you mean id.resp_p\?\)"),
        ("select id.nope from zeek.conn", "nope not found"),
        ("select id.resp_pp from zeek.conn", r"no field 'resp_pp' \(did you mean id.resp_p\?\)"),
        ('select "id.resp_p" from zeek.conn', r"\(write id.resp_p, without quotes around it\)"),
        ('select max(c."id.resp_p") from zeek.conn c', r"\(write c.id.resp_p, without quotes"),
        ("select c.resp_p from zeek.conn c", r"\(did you mean c.id.resp_p\?\)"),
        ("select ID.resp_p from zeek.conn", r"\(did you mean id.resp_p\?\)"),
        ("select nope(1)", "[Ii]nvalid function 'nope'"),
        ("select 1 from zeek.con", r"no table 'zeek.con' \(did you mean zeek.conn\?\)"),
        ("select 1 from zeek.conn where id.orig_h = '10.0.0.1'", r"write addresses as ip\("),
        ("select 1 from zeek.conn where id.orig_h like '10.%'", r"write addresses as ip\("),
        ("select ip('10.0.0.0/8')", r"'10.0.0.0/8' is not an address \(for networks: in_subnet"),
        ("select ip('x')", "'x' is not an address"),
        ("select 1 from zeek.conn where in_subnet(id.orig_h, '10.0.0/8')", "is not a network"),
        ("select 1/0", "[Dd]ivide by zero"),
        ("select cast('x' as int)", "[Cc]annot cast|Cast error"),
        ("select sum(proto) from zeek.conn", "sum"),
        ("select \x1b[31m", r"found: \\u\{1b\}"),
    ],
)
def test_errors_are_one_clear_line(conn, statement, message):
    """What the engine or a function says, without its layers and without control characters."""
    with pytest.raises(UsageError, match=message) as raised:
        conn.run(statement)
    shown = str(raised.value)
    assert hostile.controls(shown) == []
    assert len(shown.splitlines()) == 1
    assert "PyErr" not in shown
    assert "DataFusion error" not in shown


# --- how they run ---------------------------------------------------------------------------


def test_errors_of_a_scan_come_through(conn):
    """What reading the events raises is raised, not a text about it."""

    class Damage(VastlabError):
        pass

    def scan(name: str, fields: Paths) -> Iterator[pa.RecordBatch]:
        yield from conn.batches[name]
        raise Damage("a file is damaged")

    for statement in ("select count(*) from zeek.conn", "select * from zeek.conn order by 1"):
        with pytest.raises(Damage, match="a file is damaged"):
            Statement(conn.schemas, scan).run(statement)


def test_a_stopped_statement_ends(conn):
    """At the next events it raises."""
    asked: list[str] = []

    def scan(name: str, fields: Paths) -> Iterator[pa.RecordBatch]:
        while True:
            asked.append(name)
            if len(asked) == 3:
                statement.stop()
            yield from conn.batches[name]

    statement = Statement(conn.schemas, scan)
    with pytest.raises(VastlabError, match="was stopped"):
        statement.run("select count(*) from zeek.conn")
    assert len(asked) == 3


def test_a_limit_reads_no_more_than_it_needs(conn):
    """The scan is left when there are enough rows."""
    read: list[int] = []

    def scan(name: str, fields: Paths) -> Iterator[pa.RecordBatch]:
        for _ in range(1000):
            read.append(1)
            yield from conn.batches[name]

    assert Statement(conn.schemas, scan).run("select * from zeek.conn limit 6").num_rows == 6
    assert len(read) < 10


def test_answers_and_memory_are_bounded(conn, monkeypatch):
    """More rows, or more memory, than fit are one clear line."""
    monkeypatch.setattr(sql, "MAX_ANSWER", 1 << 20)
    big = "select a.uid from big a, big b"
    schema = Schema("big", (Field("uid", Type(Kind.STRING)),))
    reads = Reads(events(schema, [[f"x{i}" * 10 for i in range(2000)]]))
    with pytest.raises(UsageError, match=r"more than 1 MiB \(add a limit"):
        reads.run(big)
    monkeypatch.setattr(sql, "MAX_MEMORY", 1 << 16)
    with pytest.raises(UsageError, match="needs more than 0 MiB of memory"):
        reads.run("select count(*) from (select array_agg(uid) from big group by uid)")


def test_engine_code_does_not_filter_for_us(conn):
    """The rule of the engine that hands filters to Arrow is off: Arrow's null differs."""
    reads = Reads(*conn.batches["zeek.conn"])
    assert reads.rows("select count(*) from zeek.conn where orig_bytes is not null") == [(3,)]
    assert reads.asked == [("zeek.conn", [("orig_bytes",)])]


def test_each_kind_of_parameter():
    """Null, numbers of any size, times and durations."""
    reads = Reads(events(CONN, ROWS))
    moment = pd.Timestamp(MOMENT, tz="UTC")
    values = {"a": None, "b": 2**63, "c": -1, "d": moment, "e": pd.Timedelta(5), "f": True}
    text = "select $a, $b, $c, $d, $e, $f from zeek.conn limit 1"
    (row,) = reads.rows(text, **values)
    assert row[:3] == (None, 2**63, -1)
    assert row[5] is True


def test_tables_of_odd_schemas():
    """A schema without fields is no table; of equal names one is read; lists come out."""
    nothing = pa.RecordBatch.from_pylist([{}, {}]).replace_schema_metadata({"VAST:name:0": "empty"})
    reads = Reads(nothing, events(CONN, ROWS))
    with pytest.raises(UsageError, match="'empty' have no fields"):
        reads.run("select * from empty")
    record = Type(Kind.RECORD, fields=(Field("h", Type(Kind.IP)),))
    schema = Schema(
        "odd",
        (
            Field("x", Type(Kind.INT64)),
            Field("x", Type(Kind.INT64)),
            Field("l", Type(Kind.LIST, item=Type(Kind.IP))),
            Field("r", record),
            Field("n", Type(Kind.LIST, item=Type(Kind.RECORD))),
        ),
    )
    address = V4 + bytes([10, 0, 0, 1])
    batch = events(schema, [[1], [2], [[address]], [(address,)], [None]])
    (row,) = Reads(batch).run("select x, l, r from odd").to_pylist()
    assert row["x"] in (1, 2)
    assert [str(each) for each in row["l"]] == ["10.0.0.1"]


def test_what_the_engine_reads():
    """Batches of the columns that it names; it filters itself."""
    reads = Reads(events(CONN, ROWS))
    table = sql._Table(CONN, reads, Statement(reads.schemas, reads))
    name = table.schema.names[0]
    assert sum(len(b) for b in table.scanner(columns=[name]).to_batches()) == len(ROWS[0])
    with pytest.raises(AssertionError, match="filters itself"):
        table.scanner(columns=[name], filter="x")


def test_text_views_come_out_as_text():
    """Also in lists."""
    views = pa.array(["a", None], pa.string_view())
    assert sql._type(views.type) == pa.string()
    assert sql._typed(views).equals(pa.array(["a", None]))


def test_an_interrupt_stays_one(conn):
    """Only what the engine says becomes an error of ours."""
    with pytest.raises(KeyboardInterrupt), Statement(conn.schemas, conn)._errors():
        raise KeyboardInterrupt


def test_no_address_is_in_an_unknown_network():
    """Null in, null out."""
    unknown = pa.array([None], pa.string())
    assert sql_functions._in_subnet(pa.nulls(1, pa.binary(16)), unknown).to_pylist() == [None]
