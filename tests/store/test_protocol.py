"""Whatever the order of their system calls, and wherever they die, writers lose nothing."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import uuid
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.store.interleaving import Actor, KilledError, controlled
from vastlab.errors import LockedError
from vastlab.store import checkpoint, disk, manifest
from vastlab.store.database import Database
from vastlab.store.layout import DataFile, Layout
from vastlab.store.writer import StagedFile
from vastlab.types import Field, Kind, Schema, Type

LAYOUT = Layout("0", Schema("my.events", (Field("port", Type(Kind.UINT64)),)))
NOW = -10  # a grace period that is over


class GoneError(Exception):
    """What was to be replaced is not there any more."""


def stage(root, folder, token):
    """Write a file that stands for the events of a commit."""
    name = f"20260101T000000-{uuid.uuid4().hex}.parquet"
    try:
        (folder / name).write_bytes(b"x")
    except FileNotFoundError:
        raise LockedError("taken for dead") from None
    path = str(root / "data" / "my.events" / "0" / name)
    return StagedFile(
        folder / name, DataFile(path, "my.events", "0", 1, 1, 0, 0, 0, 0, source=token)
    )


def add(database, token):
    """Commit one file."""
    with database.staging() as folder:
        database.commit([stage(database.path, folder, token)], {"0": LAYOUT})


def rewrite(root):
    """Replace the first file by another one with the same events, as compaction does."""
    database = Database(root)
    first = next(iter(database.snapshot().files), None)
    if first is None:
        return

    def check(snapshot):
        if first not in snapshot.files:
            raise GoneError

    with database.staging() as folder:
        new = stage(root, folder, first.source)
        database.commit([new], {"0": LAYOUT}, drop=[first.path], check=check)


class Writers(RuleBasedStateMachine):
    """Several writers, readers and sweepers of one database, and their deaths."""

    least = 512  # files of a database with checkpoints

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp()) / "db"
        Database.create(self.root)
        self.actors = []
        self.started, self.acknowledged = set(), set()
        self.tokens = map(str, itertools.count())
        self.follower, self.others = Database(self.root), Database(self.root)
        self.stack = pytest.MonkeyPatch()
        self.control = controlled(self.stack)
        patch = self.control.__enter__()
        patch.setattr(manifest, "SPAN", 2)
        patch.setattr(manifest, "BLOCK", 4)
        patch.setattr(checkpoint, "LEAST", self.least)
        patch.setattr(Database, "_sweep_periodically", lambda database: None)
        patch.setattr(manifest, "_pause", lambda attempt: None)
        here = disk._machine_id()
        patch.setattr(disk, "_machine_id", lambda: b"elsewhere" if _is_elsewhere() else here)

    # --- what may happen --------------------------------------------------------------------

    @precondition(lambda self: len(self.actors) < 5)
    @rule()
    def start_writer(self):
        """Begin to add a file."""
        token = next(self.tokens)
        self.started.add(token)
        database = Database(self.root)
        self.start(lambda: add(database, token), lambda _: self.acknowledged.add(token))

    @precondition(lambda self: len(self.actors) < 5)
    @rule()
    def start_rewriter(self):
        """Begin to replace a file."""
        self.start(lambda: rewrite(self.root), lambda _: None)

    @precondition(lambda self: len(self.actors) < 5)
    @rule()
    def start_reader(self):
        """Begin to read: everything that is acknowledged now must be found."""
        expected = set(self.acknowledged)
        self.start(self.follower.snapshot, lambda found: self.check(found, expected))

    @precondition(lambda self: len(self.actors) < 5)
    @rule(elsewhere=st.booleans())
    def start_sweeper(self, elsewhere):
        """Begin to delete what is not needed, perhaps from a machine that sees no locks."""
        sweep = Database(self.root).sweep
        self.start(lambda: sweep(NOW), lambda _: None, on_other_machine=elsewhere)

    @precondition(lambda self: self.actors)
    @rule(
        number=st.integers(0, 9),
        call=st.sampled_from(["link", "rename", "unlink", "listdir", "open", "stat"]),
        times=st.integers(1, 3),
        more=st.integers(0, 3),
        others=st.integers(0, 7),
        sweeps=st.booleans(),
    )
    def stop_before(self, number, call, times, more, others, sweeps):
        """Let one of them go on to some call, and others be faster meanwhile."""
        actor = self.actors[number % len(self.actors)]
        for _ in range(times):
            actor.go_to(call)
        actor.step(more)
        self.settle(actor)
        for _ in range(others):
            token = next(self.tokens)
            self.started.add(token)
            add(self.others, token)
            self.acknowledged.add(token)
        if sweeps:
            self.others.sweep(NOW)
        self.poll()

    @precondition(lambda self: self.actors)
    @rule(number=st.integers(0, 9))
    def finish(self, number):
        """Let one of them go on to its end."""
        actor = self.actors[number % len(self.actors)]
        actor.finish()
        self.settle(actor)

    @precondition(lambda self: self.actors)
    @rule(number=st.integers(0, 9))
    def kill(self, number):
        """Let one of them die before its next system call."""
        actor = self.actors[number % len(self.actors)]
        actor.kill()
        self.settle(actor)

    # --- what must hold ---------------------------------------------------------------------

    def start(self, work, done, **options):
        actor = Actor(work, **options)
        actor.done = done
        self.actors.append(actor)

    def settle(self, actor):
        """Look at the outcome of an actor that has ended."""
        if not actor.is_done:
            return
        self.actors.remove(actor)
        if actor.error is None:
            actor.done(actor.result)
        elif not isinstance(actor.error, (KilledError, LockedError, GoneError)):
            raise actor.error
        self.poll()

    def check(self, snapshot, expected):
        """Compare a snapshot with what is acknowledged: all of it is there, and once."""
        tokens = [file.source for file in snapshot.files]
        assert len(tokens) == len(set(tokens))
        assert expected <= set(tokens) <= self.started

    def poll(self):
        """Look for every acknowledged file, as an uninterrupted reader does."""
        snapshot = Database(self.root).snapshot()
        self.check(snapshot, self.acknowledged)
        assert all(Path(file.path).exists() for file in snapshot.files)

    def teardown(self):
        """End all, and find leftovers."""
        try:
            for actor in list(self.actors):
                actor.finish()
                self.settle(actor)
            self.poll()
            database = Database(self.root)
            database.sweep(NOW)
            assert self.follower.snapshot() == database.snapshot()
            assert os.listdir(self.root / "staging") == []
            named = {file.path for file in database.snapshot().files}
            assert {str(path) for path in self.root.rglob("*.parquet")} == named
        finally:
            for actor in self.actors:
                actor.kill()
            self.control.__exit__(None, None, None)
            shutil.rmtree(self.root.parent)


class WritersOfCheckpoints(Writers):
    """The same where a checkpoint follows each commit."""

    least = 1


def _is_elsewhere():
    actor = threading.current_thread()
    return isinstance(actor, Actor) and actor.on_other_machine


@pytest.mark.parametrize("writers", [Writers, WritersOfCheckpoints])
def test_no_order_of_system_calls_loses_a_commit(writers):
    """Every acknowledged commit is there exactly once, and every leftover can be removed."""
    short = settings(max_examples=40, stateful_step_count=30, deadline=None)
    run_state_machine_as_test(writers, settings=short)


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("writers", [Writers, WritersOfCheckpoints])
def test_no_order_of_system_calls_loses_a_commit_in_many_examples(writers):
    """The same with longer examples; PROTOCOL_EXAMPLES is their number."""
    number = int(os.environ.get("PROTOCOL_EXAMPLES", "300"))
    long = settings(max_examples=number, stateful_step_count=80, deadline=None)
    run_state_machine_as_test(writers, settings=long)


def commit_many(root, name, count, notes):
    """Commit files one after the other, and note each one that is acknowledged."""
    database = Database(root)
    with open(notes, "a", buffering=1) as acknowledged:
        for number in range(count):
            token = f"{name}:{number}"
            while True:
                try:
                    add(database, token)
                    break
                except LockedError:  # on a busy machine; nothing was added, as the error says
                    continue
            acknowledged.write(f"{token}\n")


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_many_processes_and_kills_lose_nothing(tmp_path):
    """Of 8 processes with 200 commits each, some killed, each acknowledged one is there once."""
    root = Database.create(tmp_path / "db").path
    context = multiprocessing.get_context("spawn")
    notes = [tmp_path / f"notes-{number}" for number in range(12)]
    processes = [
        # Those that are killed have more to do than they can have done by then.
        context.Process(
            target=commit_many, args=(root, str(number), 200 if number < 8 else 5_000, path)
        )
        for number, path in enumerate(notes)
    ]
    for process in processes:
        process.start()
    for number, process in enumerate(processes[8:], 1):
        while len(_lines(notes[7 + number])) < 20 * number:
            process.join(0.01)
        os.kill(process.pid, signal.SIGKILL)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 8 + [-signal.SIGKILL] * 4
    tokens = [file.source for file in Database.open(root).snapshot().files]
    acknowledged = [token for path in notes for token in _lines(path)]
    assert len(tokens) == len(set(tokens))
    assert set(acknowledged) <= set(tokens)
    # Of each killed process, one commit may have been made that it could not note any more.
    assert len(tokens) - len(acknowledged) <= 4
    database = Database.open(root)
    database.sweep(NOW)
    assert {str(path) for path in root.rglob("*.parquet")} == {
        file.path for file in database.snapshot().files
    }


def _lines(path):
    return path.read_text().split() if path.exists() else []
