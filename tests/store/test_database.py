"""A database keeps what was committed, whatever happens to those who write."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.store.interleaving import KilledError
from vastlab.arrow import types as arrow_types
from vastlab.errors import CorruptFileError, DatabaseError, FormatError, LockedError, UsageError
from vastlab.store import disk, manifest, writer
from vastlab.store.buffer import Buffer
from vastlab.store.check import check
from vastlab.store.database import Database, is_database
from vastlab.store.generation import Change
from vastlab.store.layout import Range, Source
from vastlab.store.place import Folder


def leftovers(database):
    """List the data files that the newest generation does not name, and staged ones."""
    named = {file.path for file in database.snapshot().files}
    found = {str(path) for path in database.path.rglob("*.parquet")}
    return sorted(found - named)


def write_many(path, batch, count):
    """Commit one batch `count` times from a process of its own."""
    arrow_types.register()
    database = Database.open(path)
    for _ in range(count):
        database.add([batch])


def write_forever(path, batch, started):
    """Commit one batch again and again until this process is killed."""
    arrow_types.register()
    database = Database.open(path)
    while True:
        database.add([batch])
        started.set()


def test_a_new_database_is_empty(database):
    """A new database holds nothing, and its generation is 0."""
    snapshot = database.snapshot()
    assert (snapshot.generation, snapshot.files, snapshot.counts) == (0, (), {})
    assert is_database(database.path)


def test_creating_twice_keeps_the_events(database, events):
    """Creating a database where one is opens it."""
    database.add([events([1])])
    assert Database.create(database.path).snapshot().counts == {"zeek.conn": 1}


@pytest.mark.parametrize("name", ["conn.log", "manifest.json", "data/conn.log"])
def test_creating_in_a_folder_of_other_files_is_refused(tmp_path, name):
    """A folder that holds other files is never turned into a database."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatabaseError, match=name.split("/")[0]):
        Database.create(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_creation_that_was_cut_short_is_finished(tmp_path):
    """Empty folders left by a crash do not prevent a new database."""
    (tmp_path / "generations").mkdir()
    (tmp_path / "manifest.json.1234").write_text("{")
    assert Database.create(tmp_path).snapshot().generation == 0


@pytest.mark.parametrize(
    "content,reason",
    [
        (None, "not a vastlab database"),
        ("{", "cannot read"),
        ('{"format": "npm"}', "another format"),
        ('{"format": "vastlab", "version": 99}', "version 99"),
    ],
)
def test_opening_a_folder_that_is_not_a_database_gives_the_reason(tmp_path, content, reason):
    """A folder that is not a database, or has a newer format, is one clear error."""
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DatabaseError, match=reason):
        Database.open(tmp_path)


def test_opening_a_missing_folder_names_it(tmp_path):
    """A folder that is not there is named in the error, and not created."""
    with pytest.raises(DatabaseError, match="nowhere"):
        Database.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["a\x1b", "a\nb", "\x7f"])
def test_a_path_that_the_engine_refuses_is_refused_at_once(tmp_path, database, name):
    """A database is neither made nor opened where DataFusion would not read its files."""
    for call in (Database.create, Database.open):
        with pytest.raises(UsageError, match=r"control characters: '.*\\.* another name"):
            call(tmp_path / name / "db")
    assert not (tmp_path / name).exists()
    moved = database.path.rename(tmp_path / name)
    with pytest.raises(UsageError, match="control characters"):
        Database.open(moved)


def test_files_are_in_order(database, events):
    """A snapshot lists its files by schema name and first event time."""
    for name, times in (("b", [7, 8]), ("a", [9]), ("b", [3, 5]), ("a", [1])):
        database.add([events(times, name)])
    order = [(file.schema_name, file.first) for file in database.snapshot().files]
    assert order == sorted(order)
    assert database.snapshot().counts == {"a": 2, "b": 4}


def test_added_lists_what_came_since(database, events):
    """`added` returns each file exactly once when called with its own last answer."""
    seen, generation = [], 0
    for i in range(70):
        database.add([events([100 - i])])
        if i % 3 == 0:
            generation, files = database.added(generation)
            seen += [file.path for file in files]
    _, files = database.added(generation)
    seen += [file.path for file in files]
    assert len(seen) == len(set(seen)) == 70
    assert set(seen) == {file.path for file in database.snapshot().files}


def test_a_fresh_reader_sees_the_same_as_one_that_followed(database, events):
    """Reading the manifest from its beginning and following it give the same snapshot."""
    follower = Database.open(database.path)
    for i in range(1, 130):
        drop = [database.snapshot().files[0].path] if i % 5 == 0 else []
        with database.staging() as disk:
            buffer = Buffer(database.place, disk)
            buffer.add(events([i]))
            database.commit(buffer.finish(), buffer.layouts, drop=drop)
        if i % 7 == 0:
            assert follower.snapshot() == Database.open(database.path).snapshot()
    assert follower.snapshot().counts == {"zeek.conn": 129 - 25}


