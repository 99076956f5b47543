"""Events are written in a thread of the buffer while more are added."""

from __future__ import annotations

import errno
import os
import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vastlab.errors import DatabaseError
from vastlab.store import buffer as buffers
from vastlab.store.buffer import Buffer
from vastlab.store.database import Database
from vastlab.store.ingest import ingest


def batch(start: int) -> pa.RecordBatch:
    """Return 1,000 events."""
    return pa.record_batch({"n": pa.array(range(start, start + 1000), pa.uint64())})


@pytest.fixture
def held(monkeypatch):
    """Hold the writing of files until it is set; returns the event and the writing threads."""
    go, threads = threading.Event(), []
    write = buffers.write

    def wait_and_write(*args, **options):
        threads.append(threading.current_thread())
        assert go.wait(20)
        return write(*args, **options)

    monkeypatch.setattr(buffers, "write", wait_and_write)
    return go, threads


def test_events_are_added_while_others_are_written(database, held):
    """Nothing is lost, and the thread ends."""
    go, threads = held
    taken = []

    def batches():
        for i in range(10):
            taken.append(i)
            if i == 1:  # while the first is being written
                go.set()
            yield batch(i * 1000)

    report = ingest(database, batches(), schema="mine", budget=0)
    assert report.events == {"mine": 10_000}
    found = [pq.read_table(file.path)["n"].to_pylist() for file in database.snapshot().files]
    assert sorted(n for part in found for n in part) == list(range(10_000))
    assert threads
    assert threading.main_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize(
    "error, message",
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left"),
        (MemoryError(), "not enough memory to write events of schema 'mine'"),
        (pa.ArrowInvalid("odd\nC++"), r"events of schema 'mine' cannot be written: odd \("),
    ],
    ids=["full disk", "no memory", "Arrow"],
)
def test_an_error_of_the_thread_stops_an_import_that_goes_on(database, monkeypatch, error, message):
    """It is raised when the next events come, or at the end; nothing is added or left behind."""

    def fail(*args, **options):
        raise error

    monkeypatch.setattr(buffers, "write", fail)
    taken = []

    def batches():
        for i in range(1000):
            taken.append(i)
            yield batch(i)

    with pytest.raises(DatabaseError, match=message):
        ingest(database, batches(), schema="mine", budget=0)
    assert len(taken) < 10
    assert os.listdir(database.path / "staging") == []
    assert not [thread for thread in threading.enumerate() if "write" in thread.name]


def test_what_is_discarded_while_it_is_written_leaves_no_file(
    database: Database, held, monkeypatch
):
    """Files of a source that turns out to be unreadable are removed once they are complete."""
    go, threads = held
    wait = buffers.wait

    def go_and_wait(futures):
        assert not any(future.done() for future in futures)
        go.set()
        return wait(futures)

    monkeypatch.setattr(buffers, "wait", go_and_wait)
    with database.staging() as staging, Buffer(database.place, staging, budget=0) as buffer:
        events = batch(0).replace_schema_metadata({"VAST:name:0": "mine"})
        buffer.add(events)
        buffer.discard()
        assert threads
        assert list(staging.iterdir()) == []
        buffer.add(events)
        assert sum(staged.file.rows for staged in buffer.finish()) == 1000
