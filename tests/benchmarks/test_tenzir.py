"""How fast a Tenzir node is through vastlab, against its own program doing the same."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import time
from contextlib import aclosing

import pyarrow as pa
import pytest

from vastlab import demo
from vastlab.client import VAST
from vastlab.nodes import own, process
from vastlab.nodes.process import clean_environment

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.full,
    pytest.mark.skipif(process.find_tenzir() is None, reason="the package tenzir is not installed"),
]
EVENTS = 1_600_000  # so that the three largest schemas have a million and more
SCHEMAS = ("zeek.conn", "suricata.flow", "zeek.dns")
WANTED = " || ".join(f'#type == "{name}"' for name in SCHEMAS)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    with own.start_node(tmp_path_factory.mktemp("benchmark")) as node:

        async def load():
            async with VAST(node.endpoint, client="tenzir") as vast:
                await vast.ingest(
                    [pa.Table.from_batches([batch]) for batch in demo.batches(EVENTS)]
                )

        asyncio.run(load())
        time.sleep(61)  # what is younger may be in memory only, and is looked at closely
        yield node.endpoint


def bare(endpoint, pipeline, *, first=False):
    """Run the program itself; return the seconds until its first byte, or its last."""
    argv = (
        str(process.find_tenzir()), "--bare-mode", f"--endpoint={endpoint}",
        "--console-verbosity=quiet", "--connection-timeout=5s", "--connection-retry-delay=0s",
        pipeline,
    )  # fmt: skip
    started = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=clean_environment()) as program:
        program.stdout.read(1)
        if not first:
            while program.stdout.read(1 << 20):
                pass
        seconds = time.perf_counter() - started
        program.kill()
    return seconds


async def export(vast, expression, limit=0):
    """Export; return the seconds until the first and the last batch, and the events."""
    started = time.perf_counter()
    first, events = 0.0, 0
    async with aclosing(vast.export(expression, limit=limit)) as parts:
        async for part in parts:
            first = first or time.perf_counter() - started
            events += part.num_rows
    return first, time.perf_counter() - started, events


def test_export_of_a_million_events(benchmark, endpoint):
    """Three schemas through vastlab, one as bare Arrow, and all three as bare NDJSON."""

    async def mine():
        async with VAST(endpoint, client="tenzir") as vast:
            await vast.count()
            return await export(vast, WANTED)

    _, seconds, events = asyncio.run(mine())
    names = " or ".join(f"@name == {json.dumps(name)}" for name in SCHEMAS)
    arrow = bare(endpoint, f'export | where @name == "{SCHEMAS[0]}" | write_feather')
    ndjson = bare(endpoint, f"export | where {names} | write_ndjson")
    one = asyncio.run(_count(endpoint, SCHEMAS[0]))
    assert events >= 1_000_000
    print(
        f"\n{events:,} events of 3 schemas through vastlab {seconds:.2f} s; bare Arrow of "
        f"{one:,} of one schema {arrow:.2f} s, {arrow / one * events / seconds:.2f} times as slow "
        f"for each event; bare NDJSON of all {ndjson:.2f} s, {ndjson / seconds:.2f} times as slow"
    )
    benchmark.pedantic(lambda: asyncio.run(_count(endpoint, SCHEMAS[0])), rounds=1)


async def _count(endpoint, name):
    async with VAST(endpoint, client="tenzir") as vast:
        return await vast.count(f'#type == "{name}"')


def test_first_row(benchmark, endpoint):
    """The first row of a query, against the first byte of the program."""
    wanted = f'@name == "{SCHEMAS[0]}" and id.resp_p =='

    async def both():
        found = []
        async with VAST(endpoint, client="tenzir") as vast:
            await export(vast, "id.resp_p == 53", 100)
            for port in _PORTS * 4:  # in turn, so that both meet the same machine
                expression = f'#type == "{SCHEMAS[0]}" && id.resp_p == {port}'
                mine, _, _ = await export(vast, expression, 100)
                pipeline = f"export | where {wanted} {port} | head 100 | write_feather"
                found.append((mine, await asyncio.to_thread(bare, endpoint, pipeline, first=True)))
        return found

    ours, theirs = map(statistics.median, zip(*asyncio.run(both()), strict=True))
    print(f"\nfirst row: vastlab {ours:.2f} s, bare {theirs:.2f} s, ratio {ours / theirs:.2f}")
    benchmark.pedantic(lambda: asyncio.run(_count(endpoint, SCHEMAS[0])), rounds=1)


_PORTS = (443, 80, 22, 25, 123)
