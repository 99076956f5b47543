"""Databases in an object store: commits, failures, and what is said of them."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import obstore
import pytest

from tests.object_store import SECRET
from tests.store.test_compact import rows
from vastlab.endpoints import parse_endpoint
from vastlab.errors import ConfigError, LockedError, NodeError
from vastlab.store import compact, manifest, writer
from vastlab.store.bucket import Bucket
from vastlab.store.buffer import Buffer
from vastlab.store.check import FaultKind, check
from vastlab.store.compact import CompactReport
from vastlab.store.database import Database, OtherFilesError, is_database
from vastlab.store.place import Folder, Staged
from vastlab.store.repair import repair


def at(url: str) -> Bucket:
    return Bucket(parse_endpoint(url))


@pytest.fixture(params=["folder", "bucket", "top of a bucket"])
def place(request, tmp_path):
    """Return each kind of place in turn, with nothing in it."""
    if request.param == "folder":
        return Folder(tmp_path)
    object_store = request.getfixturevalue("object_store")
    if request.param == "bucket":
        return at(object_store.url())
    name = f"top{id(request)}"
    object_store.make_bucket(name)
    return at(f"s3://{name}")


def test_a_place_keeps_what_is_created(place, tmp_path):
    """Names, sizes and content come back, and a missing name is an error as of files."""
    (tmp_path / "a").mkdir(exist_ok=True)
    staging = tmp_path / "s"
    staging.mkdir()
    assert place.create("a/x.json", b"first", staging)
    assert not place.create("a/x.json", b"other", staging)
    assert place.read("a/x.json") == b"first"
    before = place.stat("a/x.json")
    assert (before.key, before.size) == ("a/x.json", 5)
    assert place.names("a") == ["x.json"]
    assert "a" in place.names("")
    assert [entry.key for entry in place.entries("a")] == ["a/x.json"]
    place.replace("a/x.json", b"longer than before", staging)
    assert place.read("a/x.json") == b"longer than before"
    assert place.stat("a/x.json").identity != before.identity
    with place.at_hand("a/x.json") as path:
        assert path.read_bytes() == b"longer than before"
    place.move("a/x.json", "new/y.json")
    assert [entry.key for entry in place.loose("new")] == ["new/y.json"]
    assert not place.has("a/x.json")
    place.delete("new/y.json")
    place.delete("new/y.json")
    assert not place.has("new/y.json")
    for ask in (place.read, place.stat, lambda key: place.move(key, "b/z.json")):
        with pytest.raises(FileNotFoundError):
            ask("a/x.json")


def test_added_files_are_whole(place, tmp_path):
    """Complete files get their keys, also large ones."""
    staging = tmp_path / "staging"
    staging.mkdir()
    content = bytes(range(256)) * 40_000  # several parts of an upload
    (staging / "f").write_bytes(content)
    place.add([Staged(staging / "f", "data/my/0/f.parquet")])
    assert place.read("data/my/0/f.parquet") == content
    assert place.key(place.url("data/f")) == "data/f"
    with pytest.raises(ValueError, match="outside"):
        place.key("/elsewhere/data/f")


def test_many_writers_commit_without_a_loss(object_store, events):
    """Each number has one generation, and all events are there."""
    url, per_writer = object_store.url(), 6
    Database.create(at(url))

    def write(number: int) -> None:
        database = Database.open(at(url))
        for i in range(per_writer):
            database.add([events([number * per_writer + i])])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    snapshot = Database.open(at(url)).snapshot()
    assert snapshot.counts == {"zeek.conn": 4 * per_writer}
    assert snapshot.generation == 4 * per_writer == len(manifest.numbers(at(url)))
    assert check(at(url)) == []


def test_a_commit_whose_answer_was_lost_counts_once(object_store, events):
    """A repeated request that finds its own generation has not lost a race."""
    database = Database.create(at(object_store.url()))
    with object_store.failing(lose_answers=1, match="generations", method="PUT") as faults:
        database.add([events([1])])
    assert not faults.lose_answers
    snapshot = Database.open(database.place).snapshot()
    assert (snapshot.generation, snapshot.counts) == (1, {"zeek.conn": 1})


def test_a_refused_commit_leaves_no_object(object_store, events):
    """What was put for it is deleted, and the snapshot is as before."""
    database = Database.create(at(object_store.url()))

    def refuse(snapshot):
        raise LockedError("not now")

    with database.staging() as folder:
        files, layouts = staged(database, folder, events([5]))
        with pytest.raises(LockedError, match="not now"):
            database.commit(files, layouts, check=refuse)
    assert [key for key in object_store.keys(str(database.place)) if "/data/" in key] == []
    assert database.snapshot().generation == 0


def test_an_upload_that_fails_adds_nothing(object_store, events):
    """The error is one line, says where, and shows no secret; `check` finds no fault."""
    database = Database.create(at(object_store.url()))
    database.add([events([1])])
    with (
        object_store.failing(refuse=-1, match="/data/", method="PUT"),
        pytest.raises(NodeError, match=r"503.*; nothing was added") as caught,
    ):
        database.add([events([2])])
    shown = str(caught.value)
    assert str(database.place) in shown
    assert SECRET not in shown
    assert "\n" not in shown
    assert Database.open(database.place).snapshot().counts == {"zeek.conn": 1}
    assert check(database.place) == []


def test_a_failed_commit_keeps_what_it_may_need(object_store, events):
    """Where it is not known whether a generation was put, its files stay and become leftovers."""
    database = Database.create(at(object_store.url()))
    with (
        object_store.failing(refuse=-1, match="generations", method="PUT"),
        pytest.raises(NodeError, match="see with count"),
    ):
        database.add([events([2])])
    assert len([key for key in object_store.keys(str(database.place)) if "/data/" in key]) == 1
    assert Database.open(database.place).snapshot().counts == {}


def test_a_leftover_is_named(object_store, monkeypatch):
    """An old object that no generation names is not deleted, but reported."""
    database = Database.create(at(object_store.url()))
    key = f"{database.place}/data/my/0/x.parquet".removeprefix("s3://tele/")
    obstore.put(object_store.direct, key, b"x")
    monkeypatch.setattr("vastlab.store.check.GRACE", -10)
    (fault,) = check(database.place)
    assert fault.kind is FaultKind.LEFTOVER
    assert "tools of the store" in str(fault)


def test_a_marker_that_cannot_be_written_does_not_undo_a_commit(object_store, events):
    """Where only the note on the newest generation fails, the events are added all the same."""
    database = Database.create(at(object_store.url()))
    with object_store.failing(refuse=-1, match="manifest.json", method="PUT"):
        database.add([events([2])])
    assert Database.open(database.place).snapshot().counts == {"zeek.conn": 1}


def test_other_objects_are_not_mixed_with_a_database(object_store):
    """A prefix with other objects is refused, and left as it is."""
    url = object_store.url()
    key = f"{url.removeprefix('s3://tele/')}/conn.log"
    obstore.put(object_store.direct, key, b"x")
    with pytest.raises(OtherFilesError, match=r"conn\.log"):
        Database.create(at(url))
    assert object_store.keys(url) == [key]
    assert not is_database(at(url))


def test_a_database_that_appears_meanwhile_is_opened(object_store):
    """Two processes may make one at the same time."""
    place = at(object_store.url())

    def appear(_method, path):
        if "prefix=" in path:  # after it was looked for
            faults.before.clear()
            Database.create(place)

    with object_store.failing(before=[appear]) as faults:
        Database.create(place)
    assert not faults.before
    assert Database.open(place).snapshot().generation == 0


def test_compaction_keeps_all_events_and_deletes_the_old_files_later(object_store, events):
    """Readers can finish, nothing is left over, and afterwards only what is needed is there."""
    database = Database.create(at(object_store.url()))
    for i in range(3):
        database.add([events([i]), events([i], "zeek.dns")])
    before, old = rows(database), database.snapshot().files.paths()
    assert compact.compact(database) == CompactReport(6, 2)
    assert rows(database) == before
    assert all(map(database.place.has, map(database.place.key, old)))
    database.sweep()
    assert all(map(database.place.has, map(database.place.key, old)))
    assert check(database.place) == []
    database.sweep(grace=-10)
    left = object_store.keys(str(database.place))
    assert len([key for key in left if "/data/" in key]) == 2
    assert not [key for key in left if "/dropped/" in key]
    assert rows(Database.open(database.place)) == before
    assert check(database.place) == []


def test_what_a_failed_commit_wanted_to_drop_is_not_deleted(object_store, events):
    """It was listed before the commit, and is still named."""
    database = Database.create(at(object_store.url()))
    for i in range(2):
        database.add([events([i])])
    with (
        object_store.failing(refuse=-1, match="generations", method="PUT"),
        pytest.raises(NodeError),
    ):
        compact.compact(database)
    assert any("/dropped/" in key for key in object_store.keys(str(database.place)))
    database = Database.open(database.place)
    database.sweep(grace=-10)
    assert not any("/dropped/" in key for key in object_store.keys(str(database.place)))
    assert len(rows(database)["zeek.conn"]) == 2


@pytest.mark.parametrize("content", [b"", b"5", b'["data/x", 5]', b'["manifest.json"]'])
def test_a_damaged_list_of_what_is_dropped_harms_nothing(object_store, events, content):
    """Nor does one that names something else than data: commits, sweeps and checks go on."""
    database = Database.create(at(object_store.url()))
    key = f"{database.place}/dropped/x.json".removeprefix("s3://tele/")
    obstore.put(object_store.direct, key, content)
    database.add([events([1])])
    database.sweep(grace=-10)
    assert check(database.place) == []
    assert len(rows(Database.open(database.place))["zeek.conn"]) == 1


def test_imports_merge_small_files(object_store, events):
    """Many small files of about one size become one."""
    database = Database.create(at(object_store.url()))
    for i in range(compact._MIN_GROUP):
        database.add([events([i])])
    before = rows(database)
    compact.merge_after_import(database)
    assert len(database.snapshot().files) == 1
    assert rows(database) == before


@pytest.fixture(scope="module")
def whole(tmp_path_factory, events):
    """Make a database of three files, one of which has several row groups."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "ROW_GROUP_ROWS", 64)
        database = Database.create(tmp_path_factory.mktemp("whole") / "db")
        for batch in (events(range(200)), events(range(5), "zeek.dns"), events([1], "zeek.http")):
            database.add([batch])
    return database


