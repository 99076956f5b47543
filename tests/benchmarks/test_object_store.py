"""A database in an object store beside the same one in a folder: requests, bytes and CPU.

The server and its proxy are a process of their own, so that the CPU is that of the client.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.benchmarks.measure import EVENTS
from vastlab import connect, demo
from vastlab.store.database import Database

TABLE = "A database in an object store"
SERVER = """
import json, sys
from pathlib import Path
from tests.object_store import ObjectStore
store = ObjectStore()
url = store.url()
store.upload(Path(sys.argv[1]), url)
print(json.dumps([url, store.environment]), flush=True)
for _ in sys.stdin:
    seen, store.faults.seen = store.faults.seen, []
    print(json.dumps([(method, size) for method, _, size in seen]), flush=True)
store.close()
"""
EVENTS_OF = {
    "events of an address": "203.0.113.66",
    "events of an address in one column": "id.orig_h == 203.0.113.66",
    "events of a port": "id.resp_p == 22",
    "all connections": '#type == "zeek.conn"',
    "all events": "",
}
COUNTS_OF = {
    "count: an address in all columns": "203.0.113.66",
    "count: absent uid": 'uid == "CVkw28pwFJrQGpFPdY"',
    "count: one port": "id.resp_p == 22",
    "count: subnet": "id.orig_h in 10.0.0.0/24",
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory, request):
    """Make the database, and serve a copy of it."""
    root = tmp_path_factory.mktemp("benchmark") / "events.db"
    Database.create(root).add(demo.batches(EVENTS))
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, root],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        url, environment = json.loads(server.stdout.readline())
        with pytest.MonkeyPatch.context() as patch:
            for name, text in environment.items():
                patch.setenv(name, text)
            yield root, url, server
        server.stdin.close()


def requests(server):
    """Return the number of HEAD and of other requests since the last call, and their bytes."""
    server.stdin.write("\n")
    server.stdin.flush()
    seen = json.loads(server.stdout.readline())
    heads = sum(1 for method, _ in seen if method == "HEAD")
    return heads, len(seen) - heads, sum(size for _, size in seen) / 1e6


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [*COUNTS_OF, *EVENTS_OF])
def test_object_store(compare, stored, name):
    """The first answer of a connection, in turn from the store and from the folder."""
    root, url, server = stored

    def ask(place):
        with connect(place) as vast:
            if name in COUNTS_OF:
                return vast.count(COUNTS_OF[name])
            return vast.query(EVENTS_OF[name], limit=0).num_rows

    requests(server)
    ask(url)
    heads, others, size = requests(server)
    asks = {"object store": partial(ask, url), "folder": partial(ask, root)}
    compare(TABLE, name, asks, note=f"{heads} HEAD, {others} others, {size:.1f} MB")
