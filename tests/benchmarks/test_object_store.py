"""A database in an object store beside the same one in a folder: requests, bytes and CPU.

The server and its proxy are a process of their own, so that the CPU is that of the client.
VASTLAB_BENCH_EVENTS is the number of events, 1,000,000 by default.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vastlab import connect, demo
from vastlab.store.database import Database

EVENTS = int(os.environ.get("VASTLAB_BENCH_EVENTS", "1000000"))
ROUNDS = int(os.environ.get("VASTLAB_BENCH_ROUNDS", "5"))
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
def test_object_store(stored):
    """The first answer of a connection, in turn from the folder and from the store."""
    root, url, server = stored
    requests(server)

    def ask(place, text, *, is_count):
        with connect(place) as vast:
            started = time.process_time()
            found = vast.count(text) if is_count else vast.query(text, limit=0).num_rows
            return found, time.process_time() - started

    for questions, is_count in ((COUNTS_OF, True), (EVENTS_OF, False)):
        for name, text in questions.items():
            local, remote = [], []
            for _ in range(ROUNDS):
                here, cpu = ask(root, text, is_count=is_count)
                local.append(cpu)
                there, cpu = ask(url, text, is_count=is_count)
                remote.append(cpu)
                heads, others, size = requests(server)
                assert here == there
            print(
                f"\n{name}: {here:,}; {heads} HEAD, {others} others, {size:.1f} MB; "
                f"{1000 * statistics.median(remote):.0f} ms, of a folder's "
                f"{statistics.median(a / b for a, b in zip(remote, local, strict=True)):.1f}"
            )
