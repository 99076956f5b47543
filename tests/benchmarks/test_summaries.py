"""Summaries beside bare DataFusion and DuckDB, which group the same files by the same columns."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import statistics
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import datafusion
import pandas as pd
import pyarrow as pa
import pytest

from vastlab import demo
from vastlab.client import VAST
from vastlab.store.database import Database

EVENTS = int(os.environ.get("VASTLAB_BENCH_EVENTS", "10000000"))
ROUNDS = 9
TIMES = {"demo.asset": "seen", "zeek": "ts", "suricata": "timestamp"}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how the other engines ask it.

    Parameters
    ----------
    ours
        Options of `summarize`; none for a timeline, of which the width is found.
    bare, duckdb
        The columns that the other engines are asked for, of the schemas in `expression`.
    """

    ours: dict[str, Any] | None
    bare: str
    duckdb: str
    expression: str = '#type == "zeek.conn"'


QUESTIONS = {
    "bytes by address": Question(
        {"by": "id.orig_h", "aggregates": {"bytes": "sum(orig_bytes)"}},
        '"id.orig_h", sum(orig_bytes)',
        '"id.orig_h", sum(orig_bytes)',
    ),
    "events by hour": Question(
        {"every": "1h", "aggregates": {"events": "count()"}},
        "date_trunc('hour', {time}), count(*)",
        "date_trunc('hour', {time}), count(*)",
    ),
    "peers by address": Question(
        {"by": "id.orig_h", "aggregates": {"peers": "count_distinct(id.resp_h)"}},
        '"id.orig_h", count(distinct "id.resp_h")',
        '"id.orig_h", count(distinct "id.resp_h")',
    ),
    "timeline of connections": Question(
        None,
        "date_bin(interval '{width} seconds', {time}), count(*)",
        "time_bucket(interval '{width} seconds', {time}), count(*)",
    ),
    "timeline of everything": Question(
        None,
        "date_bin(interval '{width} seconds', {time}), count(*)",
        "time_bucket(interval '{width} seconds', {time}), count(*)",
        expression="",
    ),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    database = Database.create(tmp_path_factory.mktemp("benchmark") / "events.db")
    database.add(demo.batches(EVENTS))
    return database.path


def ours(path, question):
    async def ask():
        async with VAST(path) as vast:
            if question.ours is None:
                return await vast.timeline(question.expression)
            return await vast.summarize(question.expression, **question.ours)

    return asyncio.run(ask())


def folders(path, question):
    """Return the folder and the event time of each schema, by its name."""
    for schema in sorted((path / "data").iterdir()):
        if schema.name in (question.expression or schema.name):
            (folder,) = schema.iterdir()
            known = TIMES.get(schema.name) or TIMES[schema.name.partition(".")[0]]
            yield schema.name, folder, known


def statement(path, question, columns, width, source):
    selected = []
    for name, folder, moment in folders(path, question):
        what = columns.format(time=moment, width=width)
        label = f", '{name}'" if question.ours is None else ""
        selected.append(f"select {what}{label} from {source(name, folder)} group by 1")
    return " union all ".join(selected)


def bare(path, question, width):
    context = datafusion.SessionContext(
        datafusion.SessionConfig({"datafusion.execution.target_partitions": "2"})
    )

    def source(name, folder):
        context.register_parquet(table := name.replace(".", "_"), str(folder))
        return table

    sql = statement(path, question, question.bare, width, source)
    return pa.Table.from_batches(context.sql(sql).collect())


def duckdb(path, question, width):
    import duckdb as engine

    connection = engine.connect(config={"threads": 2})

    def source(name, folder):
        return f"read_parquet('{folder}/*.parquet')"

    sql = statement(path, question, question.duckdb, width, source)
    return connection.sql(sql).to_arrow_table()


def rows(table):
    """Return the rows of an answer in a form in which they can be compared."""
    found = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("ns")).cast(pa.int64())
        values = column.to_pylist()
        if pa.types.is_fixed_size_binary(column.type) or pa.types.is_binary(column.type):
            values = [value and address(value) for value in values]
        found.append(values)
    return sorted(zip(*found, strict=True), key=repr)


def address(packed):
    found = ipaddress.IPv6Address(packed)
    return str(found.ipv4_mapped or found)


def ours_rows(frame, modulus):
    """Return the rows of a frame; bare DataFusion has sums modulo 2^64."""
    columns = [frame[name] for name in sorted(frame, key=lambda name: name == "#type")]
    found = []
    for column in columns:
        if column.dtype.kind == "M":
            found.append(column.astype("int64").tolist())
        else:
            found.append([None if pd.isna(each) else each for each in column.tolist()])
    found[1] = [None if each is None else int(each) % modulus for each in found[1]]
    return sorted(zip(*found, strict=True), key=repr)


def cpu(ask, *args):
    started = time.process_time()
    ask(*args)
    return time.process_time() - started


@pytest.mark.benchmark
@pytest.mark.parametrize("name", QUESTIONS)
def test_summaries(benchmark, path, name):
    """They are asked in turn, so that the load of the machine is the same for all."""
    question = QUESTIONS[name]
    frame = ours(path, question)
    width = int(frame.attrs["every"].total_seconds()) if question.ours is None else 0
    peers = {"bare DataFusion": bare}
    assert rows(bare(path, question, width)) == ours_rows(frame, 2**64)
    if find_spec("duckdb"):
        peers["DuckDB"] = duckdb
        assert rows(duckdb(path, question, width)) == ours_rows(frame, 2**128)
    spent = [
        [cpu(ours, path, question), *(cpu(peer, path, question, width) for peer in peers.values())]
        for _ in range(ROUNDS)
    ]
    mine, *theirs = (statistics.median(taken) for taken in zip(*spent, strict=True))
    shown = ", ".join(
        f"{mine / taken:.2f} times {peer}" for peer, taken in zip(peers, theirs, strict=True)
    )
    print(f"\n{name}: {len(frame)} groups, {mine:.3f} s CPU, {shown}")
    benchmark.pedantic(ours, (path, question), rounds=1)