def spoil_page(place, staging):
    key = place.key(Database.open(place).snapshot().files[0].path)
    data = bytearray(place.read(key))
    data[100] ^= 0xFF
    place.replace(key, bytes(data), staging)


def remove_file(place, staging):
    place.delete(place.key(Database.open(place).snapshot().files[1].path))


def spoil_generation(place, staging):
    place.replace(manifest.key_of(2), place.read(manifest.key_of(2))[:-20], staging)


def remove_manifest(place, staging):
    place.delete("manifest.json")
    for number in (1, 2, 3):
        place.delete(manifest.key_of(number))


@pytest.mark.parametrize("harm", [spoil_page, remove_file, spoil_generation, remove_manifest])
def test_a_repair_does_what_it_does_in_a_folder(object_store, tmp_path, whole, harm, events):
    """The same is lost, moved and noted, and what is left is sound."""
    shutil.copytree(whole.path, tmp_path / "db")
    url = object_store.url()
    object_store.upload(whole.path, url)
    (tmp_path / "staging").mkdir()
    results = []
    for place in (Folder(tmp_path / "db"), at(url)):
        harm(place, tmp_path / "staging")
        assert check(place)
        report = repair(place)
        assert check(place) == []
        found = report.losses, [text.replace(str(place), "") for text in report.moved]
        notes = [text.replace(str(place), "") for text in report.notes]
        database = Database.open(place)
        results.append((found, notes, rows(database), len(list(place.entries("damaged")))))
        assert database.add([events([7])]) == {"zeek.conn": 1}
    assert results[0] == results[1]


