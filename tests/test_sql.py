"""SQL over an endpoint, over a result and in a thread that can be stopped."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import threading
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vastlab
from tests.display.conftest import conn
from vastlab import VAST, demo, errors
from vastlab.connection import connect
from vastlab.nodes.base import Step
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.result import Result
from vastlab.store.database import Database

BYTES = "select id.orig_h, sum(orig_bytes) from zeek.conn group by 1"


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """Make a database of 3,000 events of the demo."""
    folder = tmp_path_factory.mktemp("sql") / "some.db"
    Database.create(folder).add(demo.batches(3000))
    return folder


@pytest.fixture(scope="module")
def vast(database):
    """Connect to it."""
    with connect(database) as opened:
        yield opened


def test_events_without_fields_are_no_table():
    """The error says so, instead of proposing the same name."""
    with pytest.raises(errors.UsageError, match=r"'my\.events' have no fields"):
        Result({"my.events": [pa.table({})]}).sql("select count(*) from my.events")


def test_the_statement_of_the_issue_gives_bytes_by_host(vast):
    """The sum of a column by a field of a record, as Python computes it: some are large."""
    found = vast.sql(BYTES)
    assert found.columns.tolist() == ["id.orig_h", "sum(orig_bytes)"]
    frame = vast.query('#type == "zeek.conn"', limit=0).one()
    wanted: dict[str, int] = {}
    for host, size in zip(frame["id.orig_h"], frame["orig_bytes"], strict=True):
        wanted[host] = wanted.get(host, 0) + (0 if pd.isna(size) else int(size))
    sums = zip(found["id.orig_h"], found["sum(orig_bytes)"], strict=True)
    assert {host: 0 if pd.isna(total) else int(total) for host, total in sums} == wanted
    assert max(wanted.values()) > 2**64


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_what_is_missing_comes_last(vast, order):
    """The greatest values of a column are values."""
    found = vast.sql(f"select orig_bytes from zeek.conn order by 1 {order}")["orig_bytes"]
    known = found.dropna()
    assert 0 < len(known) < len(found)
    assert found[: len(known)].tolist() == sorted(known, reverse=order == "desc")


def test_a_result_gives_the_same(vast):
    """`Result.sql` asks the events in memory, after `where` fewer of them."""
    result = vast.query(limit=0)
    ordered = f"{BYTES} order by 2 desc nulls last, 1"
    pd.testing.assert_frame_equal(result.sql(ordered), vast.sql(ordered))
    few = result.where("resp_p == 443")
    pd.testing.assert_frame_equal(few.sql(ordered), vast.sql(ordered, "resp_p == 443"))
    assert Result({"a/b": [conn([1, 2])]}).sql('select count(*) as n from "a/b"')["n"].tolist() == [
        2
    ]
    with pytest.raises(errors.UsageError, match="must be a text"):
        result.sql(5)


def test_tables_that_are_read_side_by_side_do_not_wait_for_each_other(vast):
    """The tables of a union may be more than the engine has threads, in memory too."""
    result = vast.query(limit=0)
    names = list(result) * (1 + (os.cpu_count() or 1) // len(result))
    union = " union all ".join(
        f"select '{name}' as name, * from (select 1 from {name})" for name in names
    )
    statement = f"select name, count(*) as n from ({union}) group by 1 order by 1"
    wanted = [len(result[name]) * names.count(name) for name in sorted(set(names))]
    assert vast.sql(statement, timeout=60)["n"].tolist() == wanted
    assert result.sql(statement)["n"].tolist() == wanted
    few = vast.sql("select id.resp_h from zeek.conn union select id.resp_h from zeek.dns")
    assert len(few) == len({*result["zeek.conn"]["id.resp_h"], *result["zeek.dns"]["id.resp_h"]})


def test_an_expression_and_bounds_say_what_the_tables_hold(vast):
    """As in any query, with parameters for the statement and the expression."""
    count = "select count(*) as n from zeek.conn where id.resp_p < $most"
    asked = {"most": 100, "ports": [53, 80, 443]}
    found = vast.sql(count, "resp_p in $ports", since="2026-03-03", params=asked)
    expected = vast.count('#type == "zeek.conn" && resp_p in [53, 80]', since="2026-03-03")
    assert found["n"].tolist() == [expected]
    assert expected > 0


def test_names_that_nothing_has_are_warned_of(vast):
    """In the expression as in a query, in the statement as an error."""
    with pytest.warns(errors.VastlabWarning, match="no schema has a field orig_bites"):
        vast.sql(BYTES, "orig_bites > 1")
    with pytest.raises(
        errors.UsageError, match=r"no table 'zeek.cnn' \(did you mean zeek.conn\?\)"
    ):
        vast.sql("select * from zeek.cnn")
    with pytest.raises(errors.ExpressionSyntaxError):
        vast.sql(BYTES, "resp_p == ")
    with pytest.raises(errors.UsageError, match="must be a text"):
        vast.sql(None)


@pytest.mark.parametrize("kind", ["demo:", "folder"])
def test_folders_of_logs_and_the_demo_can_be_asked(kind, tmp_path):
    """Every endpoint that this process reads."""
    (tmp_path / "some.json").write_text('{"#type": "my.log", "a": {"b": 5}}\n' * 3)
    endpoint = kind if kind == "demo:" else tmp_path
    statement = (
        "select count(*) as n from zeek.conn"
        if kind == "demo:"
        else "select sum(a.b) as n from my.log"
    )
    with connect(endpoint) as opened:
        expected = opened.count('#type == "zeek.conn"') if kind == "demo:" else 15
        assert opened.sql(statement)["n"].tolist() == [expected]


def test_nothing_is_written(vast, database, tmp_path):
    """A statement that writes is one clear line, and the database stays as it was."""
    before = {path: path.stat().st_mtime_ns for path in database.rglob("*.parquet")}
    for statement in ("delete from zeek.conn", f"copy zeek.conn to '{tmp_path}/x.parquet'"):
        with pytest.raises(errors.UsageError, match="may only read"):
            vast.sql(statement)
    assert list(tmp_path.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in database.rglob("*.parquet")} == before


# --- what is read ---------------------------------------------------------------------------


def test_only_named_schemas_and_fields_are_asked_for(vast, monkeypatch):
    """A node is asked once for each table, with the fields that are used."""
    asked = []
    export = EmbeddedNode.export

    def remember(self, query, *more):
        asked.append((str(query.expression), query.fields))
        return export(self, query, *more)

    monkeypatch.setattr(EmbeddedNode, "export", remember)
    vast.sql("select c.uid from zeek.conn c join zeek.http h on c.uid = h.uid", "resp_p == 80")
    assert sorted(asked) == [
        ('#type == "zeek.conn" && resp_p == 80', frozenset({("uid",)})),
        ('#type == "zeek.http" && resp_p == 80', frozenset({("uid",)})),
    ]


def damaged(database: Path, folder: Path, column: str) -> Path:
    """Copy a database, and flip a byte of one column of the connections."""
    copy = folder / "damaged.db"
    shutil.copytree(database, copy)
    (path,) = (copy / "data" / "zeek.conn").rglob("*.parquet")
    group = pq.ParquetFile(path).metadata.row_group(0)
    (chunk,) = (
        group.column(i)
        for i in range(group.num_columns)
        if group.column(i).path_in_schema == column
    )
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 0x10
    path.write_bytes(bytes(data))
    return copy


def test_damage_of_what_is_read_is_an_error(database, tmp_path):
    """Columns that the statement names are compared with their checksums; others are not read."""
    with connect(damaged(database, tmp_path, "orig_bytes")) as opened:
        with pytest.raises(errors.CorruptFileError, match="damaged"):
            opened.sql(BYTES)
        with pytest.raises(errors.CorruptFileError, match="damaged"):
            opened.sql("select sum(orig_bytes) from zeek.conn", "resp_p > 0")
        assert opened.sql("select count(uid) as n from zeek.conn")["n"].tolist() == [
            opened.count('#type == "zeek.conn"')
        ]


def test_fields_that_share_a_path_are_told_apart(tmp_path):
    """A field ``a.b`` beside a record ``a``: each is read alone as it is with the other."""
    schema = pa.schema([("a.b", pa.int64()), ("a", pa.struct([("b", pa.int64())]))])
    rows = pa.Table.from_pylist([{"a.b": 1, "a": {"b": 2}}], schema=schema)
    with connect(tmp_path / "x.db") as opened:
        opened.ingest(rows, schema="my.log")
        assert opened.sql('select "a.b" as x from my.log')["x"].tolist() == [1]
        assert opened.sql("select a.b as x from my.log")["x"].tolist() == [2]
        assert opened.sql('select "a.b" as x, a.b as y from my.log').to_numpy().tolist() == [[1, 2]]


# --- progress, and the end of it ------------------------------------------------------------


async def test_progress_is_reported(database):
    """The events that were read so far."""
    seen = []
    async with VAST(database) as opened:
        await opened.sql("select max(orig_bytes) from zeek.conn", report=seen.append)
    steps = [item for item in seen if isinstance(item, Step)]
    assert steps
    assert steps[-1].events == len(await_all(database))


def await_all(database: Path) -> pd.DataFrame:
    """Return all connections."""
    with connect(database) as opened:
        return opened.query('#type == "zeek.conn"', limit=0).one()


@pytest.fixture
def endless(monkeypatch) -> tuple[threading.Event, threading.Event]:
    """Let an export give the same events again and again; return what is set at both ends."""
    started, ended = threading.Event(), threading.Event()
    export = EmbeddedNode.export

    async def again(self, query, *more):
        started.set()
        try:
            while True:
                async for part in export(self, query, *more):
                    yield part
        finally:
            ended.set()

    monkeypatch.setattr(EmbeddedNode, "export", again)
    return started, ended


async def test_a_cancelled_statement_ends(database, endless):
    """The export ends, and so does the engine's thread."""
    started, ended = endless
    async with VAST(database) as opened:
        task = asyncio.create_task(opened.sql(BYTES))
        await asyncio.to_thread(started.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended.is_set()
    for thread in threading.enumerate():
        if thread.name.startswith("vastlab-sql"):
            await asyncio.to_thread(thread.join, 30)
            assert not thread.is_alive()


async def test_a_timeout_is_an_error(database, endless):
    """As for other calls."""
    async with VAST(database) as opened:
        with pytest.raises(errors.NodeTimeoutError):
            await opened.sql(BYTES, timeout=0.2)


def test_an_interrupt_ends_a_statement(database, endless):
    """Ctrl-C ends it and its export, and the connection can be used again."""
    started, ended = endless

    def interrupt():
        if started.wait(30):
            os.kill(os.getpid(), signal.SIGINT)

    with connect(database) as opened:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(errors.QueryInterrupted, match="while running a statement"):
            opened.sql(BYTES)
        assert ended.wait(30)
        assert opened.sql("select 1 as x")["x"].tolist() == [1]


def test_an_interrupt_ends_a_statement_over_a_result(vast, monkeypatch):
    """Ctrl-C is heard while the engine computes, and not only when it is done."""
    result = vast.query('#type == "zeek.conn"', limit=0)
    running, stopped = threading.Event(), threading.Event()

    def compute(self, text, params):
        running.set()
        stopped.wait(30)

    monkeypatch.setattr("vastlab.compile.sql.Statement.run", compute)
    monkeypatch.setattr("vastlab.compile.sql.Statement.stop", lambda self: stopped.set())

    def interrupt():
        if running.wait(30):
            os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(errors.QueryInterrupted, match="while running a statement"):
        result.sql(BYTES)
    assert stopped.is_set()


async def test_many_statements_at_once(database):
    """More statements than threads of the loop all have their answers."""
    async with VAST(database) as opened:
        answers = await asyncio.gather(*(opened.sql(BYTES) for _ in range(12)))
    assert len({len(answer) for answer in answers}) == 1


def test_a_statement_without_tables_needs_no_events(vast):
    """It is answered by the engine alone."""
    assert vast.sql("select 1 + 1 as two")["two"].tolist() == [2]
    assert vast.sql("select 1 as x limit 0").columns.tolist() == ["x"]


def test_no_warning_is_left_behind(vast):
    """A statement that ends early leaves no coroutine that nobody awaits."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(vast.sql("select uid from zeek.conn limit 1")) == 1
        assert np.isfinite(vast.sql("select count(*) as n from zeek.conn")["n"]).all()
    assert vastlab.VAST is VAST
