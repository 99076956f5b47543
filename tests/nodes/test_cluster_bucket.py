"""A database in an object store that is read by the workers of a real Dask cluster."""

from __future__ import annotations

import asyncio

import obstore
import pyarrow as pa
import pytest

from tests import dask_cluster
from tests.nodes.test_damage import NEEDLE, answers
from tests.object_store import SECRET
from vastlab import connect
from vastlab.client import VAST
from vastlab.endpoints import parse_endpoint
from vastlab.errors import CorruptFileError, NodeError, UsageError
from vastlab.nodes.cluster import errands, scanner
from vastlab.nodes.cluster import node as cluster_node
from vastlab.store import bucket, writer
from vastlab.store.bucket import Bucket
from vastlab.store.database import Database


@pytest.fixture(scope="module")
def local(tmp_path_factory, makers):
    """Make a database with several files, row groups, layouts and generations in a folder."""
    make_conn, make_dns = makers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "ROW_GROUP_ROWS", 64)
        database = Database.create(tmp_path_factory.mktemp("local") / "test.db")
        database.add([make_conn(range(200)), make_dns([f"q{i}" for i in range(150)])])
        for start in range(200, 440, 60):
            database.add([make_conn(range(start, start + 60))])
    return database


def few_retries():
    """Let a worker give a store up soon; what it has opened is not changed."""
    from vastlab.store import bucket

    bucket._RETRIES["max_retries"] = 3


@pytest.fixture
def copied(local, object_store):
    """Copy it to a place in an object store, to which the workers have credentials."""
    dask_cluster.lead_to(object_store.environment)
    dask_cluster.client().run(few_retries)
    url = object_store.url()
    object_store.upload(local.path, url)
    return url


def last_key(url, schema):
    """Name the last object with events of a schema."""
    files = Database.open(Bucket(parse_endpoint(url))).snapshot().files
    *_, last = (file.path for file in files if schema in file.path)
    return last.removeprefix("s3://tele/")


# --- answers ------------------------------------------------------------------------------------


async def test_the_answers_are_those_of_a_folder(local, copied):
    """Exports in each order, counts, summaries, schemas, status and plans are the same."""
    found = await answers(dask_cluster.endpoint(copied))
    for one, expected in zip(found, await answers(local.path), strict=True):
        assert one == expected


def test_a_given_client_reads_a_bucket_and_imports_into_it(object_store):
    """What is imported is put by this process, and found by the workers."""
    dask_cluster.lead_to(object_store.environment)
    with connect(object_store.url(), cluster=dask_cluster.client()) as vast:
        with pytest.raises(UsageError, match="vastlab import"):
            vast.count()
        for port in (80, 443):
            vast.ingest(pa.table({"port": [port]}), schema="my")
        assert vast.count("port == 443") == 1
        assert vast.status()["cluster"]["workers"] == 2


async def test_workers_ask_the_store_and_get_no_credentials(copied, object_store, monkeypatch):
    """What is sent, shown and asked for holds no secret; events are not fetched by the client."""
    sent = []

    def question(*args, **options):
        sent.append(original(*args, **options))
        return sent[-1]

    original = cluster_node.question
    monkeypatch.setattr(cluster_node, "question", question)
    monkeypatch.setattr("vastlab.store.object_file.ObjectFiles.open", None)
    async with VAST(dask_cluster.endpoint(copied)) as vast:
        with object_store.failing() as faults:
            assert await vast.count(NEEDLE) == 1
            assert len([part async for part in vast.export(NEEDLE)]) == 1
        shown = [vast, vast.endpoint, await vast.status()]
    assert sent
    secrets = [SECRET, object_store.environment["AWS_ENDPOINT_URL"]]
    for text in (*map(str, sent), *map(repr, shown)):
        assert not any(secret in text for secret in secrets)
    (key,) = {path for method, path, _ in faults.seen if method == "GET" and "/data/" in path}
    looks = [path for method, path, _ in faults.seen if method == "HEAD" and path == key]
    assert len(looks) == 4  # before and after each question


# --- failures -----------------------------------------------------------------------------------


