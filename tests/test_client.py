from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import json
import os
import subprocess
import sys
import time
import warnings
from contextlib import aclosing

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vastlab.client import VAST, ExportMode
from vastlab.endpoints import NodeEndpoint, PathEndpoint
from vastlab.errors import (
    ConfigError,
    ExpressionSyntaxError,
    FormatError,
    NodeConnectionError,
    NodeError,
    NodeTimeoutError,
    ParameterError,
    UsageError,
    VastlabWarning,
)
from vastlab.nodes.base import Notice
from vastlab.store.database import Database

START = 1_258_531_200_500_000_000  # 2009-11-18T08:00:00.5Z
SECOND = 1_000_000_000


def write_events(path, times):
    """Write one event for each time, with its number."""
    columns = {"ts": pa.array(times, pa.timestamp("ns")), "n": pa.array(range(len(times)))}
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """Keep the settings and caches of the machine out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("VAST_ENDPOINT", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def log(tmp_path):
    times = range(START, START + 10 * SECOND, SECOND)
    return write_events(tmp_path / "events.parquet", times)


@pytest.fixture
async def vast(tmp_path, log):
    async with VAST(tmp_path / "events.db") as vast:
        await vast.ingest(log, schema="test.event")
        yield vast


async def exported(stream):
    return [n async for part in stream for n in part.to_pyarrow().column("n").to_pylist()]


# --- the API of PyVAST ----------------------------------------------------------------------


def test_the_signatures_are_those_of_pyvast():
    """Scripts for PyVAST pass their arguments unchanged."""
    export = list(inspect.signature(VAST.export).parameters.values())
    assert [p.name for p in export[:4]] == ["self", "expression", "mode", "limit"]
    assert [p.default for p in export[2:4]] == [ExportMode.HISTORICAL, 100]
    assert list(inspect.signature(VAST.count).parameters)[:2] == ["self", "expression"]
    assert list(inspect.signature(VAST.status).parameters)[1:3] == ["timeout", "retry_delay"]
    assert next(iter(inspect.signature(VAST).parameters)) == "endpoint"


async def test_an_export_is_an_async_iterator_of_slices(vast):
    """The limit is 100 unless another is given, and 0 means all."""
    assert await exported(vast.export("n >= 7")) == [7, 8, 9]
    assert await exported(vast.export(limit=4)) == [0, 1, 2, 3]
    assert await exported(vast.export("n < 9", limit=0)) == list(range(9))


async def test_counts_and_count_agree(vast):
    """`count` is the sum of `counts`."""
    assert await vast.counts("n < 4") == {"test.event": 4}
    assert await vast.count("n < 4") == 4
    assert await vast.count() == 10


async def test_options_that_only_pyvast_has_change_nothing(vast):
    """An estimate is the exact count, and the status is always the detailed one."""
    assert await vast.count("n < 4", estimate=True) == 4
    status = await vast.status(timeout=30, detailed=True)
    assert status["catalog"]["num-events"] == 10
    assert set(await vast.status(0)) == set(status)


class LateNode:
    """Answers from the third call on."""

    def __init__(self):
        self.calls = 0

    async def status(self, report):
        self.calls += 1
        if self.calls < 3:
            raise NodeConnectionError("nothing answers")
        return {"calls": self.calls}


async def test_status_waits_for_a_node_that_starts(monkeypatch):
    """With a timeout it asks again, as in PyVAST; without one it says at once what is wrong."""
    client, node = VAST("127.0.0.1:1"), LateNode()
    monkeypatch.setattr(client._session, "_opened", node)
    with pytest.raises(NodeConnectionError):
        await client.status()
    assert await client.status(60, retry_delay=0.001) == {"calls": 3}
    node.calls = -(10**9)
    with pytest.raises(NodeConnectionError):
        await client.status(0.02, retry_delay=0.001)


async def test_status_and_schemas_are_those_of_the_node(vast):
    """What the node says is passed on."""
    assert (await vast.status())["catalog"]["num-events"] == 10
    assert set(await vast.schemas()) == {"test.event"}


# --- arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [-1, "10", 1.0, None, True, float("inf")])
async def test_a_bad_limit_is_an_error_of_the_call(vast, limit):
    """The error comes before anything is read."""
    with pytest.raises(UsageError, match="limit"):
        vast.export(limit=limit)


@pytest.mark.parametrize("mode", ["live", "", None, 1, "HISTORICAL "])
async def test_a_bad_mode_is_an_error_that_lists_the_modes(vast, mode):
    """The three names are in the hint."""
    with pytest.raises(UsageError, match=r"mode.*historical.*continuous.*unified"):
        vast.export(mode=mode)


async def test_the_name_of_a_mode_will_do(vast):
    """A lower-case name is as good as the member."""
    assert await exported(vast.export(mode="unified", limit=3)) == [0, 1, 2]


async def test_a_bad_expression_is_an_error_of_the_call(vast):
    """Syntax errors and missing parameters come before anything is read."""
    with pytest.raises(ExpressionSyntaxError):
        vast.export("n ==")
    with pytest.raises(ParameterError):
        vast.export("n == $number")
    with pytest.raises(UsageError, match="must be a text"):
        vast.export(5)


async def test_parameters_are_bound(vast):
    """A value stands where its name stood."""
    assert await exported(vast.export("n == $number", params={"number": 5})) == [5]


@pytest.mark.parametrize("timeout", [0, -1, "5", True, float("nan")])
async def test_a_bad_timeout_is_a_usage_error(vast, timeout):
    """Only a number of seconds above 0 will do."""
    with pytest.raises(UsageError, match="timeout"):
        vast.export(timeout=timeout)


# --- bounds ---------------------------------------------------------------------------------

FIVE = START + 5 * SECOND


@pytest.mark.parametrize(
    "since",
    [
        "2009-11-18T08:00:05.5",
        "2009-11-18+08:00:05.5",
        "2009-11-18 08:00:05.500000000",
        "2009-11-18T08:00:05.5Z",
        "2009-11-18T10:00:05.5+02:00",
        "@1258531205.5",
        dt.datetime(2009, 11, 18, 8, 0, 5, 500_000),
        dt.datetime(2009, 11, 18, 8, 0, 5, 500_000, dt.UTC),
        dt.datetime(2009, 11, 18, 10, 0, 5, 500_000, dt.timezone(dt.timedelta(hours=2))),
        pd.Timestamp(FIVE),
        pd.Timestamp(FIVE, tz="Europe/Berlin"),
    ],
)
async def test_a_bound_is_any_spelling_of_a_time(vast, since):
    """Texts and objects mean the same moment, and it is inside."""
    assert await exported(vast.export(since=since)) == [5, 6, 7, 8, 9]
    assert await exported(vast.export(until=since)) == [0, 1, 2, 3, 4]


async def test_a_day_begins_at_midnight(vast):
    """A date is a bound, too."""
    day = dt.date(2009, 11, 18)
    assert await exported(vast.export(since=day)) == await exported(vast.export())
    assert await exported(vast.export(since=day + dt.timedelta(days=1))) == []


@pytest.mark.parametrize("span", ["2h", "2 hours", dt.timedelta(hours=2), pd.Timedelta("2h")])
async def test_a_span_counts_back_from_now(tmp_path, span):
    """Events of the last two hours are those that a span of two hours selects."""
    hour = 3600 * SECOND
    times = [time.time_ns() - 3 * hour, time.time_ns() - hour]
    path = write_events(tmp_path / "recent.parquet", times)
    async with VAST(tmp_path / "recent.db") as vast:
        await vast.ingest(path, schema="recent")
        assert await exported(vast.export(since=span)) == [1]
        assert await exported(vast.export(until=span)) == [0]


@pytest.mark.parametrize("bound", ["yesterday", "", "5", 5, 5.0, True, "2h && n == 1", ["2h"]])
async def test_a_bound_must_be_a_time(vast, bound):
    """The error names the argument; no text of a bound becomes a part of the expression."""
    with pytest.raises(UsageError, match="since"):
        vast.export(since=bound)
    with pytest.raises(UsageError, match="until"):
        vast.export(until=bound)


async def test_bounds_in_the_wrong_order_are_a_usage_error(vast):
    """A range of time that ends before it begins is a slip; an empty one is not."""
    with pytest.raises(UsageError, match="is after until 2009-11-17"):
        vast.export(since="2009-11-18", until="2009-11-17")
    assert await exported(vast.export(since="2009-11-18", until="2009-11-18")) == []


# --- endpoints ------------------------------------------------------------------------------


def test_the_endpoint_comes_from_argument_variable_or_file(monkeypatch, tmp_path):
    """Each source is named."""
    assert VAST().endpoint == NodeEndpoint("127.0.0.1", 5158)
    with open("vast.yaml", "w") as file:
        file.write("vast: {endpoint: local.db}")
    vast = VAST()
    assert (str(vast.endpoint), vast.source) == ("local.db", "vast.yaml")
    monkeypatch.setenv("VAST_ENDPOINT", "variable.db")
    assert VAST().source == "VAST_ENDPOINT"
    vast = VAST(tmp_path)
    assert (vast.endpoint, vast.source) == (PathEndpoint(tmp_path), "the argument")


def test_settings_that_cannot_be_used_are_an_error():
    """Also when an argument names the endpoint, as in VAST."""
    with open("vast.yaml", "w") as file:
        file.write("vastlab: {colour: red}")
    with pytest.raises(ConfigError, match="colour"):
        VAST("x.db")


async def test_a_node_that_cannot_be_reached_offers_what_works():
    """The error says what can be asked without a node."""
    # With a client installed nothing answers, without one there is nothing to ask with.
    with pytest.raises(NodeError, match=r"localhost:5158.*demo:.*folder"):
        await VAST("localhost:5158").count()


async def test_only_ingest_makes_a_folder(tmp_path, log):
    """A folder that does not exist is an error everywhere else."""
    vast = VAST(tmp_path / "new.db")
    with pytest.raises(UsageError, match=r"no such folder.*new\.db"):
        await vast.count()
    assert "new.db" not in os.listdir(tmp_path)
    report = await vast.ingest(log, schema="test.event")
    assert report.events == {"test.event": 10}
    assert await vast.count() == 10
    await vast.aclose()


async def test_nothing_can_be_ingested_into_a_folder_of_logs(tmp_path, log):
    """A folder of logs stays as it is."""
    vast = VAST(tmp_path)
    with pytest.raises(UsageError, match="folder of logs"):
        await vast.ingest(log, schema="x")
    await vast.aclose()


async def test_a_file_that_is_not_a_log_creates_no_database(tmp_path):
    """The error of the reader is raised."""
    path = tmp_path / "noise.bin"
    path.write_bytes(bytes(range(256)) * 20)
    vast = VAST(tmp_path / "new.db")
    with pytest.raises(FormatError, match=r"noise\.bin"):
        await vast.ingest(path)
    await vast.aclose()


CONCEPT = "- concept: {name: my.number, description: d, fields: [test.event.n]}\n"


async def test_the_users_own_concepts_are_known(tmp_path, log):
    """Those beside the user's settings, and those that are passed."""
    folder = tmp_path / "config" / "vast" / "taxonomy"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(CONCEPT)
    (tmp_path / "more.yaml").write_text(CONCEPT.replace("my.number", "our.number"))
    async with VAST(tmp_path / "events.db", taxonomy=tmp_path / "more.yaml") as vast:
        await vast.ingest(log, schema="test.event")
        assert await vast.count("my.number == 3") == 1
        assert await vast.count("our.number > 3") == 6
        assert {"my.number", "our.number", "net.src.ip"} <= set(vast.taxonomy.concepts)


