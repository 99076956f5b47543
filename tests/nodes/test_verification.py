"""A scan compares what its answer depends on, all of it and little more."""

from __future__ import annotations

import contextlib
import os
from unittest import mock

import pytest

from vastlab.errors import CorruptFileError
from vastlab.expression import parse_query
from vastlab.nodes import counting, plan
from vastlab.nodes.base import Query
from vastlab.nodes.engine import Engine
from vastlab.nodes.scan import FileScan
from vastlab.store import checksums, writer
from vastlab.store.checksums import VerifiedFile
from vastlab.store.database import Database

EXPRESSIONS = [
    "",
    "id.orig_h == 10.0.0.78",
    "id.orig_h == 10.0.0.6",
    "id.orig_h == 10.0.0.77",
    "id.orig_h in [10.0.0.4, 10.0.0.250]",
    "10.0.0.4 || resp_p == 250",
    "resp_p >= 100 && resp_p < 120",
    "n != 3",
    "! (n < 190)",
    "#import_time > 2020-01-01",
    "ts < 1970-01-01T00:00:00.000000070",
    f"resp_p in {list(range(0, 250, 10))}",
]


@pytest.fixture
def database(tmp_path, make_conn, monkeypatch):
    """Make a file of ten row groups, of which three share a time; only even numbers occur."""
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 30)
    database = Database.create(tmp_path / "test.db")
    database.add([make_conn([*[6] * 70, *range(2, 462, 2)])])
    return database


@pytest.fixture
def context():
    return Engine()


def task_of(database, text):
    snapshot = database.snapshot()
    query = Query(parse_query(text))
    tasks = list(plan.tasks(query, snapshot.layouts, snapshot.files))
    return tasks[0] if tasks else None


def read(scan):
    rows = []
    while slices := scan.piece():
        rows += [row for part in slices for row in part.to_pyarrow().to_pylist()]
    return rows


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_the_answer_is_the_same_as_without(context, database, text):
    """Comparing, and asking the Bloom filters first, changes no answer."""
    task = task_of(database, text)
    bare = FileScan(context, task, verify=False)
    assert read(FileScan(context, task)) == read(bare)
    counted = FileScan(context, task).count()
    assert counted == FileScan(context, task, verify=False).count()


def spans(database):
    """Return the row group, column, offset and length of each column chunk."""
    (file,) = database.snapshot().files
    whole = VerifiedFile(file)
    for i, group in enumerate(whole.groups):
        for name, span in zip(whole.columns, group.chunks, strict=True):
            yield i, name, span.offset, span.length


def damage(database, offset):
    (file,) = database.snapshot().files
    with open(file.path, "r+b") as stream:
        stream.seek(offset)
        (byte,) = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte ^ 0x10]))


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_damage_anywhere_is_an_error_or_does_not_matter(context, database, text):
    """Whichever column of whichever row group is damaged, no answer is another one."""
    task = task_of(database, text)
    rows = read(FileScan(context, task))
    for i, name, offset, length in list(spans(database)):
        damage(database, offset + length - 1)
        for ask, right in ((read, rows), (FileScan.count, len(rows))):
            with contextlib.suppress(CorruptFileError):
                assert ask(FileScan(Engine(), task)) == right, (i, name)
        damage(database, offset + length - 1)


def test_what_is_not_asked_for_is_not_compared(context, database):
    """A count depends on the columns of its expression, whatever happened to others."""
    task = task_of(database, "resp_p >= 290")
    for _, name, offset, length in list(spans(database)):
        if name != "id.resp_p":
            damage(database, offset + length - 1)
    assert FileScan(context, task).count() == 86


def test_a_file_that_holds_no_answer_is_not_scanned(context, database, monkeypatch):
    """Where the Bloom filters rule out all row groups, the engine is not asked."""
    scanned = mock.Mock(wraps=counting.parquet)
    monkeypatch.setattr(counting, "parquet", scanned)
    assert FileScan(context, task_of(database, "id.orig_h == 10.0.0.77")).count() == 0
    assert not scanned.called
    assert FileScan(context, task_of(database, "id.orig_h == 10.0.0.78")).count() == 1
    assert scanned.called


def test_the_first_events_do_not_wait_for_the_others(context, database):
    """A row group is compared when its first event goes out, not before."""
    task = task_of(database, "")
    *_, (_, _, offset, length) = spans(database)
    damage(database, offset + length - 1)
    scan = FileScan(context, task)
    assert scan.piece()
    with pytest.raises(CorruptFileError):
        read(scan)


def test_a_second_query_compares_nothing(context, database, monkeypatch):
    """What was compared once is known as long as the file stays as it is."""
    monkeypatch.setattr(checksums, "_TIMESTAMP_STEP", -(10**18))
    task = task_of(database, "resp_p >= 100")
    rows = read(FileScan(context, task))
    monkeypatch.setattr(checksums, "_crc", None)
    assert read(FileScan(context, task)) == rows
    checksums.forget()


def test_damage_after_a_query_is_noticed(context, database, monkeypatch):
    """A change in place changes the times of a file."""
    monkeypatch.setattr(checksums, "_TIMESTAMP_STEP", -(10**18))
    task = task_of(database, "resp_p >= 100")
    read(FileScan(context, task))
    for _, _, offset, length in list(spans(database)):
        damage(database, offset + length - 1)
    with pytest.raises(CorruptFileError):
        read(FileScan(context, task))
    checksums.forget()


def test_damage_during_a_scan_is_noticed(context, database):
    """A file whose times change meanwhile is compared whole in the end."""
    task = task_of(database, "resp_p >= 0")
    scan = FileScan(context, task)
    scan.piece()
    _, _, offset, length = next(spans(database))
    damage(database, offset + length - 1)
    with pytest.raises(CorruptFileError):
        read(scan)


def test_a_file_that_is_dropped_during_a_scan_is_read_to_its_end(context, database):
    """Writers touch what they drop; this is not damage."""
    task = task_of(database, "resp_p >= 0")
    scan = FileScan(context, task)
    first = sum(part.num_rows for part in scan.piece())
    os.utime(task.file.path)
    assert first + len(read(scan)) == 300


def test_without_verification_the_engine_is_believed(context, database):
    """Somebody asked for it with verify=False."""
    task = task_of(database, "resp_p >= 290")
    (file,) = database.snapshot().files
    damage(database, file.size - file.tail[0] - 1)
    assert len(read(FileScan(context, task, verify=False))) == 86
