"""What it takes to start, beside importing Arrow: each in a process of its own, in CPU time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.benchmarks.measure import installed
from vastlab import demo
from vastlab.store.database import Database

TABLE = "Starting: the CPU of `import pyarrow` over that of vastlab"
COUNT = ("-m", "vastlab", "count", "-e")
STARTS = {
    "import vastlab": ("-c", "import vastlab"),
    "from vastlab import VAST": ("-c", "from vastlab import VAST"),
    "from vastlab import connect": ("-c", "from vastlab import connect"),
    "vastlab --help": ("-m", "vastlab", "--help"),
    "vastlab count, everything": (*COUNT, "{database}"),
    "vastlab count, one port": (*COUNT, "{database}", "resp_p == 53"),
}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    database = Database.create(tmp_path_factory.mktemp("benchmark") / "events.db")
    database.add(demo.batches(200_000))
    return str(database.path)


def started(*args):
    """Start Python, as it is started where vastlab is installed."""
    command = (sys.executable, *args)
    return lambda: subprocess.run(command, env=installed(), stdout=subprocess.PIPE, check=True)


@pytest.mark.benchmark
@pytest.mark.parametrize("name", STARTS)
def test_starts(compare, database, name):
    """What starts, and what it imports."""
    args = [arg.format(database=database) for arg in STARTS[name]]
    asks = {
        "vastlab": started(*args),
        "import pyarrow": started("-c", "import pyarrow"),
        "import pandas": started("-c", "import pandas"),
    }
    compare(TABLE, name, asks, same=lambda *_: True, show=lambda _: "", note=NOTES.get(name, ""))


NOTES = {"from vastlab import connect": "with pandas, for which it adds an accessor"}
