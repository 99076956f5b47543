"""What a real VAST node answered, against the same logs.

Every expression that was recorded is asked again. Where the counts differ, `DIFFERENT` says
why; where the node also held events that are not at hand, it may only have found more.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from datafusion import SessionContext

from tests import arrow_strategies as arrow
from tests.test_language_facts import ip, net
from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_arrays
from vastlab.arrow.ipc import read_streams
from vastlab.client import VAST
from vastlab.compile.datafusion import predicate
from vastlab.expression import parse
from vastlab.expression.resolve import resolve
from vastlab.expression.rewrite import at
from vastlab.expression.taxonomy import Taxonomy
from vastlab.readers import read
from vastlab.store.database import Database
from vastlab.store.ingest import ingest
from vastlab.types import Field, Kind, Schema, Type

LOGS = ("zeek/conn.log.gz", "zeek/dns.log.gz", "zeek/http.log.gz", "zeek/snmp.log.gz")
NOW = 1_700_000_000 * 10**9
NULL = "the node finds no null on export"
NEGATIVE = "ranges of the node miss negative durations and times before 1970"
NUMBER = "numbers compare by value"
ENUM = "an enum against a list of labels compares labels"
DASH = "the client takes a leading dash for an option"
DIFFERENT = {
    'service == null && #type == "zeek.conn"': NULL,
    "service == null": NULL,
    "zeek.conn.service == null": NULL,
    "! (service != null)": NULL,
    '#type == "zeek.conn" && ! (service != null)': NULL,
    "duration == null": NULL,
    '#type == "zeek.conn" && duration == null': NULL,
    ":string == null": NULL,
    "s == null": NULL,
    '#type == "golden.types" && s == null': NULL,
    '#type == "golden.types" && i == null': NULL,
    '#type == "golden.types" && ! s': NULL,
    "! b": NULL,
    "dur < 0s": NEGATIVE,
    "dur < 1ns": NEGATIVE,
    "dur > -1h": NEGATIVE,
    "dur >= -3ms": NEGATIVE,
    '#type == "golden.types" && dur < 0s': NEGATIVE,
    "t < 1970-01-01": NEGATIVE,
    "t < 1970-01-02": NEGATIVE,
    "t < 2021-01-01": NEGATIVE,
    "t > 1960-01-01": NEGATIVE,
    "d < 0": NUMBER,
    "u == +42": NUMBER,
    "r.x == 1": NUMBER,
    'e in ["red","blue"]': ENUM,
    '#schema == "golden.types"': "#schema is another word for #type",
    "-42": DASH,
}
# The node also held events of Suricata and Sysmon, and some of all types.
ELSEWHERE = {
    '"GET"',
    "53",
    "true",
    "#type == /suricata.*/",
    '"suricata" in #type',
    '#type != "zeek.conn"',
    "! (#type == /zeek.*/)",
    ":uint64 == 137",
    ":time >= 2009-11-18T08:05",
    ":string == /.*google.*/",
    '"google" in :string',
    ':string ni "google"',
    '#type == "suricata.alert" || #type == "suricata.dns"',
    "src_ip == 147.32.84.165 && #type == \"suricata.alert\"",
    "#import_time > 1 day ago",
    'e == "A"',
    '#type == "all_types"',
    "src_ip",
    "#type == /sysmon.*/",
    "b == true",
    "b",
    "e",
    ":ip in 147.32.84.0/24",
}  # fmt: skip
INNER = Type(Kind.RECORD, fields=(Field("ip", Type(Kind.IP)), Field("note", Type(Kind.STRING))))
DEEP = Type(Kind.RECORD, fields=(Field("ip", Type(Kind.IP)), Field("name", Type(Kind.STRING))))
TYPES = {
    "b": Type(Kind.BOOL),
    "i": Type(Kind.INT64),
    "u": Type(Kind.UINT64),
    "d": Type(Kind.DOUBLE),
    "dur": Type(Kind.DURATION),
    "t": Type(Kind.TIME),
    "s": Type(Kind.STRING),
    "a": Type(Kind.IP),
    "n": Type(Kind.SUBNET),
    "e": Type(Kind.ENUM, labels=(("red", 0), ("green", 1), ("blue", 2))),
    "p": Type(Kind.UINT64, names=("my_port",)),
    "li": Type(Kind.LIST, item=Type(Kind.INT64)),
    "la": Type(Kind.LIST, item=Type(Kind.IP)),
    "ls": Type(Kind.LIST, item=Type(Kind.STRING)),
    "lr": Type(Kind.LIST, item=INNER),
    "lsn": Type(Kind.LIST, item=Type(Kind.SUBNET)),
    "r": Type(Kind.RECORD, fields=(Field("x", Type(Kind.INT64)), Field("deep", DEEP))),
}
ROWS = [
    {
        "b": True, "i": -42, "u": 42, "d": 4.2, "dur": 1_500_000_000,
        "t": 1_614_834_367_123_456_789, "s": "plain", "a": ip("10.1.2.3"),
        "n": net("10.1.0.0/16"), "e": "red", "p": 443, "li": [1, 2, 3],
        "la": [ip("10.1.2.3"), ip("::1")], "ls": ["x", "y"], "lr": [(ip("192.0.2.1"), "first")],
        "lsn": [net("10.0.0.0/8"), net("2001:db8::/32")], "r": (1, (ip("192.0.2.9"), "nine")),
    },
    {
        "b": False, "i": 2**63 - 1, "u": 2**64 - 1, "d": -0.5, "dur": -3_000_000, "t": -1,
        "s": 'quote " back \\ tab \t ünï \U0001f98a', "a": ip("2001:db8::7"),
        "n": net("2001:db8::/48"), "e": "blue", "p": 0, "li": [], "la": [],
        "ls": ["", "null"], "lr": [], "lsn": [], "r": (-1, (ip("192.0.2.9"), "")),
    },
    {},
    {
        "s": "only a string", "la": [ip("198.51.100.1"), None],
        "lr": [(None, "n"), (ip("198.51.100.2"), None)],
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def events(shared):
    """Read the logs that the node had, and the four events of all types."""
    batches = [batch for log in LOGS for batch in read(shared / "data" / log)]
    columns = [arrow.array(type_, [row.get(name) for row in ROWS]) for name, type_ in TYPES.items()]
    schema = Schema("golden.types", tuple(Field(*item) for item in TYPES.items()))
    target = arrow_schema.to_arrow(schema)
    batches.append(arrow_arrays.record_batch(columns, target, len(ROWS)))
    return [(arrow_schema.from_arrow(batch.schema), flat(batch)) for batch in batches]


def flat(batch):
    """Open the records and add an import time."""
    moments = pa.array([NOW] * batch.num_rows, pa.timestamp("ns"))
    return convert.flatten(batch).append_column("#import_time", moments)


def recordings(shared):
    """Yield the expressions that were recorded, with the number of events that they found."""
    folder = shared / "golden" / "export"
    for name, key in (
        ("summary", "json_rows_all"),
        ("more_counts", "export_where_rows"),
        ("more_counts_typed", "export_rows"),
    ):
        for case in json.loads((folder / f"{name}.json").read_text()):
            if not case["expr"].startswith("where ") and "#schema_id" not in case["expr"]:
                yield case["expr"], case[key]


def count(text, events):
    """Count the events that an expression finds."""
    expr = at(parse(text), NOW)
    total = 0
    for schema, batch in events:
        bound = resolve(expr, schema, Taxonomy.default())
        if bound is not None:
            frame = SessionContext().read_batches([batch]).filter(predicate(bound, schema))
            total += frame.count()
    return total


def test_counts_as_recorded(shared, events):
    """Every recorded expression finds as many events, or differs for a reason that is named."""
    wrong, differing = [], set()
    for text, recorded in recordings(shared):
        found = count(text, events)
        if text in DIFFERENT and found != recorded:
            differing.add(text)
        elif not (found == recorded or (text in ELSEWHERE and found < recorded)):
            wrong.append((text, recorded, found))
    assert wrong == []
    assert differing == set(DIFFERENT)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("resp_p == 80", 2730),
        ("resp_p != 80", 5732),
        (":ip == 192.168.1.104", 2821),
        ("orig_bytes > 1k && orig_bytes < 1Ki", 29),
        ("conn.duration <= 1.0s", 5359),
        ("id.orig_h !in 192.168.1.0/24", 173),
        ('net.app !in ["dns", "ftp", "http", "ssl"]', 23),
    ],
)
def test_counts_on_connections(text, expected, events):
    """On the connections alone, the counts are those that VAST's own tests expect."""
    conn = [(schema, batch) for schema, batch in events if schema.name == "zeek.conn"]
    assert count(text, conn) == expected