def test_commits_do_not_grow_with_the_number_of_files(database, events):
    """Reading needs a bounded number of generations, and most commits write only their news."""
    for i in range(100):
        database.add([events([i])])
    sizes = [manifest.file_of(database.path, n).stat().st_size for n in range(1, 101)]
    small = [size for n, size in enumerate(sizes, 1) if n % manifest.SPAN]
    assert max(small[1:]) < 2 * min(small[1:])
    assert max(sizes) < 40 * min(small[1:])


def test_an_error_in_the_middle_adds_nothing(database, events):
    """When the events stop with an error, the database is as it was before."""
    database.add([events([1])])

    def broken():
        yield events([2])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        database.add(broken(), budget=0)
    assert database.snapshot().counts == {"zeek.conn": 1}
    assert leftovers(database) == []
    assert os.listdir(database.path / "staging") == []


@pytest.mark.parametrize("call", ["fsync", "open", "link", "write"])
def test_a_full_disk_adds_nothing(database, events, monkeypatch, call):
    """A disk that is full at any step is one clear error, and leaves nothing behind."""
    database.add([events([1])])

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(DatabaseError, match="No space left"):
            database.add([events([2])])
    assert database.snapshot().counts == {"zeek.conn": 1}
    assert leftovers(database) == []
    assert not list(database.path.rglob("*.tmp"))


def test_a_marker_that_cannot_be_written_does_not_undo_a_commit(database, events, monkeypatch):
    """Where only the note on the newest generation fails, the events are added all the same."""

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        database.add([events([2])])
    assert Database.open(database.path).snapshot().counts == {"zeek.conn": 1}


def test_a_file_system_without_links_is_refused(database, events, monkeypatch):
    """Where hard links do not work, the error says so, and nothing is left behind."""

    def refuse(*args):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(DatabaseError, match="hard links"):
        database.add([events([1])])
    assert database.snapshot().generation == 0
    assert leftovers(database) == []


