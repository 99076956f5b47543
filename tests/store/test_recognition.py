"""A folder becomes a database in one step, and a database is never taken for something else."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from vastlab.arrow import types as arrow_types
from vastlab.display import files
from vastlab.errors import CorruptFileError, DatabaseError, LockedError, UsageError
from vastlab.nodes.base import Query
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.store import disk, generation, manifest, sources
from vastlab.store.database import Database, OtherFilesError, is_database
from vastlab.store.ingest import ingest

REMEDY = "vastlab check --repair"


def lose_marker(root):
    (root / "manifest.json").unlink()


def empty_marker(root):
    (root / "manifest.json").write_bytes(b"")


def change_marker(root):
    path = root / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"vastlab"', b'"vastlac"'))


def cut_marker(root):
    path = root / "manifest.json"
    path.write_bytes(path.read_bytes()[:40])


def lose_marker_and_generations(root):
    lose_marker(root)
    shutil.rmtree(root / "generations")


def lose_marker_and_data(root):
    lose_marker(root)
    shutil.rmtree(root / "data")


def lose_generations(root):
    shutil.rmtree(root / "generations")


def empty_generations(root):
    lose_generations(root)
    (root / "generations").mkdir()


def lose_newest(root):
    manifest.file_of(root, 3).unlink()


def swap_generations(root):
    first, second = manifest.file_of(root, 1), manifest.file_of(root, 2)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def copy_old_over_newest(root):
    shutil.copy(manifest.file_of(root, 1), manifest.file_of(root, 3))


def put_other_newest(root):
    """Take the newest generation of another database, which continues nothing."""
    other = root.with_name(".other.db")
    shutil.copytree(root, other)
    (other / "generations" / manifest.file_of(root, 3).name).unlink()
    (other / "manifest.json").unlink()
    Path(other / "manifest.json").write_text('{"format": "vastlab", "version": 1}')
    database = Database.open(other)
    database.commit(forget=["nothing"])
    shutil.copy(manifest.file_of(other, 3), manifest.file_of(root, 3))


DAMAGES = [
    lose_marker,
    empty_marker,
    change_marker,
    cut_marker,
    lose_marker_and_generations,
    lose_marker_and_data,
    lose_generations,
    empty_generations,
    lose_newest,
    swap_generations,
    copy_old_over_newest,
    put_other_newest,
]


@pytest.fixture
def filled(database, events):
    """Make a database of three commits."""
    for i in range(3):
        database.add([events([i])])
    return database.path


@pytest.mark.parametrize("harm", DAMAGES)
async def test_a_damaged_database_is_an_error_with_a_remedy(filled, harm):
    """Whatever is missing, it is not read as a folder of logs, nor as another state."""
    harm(filled)
    assert is_database(filled)
    for call in (Database.open, Database.create):
        with pytest.raises(CorruptFileError, match=REMEDY):
            call(filled).snapshot()
    node = EmbeddedNode(filled)
    try:
        with pytest.raises(CorruptFileError, match=REMEDY):
            await node.counts(Query())
        with pytest.raises(CorruptFileError, match=REMEDY):
            await node.ingest([])
    finally:
        await node.aclose()


@pytest.mark.parametrize("harm", DAMAGES)
def test_a_damaged_database_below_a_folder_of_logs_is_not_read_as_logs(filled, harm):
    """The files of a database are not logs, whatever its state."""
    harm(filled)
    (filled.parent / "a.json").write_text("{}\n")
    assert [found.path.name for found in sources.files_below(filled.parent)] == ["a.json"]


@pytest.mark.parametrize("since", [[2, "0" * 64], [3, "0" * 64], [7, "0" * 64], [-1, ""]])
def test_a_generation_that_continues_a_wrong_one_is_an_error(filled, since):
    """A generation that continues itself, a later one or another one ends in no endless loop."""
    path = manifest.file_of(filled, 3)
    document = generation.unseal(path.read_bytes())[0]
    del document["sha256"]
    data, digest = generation.seal(document | {"since": since})
    path.write_bytes(data)
    marker = generation.unseal((filled / "manifest.json").read_bytes())[0]
    del marker["sha256"]
    (filled / "manifest.json").write_bytes(generation.seal(marker | {"digest": digest})[0])
    with pytest.raises(CorruptFileError, match=r"00000000[23]\.json"):
        Database.open(filled).snapshot()


@pytest.mark.parametrize("path", ["../x.parquet", "/etc/x.parquet", "data/../../x.parquet", ""])
def test_a_generation_that_names_a_file_elsewhere_is_an_error(filled, path):
    """A database whose manifest points out of its folder reads nothing there."""
    file = manifest.file_of(filled, 3)
    document = generation.unseal(file.read_bytes())[0]
    del document["sha256"]
    document["files"][0]["path"] = path
    file.write_bytes(generation.seal(document)[0])
    with pytest.raises(CorruptFileError, match="outside the database"):
        Database.open(filled).snapshot()


def test_every_changed_bit_of_the_manifest_is_noticed(filled):
    """A flipped bit in a generation or the marker gives an error, or changes nothing."""
    expected = Database.open(filled).snapshot()
    for path in (manifest.file_of(filled, 2), filled / "manifest.json"):
        whole = path.read_bytes()
        for position in range(len(whole)):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << position % 8
            path.write_bytes(damaged)
            with pytest.raises(DatabaseError):
                Database.open(filled).snapshot()
        path.write_bytes(whole)
    assert Database.open(filled).snapshot() == expected


# --- appearing in one step ------------------------------------------------------------------


def test_a_new_database_appears_when_it_is_complete(tmp_path, events):
    """Until the block ends nothing is there, and after an error nothing at all."""
    target = tmp_path / "new.db"
    with Database.complete(target) as database:
        database.add([events([1])])
        assert not target.exists()
    assert Database.open(target).snapshot().counts == {"zeek.conn": 1}
    with pytest.raises(RuntimeError), Database.complete(tmp_path / "failed.db") as database:
        database.add([events([1])])
        raise RuntimeError
    assert os.listdir(tmp_path) == ["new.db"]


def test_a_new_database_takes_the_place_of_an_empty_folder(tmp_path, events):
    """A folder that was made beforehand may be empty."""
    (tmp_path / "new.db").mkdir()
    with Database.complete(tmp_path / "new.db") as database:
        database.add([events([1])])
    assert Database.open(tmp_path / "new.db").snapshot().counts == {"zeek.conn": 1}


def test_a_folder_that_cannot_be_renamed_is_filled_in_place(tmp_path, events, monkeypatch):
    """Where another file system is mounted, the database is made there."""
    target = tmp_path / "new.db"
    target.mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == target)
    with Database.complete(target) as database:
        database.add([events([1])])
    assert Database.open(target).snapshot().counts == {"zeek.conn": 1}


def test_a_folder_of_other_files_is_refused_before_anything_is_read(tmp_path):
    """A folder of logs does not become a database."""
    (tmp_path / "a.log").touch()
    with pytest.raises(OtherFilesError, match=r"a\.log"), Database.complete(tmp_path):
        pytest.fail("the block is not entered")


def test_two_first_imports_at_once_are_both_kept(tmp_path):
    """Who comes second finds a database, and adds to it."""
    target = tmp_path / "new.db"
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(f'{{"name": "{name}"}}\n')
    with Database.complete(target) as second:
        ingest(second, tmp_path / "a.json")
        with Database.complete(target) as first:
            ingest(first, tmp_path / "b.json")
    snapshot = Database.open(target).snapshot()
    assert sum(snapshot.counts.values()) == 2
    assert {Path(key).name for key in snapshot.sources} == {"a.json", "b.json"}
    assert all(Path(file.path).exists() for file in snapshot.files)
    assert sorted(os.listdir(tmp_path)) == ["a.json", "b.json", "new.db"]


def test_two_first_imports_of_one_file_add_it_once(tmp_path):
    """What the other process has ingested is not added again, and the error says so."""
    target = tmp_path / "new.db"
    log = tmp_path / "a.json"
    log.write_text('{"name": "a"}\n')
    with (
        pytest.raises(LockedError, match="another process has imported"),
        Database.complete(target) as second,
    ):
        ingest(second, log)
        with Database.complete(target) as first:
            ingest(first, log)
    assert sum(Database.open(target).snapshot().counts.values()) == 1
    assert sorted(os.listdir(tmp_path)) == ["a.json", "new.db"]


def test_many_threads_create_one_database(tmp_path):
    """Creations at the same time give one database, and no error."""
    barrier = threading.Barrier(8)
    made = []

    def create():
        barrier.wait()
        made.append(Database.create(tmp_path / "db").snapshot().database)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1


def export_forever(path, batch, started):
    """Export results that do not end."""
    arrow_types.register()

    def parts():
        while True:
            yield Table(batch)
            started.set()

    class Table:
        def __init__(self, batch):
            self.batch = batch

        def to_batches(self):
            return [self.batch]

    files.write_parquet({"zeek.conn": parts()}, path)


def test_a_killed_export_leaves_no_database(tmp_path, events):
    """After kill -9 nothing stands under the name, and the next export removes the rest."""
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    target = tmp_path / "export"
    process = context.Process(target=export_forever, args=(target, events([1]), started))
    process.start()
    assert started.wait(timeout=60)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not target.exists()
    assert os.listdir(tmp_path) != []
    files.write_parquet({}, target)
    assert os.listdir(tmp_path) == ["export"]


def test_an_export_does_not_mix_with_what_came_meanwhile(tmp_path):
    """A folder that was filled while the export was written is left as it is."""
    with pytest.raises(UsageError, match="meanwhile"), disk.complete_folder(tmp_path / "export"):
        (tmp_path / "export").mkdir()
        (tmp_path / "export" / "a.txt").touch()
    assert os.listdir(tmp_path / "export") == ["a.txt"]
    assert os.listdir(tmp_path) == ["export"]


# --- staging folders ------------------------------------------------------------------------


def hold_staging(path, started):
    """Hold a staging folder until this process is killed."""
    with disk.temporary_folder(path):
        started.set()
        signal.pause()


def test_the_folder_of_a_writer_is_kept_until_it_is_dead(tmp_path):
    """A folder whose writer lives is never removed; one of a dead writer is by the next."""
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    process = context.Process(target=hold_staging, args=(tmp_path, started))
    process.start()
    assert started.wait(timeout=60)
    disk.remove_abandoned(tmp_path, grace=-10)
    assert len(os.listdir(tmp_path)) == 2
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with disk.temporary_folder(tmp_path) as folder:
        assert sorted(os.listdir(tmp_path)) == [folder.name, f"{folder.name}.lock"]
    assert os.listdir(tmp_path) == []


def test_the_folder_of_another_machine_is_kept_for_the_grace_period(tmp_path, monkeypatch):
    """A lock that this machine cannot see proves nothing."""
    with disk.temporary_folder(tmp_path) as folder:
        monkeypatch.setattr(disk, "_machine_id", lambda: b"elsewhere")
        disk.remove_abandoned(tmp_path, grace=3600)
        assert folder.exists()
        disk.remove_abandoned(tmp_path, grace=-10)
        assert not folder.exists()


def test_folders_of_version_1_are_removed_after_the_grace_period(tmp_path):
    """A folder without a lock file was left by vastlab 1.0."""
    (tmp_path / ("0" * 32)).mkdir()
    disk.remove_abandoned(tmp_path, grace=3600)
    assert os.listdir(tmp_path) == ["0" * 32]
    disk.remove_abandoned(tmp_path, grace=-10)
    assert os.listdir(tmp_path) == []


def test_only_folders_of_that_name_are_removed_beside_a_target(tmp_path):
    """Other files in the parent folder are not touched."""
    strangers = [".new.db.backup", ".new.db.lock", "new.db.lock", f".other.{'0' * 32}"]
    for name in strangers:
        (tmp_path / name).mkdir()
    disk.remove_abandoned(tmp_path, -10, ".new.db.")
    assert sorted(os.listdir(tmp_path)) == sorted(strangers)


def test_a_marker_names_the_newest_generation(filled):
    """The marker is replaced with each commit."""
    document = json.loads((filled / "manifest.json").read_text())
    assert (document["version"], document["generation"]) == (2, 3)
