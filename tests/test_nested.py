"""asyncio stays as it is, until nested loops are requested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vastlab
from vastlab import _loop
from vastlab.errors import ConfigError

UNPATCHED = """
import asyncio, sys
before = (asyncio.run, asyncio.Task, asyncio.Future, asyncio.get_event_loop,
          asyncio.BaseEventLoop.run_until_complete, asyncio.BaseEventLoop.run_forever)
import vastlab, vastlab.notebook
with vastlab.connect(sys.argv[1]) as vast:
    vast.ingest(sys.argv[2])
    assert vast.count() == 1
    assert len(vast.query("10.0.0.1")) == 1
after = (asyncio.run, asyncio.Task, asyncio.Future, asyncio.get_event_loop,
         asyncio.BaseEventLoop.run_until_complete, asyncio.BaseEventLoop.run_forever)
assert before == after
assert not {"nest_asyncio", "nest_asyncio2"} & sys.modules.keys()
"""
NESTED = """
import asyncio, vastlab
name = vastlab.allow_nested()
async def inner(): return name
async def outer(): return asyncio.run(inner())
print(asyncio.run(outer()))
"""


def python(*argv):
    """Run Python in a process of its own, since a patch stays."""
    done = subprocess.run((sys.executable, *argv), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_using_vastlab_leaves_asyncio_unpatched(tmp_path):
    """Importing, ingesting and querying change nothing of asyncio."""
    log = tmp_path / "eve.json"
    log.write_text(
        '{"timestamp": "2024-01-01T00:00:00Z", "event_type": "alert", "src_ip": "10.0.0.1"}\n'
    )
    python("-c", UNPATCHED, str(tmp_path / "my.db"), str(log))


def test_nested_loops_work_when_requested():
    """After `allow_nested`, asyncio.run works inside a running loop."""
    assert python("-c", NESTED) in {"nest_asyncio2", "nest_asyncio"}


def test_only_one_module_names_the_patch():
    """No other module imports a package that patches asyncio."""
    package = Path(vastlab.__file__).parent
    naming = {p.name for p in package.rglob("*.py") if "nest_asyncio" in p.read_text("utf-8")}
    assert naming == {"_loop.py"}


def test_the_package_that_breaks_asyncio_is_refused(monkeypatch):
    """On Python 3.14 and later plain nest_asyncio is refused, with what to do instead."""
    monkeypatch.setattr(_loop.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(_loop.sys, "version_info", (3, 14, 0))
    with pytest.raises(ConfigError, match="nest_asyncio2"):
        vastlab.allow_nested()
    monkeypatch.setattr(_loop.sys, "version_info", (3, 13, 0))
    assert _loop._nesting_package() == "nest_asyncio"
