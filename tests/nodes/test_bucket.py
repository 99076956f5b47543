"""A node over an object store: it answers, or says in one error why it cannot."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from contextlib import aclosing

import obstore
import pytest

from tests.nodes.test_damage import EXPRESSIONS, answers
from tests.object_store import SECRET
from tests.store import version_1
from vastlab import connect
from vastlab.client import VAST
from vastlab.endpoints import parse_endpoint
from vastlab.errors import CorruptFileError, NodeError, UsageError, VastlabError
from vastlab.store import object_file, statistics, writer
from vastlab.store.bucket import Bucket
from vastlab.store.database import Database

NEEDLE = "id.orig_h == 10.0.0.77"


@pytest.fixture(scope="module")
def local(tmp_path_factory, makers):
    """Make a database with several files, row groups, pages, layouts and generations."""
    make_conn, make_dns = makers
    options = statistics.options
    pages = {"data_page_size": 1, "write_batch_size": 8}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "ROW_GROUP_ROWS", 64)
        patch.setattr(statistics, "options", lambda *args: options(*args) | pages)
        database = Database.create(tmp_path_factory.mktemp("local") / "test.db")
        database.add([make_conn(range(200)), make_dns([f"q{i}" for i in range(150)])])
        for start in range(200, 440, 60):
            database.add([make_conn(range(start, start + 60))])
        database.add([make_conn([440, 441])])
    return database


@pytest.fixture
def copied(local, object_store):
    """Copy it to a place in an object store."""
    url = object_store.url()
    object_store.upload(local.path, url)
    return url


@pytest.fixture(params=["whole", "in parts"])
def fetched(request):
    """Let files be fetched at once, as small ones are, or in parts."""
    if request.param == "in parts":
        request.getfixturevalue("parts")


@pytest.fixture
def parts(monkeypatch):
    """Let files be fetched in parts, as large ones are."""
    monkeypatch.setattr(object_file, "_WHOLE", 0)
    monkeypatch.setattr(object_file, "_END", 0)


async def rows_of(stream):
    """Collect the events of an export."""
    async with aclosing(stream) as slices:
        return [row async for part in slices for row in part.to_pyarrow().to_pylist()]


def data_keys(object_store, url):
    """Name the objects with events, in the order in which they are read."""
    files = Database.open(Bucket(parse_endpoint(url))).snapshot().files
    return [file.path.removeprefix("s3://tele/") for file in files]


@pytest.mark.usefixtures("fetched")
async def test_the_answers_are_those_of_a_folder(local, copied):
    """Exports in each order, counts, summaries, schemas, status and plans are the same."""
    for found, expected in zip(await answers(copied), await answers(local.path), strict=True):
        assert found == expected


@pytest.mark.usefixtures("fetched")
@pytest.mark.parametrize("text", EXPRESSIONS)
async def test_the_answers_are_the_same_without_verification(local, copied, text):
    """Where nothing is compared, as much is found."""
    async with VAST(copied, verify=False) as vast, VAST(local.path) as here:
        assert await rows_of(vast.export(text, limit=0)) == await rows_of(
            here.export(text, limit=0)
        )
        assert await vast.counts(text) == await here.counts(text)


async def test_a_database_of_version_1_is_read(tmp_path, object_store, makers):
    """Files without checksums are read by Parquet's own."""
    root = tmp_path / "old.db"
    version_1.create(root)
    version_1.commit(root, makers[0](range(100)))
    version_1.commit(root, makers[0](range(100, 130)))
    shutil.rmtree(root / "staging")
    url = object_store.url()
    object_store.upload(root, url)
    async with VAST(url) as vast, VAST(root) as here:
        for text in ("", NEEDLE, "resp_p > 90"):
            assert await vast.counts(text) == await here.counts(text)
            assert await rows_of(vast.export(text)) == await rows_of(here.export(text))
        newest = {"order": "newest", "limit": 7}
        assert await rows_of(vast.export("", **newest)) == await rows_of(here.export("", **newest))
        assert str(await vast.explain(NEEDLE)) == str(await here.explain(NEEDLE))
        assert (await vast.summarize(by="#type")).equals(await here.summarize(by="#type"))


# --- what is fetched ----------------------------------------------------------------------------


