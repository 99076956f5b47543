"""Ingesting adds all or nothing, nothing twice, and says what was wrong."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError, LockedError, QueryInterrupted, UsageError
from vastlab.store.database import Database
from vastlab.store.ingest import ingest
from vastlab.table_slice import TableSlice


def lines(*numbers):
    """Write events as JSON lines."""
    return "".join(json.dumps({"n": n}) + "\n" for n in numbers)


def log(path, *numbers):
    """Write a log, compressed where its name says so."""
    data = lines(*numbers).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def assert_clean(database):
    """Assert that nothing lies around that the newest generation does not name."""
    named = {file.path for file in database.snapshot().files}
    assert {str(path) for path in database.path.rglob("*.parquet")} == named
    assert os.listdir(database.path / "staging") == []


def test_files_folders_and_patterns_are_read(database, tmp_path):
    """Paths, folders and patterns may be mixed; a file that occurs twice counts once."""
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    one = log(tmp_path / "logs" / "one.json", 1)
    log(tmp_path / "logs" / "deep" / "two.json.gz", 2)
    log(tmp_path / "three.json", 3)
    report = ingest(database, [one, str(tmp_path / "logs"), f"{tmp_path}/t*.json"])
    assert report.events == database.snapshot().counts == {"one": 1, "two": 1, "three": 1}
    assert report.skipped == (str(one),)
    assert len(report.files) == 3
    assert database.snapshot().generation == 1


@pytest.mark.parametrize("name", ["nowhere.log", "no*.log", "empty"])
def test_sources_that_are_not_there_are_named(database, tmp_path, name):
    """A missing file, a pattern that matches nothing and an empty folder are usage errors."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=name.replace("*", r"\*")):
        ingest(database, tmp_path / name)
    assert database.snapshot().generation == 0


def test_an_unsupported_source_is_a_usage_error(database):
    """Something that is neither a path nor events is refused with a reason."""
    with pytest.raises(UsageError, match="int"):
        ingest(database, 5)


def test_everything_that_holds_events_is_a_source(database, events):
    """Batches, tables, slices, readers, frames, mappings, and generators of these."""
    batch = events([1, 2])
    table = pa.Table.from_batches([batch])
    sources = [
        batch,
        table,
        TableSlice(batch),
        pa.RecordBatchReader.from_batches(batch.schema, [batch]),
        {"zeek.conn": [table, table]},
        (part for part in [batch]),
        [],
    ]
    assert ingest(database, sources).events == {"zeek.conn": 14}
    frame = pd.DataFrame({"port": [80, 443], "host": ["a", None]})
    assert ingest(database, frame, schema="my.ports").events == {"my.ports": 2}
    schema = database.snapshot().schemas()["my.ports"]
    assert [field.name for field in schema.fields] == ["port", "host"]


def test_an_open_file_is_a_source(database):
    """An open binary file, such as standard input, is read to its end."""
    report = ingest(database, io.BytesIO(lines(1, 2).encode()), schema="mine")
    assert report.events == {"mine": 2}
    assert report.files == ("standard input",)
    assert database.snapshot().sources == {}


def test_waiting_for_an_empty_pipe_can_be_cancelled(database):
    """Waiting for the next bytes of a pipe ends when the caller has given up."""
    cancelled = threading.Event()
    read, write = os.pipe()
    os.write(write, lines(1).encode())
    with (
        open(read, "rb", buffering=0) as stream,
        open(write, "wb"),
        pytest.raises(QueryInterrupted),
    ):
        ingest(database, stream, cancelled=cancelled, progress=lambda _: cancelled.set())
    assert database.snapshot().files == ()


def test_a_given_name_is_used_for_events_without_one(database, events):
    """The schema name that is given does not replace one that events have."""
    nameless = events([1]).replace_schema_metadata(None)
    report = ingest(database, [events([1]), nameless], schema="mine")
    assert report.events == {"zeek.conn": 1, "mine": 1}


