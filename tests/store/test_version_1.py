"""Databases of vastlab 1.0 are read as they are, and upgraded by the next writer."""

from __future__ import annotations

import json

import pytest

from tests.store import version_1
from vastlab.errors import CorruptFileError, DatabaseError
from vastlab.store import generation, manifest
from vastlab.store.check import check
from vastlab.store.database import Database, is_database


@pytest.fixture(params=[3, 32, 35], ids=lambda commits: f"{commits}-commits")
def old(request, tmp_path, events):
    """Make a database of version 1, and say how many events it has."""
    root = tmp_path / "old.db"
    version_1.create(root)
    for i in range(request.param):
        version_1.commit(root, events([i]))
    return root, request.param


def test_an_old_database_is_read_and_not_changed(old):
    """A reader does not change an old database."""
    root, count = old
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    database = Database.open(root)
    assert is_database(root)
    assert database.snapshot().counts == {"zeek.conn": count}
    assert len(database.snapshot().sources) == count
    assert check(database) == []
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_an_old_database_whose_covered_generations_are_gone_is_read(old):
    """What version 1 deleted is not missed."""
    root, count = old
    version_1.sweep(root)
    assert Database.open(root).snapshot().counts == {"zeek.conn": count}


def test_the_next_writer_upgrades_an_old_database(old, events):
    """After a commit, all is sealed, and every reader finds the old and the new events."""
    root, count = old
    version_1.sweep(root)
    follower = Database.open(root)
    before = follower.snapshot()
    assert follower.added(before.generation)[1] == ()
    Database.open(root).add([events([100])])
    assert json.loads((root / "manifest.json").read_text())["version"] == 2
    newest = manifest.file_of(root, count + 1)
    assert generation.unseal(newest.read_bytes())[0]["since"] == [0, ""]
    for database in (follower, Database.open(root)):
        assert database.snapshot().counts == {"zeek.conn": count + 1}
        assert len(database.added(count)[1]) == 1
        assert set(before.files) < set(database.snapshot().files)
    for i in range(70):
        Database.open(root).add([events([i])])
    assert follower.snapshot().counts == {"zeek.conn": count + 71}
    assert check(follower) == []


def test_an_upgrade_that_was_cut_short_is_finished_by_the_next_writer(old, events, monkeypatch):
    """Where only the marker was not replaced, the database is read, and the next writer does."""
    root, count = old
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "replace_marker", lambda *args: None)
        Database.open(root).add([events([100])])
    assert Database.open(root).snapshot().counts == {"zeek.conn": count + 1}
    Database.open(root).add([events([101])])
    assert json.loads((root / "manifest.json").read_text())["version"] == 2
    assert Database.open(root).snapshot().counts == {"zeek.conn": count + 2}


def test_a_generation_of_version_1_on_top_of_version_2_is_refused(old, events):
    """A writer of vastlab 1.0 that was still running cannot add to what it does not know."""
    root, count = old
    Database.open(root).add([events([100])])
    document = json.loads(manifest.file_of(root, count).read_text())
    document |= {"generation": count + 2, "since": count + 1, "files": [], "dropped": []}
    manifest.file_of(root, count + 2).write_text(json.dumps(document))
    with pytest.raises(CorruptFileError, match=f"{count + 1:09d}"):
        Database.open(root).snapshot()


def test_a_newer_version_is_refused_by_name(database, events):
    """A database of a later vastlab is not read, whichever part of it says so."""
    database.add([events([1])])
    path = manifest.file_of(database.path, 1)
    document = generation.unseal(path.read_bytes())[0]
    del document["sha256"]
    path.write_bytes(generation.seal(document | {"version": 3})[0])
    marker = database.path / "manifest.json"
    marker.write_bytes(marker.read_bytes())
    with pytest.raises(DatabaseError, match=r"format version 3.*upgrade vastlab"):
        Database.open(database.path).snapshot()
    marker.write_bytes(generation.seal({"format": "vastlab", "version": 3})[0])
    with pytest.raises(DatabaseError, match=r"format version 3.*upgrade vastlab"):
        Database.open(database.path)