# --- time -----------------------------------------------------------------------------------


async def test_an_export_that_takes_too_long_ends_with_an_error(vast):
    """A live export that waits for ever is stopped, and leaves no task."""
    before = asyncio.all_tasks()
    with pytest.raises(NodeTimeoutError, match=r"0\.05 s"):
        await exported(vast.export(mode="continuous", timeout=0.05))
    assert asyncio.all_tasks() == before


async def test_a_client_can_be_used_again_after_it_was_closed(vast):
    """Closing lets go of threads and files only."""
    await vast.aclose()
    assert await vast.count() == 10


def test_one_client_works_in_several_loops(tmp_path, log):
    """Every call may come from another event loop."""
    vast = VAST(tmp_path / "events.db")
    asyncio.run(vast.ingest(log, schema="test.event"))
    assert asyncio.run(vast.count()) == 10
    assert asyncio.run(vast.count("n < 5")) == 5
    asyncio.run(vast.aclose())


async def test_several_exports_run_at_once(vast):
    """Streams of one client do not disturb each other."""
    async with aclosing(vast.export(limit=0)) as left, aclosing(vast.export(limit=0)) as right:
        assert await anext(left) is not None
        assert await exported(right) == list(range(10))


# --- help -----------------------------------------------------------------------------------


async def test_an_unknown_name_is_a_warning_of_each_call(vast):
    """The warning names what is close, and goes to the call that caused it."""
    for _ in range(2):
        with pytest.warns(VastlabWarning, match="hots"):
            assert await vast.count("hots == 10.0.0.1") == 0
    reported = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert await vast.count("hots == 10.0.0.1", report=reported.append) == 0
    assert [item.text for item in reported if isinstance(item, Notice)] == [
        "no schema has a field hots: did you mean ts?"
    ]


