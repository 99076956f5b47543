"""Rows beside PyVAST 3.1, which reads the same batches in its own environment.

It needs a pyarrow below 13, so that it cannot be installed beside vastlab: the variable
``VASTLAB_BENCH_PYVAST`` names the Python of an environment that has it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess

import pyarrow as pa
import pytest

from tests.benchmarks.measure import ABSENT, Elsewhere
from vastlab import demo
from vastlab.table_slice import TableSlice, to_json_rows

TABLE = "Rows: the CPU of PyVAST over that of vastlab"
ROWS = 20_000
THEIRS = """
import asyncio, json, sys, time
import pyarrow as pa
from pyvast import to_json_rows
from pyvast.vast.vast import PyArrowTableSlice

async def main(batches):
    async def stream():
        for batch in batches:
            yield PyArrowTableSlice(batch)
    return [row.data async for row in to_json_rows(stream())]

with pa.OSFile(sys.argv[1]) as file:
    batches = list(pa.ipc.open_stream(file))
started = time.process_time()
rows = asyncio.run(main(batches))
seconds = time.process_time() - started
print(json.dumps([seconds, len(rows), rows[0]["uid"], rows[-1]["uid"]]))
"""


@pytest.fixture(scope="module")
def batches():
    """Take connections in batches of a usual size."""
    every = demo.batches(100_000)
    found = [each for each in every if each.schema.metadata[b"VAST:name:0"] == b"zeek.conn"]
    table = pa.Table.from_batches(found).slice(0, ROWS)
    return table.to_batches(max_chunksize=8192)


def theirs(python, path):
    done = subprocess.run(
        (python, "-c", THEIRS, str(path)), stdout=subprocess.PIPE, text=True, check=True
    )
    seconds, *answer = json.loads(done.stdout)
    return Elsewhere(answer, seconds)


@pytest.mark.benchmark
def test_rows(compare, batches, tmp_path):
    """A dictionary for each event, with values that JSON knows."""
    path = tmp_path / "events.arrow"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, batches[0].schema) as stream:
        for batch in batches:
            stream.write_batch(batch)

    async def rows():
        async def stream():
            for batch in batches:
                yield TableSlice(batch)

        return [row.data async for row in to_json_rows(stream())]

    def ours():
        found = asyncio.run(rows())
        return [len(found), found[0]["uid"], found[-1]["uid"]]

    python = os.environ.get("VASTLAB_BENCH_PYVAST")
    asks = {"vastlab": ours, "pyvast": (lambda: theirs(python, path)) if python else ABSENT}
    note = "pyvast runs with pyarrow 12"
    compare(TABLE, "rows of connections", asks, show=lambda found: f"{found[0]:,}", note=note)
