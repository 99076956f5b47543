"""What it costs to put a log into a database, beside Arrow merely reading the same bytes."""

from __future__ import annotations

import subprocess
import sys

import pyarrow.csv

from tests.benchmarks.test_readers import HEADER, ROWS, body, cpu
from vastlab.store.database import Database
from vastlab.store.ingest import ingest

# The largest resident size of a process of its own, above what the imports take.
PEAK = """
import re, sys
from pathlib import Path
from vastlab.store.database import Database
from vastlab.store.ingest import ingest
def kib(key):
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{key}:\\s+([0-9]+)", status)[1])
before = kib("VmRSS")
ingest(Database.create(sys.argv[2]), sys.argv[1])
print((kib("VmHWM") - before) // 1024)
"""


def test_ingest_of_zeek_tsv_beside_csv(benchmark, tmp_path):
    """Typed, sorted, indexed and on disk, against untyped columns of the same bytes."""
    data = body(ROWS)
    log = tmp_path / "conn.log"
    log.write_bytes(HEADER + data)
    made = iter(range(1000))

    def whole() -> int:
        database = Database.create(tmp_path / f"{next(made)}.db")
        return ingest(database, log).events["zeek.conn"]

    def split() -> object:
        return pyarrow.csv.read_csv(
            tmp_path / "body.tsv",
            pyarrow.csv.ReadOptions(autogenerate_column_names=True),
            pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
        )

    (tmp_path / "body.tsv").write_bytes(data)
    assert benchmark.pedantic(whole, rounds=3) == ROWS
    mine, base = cpu(whole), cpu(split)
    argv = (sys.executable, "-c", PEAK, str(log), str(tmp_path / "peak.db"))
    peak = subprocess.run(argv, capture_output=True, check=True, text=True, timeout=300)
    print(
        f"\ningest of Zeek TSV, {len(data) / 1e6:.0f} MB: {mine:.2f} s CPU, "
        f"pyarrow.csv {base:.2f} s, ratio {mine / base:.2f}, "
        f"peak {peak.stdout.strip()} MiB above the imports"
    )