def test_the_same_file_is_read_once(database, tmp_path):
    """A file that was ingested is skipped, also under another name, until it is forced."""
    path = log(tmp_path / "a.json", 1, 2)
    assert ingest(database, path).skipped == ()
    copy = log(tmp_path / "b.json", 1, 2)
    report = ingest(database, [path, copy])
    assert (report.events, report.skipped) == ({}, (str(path), str(copy)))
    assert database.snapshot().generation == 1
    assert ingest(database, path, force=True).events == {"a": 2}
    log(path, 1, 3)
    assert ingest(database, path).events == {"a": 2}


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "arrows"])
def test_binary_files_are_remembered_too(database, events, tmp_path, suffix):
    """Files whose readers move about in them are recognised like all others."""
    path = tmp_path / f"a.{suffix}"
    table = pa.Table.from_batches([events([1, 2])])
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        make = pa.ipc.new_file if suffix == "arrow" else pa.ipc.new_stream
        with make(path, table.schema) as writer:
            writer.write_table(table)
    report = ingest(database, path)
    assert (report.events, report.bytes) == ({"zeek.conn": 2}, path.stat().st_size)
    assert ingest(database, path).skipped == (str(path),)


def test_two_processes_do_not_ingest_the_same_file(database, tmp_path):
    """When another process was faster with a file, nothing is added, and the error says so."""
    path = log(tmp_path / "a.json", 1, 2)
    other = Database.open(database.path)

    def be_faster(progress):
        if not other.snapshot().files:
            ingest(other, path)

    with pytest.raises(LockedError, match=r"a\.json"):
        ingest(database, path, progress=be_faster)
    assert database.snapshot().counts == {"a": 2}
    assert_clean(database)


@pytest.mark.parametrize("budget", [0, None])
def test_a_truncated_file_adds_nothing_and_is_named(database, tmp_path, budget):
    """A gzip that ends early adds none of its events; the report says how many these are."""
    bad = log(tmp_path / "bad.json.gz", *range(20_000))
    bad.write_bytes(bad.read_bytes()[:-100])
    good = log(tmp_path / "good.json", 1, 2)
    report = ingest(database, [bad, good], budget=budget)
    assert report.events == database.snapshot().counts == {"good": 2}
    assert report.failed == (str(bad),)
    assert "is incomplete" in report.problems[-1].reason
    assert "the 19959 events before this were not added" in report.problems[-1].reason
    assert_clean(database)


def test_an_error_is_raised_if_all_sources_are_unreadable(database, tmp_path):
    """A single file that is not a log is one error that names it, and changes nothing."""
    path = tmp_path / "notes.txt"
    path.write_text("Dear diary,\nnothing happened.\n")
    with pytest.raises(FormatError, match=r"notes\.txt"):
        ingest(database, path)
    with pytest.raises(FormatError, match=r"notes\.txt"):
        ingest(database, tmp_path / "notes*")
    assert database.snapshot().generation == 0
    assert_clean(database)


