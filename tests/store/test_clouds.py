"""The stores of Google and Microsoft: which client is made, and a round trip over a fake server."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.fake_stores import AzureHandler, GoogleHandler, serving
from tests.store.test_compact import rows
from vastlab import connect
from vastlab.endpoints import parse_endpoint
from vastlab.errors import ConfigError
from vastlab.store import compact, manifest
from vastlab.store.bucket import Bucket
from vastlab.store.check import check
from vastlab.store.database import Database, is_database
from vastlab.store.place import Staged


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Let nothing in the environment lead to a store."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "AZURE_", "AZURITE_", "GOOGLE_", "GCE_")):
            monkeypatch.delenv(name)
    return monkeypatch.setenv


@pytest.fixture(params=["gs", "az"])
def url(request, environment):
    """Start each kind of store in turn, and return a place in it."""
    root = "/tele" if request.param == "gs" else "/devstoreaccount1/tele"
    handler = GoogleHandler if request.param == "gs" else AzureHandler
    with serving(handler, root) as store:
        account = {
            "gcs_base_url": store.endpoint,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        environment("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
        environment("AZURE_STORAGE_USE_EMULATOR", "true")
        environment("AZURITE_BLOB_STORAGE_URL", store.endpoint)
        yield f"{request.param}://tele/cases/events.db"


def test_a_database_makes_the_round_trip(url, events):
    """It is filled, compacted, swept, checked and queried as one in a folder is."""
    database = Database.create(Bucket(parse_endpoint(url)))
    for i in range(3):
        database.add([events([i]), events([i], "zeek.dns")])
    before = rows(database)
    assert compact.compact(database).files_after == 2
    database.sweep(grace=-10)
    assert len(list(database.place.entries("data"))) == 2
    assert check(database.place) == []
    assert rows(Database.open(Bucket(parse_endpoint(url)))) == before
    with connect(url) as vast:
        assert vast.count('#type == "zeek.dns"') == 3
        assert vast.query('uid == "C1"').num_rows == 2


def test_a_name_is_created_once(url, tmp_path):
    """Of two writers one gets the number, and learns it."""
    place = Bucket(parse_endpoint(url))
    key = manifest.key_of(1)
    assert place.create(key, b"one", tmp_path)
    assert not place.create(key, b"two", tmp_path)
    assert place.create(key, b"one", tmp_path)  # as after an answer that was lost
    assert place.read(key) == b"one"


def test_a_large_file_is_put_in_parts(url, tmp_path):
    """All of them arrive, in their order."""
    place = Bucket(parse_endpoint(url))
    content = os.urandom(1 << 20) * 11
    (tmp_path / "f").write_bytes(content)
    place.add([Staged(tmp_path / "f", "data/my/0/f.parquet")])
    assert place.read("data/my/0/f.parquet") == content


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_without_credentials_there_is_one_error_at_once(environment, scheme):
    """The machine is asked for some once or twice, not again and again, and the error says it."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            asked.append(self.path)
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_PUT = do_POST = _refuse

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"127.0.0.1:{server.server_port}"
    environment("HOME", "/nonexistent")
    environment("GCE_METADATA_HOST", address)
    environment("GCE_METADATA_ROOT", address)
    environment("GCE_METADATA_IP", address)
    environment("AZURE_STORAGE_ACCOUNT_NAME", "account")
    environment("AZURE_MSI_ENDPOINT", f"http://{address}")
    environment("AWS_METADATA_ENDPOINT", f"http://{address}")
    environment("AWS_ALLOW_HTTP", "true")
    try:
        with pytest.raises(ConfigError, match=f"no credentials for {scheme}://") as caught:
            is_database(Bucket(parse_endpoint(f"{scheme}://bucket/db")))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert 1 <= len(asked) <= 2
    assert "SKIP_SIGNATURE" in str(caught.value.hint)
