"""What reading costs, beside Arrow merely splitting the same bytes."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable

import pyarrow.csv
import pytest

from vastlab import readers

ROWS = 300_000
HEADER = b"""#separator \\x09
#set_separator\t,
#empty_field\t(empty)
#unset_field\t-
#path\tconn
#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\tlocal_orig\thistory\torig_pkts\tresp_pkts\ttunnel_parents
#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tinterval\tcount\tcount\tstring\tbool\tstring\tcount\tcount\tset[string]
"""


def body(rows: int, *, bad_every: int = 0) -> bytes:
    random.seed(1)
    choose, number = random.choice, random.randrange
    hosts = [f"192.168.{number(256)}.{number(256)}" for _ in range(2000)]
    peers = [f"{number(1, 224)}.{number(256)}.{number(256)}.{number(256)}" for _ in range(50_000)]
    lines = []
    for i in range(rows):
        port = "x" if bad_every and i % bad_every == 0 else number(65536)
        lines.append(
            f"{1_700_000_000 + i / 100:.6f}\tC{number(1 << 64):x}\t{choose(hosts)}\t{port}"
            f"\t{choose(peers)}\t{choose((53, 80, 443))}\t{choose(('tcp', 'udp'))}"
            f"\t{choose(('-', 'dns', 'http', 'ssl'))}\t{choose(('-', '0.163820', '3.780125'))}"
            f"\t{number(10_000)}\t{number(100_000)}\tSF\t-\tShADadFf\t{number(50)}\t{number(50)}"
            f"\t(empty)"
        )
    return "\n".join([*lines, ""]).encode()


def cpu(function: Callable[[], object]) -> float:
    """Return the least CPU time of a few runs."""
    times = []
    for _ in range(3):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("bad_every", [0, 10_000, 10])
def test_zeek_tsv_beside_csv(benchmark, bad_every):
    """Typed events against untyped columns of the same bytes, with few and many bad values."""
    data = body(ROWS, bad_every=bad_every)

    def typed() -> tuple[int, int]:
        source = io.BytesIO(HEADER + data)
        problems = readers.Problems()
        rows = sum(batch.num_rows for batch in readers.read(source, problems=problems))
        return rows, problems.count

    def split() -> object:
        return pyarrow.csv.read_csv(
            io.BytesIO(data),
            pyarrow.csv.ReadOptions(autogenerate_column_names=True),
            pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
        )

    bad = -(-ROWS // bad_every) if bad_every else 0
    assert benchmark.pedantic(typed, rounds=3) == (ROWS, bad)
    mine, base = cpu(typed), cpu(split)
    print(
        f"\nZeek TSV, {len(data) / 1e6:.0f} MB, {bad} bad lines: {mine:.2f} s CPU, "
        f"pyarrow.csv {base:.2f} s, ratio {mine / base:.2f}"
    )
