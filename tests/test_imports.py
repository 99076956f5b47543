"""What is imported when: libraries that take long to load are not loaded before they are used."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest

from tests.conformance.cases import specified
from tests.conformance.events import batches_of, demo_events
from tests.conformance.expressions import EXPRESSIONS
from vastlab import _lazy
from vastlab.store.database import Database

NOTEBOOK = {"IPython", "ipywidgets", "anywidget", "matplotlib"}
ARROW = {"pyarrow", "numpy", "pandas", "datafusion"}
COMMAND_LINE = {"cyclopts", "rich"}
NETWORK = {"asyncio", "ssl", "http", "psutil"}
EVERYTHING = NOTEBOOK | ARROW | COMMAND_LINE | NETWORK | {"yaml"}


def child(code: str, *args: str, text: str = "") -> str:
    """Run a program; what it prints last is the answer."""
    command = (sys.executable, "-c", code, *args)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "statement, absent",
    [
        ("import vastlab", EVERYTHING),
        ("from vastlab import VAST", NOTEBOOK | COMMAND_LINE | {"pandas", "datafusion", "psutil"}),
        ("from vastlab import connect", NOTEBOOK | COMMAND_LINE | {"http", "psutil"}),
        ("from vastlab.__main__ import main", EVERYTHING),
        ("from vastlab import cli; cli.run(['--help'])", EVERYTHING - COMMAND_LINE),
        ("from vastlab import cli; cli.run(['count', '--help'])", EVERYTHING - COMMAND_LINE),
        ("from vastlab import cli; cli.run(['cuont'])", EVERYTHING - COMMAND_LINE),
    ],
)
def test_no_more_is_imported_than_used(statement, absent):
    """None of these libraries is there afterwards."""
    code = f"import json, sys\n{statement}\nprint()\nprint(json.dumps(sorted(sys.modules)))"
    assert absent & set(json.loads(child(code))) == set()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    database = Database.create(tmp_path_factory.mktemp("imports") / "events.db")
    database.add(batches_of(demo_events()))
    return str(database.path)


def test_a_count_on_the_shell_needs_no_pandas(path):
    """Arrow looks for pandas at its first conversion, and is kept from it in this process alone."""
    code = """
import json, sys
from vastlab import cli
assert cli.run(["count", "-e", sys.argv[1], "-p", "net=10.0.0.0/8", ":ip in $net"], alone=True) == 0
print(json.dumps(sorted(sys.modules)))
"""
    assert not (NOTEBOOK | {"pandas", "numpy.ma", "rich", "http", "psutil", "yaml"}) & set(
        json.loads(child(code, path))
    )
    assert "pandas" in json.loads(child(code.replace(", alone=True", ""), path))


def test_counts_without_pandas_are_the_same(path):
    """An expression finds as many events in a process that does without pandas."""
    texts = EXPRESSIONS[::4]
    code = """
import asyncio, json, sys, warnings
from vastlab import VAST, _lazy
warnings.simplefilter("ignore")
_lazy.leave_out(_lazy.pd)
async def main():
    async with VAST(sys.argv[1]) as vast:
        return [await vast.count(text) for text in json.load(sys.stdin)]
found = asyncio.run(main())
assert "pandas" not in sys.modules
print(json.dumps(found))
"""
    found = json.loads(child(code, path, text=json.dumps(texts)))
    assert found == [len(specified(text)) for text in texts]


def test_a_library_is_left_out_of_its_process_only():
    """The import fails there as if the library were not installed, and here it stays."""
    code = """
from vastlab import _lazy
_lazy.leave_out(_lazy.pd)
try:
    _lazy.pd.DataFrame
except ModuleNotFoundError as error:
    print(error)
"""
    assert child(code) == "pandas is left out of this process"
    _lazy.leave_out(_lazy.pd)
    assert _lazy.pd.DataFrame is pd.DataFrame
    assert not any(type(finder).__module__ == "vastlab._lazy" for finder in sys.meta_path)
