"""What every test can ask for."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import hypothesis
import pytest

from tests import dask_cluster
from tests.display.conftest import conn
from vastlab.arrow import types as arrow_types
from vastlab.store.database import Database

arrow_types.register()

hypothesis.settings.register_profile(
    "ci",
    deadline=None,
    max_examples=60,  # `make test` takes ten minutes; the profile "full" draws 2,000
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "full", parent=hypothesis.settings.get_profile("ci"), max_examples=2000
)
hypothesis.settings.load_profile("ci")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores Ctrl-C for what it starts in the background, and so would every program
    # that a test starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# IPython puts a module of its own in this place, from which no process can be spawned.
MAIN = sys.modules["__main__"]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def main_module():
    """Keep the main module what it is, whatever a test or a fixture puts in its place."""
    sys.modules["__main__"] = MAIN
    yield
    sys.modules["__main__"] = MAIN


@pytest.fixture(autouse=True, scope="session")
def _no_traces(tmp_path_factory):
    """Keep what the tests ask for out of the user's history."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_cluster():
    """Stop the Dask cluster of this process, if a test has started it."""
    yield
    dask_cluster.stop()


@pytest.fixture(scope="session")
def small_database(tmp_path_factory) -> Path:
    """Make a database of five connections and three lookups, which no test changes."""
    path = tmp_path_factory.mktemp("databases") / "small.db"
    tables = (conn([4, 3, 2, 1, 0]), conn([0, 1, 2], name="zeek.dns"))
    Database.create(path).add(batch for table in tables for batch in table.to_batches())
    return path


@pytest.fixture
def object_store(monkeypatch):
    """Return an S3 server, to which the environment leads; requests are repeated a few times."""
    # Here, as the servers take long to import.
    from tests.object_store import shared_store
    from vastlab.store import bucket

    store = shared_store()
    for name, text in store.environment.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setitem(bucket._RETRIES, "max_retries", 3)
    return store


@pytest.fixture(scope="session")
def shared() -> Path:
    """Give the folder of real logs and recordings beside the project."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the folder of real logs and recordings is not beside the project")
    return folder


def pytest_make_parametrize_id(config, val, argname):
    """Name parameters alike in every process: bytes and objects show times and addresses."""
    return None if isinstance(val, str | int | float | type(None)) else argname