def test_a_folder_may_hold_other_files(database, tmp_path):
    """In a folder, a file that is not a log is skipped and named, but has not failed."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "notes.txt").write_text("Dear diary,\nnothing happened.\n")
    log(tmp_path / "logs" / "a.json", 1)
    report = ingest(database, tmp_path / "logs")
    assert (report.events, report.failed) == ({"a": 1}, ())
    assert [problem.path for problem in report.problems] == [str(tmp_path / "logs" / "notes.txt")]


def test_bad_lines_are_counted_and_named(database, tmp_path):
    """A bad line is a problem with its number, and the rest of the file is read."""
    path = tmp_path / "a.json"
    path.write_text(lines(1) + "garbage\n" + lines(2))
    report = ingest(database, path)
    assert report.events == {"a": 2}
    assert (report.problem_count, report.problems[0].line) == (1, 2)


def test_strict_makes_a_bad_line_an_error(database, tmp_path):
    """With `strict`, one bad line stops everything, and nothing is added."""
    good = log(tmp_path / "good.json", 1)
    bad = tmp_path / "bad.json"
    bad.write_text(lines(1, 2) + "garbage\n")
    with pytest.raises(FormatError, match=r"bad\.json:3"):
        ingest(database, [good, bad], strict=True, budget=0)
    assert database.snapshot().generation == 0
    assert_clean(database)


def test_an_unknown_format_is_a_usage_error(database, tmp_path):
    """A format that does not exist is the caller's mistake, not the file's."""
    with pytest.raises(UsageError, match="elvish"):
        ingest(database, log(tmp_path / "a.json", 1), format="elvish")
    assert_clean(database)


@pytest.mark.parametrize("budget", [0, 10_000, None])
def test_the_budget_changes_files_only(database, events, budget):
    """Whatever may be held in memory, all events arrive, and every file is in order."""
    times = [3, None, 1, 2]
    batches = [events([t and t + i for t in times], name) for i in range(20) for name in "ab"]
    report = ingest(database, batches, budget=budget)
    assert report.events == database.snapshot().counts == {"a": 80, "b": 80}
    for file in database.snapshot().files:
        table = pq.read_table(file.path)
        found = [t.value if t else float("inf") for t in table.column("ts").to_pylist()]
        assert found == sorted(found)
        assert (file.rows, file.first) == (len(found), found[0])


def test_memory_is_bounded_by_the_budget(database):
    """What is held while events keep coming is the budget, a batch or two, and no more."""
    budget, size = 4 << 20, 1 << 20
    before, most = pa.total_allocated_bytes(), 0

    def batches():
        nonlocal most
        for i in range(30):
            values = pa.array(range(i * size // 8, (i + 1) * size // 8), pa.uint64())
            yield pa.record_batch({"n": values})
            most = max(most, pa.total_allocated_bytes() - before)

    report = ingest(database, batches(), schema="mine", budget=budget)
    assert report.events == {"mine": 30 * size // 8}
    assert most < budget + 4 * size


def test_cancelling_adds_nothing(database, events):
    """An ingest that is cancelled in its middle adds nothing and leaves no file."""
    cancelled = threading.Event()

    def batches():
        yield events([1])
        cancelled.set()
        yield events([2])

    with pytest.raises(QueryInterrupted):
        ingest(database, batches(), cancelled=cancelled, budget=0)
    assert database.snapshot().generation == 0
    assert_clean(database)


def test_progress_adds_up(database, tmp_path):
    """The last progress counts all files, bytes and events."""
    paths = [log(tmp_path / f"{i}.json", i) for i in range(3)]
    seen = []
    report = ingest(database, paths, progress=seen.append)
    last = seen[-1]
    size = sum(path.stat().st_size for path in paths)
    assert (last.files_done, last.files_total, last.events) == (3, 3, 3)
    assert last.bytes_done == last.bytes_total == report.bytes == size


def test_the_import_time_is_a_column(database, events):
    """Events carry when they were ingested, and files know the bounds."""
    ingest(database, events([1, 2]))
    (file,) = database.snapshot().files
    stored = pq.read_table(file.path).column(arrow_schema.IMPORT_TIME)
    assert {t.value for t in stored.to_pylist()} == {file.import_first, file.import_last}


def test_real_logs_give_the_counts_that_are_known(database, shared):
    """Zeek and Suricata logs of a day are read whole, without a problem."""
    report = ingest(database, [shared / "data/zeek/*.gz", shared / "data/suricata"])
    assert report.problem_count == 0
    counts = database.snapshot().counts
    assert {name: counts[name] for name in ("zeek.conn", "zeek.dns", "zeek.http")} == {
        "zeek.conn": 8462,
        "zeek.dns": 5124,
        "zeek.http": 4896,
    }


# --- types ----------------------------------------------------------------------------------


def types_of(database, name):
    return dict(database.snapshot().schemas()[name].types_by_name)


def test_a_field_that_turns_out_to_be_text_is_text_in_all_files(database, tmp_path):
    """The files are read once more, and one remark names the first value that is not like it."""
    (tmp_path / "a").mkdir()
    first = tmp_path / "a" / "app.json"
    first.write_text('{"src":"192.0.2.1","n":5}\n')
    second = tmp_path / "app.json"
    second.write_text('{"src":"192.0.2.2","n":"5"}\n{"src":"n/a","n":6}\n')
    report = ingest(database, [first, second])
    assert types_of(database, "app") == {"src": "string", "n": "int64"}
    assert report.events == {"app": 3}
    assert report.remarks == (f"app: src is text: {second}:2: 'n/a' is not ip as before",)
    assert report.problem_count == 0
    assert len(database.snapshot().layouts) == 1


def test_a_late_type_does_not_split_a_large_file(database, tmp_path):
    """One text of a number among many numbers is a number, blocks later, too."""
    path = tmp_path / "late.json"
    line = '{"n":5,"k":"' + "x" * 80 + '"}\n'
    path.write_text(line * 60_000 + '{"n":"5"}\n')
    assert ingest(database, path).events == {"late": 60_001}
    assert types_of(database, "late")["n"] == "int64"
    path.write_text(line * 60_000 + '{"n":"x7"}\n')
    report = ingest(database, path, schema="text")
    assert types_of(database, "text")["n"] == "string"
    assert report.remarks == (f"text: n is text: {path}:60001: 'x7' is not int64 as before",)


def test_text_stays_text_on_demand(database, tmp_path):
    """Without inference only what JSON itself says counts."""
    path = tmp_path / "app.json"
    path.write_text('{"src":"192.0.2.1","t":"2024-01-01","n":5,"b":true}\n')
    ingest(database, path, infer=False)
    assert types_of(database, "app") == {"src": "string", "t": "string", "n": "int64", "b": "bool"}


def test_a_value_that_does_not_fit_is_an_error_when_strict(database, tmp_path):
    """Strictly, nothing is made null: nothing is added."""
    path = tmp_path / "x509.log"
    path.write_text('{"ts":1,"certificate.not_valid_after":253402300799.0}\n')
    reason = r"x509.log:1: certificate.not_valid_after: 2534023\S* s is outside .* nanoseconds$"
    with pytest.raises(FormatError, match=reason):
        ingest(database, path, strict=True)
    assert database.snapshot().counts == {}
    assert ingest(database, path).problem_count == 1
    assert database.snapshot().counts == {"zeek.x509": 1}


def test_text_that_is_not_utf8_is_not_stored(database, tmp_path):
    """The line is left out and named, wherever the times of its neighbours are numbers."""
    path = tmp_path / "conn.log"
    path.write_bytes(b'{"ts":1,"uid":"a"}\n{"ts":2,"uid":"\xff"}\n{"ts":"1970-01-01","uid":"c"}\n')
    report = ingest(database, path)
    (problem,) = report.problems
    assert str(problem).startswith(f"{path}:2: the text is not UTF-8; set its encoding")
    (file,) = database.snapshot().files
    assert sorted(pq.read_table(file.path).column("uid").to_pylist()) == ["a", "c"]


@pytest.mark.parametrize("order", [("a.json", "b.csv"), ("b.csv", "a.json")])
def test_columns_that_contradict_each_other_are_layouts_of_their_own(database, tmp_path, order):
    """A field in one file, and a record of that name in another one, do not make ingest endless."""
    (tmp_path / "a.json").write_text('{"#type":"my.log","a":{"b":"192.0.2.1"}}\n')
    (tmp_path / "b.csv").write_text("#type,a.b.c\nmy.log,5\n")
    report = ingest(database, [tmp_path / name for name in order])
    assert report.events == {"my.log": 2}
    assert len(database.snapshot().layouts) == 2