def test_a_link_whose_answer_was_lost_counts_once(database, events, monkeypatch):
    """Where the link was made and an error came back all the same, the commit is not repeated."""
    link = os.link

    def lose_the_answer(source, target):
        link(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", lose_the_answer)
    database.add([events([1])])
    assert database.snapshot().counts == {"zeek.conn": 1}


@pytest.mark.parametrize("folder", ["data", "generations"])
def test_an_interrupt_leaves_no_unused_file(database, events, monkeypatch, folder):
    """An interrupt before the commit leaves nothing, and one after it loses nothing."""
    link = os.link

    def link_and_interrupt(source, target):
        link(source, target)
        if folder in target.parts:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", link_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            database.add([events([1])])
    assert len(database.snapshot().files) == (folder == "generations")
    assert all(pq.read_metadata(file.path).num_rows == 1 for file in database.snapshot().files)
    assert leftovers(database) == []
    assert os.listdir(database.path / "staging") == []


def test_events_without_a_name_are_refused(database):
    """Events need a schema name."""
    with pytest.raises(UsageError, match="no schema name"):
        database.add([pa.record_batch({"a": [1]})])


def test_values_that_cannot_be_stored_are_one_error(database):
    """A time that nanoseconds cannot express is a clear error that names the column."""
    batch = pa.record_batch({"ts": pa.array([2**62], pa.timestamp("s"))})
    with pytest.raises(FormatError, match="ts: times outside"):
        database.add([batch], name="my.events")
    assert database.snapshot().generation == 0


def test_dropped_files_stay_for_a_while(database, events):
    """A dropped file leaves the snapshot at once and the disk after the grace period."""
    database.add([events([1])])
    (file,) = database.snapshot().files
    database.commit(drop=[file.path])
    assert database.snapshot().files == ()
    database.sweep()
    assert Path(file.path).exists()
    database.sweep(grace=-10)
    assert not Path(file.path).exists()


@pytest.fixture
def small_blocks(monkeypatch):
    """Let every second generation cover the one before, and every fourth complete a block."""
    monkeypatch.setattr(manifest, "SPAN", 2)
    monkeypatch.setattr(manifest, "BLOCK", 4)


@pytest.mark.usefixtures("small_blocks")
def test_generations_are_merged_as_they_are_written(database, events):
    """Infinite bounds and file names that are not Unicode come back from one that covers others."""
    key = "/logs/\udcff.log"
    for i in range(3):
        database.add([events([i])])
        file = database.snapshot().files[-1]
        bounds = {**file.ranges, "bytes": Range(float("-inf"), float("inf"), 0, 1)}
        database.commit(sources=[Source(key, i, "00")])
        with database.staging() as staging:
            change = Change((replace(file, ranges=bounds, oldest=i),))
            manifest.commit(database.place, staging, lambda _, change=change: change)
    snapshot = Database.open(database.path).snapshot()
    chain, number = [], snapshot.generation
    while number:
        chain.append(number)
        number = manifest.read(database.place, number)[0].since.number
    assert len(chain) < snapshot.generation
    assert snapshot.sources == {key: Source(key, 2, "00")}
    assert [file.ranges["bytes"].maximum for file in snapshot.files] == [float("inf")] * 3
    assert snapshot.counts == {"zeek.conn": 3}


@pytest.mark.usefixtures("small_blocks")
def test_sweeping_keeps_needed_files(database, events):
    """Sweeping removes abandoned files and covered generations, and nothing else."""
    for i in range(11):
        database.add([events([i])])
    before = database.snapshot()
    abandoned = database.path / "staging" / "dead"
    abandoned.mkdir()
    (abandoned / "x.parquet").touch()
    (database.path / "generations" / "dead.tmp").touch()
    database.sweep(grace=-10)
    assert Database.open(database.path).snapshot() == before
    left = sorted(os.listdir(database.path / "generations"))
    assert left == [
        *(f"{number:09d}.json" for number in (8, 9, 10, 11)),
        "closed-000000000",
        "closed-000000001",
    ]
    assert os.listdir(database.path / "staging") == []
    database.add([events([100])])
    assert database.snapshot().counts == {"zeek.conn": 12}


@pytest.mark.usefixtures("small_blocks")
def test_a_writer_that_slept_does_not_bring_back_an_old_generation(database, events, monkeypatch):
    """The number of a deleted generation is not used again."""
    other = Database.open(database.path)
    database.add([events([1])])
    create = Folder.create
    slept = []

    def sleep_and_create(place, key, data, staging):
        if not slept:
            slept.append(key)
            for i in range(40):
                other.add([events([i])])
            other.sweep(grace=-10)
            assert not place.has(key)
        return create(place, key, data, staging)

    monkeypatch.setattr(Folder, "create", sleep_and_create)
    database.add([events([2])])
    assert slept == ["generations/000000002.json"]
    assert Database.open(database.path).snapshot().counts == {"zeek.conn": 42}


@pytest.mark.usefixtures("small_blocks")
def test_a_writer_that_slept_after_its_commit_does_not_commit_twice(database, events, monkeypatch):
    """A commit that was swept away before its writer looked is known for what it is."""
    other = Database.open(database.path)
    create = Folder.create
    slept = []

    def create_and_sleep(place, key, data, staging):
        done = create(place, key, data, staging)
        if not slept:
            slept.append(key)
            for i in range(9):
                other.add([events([i])])
            other.sweep(grace=-10)
            assert not place.has(key)
        return done

    monkeypatch.setattr(Folder, "create", create_and_sleep)
    database.add([events([2])])
    assert Database.open(database.path).snapshot().counts == {"zeek.conn": 10}


def test_a_commit_between_a_link_and_a_look_at_the_folder_breaks_nothing(
    database, events, monkeypatch
):
    """A writer that is overtaken right after its commit does not undo it."""
    other = Database.open(database.path)
    link = os.link
    overtaken = []

    def link_and_wait(source, target):
        link(source, target)
        if target.parent.name == "generations" and not overtaken:
            overtaken.append(target.name)
            other.add([events([1])])

    monkeypatch.setattr(os, "link", link_and_wait)
    database.add([events([2])])
    snapshot = Database.open(database.path).snapshot()
    assert snapshot.counts == {"zeek.conn": 2}
    assert snapshot.generation == 2


def test_a_writer_that_is_overtaken_each_time_gives_up(database, events, monkeypatch):
    """Where other writers are always faster, the error says so, and nothing is left behind."""

    def overtaken(place, key, data, staging):
        return False

    monkeypatch.setattr(Folder, "create", overtaken)
    monkeypatch.setattr(manifest, "_pause", lambda attempt: None)
    with pytest.raises(LockedError, match="nothing was added"):
        database.add([events([1])])
    assert database.snapshot().counts == {}
    assert leftovers(database) == []


def test_a_writer_that_was_taken_for_dead_adds_nothing(database, events, monkeypatch):
    """A writer whose staging folder was removed by another machine gets an error."""

    def remove_and_create(place, key, data, staging):
        disk.remove_abandoned(database.path / "staging", grace=-10)
        return create(place, key, data, staging)

    create = Folder.create
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "create", remove_and_create)
        with database.staging() as folder:
            patch.setattr(disk, "_machine_id", lambda: b"elsewhere")
            buffer = Buffer(database.place, folder)
            buffer.add(events([1]))
            with pytest.raises(LockedError, match="seemed abandoned"):
                database.commit(buffer.finish(), buffer.layouts)
    assert database.snapshot().counts == {}
    database.sweep(grace=-10)
    assert leftovers(database) == []