async def test_an_object_that_is_gone_is_not_zero_events(copied, object_store):
    """A count, a summary and a plan raise an error that names the object and the worker."""
    obstore.delete(object_store.direct, last_key(copied, "zeek.dns"))
    async with VAST(dask_cluster.endpoint(copied)) as vast:
        for ask in (vast.count, vast.top, vast.explain):
            asked = "query" if ask == vast.top else "query == /q7.*/"
            with pytest.raises(CorruptFileError, match=r"on the worker .* is gone: s3://"):
                await ask(asked)


def test_an_object_that_vanishes_ends_an_export_with_what_came(copied, object_store):
    """The error holds the events that had arrived, and is no whole answer."""
    last = last_key(copied, "zeek.conn")

    def vanish(method, path):
        if method == "GET" and path.endswith(last):
            faults.before.clear()
            obstore.delete(object_store.direct, last)

    with connect(dask_cluster.endpoint(copied)) as vast:
        whole = vast.count()
        with object_store.failing(before=[vanish]) as faults, pytest.raises(CorruptFileError) as e:
            vast.query(limit=0)
        assert 0 < e.value.partial.num_rows < whole
        assert "on the worker tcp://" in str(e.value)


async def test_a_store_that_is_busy_for_a_while_is_asked_again(copied, object_store):
    """A few refusals change no answer."""
    async with VAST(dask_cluster.endpoint(copied)) as vast:
        with object_store.failing(refuse=3, match="/data/"):
            assert await vast.count("n > 7 && resp_p > 8") == 431
        with object_store.failing(refuse=3, match="/data/"):
            assert (
                sum([part.num_rows async for part in vast.export("n > 7 && resp_p > 8", limit=0)])
                == 431
            )


def test_a_store_that_fails_for_ever_is_one_error(copied, object_store):
    """It says where and why in one line, shows no secret, and holds what had arrived."""
    last = last_key(copied, "zeek.dns")
    with connect(dask_cluster.endpoint(copied)) as vast:
        whole = vast.count()
        with object_store.failing(refuse=-1, match=last):
            with pytest.raises(NodeError) as caught:
                vast.query(limit=0)
            with pytest.raises(NodeError, match="503"):
                vast.count("query == /q7.*/")
        shown = str(caught.value)
        assert "on the worker tcp://" in shown
        assert "503" in shown
        assert last in shown
        assert "\n" not in shown
        assert SECRET not in shown
        assert 0 < caught.value.partial.num_rows < whole
        assert vast.count("query != null") == 150


def test_workers_without_credentials_are_one_error(copied, object_store):
    """It names their environment; where that is mended, the next question is answered."""
    environment = object_store.environment
    with connect(dask_cluster.endpoint(copied)) as vast:
        dask_cluster.lead_to(environment | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
        with pytest.raises(NodeError, match=r"on the worker of the task.*their own environment"):
            vast.count(NEEDLE)
        dask_cluster.lead_to(environment)
        assert vast.count(NEEDLE) == 1


def test_a_merge_takes_the_credentials_that_its_worker_has_now(object_store, makers, monkeypatch):
    """A worker keeps a database for as long as these stay the same."""
    make_conn, _ = makers
    database = Database.create(Bucket(parse_endpoint(object_store.url())))
    for start in range(3):
        database.add([make_conn([start])])
    merge = errands.Merge(str(database.place), tuple(database.snapshot().files))
    assert merge.run(scanner._here(), "call") == []
    assert len(database.snapshot().files) == 1
    monkeypatch.setitem(bucket._RETRIES, "max_retries", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(NodeError):
        merge.run(scanner._here(), "call")


async def test_a_count_that_is_cancelled_asks_the_store_no_more(copied, object_store):
    """The workers read no other file."""
    loop = asyncio.get_running_loop()
    asked, go = asyncio.Event(), asyncio.Event()

    def hold(method, path):
        if "/data/" in path:
            loop.call_soon_threadsafe(asked.set)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result(60)

    async with VAST(dask_cluster.endpoint(copied)) as vast:
        with object_store.failing(before=[hold]) as faults:
            counting = asyncio.ensure_future(vast.count("n > 7 && resp_p > 8"))
            await asked.wait()
            counting.cancel()
            await asyncio.wait([counting])
            go.set()
            assert counting.cancelled()
    data = [path for method, path, _ in faults.seen if method == "GET" and "/data/" in path]
    assert len(set(data)) <= 5