@pytest.mark.usefixtures("parts")
async def test_little_is_fetched_twice(copied, object_store):
    """Each file is looked at before and after; a second query does not fetch its end again."""
    async with VAST(copied) as vast:
        await vast.count(NEEDLE)
        with object_store.failing() as faults:
            assert await vast.count("resp_p == 77") == 1
    data = [(method, path) for method, path, _ in faults.seen if "/data/" in path]
    asked = {path for _, path in data}
    assert asked
    for path in asked:
        methods = [method for method, other in data if other == path]
        assert methods == ["HEAD", "GET", "HEAD"]


async def test_a_limit_reads_no_more_than_it_needs(copied, object_store):
    """One event is in the first file, and no other is fetched."""
    with object_store.failing() as faults:
        async with VAST(copied) as vast:
            assert len(await rows_of(vast.export('#type == "zeek.conn"', limit=1))) == 1
    assert len({path for _, path, _ in faults.seen if "/data/" in path}) == 1


async def test_several_files_are_read_at_the_same_time(copied, object_store):
    """The first request for a file is not answered before those for two others were made."""
    together = threading.Barrier(3)

    def wait(method, path):
        if method == "HEAD" and path not in seen and "/data/" in path and len(seen) < 3:
            seen.add(path)
            together.wait(60)

    seen = set()
    async with VAST(copied) as vast:
        with object_store.failing(before=[wait]):
            assert await vast.count("n in [7, 250, 330, 430]") == 4
    assert len(seen) == 3


# --- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", NEEDLE])
async def test_a_missing_object_is_not_zero_events(copied, object_store, text):
    """An export, a count and a summary raise an error that names the object."""
    for key in data_keys(object_store, copied):
        obstore.delete(object_store.direct, key)
    async with VAST(copied) as vast:
        with pytest.raises(CorruptFileError, match="is gone: s3://"):
            await rows_of(vast.export(text, limit=0))
        with pytest.raises(CorruptFileError, match="is gone: s3://"):
            await vast.count("resp_p == 77")
        with pytest.raises(CorruptFileError, match="is gone: s3://"):
            await vast.top("resp_p")
        with pytest.raises(CorruptFileError, match="is gone: s3://"):
            await vast.explain(text)


@pytest.mark.usefixtures("parts")
def test_an_object_that_vanishes_ends_an_export_with_what_came(copied, object_store):
    """The error holds the events that had arrived, and is no whole answer."""
    *_, last = (key for key in data_keys(object_store, copied) if "zeek.conn" in key)

    def vanish(method, path):
        if method == "GET" and path.endswith(last):
            faults.before.clear()
            obstore.delete(object_store.direct, last)

    with connect(copied) as vast:
        whole = vast.count()
        with object_store.failing(before=[vanish]) as faults, pytest.raises(CorruptFileError) as e:
            vast.query(limit=0)
        assert 0 < e.value.partial.num_rows < whole
        assert vast.last is e.value.partial


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("verify", [True, False])
async def test_an_object_that_is_replaced_is_an_error(copied, object_store, verify):
    """What was read of two objects is no answer, also where nothing is compared."""
    key = data_keys(object_store, copied)[0]
    data = bytes(obstore.get(object_store.direct, key).bytes())

    def replace(method, path):
        if method == "GET" and path.endswith(key):
            faults.before.clear()
            obstore.put(object_store.direct, key, data[:-1] + b"?")

    async with VAST(copied, verify=verify) as vast:
        with (
            object_store.failing(before=[replace]) as faults,
            pytest.raises(CorruptFileError, match=r"replaced|damaged"),
        ):
            await vast.count("n in [7, 250, 330, 430]")