def test_a_leftover_that_cannot_be_removed_does_not_undo_a_commit(database, events, monkeypatch):
    """An error after the generation was published does not fail the commit."""

    def fail(*args, **kwargs):
        raise FileNotFoundError(errno.ENOENT, "the staging folder is gone")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        database.add([events([1])])
    assert database.snapshot().counts == {"zeek.conn": 1}


def test_a_damaged_generation_is_named(database, events):
    """A generation that cannot be read is an error that names its file."""
    database.add([events([1])])
    path = manifest.file_of(database.path, 1)
    path.write_text("{")
    with pytest.raises(CorruptFileError, match=r"000000001\.json"):
        Database.open(database.path).snapshot()


def test_a_lost_generation_is_named(database, events):
    """A generation that is gone is an error that names its file."""
    for i in range(3):
        database.add([events([i])])
    manifest.file_of(database.path, 2).unlink()
    with pytest.raises(CorruptFileError, match=r"000000002\.json"):
        Database.open(database.path).snapshot()


def test_layouts_are_written_once(database, events):
    """A commit does not repeat a layout that the manifest has already."""
    for i in range(3):
        database.add([events([i])])
    documents = [
        json.loads(manifest.file_of(database.path, n).read_text())["layouts"] for n in (1, 2, 3)
    ]
    assert [len(layouts) for layouts in documents] == [1, 0, 0]


def test_threads_lose_nothing(database, events):
    """Threads that share one database object commit everything."""

    def work():
        for i in range(10):
            database.add([events([i])])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.snapshot().counts == {"zeek.conn": 40}


def test_processes_lose_nothing(database, events):
    """Four processes that write at the same time commit everything."""
    context = multiprocessing.get_context("spawn")
    arguments = (database.path, events([1, 2]), 12)
    processes = [context.Process(target=write_many, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    snapshot = database.snapshot()
    assert snapshot.generation == 48
    assert snapshot.counts == {"zeek.conn": 96}


def test_a_killed_writer_leaves_a_readable_database(database, events):
    """After kill -9 at any moment, the database holds whole commits and takes new ones."""
    context = multiprocessing.get_context("spawn")
    for _ in range(2):
        started = context.Event()
        arguments = (database.path, events([1, 2, 3]), started)
        process = context.Process(target=write_forever, args=arguments)
        process.start()
        assert started.wait(timeout=60)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        snapshot = Database.open(database.path).snapshot()
        assert snapshot.counts == {"zeek.conn": 3 * snapshot.generation}
        assert all(pq.read_metadata(file.path).num_rows == 3 for file in snapshot.files)
    database.add([events([1])])
    database.sweep(grace=-10)
    assert leftovers(database) == []


def die_at(step, monkeypatch):
    """Let the process die before its n-th step on the disk; returns what it holds open."""
    steps = 0
    held = set()
    open_, close = os.open, os.close

    def remember(*args, **kwargs):
        held.add(descriptor := open_(*args, **kwargs))
        return descriptor

    def forget(descriptor):
        held.discard(descriptor)
        close(descriptor)

    monkeypatch.setattr(os, "open", remember)
    monkeypatch.setattr(os, "close", forget)

    def wrap(function):
        def call(*args, **kwargs):
            nonlocal steps
            steps += 1
            if steps >= step:
                raise KilledError
            return function(*args, **kwargs)

        return call

    for name in ("fsync", "replace", "link", "utime", "mkdir", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
    return held


def test_a_crash_at_any_step_leaves_the_old_or_the_new_state(database, events, monkeypatch):
    """Wherever a writer dies, complete commits exist, and its leftovers can be deleted."""
    database.add([events([1])])
    outcomes = []
    for step in range(1, 80):
        before = Database.open(database.path).snapshot()
        with monkeypatch.context() as patch:
            held = die_at(step, patch)
            try:
                Database.open(database.path).add([events([2, 3]), events([4], "zeek.dns")])
                outcomes.append("survived")
            except KilledError:
                outcomes.append("died")
        for descriptor in held:
            os.close(descriptor)
        after = Database.open(database.path).snapshot()
        assert after.generation - before.generation in (0, 1)
        news = set(after.files) - set(before.files)
        assert len(news) == 2 * (after.generation - before.generation)
        assert check(database) == []
    assert outcomes[0] == "died"
    assert outcomes[-1] == "survived"
    database.sweep(grace=-10)
    assert leftovers(database) == []
    assert check(database) == []


def test_large_batches_become_several_files(database, events):
    """Files keep to the target size, within a row group."""
    batch = events(range(3 * writer.ROW_GROUP_ROWS))
    database.add([batch], target_size=1)
    rows = [file.rows for file in database.snapshot().files]
    assert rows == [writer.ROW_GROUP_ROWS] * 3
