"""A repair keeps all that is whole, moves the rest aside, and says what was lost."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from tests.store.test_compact import rows
from vastlab.store import checkpoint, compact, generation, manifest, rebuild, writer
from vastlab.store.check import check
from vastlab.store.database import Database
from vastlab.store.generation import Marker
from vastlab.store.repair import DAMAGED, Loss, RepairReport, repair

SECOND = 1_000_000_000
GROUP = 64


@pytest.fixture
def filled(database, events, monkeypatch):
    """Make a database of three files, one of which has several row groups."""
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", GROUP)
    database.add([events(range(200))])
    database.add([events(range(5), "zeek.dns")])
    database.add([events(range(7), "zeek.http")])
    return database


def spoil(path, at):
    data = bytearray(Path(path).read_bytes())
    data[at] ^= 0xFF
    Path(path).write_bytes(data)


def test_a_repair_does_not_change_an_intact_database(filled):
    """A repair of what is whole changes no byte of it."""
    before = {path: path.read_bytes() for path in filled.path.rglob("*") if path.is_file()}
    report = repair(filled.path)
    assert report == RepairReport()
    assert {path: path.read_bytes() for path in filled.path.rglob("*") if path.is_file()} == before


def test_intact_row_groups_are_kept(filled):
    """One damaged page costs its row group, whose bounds are reported."""
    before = rows(filled)
    old = filled.snapshot().files[0]
    spoil(old.path, 100)
    report = repair(filled.path)
    assert report.losses == (Loss("zeek.conn", GROUP, 0, (GROUP - 1) * SECOND),)
    assert report.moved == (old.path,)
    assert check(filled.path) == []
    assert filled.snapshot().counts == {"zeek.conn": 200 - GROUP, "zeek.dns": 5, "zeek.http": 7}
    assert set(rows(filled)["zeek.conn"]) < set(before["zeek.conn"])
    (aside,) = (filled.path / DAMAGED).iterdir()
    assert aside.name.endswith(Path(old.path).name)


def test_damage_outside_of_the_events_costs_nothing(filled):
    """A damaged index or checksum is made again."""
    before = rows(filled)
    old = filled.snapshot().files[0]
    spoil(old.path, old.size - old.tail[0] + 5)
    assert repair(filled.path).losses == ()
    assert rows(filled) == before
    assert check(filled.path) == []


def test_a_missing_file_is_a_loss(filled):
    """What the manifest knows of it is reported, and the database can be queried again."""
    file = filled.snapshot().files[1]
    os.unlink(file.path)
    assert repair(filled.path).losses == (Loss("zeek.dns", 5, 0, 4 * SECOND),)
    assert check(filled.path) == []


def test_a_repair_adds_nothing_for_those_who_follow(filled):
    """Events that were kept are not new."""
    spoil(filled.snapshot().files[0].path, 100)
    repair(filled.path)
    assert filled.added(3)[1] == ()


def remove_marker(root):
    (root / generation.NAME).unlink()


def damage_marker(root):
    spoil(root / generation.NAME, 20)


def remove_newest(root):
    manifest.file_of(root, 3).unlink()


def remove_middle(root):
    manifest.file_of(root, 2).unlink()


def damage_oldest(root):
    spoil(manifest.file_of(root, 1), 100)


def remove_generations(root):
    shutil.rmtree(root / "generations")


def remove_all(root):
    remove_generations(root)
    remove_marker(root)


def put_old_over_new(root):
    shutil.copyfile(manifest.file_of(root, 1), manifest.file_of(root, 3))


MANIFEST_HARM = [
    remove_marker, damage_marker, remove_newest, remove_middle, damage_oldest,
    remove_generations, remove_all, put_old_over_new,
]  # fmt: skip


@pytest.mark.parametrize("harm", MANIFEST_HARM)
def test_the_manifest_is_rebuilt_from_intact_files(filled, events, harm):
    """Data files prove what was in lost generations; afterwards all works as before."""
    before = rows(filled)
    harm(filled.path)
    assert check(filled.path)
    report = repair(filled.path)
    assert report.notes
    assert not report.losses
    assert check(filled.path) == []
    database = Database.open(filled.path)
    assert rows(database) == before
    assert database.add([events([1], "zeek.new")]) == {"zeek.new": 1}
    assert database.snapshot().counts["zeek.new"] == 1
    assert filled.snapshot().counts["zeek.new"] == 1


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_merged_files_are_not_recovered_together_with_their_parts(database, events, number):
    """Whichever generation is lost around a compaction, each event is there once."""
    for i in range(3):
        database.add([events([i])])
    before = rows(database)
    compact.compact(database)
    assert database.snapshot().generation == 4
    manifest.file_of(database.path, number).unlink()
    repair(database.path)
    assert rows(Database.open(database.path)) == before


def test_merged_files_are_recovered_if_their_parts_are_missing(database, events):
    """Also where the generation that merged them is lost."""
    for i in range(3):
        database.add([events([i])])
    before = rows(database)
    compact.compact(database)
    database.sweep(grace=-1)
    manifest.file_of(database.path, 4).unlink()
    repair(database.path)
    assert rows(Database.open(database.path)) == before


@pytest.fixture
def branched(database, events, monkeypatch):
    """Make a database of many generations: merged files, merged again, and checkpoints."""
    monkeypatch.setattr(checkpoint, "LEAST", 3)
    monkeypatch.setattr(checkpoint, "_KEPT", 9)
    monkeypatch.setattr(manifest, "SPAN", 4)
    monkeypatch.setattr(manifest, "BLOCK", 16)
    monkeypatch.setattr(Database, "_sweep_periodically", lambda self: None)
    for i in range(21):
        database.add([events([i])])
        if i in (4, 9, 16):
            compact.compact(database)
    assert len(checkpoint.numbers(database.place)) > 2
    return database


def test_each_event_is_there_once_whatever_is_lost_of_the_manifest(branched):
    """Any generations, checkpoints and the marker may be missing, and merged files be there."""
    before = rows(branched)
    names = sorted(path.name for path in (branched.path / "generations").iterdir())
    seed = uuid4().int
    draw = random.Random(seed)  # noqa: S311 - it chooses tests
    for i in range(30):
        copy = branched.path.parent / f"copy-{i}"
        shutil.copytree(branched.path, copy)
        lost = draw.sample(names, draw.choice((1, 2, 5, len(names) // 2, len(names))))
        for name in lost:
            (copy / "generations" / name).unlink()
        if draw.random() < 0.3:
            remove_marker(copy)
        repair(copy)
        assert rows(Database.open(copy)) == before, f"without {lost}, seed {seed}"
        assert check(copy) == []


def test_a_checkpoint_saves_what_lost_generations_held(branched):
    """What was swept since is not missed: the checkpoint names the files and the sources."""
    before = rows(branched)
    (newest,) = checkpoint.numbers(branched.place)[-1:]
    for number in range(1, newest):
        manifest.file_of(branched.path, number).unlink(missing_ok=True)
    assert "a checkpoint has what it held" in str(check(branched.path)[0])
    spoil(manifest.file_of(branched.path, newest), 100)
    report = repair(branched.path)
    assert not report.losses
    assert not [note for note in report.notes if "recovered" in note]
    assert rows(Database.open(branched.path)) == before


def test_a_checkpoint_of_other_generations_does_not_count(branched):
    """It is passed over where a generation has another digest for its number."""
    newest = checkpoint.numbers(branched.place)[-1]
    found = rebuild._Found(branched.place, None)
    assert found._checkpoint(Marker("x", newest, "another")) is None


def test_a_repair_keeps_intact_events_after_any_flipped_bit(filled):
    """Nothing is made up, nothing is lost but row groups, and the database is sound."""
    truth = rows(filled)
    files = sorted(path for path in filled.path.rglob("*") if path.is_file())
    seed = uuid4().int
    draw = random.Random(seed)  # noqa: S311 - it chooses tests
    for i in range(25):
        copy = filled.path.parent / f"copy-{i}"
        shutil.copytree(filled.path, copy)
        path = copy / draw.choice(files).relative_to(filled.path)
        spoil(path, at := draw.randrange(path.stat().st_size))
        report = repair(copy)
        assert check(copy) == [], f"{path} at {at}, seed {seed}"
        kept = rows(Database.open(copy))
        lost = sum(loss.events for loss in report.losses)
        number = sum(map(len, truth.values())) - sum(map(len, kept.values()))
        assert number == lost <= GROUP + 200 * ("conn" in str(path))
        for name, found in kept.items():
            assert set(found) <= set(truth[name])