@pytest.mark.parametrize("what", ["missing", "cut", "changed"])
def test_check_finds_what_is_wrong(object_store, what, events):
    """A missing, cut or changed object is a fault, wherever its bytes differ."""
    database = Database.create(at(object_store.url()))
    database.add([events(range(1000))])
    (file,) = database.snapshot().files
    key = file.path.removeprefix("s3://tele/")
    data = bytes(obstore.get(object_store.direct, key).bytes())
    if what == "missing":
        obstore.delete(object_store.direct, key)
    elif what == "cut":
        obstore.put(object_store.direct, key, data[:-10])
    else:
        middle = len(data) // 3
        obstore.put(object_store.direct, key, data[:middle] + b"\0\1\2\3" + data[middle + 4 :])
    (fault,) = check(database.place)
    assert fault.path == file.path
    assert fault.kind is (FaultKind.MISSING if what == "missing" else FaultKind.DAMAGED)


def test_a_database_can_be_copied_from_a_folder(object_store, tmp_path, events):
    """Keys are relative, so that a copied database is the same one."""
    local = Database.create(tmp_path / "db")
    for i in range(3):
        local.add([events([i])])
    url = object_store.url()
    object_store.upload(local.path, url)
    copied = Database.open(at(url))
    assert copied.snapshot().counts == {"zeek.conn": 3}
    copied.add([events([3])])
    assert copied.snapshot().counts == {"zeek.conn": 4}
    assert check(copied.place) == []


def test_a_store_that_does_not_answer_is_no_empty_place(object_store):
    """Whether there is a database is not known then, and the error says why."""
    database = Database.create(at(object_store.url()))
    with object_store.failing(refuse=-1):
        for ask in (lambda: is_database(database.place), lambda: Database.open(database.place)):
            with pytest.raises(NodeError, match="503"):
                ask()


def test_a_wrong_bucket_is_an_error(object_store):
    """A bucket that does not exist is not an empty one."""
    with pytest.raises(NodeError, match="nothing-here"):
        is_database(at("s3://nothing-here/db"))


def test_a_place_shows_no_secret(object_store):
    """Neither its text nor what represents it holds credentials."""
    place = at(object_store.url())
    assert SECRET not in f"{place} {place!r} {place._store!r}"


@pytest.mark.parametrize("url", ["gs://bucket/db", "az://container/db"])
def test_other_stores_are_opened_without_a_request(monkeypatch, url):
    """The client of the scheme is made from the environment alone."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    assert str(at(url)) == url


def test_an_environment_that_cannot_be_used_is_one_error(monkeypatch):
    """It names the variables, and shows no value of a key."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(ConfigError, match=r"Account must be specified.*AZURE_"):
        at("az://container/db")
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", f'{{"private_key": "{SECRET}"}}')
    with pytest.raises(ConfigError, match="GOOGLE_") as caught:
        at("gs://bucket/db")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def staged(database, folder, batch):
    buffer = Buffer(database.place, folder)
    buffer.add(batch)
    return buffer.finish(), buffer.layouts