@pytest.fixture(scope="module", params=["database", "folder"])
def endpoint(request, shared, tmp_path_factory):
    """Hold the logs that the node had, in a database and as they are."""
    folder = tmp_path_factory.mktemp("logs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        if request.param == "database":
            ingest(Database.create(folder / "db"), [shared / "data" / log for log in LOGS])
            yield folder / "db"
        else:
            for log in LOGS:
                (folder / Path(log).name).symlink_to(shared / "data" / log)
            yield folder


@pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")  # of names that nothing has
async def test_counts_are_the_same_from_files(shared, events, endpoint):
    """Whatever need not be read is left out rightly: every recorded expression, asked of files."""
    logs = [(schema, batch) for schema, batch in events if schema.name.startswith("zeek.")]
    wrong, total = [], 0
    async with VAST(endpoint) as vast:
        for text, _ in recordings(shared):
            if "#import_time" not in text:  # the files have come only now
                expected, found = count(text, logs), await vast.count(text)
                total += found
                if found != expected:
                    wrong.append((text, expected, found))
    assert wrong == []
    assert total > 100_000


def test_recorded_rows_are_found(shared, events):
    """Every recorded event of these schemas is in the answer, with the same values."""
    seen = 0
    folder = shared / "golden" / "export"
    for case in json.loads((folder / "summary.json").read_text()):
        if case["expr"].startswith("where ") or case["expr"] in DIFFERENT:
            continue
        answer = found(case["expr"], events)
        for batch in read_streams(folder / f"{case['case']}.arrow.stdout.bin"):
            recorded = convert.flatten(convert.normalise(batch))
            name = arrow_schema.name_of(recorded.schema)
            if name in {schema.name for schema, _ in events}:
                common = set(recorded.schema.names) & set(answer[name][0].schema.names)
                assert len(common) > 5
                ours = {row for part in answer[name] for row in rows(part, common)}
                assert rows(recorded, common) <= ours, (case["expr"], name)
                seen += recorded.num_rows
    assert seen > 600


def found(text, events):
    """Return the answer per schema, as flat batches."""
    answer = {}
    for schema, batch in events:
        bound = resolve(at(parse(text), NOW), schema, Taxonomy.default())
        if bound is not None:
            frame = SessionContext().read_batches([batch]).filter(predicate(bound, schema))
            answer.setdefault(schema.name, []).extend(frame.collect())
    return answer


def rows(batch, names):
    """Return events as tuples of their values, times and durations in microseconds.

    The node computes both in doubles, and is off by less than that.
    """
    columns = []
    for name in sorted(names):
        column = batch.column(name)
        if pa.types.is_timestamp(column.type) or pa.types.is_duration(column.type):
            moments = column.cast(pa.int64()).to_pylist()
            values = [None if v is None else round(v / 1000) for v in moments]
        else:
            values = arrow_arrays.storage_of(column).to_pylist()
        columns.append([repr(value) for value in values])
    return set(zip(*columns, strict=True))
