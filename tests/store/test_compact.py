"""Compaction makes few files of many, and changes no answer."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pyarrow as pa
import pytest

from vastlab.errors import CorruptFileError
from vastlab.store import checksums, compact, manifest
from vastlab.store.buffer import Buffer
from vastlab.store.check import check
from vastlab.store.compact import CompactReport
from vastlab.store.database import Database
from vastlab.store.ingest import ingest
from vastlab.store.layout import Source
from vastlab.store.log_folder import LogFolder


def rows(database):
    """Return the events of a database with their import times, by schema name."""
    snapshot = database.snapshot()
    found = {}
    for file in snapshot.files:
        layout = snapshot.layouts[file.fingerprint]
        with checksums.at_hand(file, database.place) as held:
            batches = list(checksums.read(held, layout))
        found.setdefault(file.schema_name, []).extend(
            row for batch in batches for row in batch.to_pylist()
        )
    return {name: sorted(map(str, each)) for name, each in found.items()}


def test_small_files_become_one_with_the_same_events(database, events):
    """Every event is there once, with its import time, in the order of the event times."""
    for i in range(5):
        database.add([events([i, 100 - i, None]), events([i], "zeek.dns")])
    before, counts = rows(database), database.snapshot().counts
    assert compact.compact(database) == CompactReport(10, 2)
    snapshot = database.snapshot()
    assert [file.schema_name for file in snapshot.files] == ["zeek.conn", "zeek.dns"]
    assert (rows(database), snapshot.counts) == (before, counts)
    conn = snapshot.files[0]
    (batch,) = checksums.read(conn, snapshot.layouts[conn.fingerprint])
    times = batch.column("ts").drop_null().cast(pa.int64()).to_pylist()
    assert times == sorted(times)
    assert conn.import_last > conn.import_first
    assert check(database) == []


def test_the_memory_budget_limits_each_merge(database, events):
    """With a small budget, files are merged a few at a time."""
    for i in range(6):
        database.add([events(range(i, i + 100))])
    sizes = []
    report = compact.compact(database, budget=1, progress=lambda *step: sizes.append(step))
    assert report.files_after == 6  # one file fills the memory: there is nothing to merge
    assert sizes == [(i, 6) for i in range(1, 7)]


def test_a_reader_of_the_old_files_can_finish(database, events):
    """Files that were merged stay for the grace period, and go after it."""
    for i in range(3):
        database.add([events([i])])
    old = database.snapshot().files
    compact.compact(database)
    database.sweep()
    assert all(os.path.exists(file.path) for file in old)
    database.sweep(grace=-1)
    assert not any(os.path.exists(file.path) for file in old)
    assert check(database) == []


def test_a_follower_gets_each_event_once(database, events):
    """From each generation on, exactly the events that came after it are new."""
    expected = {}
    for i in range(6):
        database.add([events([10 * i + k for k in range(i + 1)])])
        expected[database.snapshot().generation] = i + 1
    compact.compact(database)
    for since in (0, *expected):
        newest, files = Database.open(database.path).added(since)
        assert newest == database.snapshot().generation
        later = sum(rows for generation, rows in expected.items() if generation > since)
        assert sum(file.rows for file in files) == later


def test_a_follower_that_is_too_late_gets_an_error(database, events):
    """Where the old files and generations are gone, nothing is repeated or left out silently."""
    database.add([events([1])])
    database.add([events([2])])
    compact.compact(database)
    while database.snapshot().generation < manifest.SPAN:
        database.commit()
    manifest.file_of(database.path, 2).unlink()
    with pytest.raises(
        CorruptFileError, match="cannot determine what was added since generation 1"
    ):
        Database.open(database.path).added(1)
    assert database.added(2)[1] == ()


def test_files_that_another_writer_dropped_do_not_come_back(database, events, monkeypatch):
    """A step of a compaction that was overtaken is left out."""
    database.add([events([1])])
    database.add([events([2])])
    victim = database.snapshot().files[0].path
    write = compact.writer.write

    def overtaken(*args, **kwargs):
        Database.open(database.path).commit(drop=[victim])
        return write(*args, **kwargs)

    monkeypatch.setattr(compact.writer, "write", overtaken)
    compact.compact(database)
    assert database.snapshot().counts == {"zeek.conn": 1}


def test_a_damaged_file_is_not_changed_and_is_reported(database, events):
    """The other files are merged; damage is never written again as if it were whole."""
    for i in range(3):
        database.add([events(range(i, i + 50))])
    path = database.snapshot().files[1].path
    with open(path, "r+b") as file:
        file.seek(60)
        file.write(b"\xff\xff")
    report = compact.compact(database)
    assert report.files_after == 2
    (problem,) = report.problems
    assert path in problem
    assert path in [file.path for file in database.snapshot().files]


def test_many_small_imports_end_with_few_files(database, tmp_path):
    """An import merges small files if there are many."""
    for i in range(70):
        log = tmp_path / f"{i}.json"
        log.write_text(json.dumps({"n": i}) + "\n")
        ingest(database, log, schema="my.events")
    snapshot = database.snapshot()
    assert snapshot.counts == {"my.events": 70}
    assert len(snapshot.files) <= 32
    assert len(snapshot.sources) == 70
    assert ingest(database, tmp_path / "0.json", schema="my.events").skipped


def test_a_busy_log_ends_with_few_files(tmp_path):
    """Each update of a growing log adds a file; they are merged, and deleted with the log."""
    logs = tmp_path / "logs"
    logs.mkdir()
    busy, quiet = logs / "busy.json", logs / "quiet.json"
    quiet.write_text('{"n": -1}\n')
    folder = LogFolder(logs, cache_dir=tmp_path / "cache")
    for i in range(70):
        with busy.open("a") as file:
            file.write(json.dumps({"n": i}) + "\n")
        snapshot = folder.refresh().snapshot()
        assert snapshot.counts == {"busy": i + 1, "quiet": 1}
    assert len(snapshot.files) <= 33
    assert len(snapshot.sources[str(busy)].segments) <= 33
    busy.unlink()
    assert folder.refresh().snapshot().counts == {"quiet": 1}


def test_segments_with_several_layouts_keep_all_of_them(database, events):
    """Merging the files of one layout keeps the segments of another one."""
    for segment in ("a", "b"):
        with database.staging() as staging:
            buffer = Buffer(database.place, staging, source=segment)
            buffer.add(events([1]))
            if segment == "a":
                buffer.add(events([1], "zeek.dns"))
            known = database.snapshot().sources.get("/log")
            source = known or Source("/log", 1, "00")
            files = buffer.finish()
            database.commit(
                files,
                buffer.layouts,
                sources=[replace(source, segments=(*source.segments, segment))],
            )
    compact.compact(database)
    snapshot = database.snapshot()
    assert len(snapshot.files) == 2
    assert {file.source for file in snapshot.files} == set(snapshot.sources["/log"].segments)
