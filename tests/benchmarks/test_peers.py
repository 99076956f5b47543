"""Counts beside other engines, which ask the same Parquet files the same questions.

`measure` says how they are compared.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import datafusion
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pytest

from tests.benchmarks.measure import ABSENT, EVENTS, OTHERWISE, version
from vastlab import demo
from vastlab.client import VAST
from vastlab.store.database import Database

LISTED = 10_000
TABLE = "Counts of connections: the CPU of others over that of vastlab"
NOTES = {
    "subnet": "addresses are bytes to the others",
    f"{LISTED:,} texts": "vastlab is given the list with the question, others have it bound",
}


@dataclass(frozen=True)
class Question:
    """One question in the language of each engine; `where` is SQL with ``{blob}`` for a cast."""

    ours: str
    where: str
    arrow: Callable[[list[str]], Any]
    polars: Callable[[Any, list[str]], Any] | None = None


LOW, HIGH = "00000000000000000000ffff0a000000", "00000000000000000000ffff0affffff"
QUESTIONS = {
    "one port": Question(
        "id.resp_p == 53",
        '"id.resp_p" = 53',
        lambda _: pc.field("id.resp_p") == 53,
        lambda pl, _: pl.col("id.resp_p") == 53,
    ),
    "negation": Question(
        "id.resp_p != 53",
        '"id.resp_p" <> 53',
        lambda _: pc.field("id.resp_p") != 53,
        lambda pl, _: pl.col("id.resp_p") != 53,
    ),
    "substring, few distinct values": Question(
        'history ni "Sh"',
        "history like '%Sh%'",
        lambda _: pc.match_substring(pc.field("history"), "Sh"),
        lambda pl, _: pl.col("history").str.contains("Sh", literal=True),
    ),
    "substring, all distinct": Question(
        'uid ni "ab1"',
        "uid like '%ab1%'",
        lambda _: pc.match_substring(pc.field("uid"), "ab1"),
        lambda pl, _: pl.col("uid").str.contains("ab1", literal=True),
    ),
    "subnet": Question(
        "id.orig_h in 10.0.0.0/8",
        '"id.orig_h" between {low} and {high}',
        lambda _: (
            (pc.field("id.orig_h") >= pa.scalar(bytes.fromhex(LOW), pa.binary(16)))
            & (pc.field("id.orig_h") <= pa.scalar(bytes.fromhex(HIGH), pa.binary(16)))
        ),
    ),
    f"{LISTED:,} texts": Question(
        "uid in $listed",
        "uid in (select uid from listed)",
        lambda listed: pc.field("uid").isin(listed),
        lambda pl, listed: pl.col("uid").is_in(listed),
    ),
}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    database = Database.create(tmp_path_factory.mktemp("benchmark") / "events.db")
    database.add(demo.batches(EVENTS))
    return database


@pytest.fixture(scope="module")
def paths(database):
    return [file.path for file in database.snapshot().files if file.schema_name == "zeek.conn"]


@pytest.fixture(scope="module")
def listed(paths):
    """Draw texts of which a tenth occur."""
    chosen = random.Random(1)  # noqa: S311 - a sample, and no secret
    known = pyarrow.dataset.dataset(paths[:1]).head(200_000, columns=["uid"])["uid"].to_pylist()
    some = chosen.sample(known, min(len(known), LISTED // 10))
    return some + [f"C{chosen.getrandbits(80):x}" for _ in range(LISTED - len(some))]


def duckdb_count(paths, question, listed):
    import duckdb

    connection = duckdb.connect()
    connection.register("listed", pa.table({"uid": listed}))
    blobs = {
        name: "'" + "".join(f"\\x{byte:02X}" for byte in bytes.fromhex(end)) + "'::BLOB"
        for name, end in (("low", LOW), ("high", HIGH))
    }
    where = question.where.format(**blobs)
    files = ", ".join(f"'{path}'" for path in paths)
    sql = f"select count(*) from read_parquet([{files}]) where {where}"
    return lambda: connection.execute(sql).fetchone()[0]


def polars_count(paths, question, listed):
    import polars

    condition = question.polars
    if condition is None:
        return None
    names = {"id.resp_p", "history", "uid"}
    frame = polars.scan_parquet(paths).select(*sorted(names)).filter(condition(polars, listed))
    return lambda: frame.select(polars.len()).collect().item()


def pyarrow_count(paths, question, listed):
    dataset = pyarrow.dataset.dataset(paths)
    if question.polars is None:  # its filters do not know the type of addresses
        return None
    condition = question.arrow(listed)
    return lambda: dataset.count_rows(filter=condition)


def datafusion_count(paths, question, listed):
    context = datafusion.SessionContext(
        datafusion.SessionConfig({"datafusion.execution.target_partitions": "2"})
    )
    context.register_parquet("conn", os.path.dirname(paths[0]))
    context.from_pydict({"uid": listed}, "listed")
    ends = {
        name: f"arrow_cast(X'{end}', 'FixedSizeBinary(16)')"
        for name, end in (("low", LOW), ("high", HIGH))
    }
    sql = f"select count(*) from conn where {question.where.format(**ends)}"
    return lambda: context.sql(sql).collect()[0].column(0)[0].as_py()


PEERS = {
    "duckdb": duckdb_count,
    "polars": polars_count,
    "pyarrow": pyarrow_count,
    "datafusion": datafusion_count,
}


@pytest.mark.benchmark
@pytest.mark.parametrize("name", QUESTIONS)
def test_counts(compare, database, paths, listed, name):
    """How many connections match."""
    question = QUESTIONS[name]
    loop = asyncio.new_event_loop()
    vast = VAST(database.path)
    params = {"listed": listed} if "$listed" in question.ours else None
    expression = f'#type == "zeek.conn" && {question.ours}'
    asks = {
        "vastlab": lambda: loop.run_until_complete(vast.count(expression, params=params)),
        **{peer: ask(peer, paths, question, listed) for peer in PEERS},
    }
    compare(TABLE, name, asks, note=NOTES.get(name, ""))
    loop.run_until_complete(vast.aclose())
    loop.close()


def ask(peer, paths, question, listed):
    """Return what asks an engine, or why it is not asked."""
    if version(peer) == ABSENT:
        return ABSENT
    return PEERS[peer](paths, question, listed) or OTHERWISE