@pytest.mark.usefixtures("fetched")
async def test_damage_is_never_an_answer(local, copied, object_store):
    """With bytes changed anywhere in a file, the answers are right, or there is an error."""
    expected = {text: await counted(str(local.path), text) for text in EXPRESSIONS}
    keys = data_keys(object_store, copied)
    key = max(keys, key=lambda key: obstore.head(object_store.direct, key)["size"])
    data = bytes(obstore.get(object_store.direct, key).bytes())
    errors = 0
    for place in range(4, len(data), len(data) // 12):
        obstore.put(object_store.direct, key, data[:place] + b"\xa5\x5a\xff" + data[place + 3 :])
        for text, right in expected.items():
            try:
                found = await counted(copied, text)
            except VastlabError:
                errors += 1
            else:
                assert found == right, (place, text)
    assert errors > 10


async def counted(endpoint, text):
    async with VAST(endpoint) as vast:
        rows = await rows_of(vast.export(text, limit=0))
        return await vast.counts(text), sorted(map(str, rows))


@pytest.mark.parametrize("refused", [1, 3])
async def test_a_store_that_is_busy_for_a_while_is_asked_again(
    local, copied, object_store, refused
):
    """A few refusals change no answer."""
    expected = await counted(str(local.path), NEEDLE)
    with object_store.failing(refuse=refused, match="/data/"):
        assert await counted(copied, NEEDLE) == expected


@pytest.mark.usefixtures("parts")
def test_a_store_that_fails_for_ever_is_one_error(copied, object_store):
    """It says where and why in one line, shows no secret, and holds what had arrived."""
    last = max(key for key in data_keys(object_store, copied) if "zeek.dns" in key)
    with connect(copied) as vast:
        whole = vast.count()
        with object_store.failing(refuse=-1, match=last), pytest.raises(NodeError) as caught:
            vast.query(limit=0)
        shown = str(caught.value)
        assert "503" in shown
        assert last in shown
        assert "\n" not in shown
        assert SECRET not in shown
        assert 0 < caught.value.partial.num_rows < whole
        with object_store.failing(refuse=-1), pytest.raises(NodeError, match="503"):
            vast.count()
        assert vast.count() == whole


def test_denied_access_names_the_environment(copied, object_store):
    """The hint says where credentials come from."""
    with (
        object_store.failing(deny=True),
        connect(copied) as vast,
        pytest.raises(NodeError, match=r"denies.*AWS_ACCESS_KEY_ID"),
    ):
        vast.count()


def test_no_secret_is_shown(copied, object_store):
    """Neither a connection nor its results, status or plan holds credentials."""
    with connect(copied) as vast:
        result = vast.query(limit=5)
        shown = [vast, result, result._repr_html_(), vast.status(), vast.explain(""), vast.endpoint]
    assert SECRET not in " ".join(map(repr, shown))
    assert object_store.environment["AWS_ENDPOINT_URL"] not in " ".join(map(repr, shown))


# --- imports ------------------------------------------------------------------------------------


def test_a_file_is_imported_once(object_store, tmp_path):
    """A second import skips it, also from another connection."""
    (tmp_path / "a.json").write_text('{"port": 80}\n{"port": 443}\n')
    url = object_store.url()
    for skipped in (0, 1):
        with connect(url) as vast:
            report = vast.ingest(tmp_path / "a.json", schema="my")
            assert len(report.skipped) == skipped
            assert vast.count() == 2


def test_nothing_at_a_place_is_one_error(object_store):
    """The hint says how a database gets there, and that logs in a bucket are not read."""
    with connect(object_store.url()) as vast, pytest.raises(UsageError, match="vastlab import"):
        vast.count()


def test_other_objects_are_no_database(object_store, tmp_path):
    """An import among other objects is refused."""
    url = object_store.url()
    obstore.put(object_store.direct, f"{url.removeprefix('s3://tele/')}/a.log", b"x")
    (tmp_path / "a.json").write_text('{"port": 80}\n')
    with connect(url) as vast, pytest.raises(UsageError, match="other objects"):
        vast.ingest(tmp_path / "a.json", schema="my")


def test_a_node_is_made_without_a_request(object_store):
    """Connecting alone asks nothing."""
    with object_store.failing() as faults, connect(object_store.url()):
        pass
    assert faults.seen == []


def test_nothing_of_it_is_imported_for_a_folder(tmp_path):
    """A local database is used without the packages for object stores."""
    program = """
import sys
from vastlab import connect
import pyarrow as pa
with connect(sys.argv[1]) as vast:
    vast.ingest(pa.table({"port": [1]}), schema="my")
    assert vast.count("port == 1") == 1
assert not {"obstore", "boto3", "distributed"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "db")], check=True)


def test_without_the_extra_the_error_names_it(monkeypatch):
    """The hint says what to install."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    for name in [name for name in sys.modules if name.endswith((".bucket", ".object_file"))]:
        monkeypatch.delitem(sys.modules, name)
    with connect("s3://bucket/db") as vast, pytest.raises(UsageError, match=r"vastlab\[cloud\]"):
        vast.count()