async def test_an_expression_is_explained(vast):
    """Bound form, files and row groups are named for each schema."""
    explanation = await vast.explain("n < 5")
    (plan,) = explanation.layouts
    assert (plan.schema, plan.bound, plan.files, plan.row_groups) == ("test.event", "n < +5", 1, 1)


# --- other processes ------------------------------------------------------------------------

INGEST = """
import asyncio
from vastlab.client import VAST

asyncio.run(VAST({path!r}).ingest({log!r}, schema="test.event", force=True))
"""


async def test_what_another_process_ingests_arrives(tmp_path, vast, log):
    """A live export sees the work of every process, from the call on."""
    path, log = str(tmp_path / "events.db"), str(log)
    stream = vast.export("n < 2", "unified", 4)
    script = INGEST.replace("{path!r}", repr(path)).replace("{log!r}", repr(log))
    ended = await asyncio.to_thread(run, script)
    assert ended.returncode == 0, ended.stderr
    assert await exported(stream) == [0, 1, 0, 1]
    stream = vast.export("n < 2", "continuous", 2)
    ended = await asyncio.to_thread(run, script)
    assert ended.returncode == 0, ended.stderr
    assert await exported(stream) == [0, 1]


# --- exit -----------------------------------------------------------------------------------

SCRIPT = """
import asyncio
from vastlab.client import VAST

async def main():
    vast = VAST({path!r})
    async for part in vast.export("n >= 0", limit=0):
        {then}

asyncio.run(main())
"""
ROWS = """
import asyncio
from vastlab import VAST, to_json_rows

async def main():
    async for row in to_json_rows(VAST({path!r}).export("n >= 0", limit={limit})):
        break

asyncio.run(main())
"""
THREAD = """
import asyncio, threading
from vastlab.client import VAST

loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
stream = VAST({path!r}).export("n >= 0", limit=0)

async def first():
    return await anext(stream)

asyncio.run_coroutine_threadsafe(first(), loop).result()
"""


