"""A manifest of 100,000 files: what it costs to load, to plan with, and to add to.

The entries are made from those of a demo database, with bounds that differ from file to file.
VASTLAB_BENCH_FILES is their number.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vastlab import demo
from vastlab.expression import parse
from vastlab.expression.ast import Constant
from vastlab.nodes import plan
from vastlab.nodes.base import Query
from vastlab.store import checkpoint, manifest
from vastlab.store.database import Database
from vastlab.store.generation import Change
from vastlab.store.layout import Source
from vastlab.store.place import Folder

FILES = int(os.environ.get("VASTLAB_BENCH_FILES", "100000"))
COMMITS = 20
HOUR = 3600 * 10**9
QUERIES = (
    "203.0.113.66",
    "203.0.113.66 && #import_time < 1970-01-02",
    'uid == "CVkw28pwFJrQGpFPdY"',
    "resp_p == 22",
    '#type == "zeek.dns" && query == "example.org"',
    "",
)
SHARES = {
    "zeek.conn": 40,
    "suricata.flow": 24,
    "zeek.dns": 18,
    "zeek.http": 10,
    "suricata.http": 7,
    "suricata.alert": 1,
}
LOAD = """
import sys, time
from pathlib import Path
from vastlab.store import manifest
from vastlab.store.place import Folder
def rss():
    lines = Path("/proc/self/status").read_text().splitlines()
    words = [line.split() for line in lines if line.startswith(("VmRSS", "VmHWM"))]
    return {name: int(size) / 1024 for name, size, _ in words}
before = rss()["VmRSS:"]
started = time.process_time()
snapshot = manifest.load(Folder(Path(sys.argv[1])))
cpu = time.process_time() - started
after = rss()
print(cpu, after["VmRSS:"] - before, after["VmHWM:"] - before, len(snapshot.files))
"""


def varied(value, generator):
    """Return a bound like another one."""
    match value:
        case bool() | None:
            return value
        case int():
            return value + generator.randrange(10**6) if abs(value) < 2**62 else value
        case float():
            return value + generator.random()
        case bytes():
            return value[:12] + generator.randbytes(4)
        case _:
            return f"{value[:20]}{generator.getrandbits(32):08x}"


def entries(root, sources, generator, count):
    """Make entries like those of a demo database."""
    names = generator.choices(list(SHARES), list(SHARES.values()), k=count)
    for number, name in enumerate(names):
        file = sources[name]
        shift = number * HOUR // 100
        ranges = {
            column: replace(
                known,
                minimum=varied(known.minimum, generator),
                maximum=varied(known.maximum, generator),
            )
            for column, known in file.ranges.items()
        }
        token = f"{generator.getrandbits(128):032x}"
        yield replace(
            file,
            path=f"{root}/data/{name}/{file.fingerprint}/20260101T000000-{token}.parquet",
            first=file.first + shift,
            last=file.last + shift,
            ranges=ranges,
            generation=0,
            source=f"{generator.getrandbits(128):032x}",
        )


def commit(root, change, known):
    """Commit a change of the manifest alone."""
    with Database(root).staging() as staging:
        return manifest.commit(Folder(root), staging, lambda _: change, known)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Make a database of many files that are not there, in commits of 20,000."""
    folder = tmp_path_factory.mktemp("benchmark")
    small = Database.create(folder / "small.db")
    small.add(demo.batches(100_000))
    held = small.snapshot()
    root = Database.create(folder / "large.db").path
    generator = random.Random(0)  # noqa: S311 - the same in each run
    files = list(entries(root, {f.schema_name: f for f in held.files}, generator, FILES))
    known = None
    for start in range(0, len(files), 20_000):
        part = files[start : start + 20_000]
        sources = {
            f"/logs/{f.source}.log": Source(
                f"/logs/{f.source}.log", 1, f.source, segments=(f.source,)
            )
            for f in part[::10]
        }
        known = commit(root, Change(tuple(part), layouts=held.layouts, sources=sources), known)
    return root, known, files[:COMMITS]


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_load(benchmark, large):
    """The newest checkpoint and the generations after it, beside the generations alone."""
    root, _, _ = large
    folder, aside = root / "generations", root / "aside"
    aside.mkdir()
    saved = [root / key for key in checkpoint.keys(Folder(root))]
    size = saved[-1].stat().st_size
    for with_checkpoint in (True, False, True):
        for path in saved if not with_checkpoint else aside.iterdir():
            path.rename((aside if not with_checkpoint else folder) / path.name)
        output = subprocess.run(
            [sys.executable, "-c", LOAD, root], check=True, capture_output=True, text=True
        ).stdout
        cpu, grown, peak, count = map(float, output.split())
        name = "checkpoint" if with_checkpoint else "generations alone"
        print(
            f"\nload of {count:,.0f} files, {name}: {cpu:.2f} s CPU, "
            f"{grown:.0f} MB more in the end, {peak:.0f} MB at most"
        )
    print(f"the checkpoint has {size / 2**20:.1f} MB, {size / FILES:.0f} bytes a file")
    benchmark.pedantic(lambda: manifest.load(Folder(root)), rounds=1)


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_plan(benchmark, large):
    """Masks over the whole table beside the same rule for one file after the other."""
    root, _, _ = large
    snapshot = manifest.load(Folder(root))
    for text in QUERIES:
        query = Query(parse(text) if text else Constant(True))
        started = time.process_time()
        first = sum(1 for _ in plan.tasks(query, snapshot.layouts, snapshot.files))
        middle = time.process_time()
        again = sum(1 for _ in plan.tasks(query, snapshot.layouts, snapshot.files))
        end = time.process_time()
        one = sum(1 for _ in plan.tasks(query, snapshot.layouts, iter(snapshot.files)))
        scalar = time.process_time() - end
        assert first == again == one
        print(
            f"\nplan of {text!r}: {first:,} of {len(snapshot.files):,} files, "
            f"{1000 * (middle - started):.0f} ms CPU the first time, "
            f"{1000 * (end - middle):.0f} again, one by one {1000 * scalar:.0f}"
        )
    benchmark.pedantic(
        lambda: list(plan.tasks(Query(parse(QUERIES[0])), snapshot.layouts, snapshot.files)),
        rounds=1,
    )


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_commit(benchmark, large):
    """A file more, in CPU time: what waits for the disk does not count."""
    root, known, files = large
    known = manifest.load(Folder(root), known)
    times = []
    for number, file in enumerate(files):
        path = Path(file.path).with_name(f"20260102T000000-{number:032x}.parquet")
        new = replace(file, path=str(path), generation=0)
        started = time.process_time()
        known = commit(root, Change((new,)), known)
        times.append(time.process_time() - started)
    print(
        f"\ncommit beside {len(known.files):,} files: median "
        f"{1000 * statistics.median(times):.1f} ms CPU, longest {1000 * max(times):.1f}"
    )
    benchmark.pedantic(lambda: manifest.load(Folder(root), known), rounds=1)
