"""Counts and events beside other engines, which ask the same Parquet files the same questions.

`measure` says how they are compared; ``VASTLAB_BENCH_LISTED`` is the length of lists.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import datafusion
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pytest

import vastlab
from tests.benchmarks.measure import ABSENT, EVENTS, OTHERWISE, version
from vastlab import demo
from vastlab.client import VAST
from vastlab.store.database import Database

LISTED = int(os.environ.get("VASTLAB_BENCH_LISTED", "10000"))
TABLE = "Counts of connections: the CPU of others over that of vastlab"
EVENTS_TABLE = "Connections as Arrow: the CPU of others over that of vastlab"
FRAMES_TABLE = "Events as frames of pandas: the CPU of others over that of vastlab"
NOTES = {
    "subnet": "addresses are bytes to the others",
    f"{LISTED:,} texts": "vastlab is given the list with the question, others have it bound",
}


@dataclass(frozen=True)
class Question:
    """One question in the language of each engine; `where` is SQL with placeholders for values."""

    ours: str
    where: str
    arrow: Callable[[list[str]], Any] | None = None
    polars: Callable[[Any, list[str]], Any] | None = None


CONNECTIONS = '#type == "zeek.conn"'
ADDRESSES = {
    "low": "00000000000000000000ffff0a000000",
    "high": "00000000000000000000ffff0affffff",
    "needle": "00000000000000000000ffffcb007163",
}
FIRST, LAST = (f"2026-03-0{day} 06:00:00" for day in (3, 4))
LISTED_ADDRESSES = f"{LISTED:,} addresses, two columns"
QUESTIONS = {
    "everything": Question("", "true", lambda _: None, lambda pl, _: pl.lit(True)),
    "time range": Question(
        "ts >= 2026-03-03T06:00:00Z && ts < 2026-03-04T06:00:00Z",
        f"ts >= timestamp '{FIRST}' and ts < timestamp '{LAST}'",
        lambda _: (pc.field("ts") >= _time(FIRST)) & (pc.field("ts") < _time(LAST)),
        lambda pl, _: (pl.col("ts") >= _moment(FIRST)) & (pl.col("ts") < _moment(LAST)),
    ),
    "one address, two columns": Question(
        ":ip == 203.0.113.99", '("id.orig_h" = {needle} or "id.resp_h" = {needle})'
    ),
    "an absent uid": Question(
        'uid == "CAbsentAbsentAbse"',
        "uid = 'CAbsentAbsentAbse'",
        lambda _: pc.field("uid") == "CAbsentAbsentAbse",
        lambda pl, _: pl.col("uid") == "CAbsentAbsentAbse",
    ),
    "regular expression, few distinct values": Question(
        "history == /ShA.*f/",
        "{matches}(history, '^(ShA.*f)$')",
        lambda _: pc.match_substring_regex(pc.field("history"), "^(ShA.*f)$"),
        lambda pl, _: pl.col("history").str.contains("^(ShA.*f)$"),
    ),
    "regular expression, all distinct": Question(
        "uid == /C.*ab.*1/",
        "{matches}(uid, '^(C.*ab.*1)$')",
        lambda _: pc.match_substring_regex(pc.field("uid"), "^(C.*ab.*1)$"),
        lambda pl, _: pl.col("uid").str.contains("^(C.*ab.*1)$"),
    ),
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
    ),
    f"{LISTED:,} texts": Question(
        "uid in $listed",
        "uid in (select uid from listed)",
        lambda listed: pc.field("uid").isin(listed),
        lambda pl, listed: pl.col("uid").is_in(listed),
    ),
    LISTED_ADDRESSES: Question(
        ":ip in $addresses",
        '("id.orig_h" in (select ip from addresses) or "id.resp_h" in (select ip from addresses))',
    ),
}


# The question, and how many of the events that match; 0 for all.
EVENTS_OF = {
    "one address, events": (QUESTIONS["one address, two columns"], 0),
    "first 100 of one port": (QUESTIONS["one port"], 100),
    f"{LISTED:,} texts, events": (QUESTIONS[f"{LISTED:,} texts"], 0),
    "1 %, as Arrow": (
        Question(
            'history == "S"',
            "history = 'S'",
            lambda _: pc.field("history") == "S",
            lambda pl, _: pl.col("history") == "S",
        ),
        0,
    ),
    "all, as Arrow": (QUESTIONS["everything"], 0),
}


@dataclass(frozen=True)
class Lists:
    """Long lists of values."""

    texts: list[str]
    addresses: list[IPv4Address | IPv6Address]

    @property
    def table_of_texts(self):
        return pa.table({"uid": self.texts})

    @property
    def table_of_addresses(self):
        values = [packed(address) for address in self.addresses]
        return pa.table({"ip": pa.array(values, pa.binary(16))})


def packed(address):
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def _time(text):
    return pa.scalar(_moment(text), pa.timestamp("ns"))


def _moment(text):
    return datetime.fromisoformat(text)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    database = Database.create(tmp_path_factory.mktemp("benchmark") / "events.db")
    database.add(demo.batches(EVENTS))
    return database


@pytest.fixture(scope="module")
def paths(database):
    return [file.path for file in database.snapshot().files if file.schema_name == "zeek.conn"]


@pytest.fixture(scope="module")
def lists(paths):
    """Draw texts of which a tenth occur, and addresses of which a hundredth do."""
    chosen = random.Random(1)  # noqa: S311 - a sample, and no secret
    head = pyarrow.dataset.dataset(paths[:1]).head(200_000, columns=["uid", "id.resp_h"])
    texts = head["uid"].to_pylist()
    some = chosen.sample(texts, min(len(texts), LISTED // 10))
    texts = some + [f"C{chosen.getrandbits(80):x}" for _ in range(LISTED - len(some))]
    known = sorted(set(head["id.resp_h"].to_pylist()), key=int)[-LISTED // 100 :]
    others = (IPv4Address(chosen.getrandbits(32)) for _ in range(LISTED - len(known)))
    return Lists(texts, [*known, *others])


def duckdb_peer(paths, question, lists, rows):
    import duckdb

    connection = duckdb.connect()
    connection.register("listed", lists.table_of_texts)
    connection.register("addresses", lists.table_of_addresses)
    values = {
        name: "'" + "".join(f"\\x{byte:02X}" for byte in bytes.fromhex(value)) + "'::BLOB"
        for name, value in ADDRESSES.items()
    }
    where = question.where.format(**values, matches="regexp_matches")
    files = ", ".join(f"'{path}'" for path in paths)
    start = f"from read_parquet([{files}]) where {where}"
    if rows is None:
        return lambda: connection.execute(f"select count(*) {start}").fetchone()[0]
    end = f" limit {rows}" if rows else ""
    return lambda: connection.sql(f"select * {start}{end}").to_arrow_table()


def polars_peer(paths, question, lists, rows):
    import polars

    if question.polars is None:
        return None
    frame = polars.scan_parquet(paths)
    if rows is None:
        frame = frame.select("ts", "id.resp_p", "history", "uid")
    frame = frame.filter(question.polars(polars, lists.texts))
    if rows is None:
        return lambda: frame.select(polars.len()).collect().item()
    return lambda: (frame.head(rows) if rows else frame).collect()


def pyarrow_peer(paths, question, lists, rows):
    if question.arrow is None:  # its filters do not know the type of addresses
        return None
    dataset = pyarrow.dataset.dataset(paths)
    condition = question.arrow(lists.texts)
    if rows is None:
        return lambda: dataset.count_rows(filter=condition)
    if rows:
        return lambda: dataset.head(rows, filter=condition)
    return lambda: dataset.to_table(filter=condition)


def datafusion_peer(paths, question, lists, rows):
    context = datafusion.SessionContext(
        datafusion.SessionConfig({"datafusion.execution.target_partitions": "2"})
    )
    context.register_parquet("conn", os.path.dirname(paths[0]))
    context.from_arrow(lists.table_of_texts, "listed")
    context.from_arrow(lists.table_of_addresses, "addresses")
    values = {
        name: f"arrow_cast(X'{value}', 'FixedSizeBinary(16)')" for name, value in ADDRESSES.items()
    }
    start = f"from conn where {question.where.format(**values, matches='regexp_like')}"
    if rows is None:
        return lambda: context.sql(f"select count(*) {start}").collect()[0].column(0)[0].as_py()
    end = f" limit {rows}" if rows else ""
    return lambda: context.sql(f"select * {start}{end}").to_arrow_table()


PEERS = {
    "duckdb": duckdb_peer,
    "polars": polars_peer,
    "pyarrow": pyarrow_peer,
    "datafusion": datafusion_peer,
}


def uids_of(events):
    uids = events["uid"]
    return sorted(uids.to_pylist() if isinstance(events, pa.Table) else uids.to_list())


def asked_of_us(question, lists):
    params = {"listed": lists.texts, "addresses": lists.addresses}
    used = {name: values for name, values in params.items() if f"${name}" in question.ours}
    expression = f'#type == "zeek.conn" && {question.ours}' if question.ours else CONNECTIONS
    return expression, used


@pytest.mark.benchmark
@pytest.mark.parametrize("name", QUESTIONS)
def test_counts(compare, database, paths, lists, name):
    """How many connections match."""
    loop = asyncio.new_event_loop()
    vast = VAST(database.path)
    expression, params = asked_of_us(QUESTIONS[name], lists)
    asks = {
        "vastlab": lambda: loop.run_until_complete(vast.count(expression, params=params)),
        **{peer: ask(peer, paths, QUESTIONS[name], lists, None) for peer in PEERS},
    }
    compare(TABLE, name, asks, note=NOTES.get(name, ""))
    loop.run_until_complete(vast.aclose())
    loop.close()


@pytest.mark.benchmark
@pytest.mark.parametrize("name", EVENTS_OF)
def test_events(compare, database, paths, lists, name):
    """The connections that match as Arrow: nested ones of vastlab, columns of the others."""
    question, rows = EVENTS_OF[name]
    loop = asyncio.new_event_loop()
    vast = VAST(database.path)
    expression, params = asked_of_us(question, lists)

    async def export():
        parts = vast.export(expression, limit=rows, params=params)
        return pa.Table.from_batches([part.to_pyarrow() async for part in parts])

    every = ask("datafusion", paths, question, lists, 0)
    known = set(uids_of(every())) if rows else set()

    def same(ours, theirs):
        """Which events a limit leaves is up to each engine."""
        mine, other = uids_of(ours), uids_of(theirs)
        if not rows:
            return mine == other
        return len(mine) == len(other) == rows and known.issuperset(mine + other)

    asks = {
        "vastlab": lambda: loop.run_until_complete(export()),
        **{peer: ask(peer, paths, question, lists, rows) for peer in PEERS},
    }
    compare(EVENTS_TABLE, name, asks, same=same, show=lambda found: f"{found.num_rows:,}")
    loop.run_until_complete(vast.aclose())
    loop.close()


# A text that tells the events of a schema apart well enough to compare answers.
FRAMES_OF = {"zeek.dns": "uid", "suricata.flow": "community_id"}


def frame_of_duckdb(paths):
    import duckdb

    files = ", ".join(f"'{path}'" for path in paths)
    return duckdb.sql(f"from read_parquet([{files}])").df()


@pytest.mark.benchmark
@pytest.mark.parametrize("name", FRAMES_OF)
def test_frames(compare, database, name):
    """All events of a schema as a frame of pandas."""
    loop = asyncio.new_event_loop()
    vast = VAST(database.path)
    paths = [file.path for file in database.snapshot().files if file.schema_name == name]

    async def frame():
        parts = vast.export(f'#type == "{name}"', limit=0)
        return vastlab.to_frames(await vastlab.collect_pyarrow(parts))[name]

    def same(ours, theirs):
        column = FRAMES_OF[name]
        return sorted(map(str, ours[column])) == sorted(map(str, theirs[column]))

    is_there = version("duckdb") != ABSENT
    asks = {
        "vastlab": lambda: loop.run_until_complete(frame()),
        "duckdb": (lambda: frame_of_duckdb(paths)) if is_there else ABSENT,
        "pyarrow": lambda: pyarrow.dataset.dataset(paths).to_table().to_pandas(),
    }
    note = "vastlab types addresses and has text columns without null objects"
    compare(FRAMES_TABLE, name, asks, same=same, show=lambda found: f"{len(found):,}", note=note)
    loop.run_until_complete(vast.aclose())
    loop.close()


def ask(peer, paths, question, lists, rows):
    """Return what asks an engine, or why it is not asked."""
    if version(peer) == ABSENT:
        return ABSENT
    return PEERS[peer](paths, question, lists, rows) or OTHERWISE