def run(script):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def many(tmp_path):
    """Make a database whose scan is not over when a process ends."""
    path = tmp_path / "many.json"
    with path.open("w") as file:
        file.writelines(json.dumps({"n": n, "text": "x" * 50}) + "\n" for n in range(100_000))
    asyncio.run(VAST(tmp_path / "many.db").ingest(path, schema="many"))
    return str(tmp_path / "many.db")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(SCRIPT.replace("{then}", "break"), id="break"),
        pytest.param(SCRIPT.replace("{then}", "pass"), id="whole"),
        pytest.param(SCRIPT.replace("{then}", "raise SystemExit(0)"), id="exit"),
        pytest.param(ROWS.replace("{limit}", "0"), id="rows"),
        pytest.param(ROWS.replace("{limit}", "10"), id="ten-rows"),
        pytest.param(THREAD, id="daemon-thread"),
    ],
)
def test_processes_that_query_and_end_do_so_cleanly(many, script):
    """Exit code 0 and not a word, however the export ended."""
    for _ in range(2):
        ended = run(script.replace("{path!r}", repr(many)))
        assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.full
@pytest.mark.parametrize("script", [SCRIPT.replace("{then}", "break"), THREAD])
def test_many_short_processes_end_cleanly(many, script):
    """The engine's threads never abort an interpreter that ends."""
    number = int(os.environ.get("SHORT_PROCESSES", "15"))
    codes = [run(script.replace("{path!r}", repr(many))).returncode for _ in range(number)]
    assert codes == [0] * number


