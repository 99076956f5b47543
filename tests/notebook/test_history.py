"""What was asked before, on disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.language_strategies import texts
from vastlab.notebook.widgets.history import REMEMBERED, History

PROCESSES = 4


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "state" / "history.jsonl"


@given(st.lists(st.tuples(st.sampled_from("ab"), texts() | st.text()), max_size=8))
def test_what_is_asked_comes_back(tmp_path_factory, asked):
    """Any text comes back as it was, newest first, each once, only where it was asked."""
    path = tmp_path_factory.mktemp("state") / "history.jsonl"
    for place, expression in asked:
        History(path).add(place, expression)
    for place in "ab":
        here = [text for where, text in asked if where == place and text.strip()]
        assert History(path).of(place) == tuple(dict.fromkeys(reversed(here)))


def test_at_most_fifty_are_offered(path):
    """Of many expressions the newest fifty count."""
    for number in range(60):
        History(path).add("here", f"x == {number}")
    assert History(path).of("here") == tuple(f"x == {n}" for n in range(59, 59 - REMEMBERED, -1))


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no such modes")
def test_the_file_is_private(path):
    """No other user may read it, also where it was there before with other rights."""
    History(path).add("here", "x == 1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    History(path).add("here", "x == 2")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "damage",
    [b"\xff\xfe\x00", b"{", b"[1]", b"null", b'{"place": 1, "expression": 2}', b"[" * 100_000],
)
def test_damage_costs_only_itself(path, damage):
    """Lines that are none are passed over, and what is asked after them counts."""
    History(path).add("here", "x == 1")
    with path.open("ab") as file:
        file.write(b"\n" + damage)
    History(path).add("here", "x == 2")
    assert History(path).of("here") == ("x == 2", "x == 1")


def test_where_no_file_can_be_the_process_remembers(tmp_path):
    """A folder in the place of the file does not fail a query; only the history is not kept."""
    history = History(tmp_path)
    history.add("here", "x == 1")
    history.add("here", "x == 2")
    assert history.of("here") == ("x == 2", "x == 1")
    assert History(tmp_path).of("here") == ()


def test_the_file_stays_small(path):
    """However much is asked, the file is bounded, and the newest is kept, of every place."""
    History(path).add("there", "first")
    for number in range(300):
        History(path).add("here", f"x == {number} && " + "y" * 9_000)
    assert path.stat().st_size < 1_100_000
    assert len(History(path).of("here")) == REMEMBERED
    assert History(path).of("there") == ("first",)
    assert [name.name for name in path.parent.iterdir()] == ["history.jsonl"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_megabyte_is_not_written(path):
    """An expression that is longer than anybody types stays out of the file."""
    history = History(path)
    history.add("here", "x" * 1_000_000)
    assert len(history.of("here")[0]) == 1_000_000
    assert not path.exists()


def _ask(path: Path, name: int) -> None:
    for number in range(40):
        History(path).add(f"place {name}", f"x == {number}")


def test_several_kernels_at_once(path):
    """What several processes ask at the same time is all there."""
    context = multiprocessing.get_context("spawn")
    running = [context.Process(target=_ask, args=(path, name)) for name in range(PROCESSES)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    for name in range(PROCESSES):
        assert len(History(path).of(f"place {name}")) == 40
    for line in path.read_bytes().split(b"\n"):
        assert not line or json.loads(line)