# --- memory ---------------------------------------------------------------------------------

MEMORY = """
import asyncio
from vastlab.client import VAST

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))

async def main():
    return sum([part.num_rows async for part in VAST({path!r}).export(limit=0)])

before = peak()
print(asyncio.run(main()), (peak() - before) // 1024)
"""


def _connections(batches, rows=65_536):
    random = np.random.default_rng(0)
    schema = pa.schema([("ts", pa.timestamp("ns"))], {"VAST:name:0": "many"})
    for number in range(batches):
        columns = {"ts": np.arange(number * rows, (number + 1) * rows).view("M8[ns]")}
        columns |= {f"n{i}": random.integers(0, 2**40, rows) for i in range(6)}
        columns["text"] = [f"C{value:x}" for value in random.integers(0, 2**60, rows)]
        batch = pa.RecordBatch.from_pydict(columns)
        yield batch.replace_schema_metadata(schema.metadata)


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_an_export_holds_a_few_batches_only(tmp_path):
    """The peak of an export of 6 M events in five files is far below their size."""
    database = Database.create(tmp_path / "many.db")
    database.add(_connections(96))
    assert len(database.snapshot().files) > 3
    ended = run(MEMORY.replace("{path!r}", repr(str(database.path))))
    events, megabytes = map(int, ended.stdout.split())
    assert events == 96 * 65_536
    assert megabytes < 400


async def test_unreadable_parts_of_a_folder_are_reported_once(tmp_path):
    """A malformed line of a folder of logs is named in a warning, and in the status."""
    (tmp_path / "events.json").write_text('{"a": 1}\n{"a": \n')
    async with VAST(tmp_path) as vast:
        with pytest.warns(VastlabWarning, match=r"1 problem with the logs .*events.json:2"):
            assert await vast.count() == 1
        assert await vast.count("a == 1") == 1
        problems = (await vast.status())["problems"]
    assert problems["count"] == 1
    assert "events.json:2" in problems["first"][0]


@pytest.mark.parametrize("wrong", [{"limit": -1}, {"limit": 2**63 + 1}, {"mode": "past"}])
@pytest.mark.parametrize("call", ["prepare", "export"])
def test_a_query_is_checked_when_it_is_prepared(tmp_path, call, wrong):
    """It takes what `export` takes, and nothing else."""
    with pytest.raises(UsageError):
        getattr(VAST(tmp_path), call)("", **wrong)
