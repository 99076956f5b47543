"""`check` finds every damage, and names the file."""

from __future__ import annotations

import os
import random
from pathlib import Path
from uuid import uuid4

import pytest

from vastlab.store import generation, manifest, writer
from vastlab.store.check import FaultKind, check
from vastlab.store.database import GRACE


@pytest.fixture
def file(database, events):
    """Make a database with two files, and return the path of one."""
    database.add([events(range(1000)), events([1], "zeek.dns")])
    return Path(database.snapshot().files[0].path)


def test_an_intact_database_has_no_problems(database, file):
    """Nothing is found where nothing is wrong, and progress reaches the end."""
    steps = []
    assert check(database, lambda done, total: steps.append((done, total))) == []
    assert steps == [(1, 2), (2, 2)]


def remove(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def shorten(path):
    os.truncate(path, path.stat().st_size - 10)


def damage_page(path):
    data = bytearray(path.read_bytes())
    data[100:110] = bytes(byte ^ 0xFF for byte in data[100:110])
    path.write_bytes(data)


def damage_footer(path):
    data = bytearray(path.read_bytes())
    data[-20:-10] = b"0123456789"
    path.write_bytes(data)


@pytest.mark.parametrize("harm", [remove, empty, shorten, damage_page, damage_footer])
def test_damage_is_found_and_named(database, file, harm):
    """A file that is gone, cut or changed in a page is one line that names it."""
    harm(file)
    (fault,) = check(database)
    assert str(fault).startswith(str(file))
    assert "\n" not in str(fault)
    assert fault.kind is (FaultKind.MISSING if harm is remove else FaultKind.DAMAGED)


def test_every_flipped_bit_is_found(database, events, monkeypatch):
    """Wherever it is: in pages, their headers, filters, indexes, metadata, or the manifest."""
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 64)
    database.add([events(range(200))])
    database.add([events(range(3), "zeek.dns")])
    files = sorted(path for path in database.path.rglob("*") if path.is_file())
    seed = uuid4().int
    draw = random.Random(seed)  # noqa: S311 - it chooses tests
    for _ in range(100):
        path = draw.choice(files)
        data = path.read_bytes()
        at = draw.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :])
        assert [f.path for f in check(database)] == [str(path)], f"byte {at}, seed {seed}"
        path.write_bytes(data)
    assert check(database) == []


def test_a_file_that_cannot_be_read_is_not_called_damaged(database, file, monkeypatch):
    """It may be whole, once the disk or the permissions are right."""
    opened = open

    def refuse(path, *args, **kwargs):
        if str(path) == str(file):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", refuse)
    (fault,) = check(database)
    assert (fault.path, fault.kind) == (str(file), FaultKind.UNREADABLE)
    assert "Permission denied" in str(fault)


def test_leftovers_are_not_losses(database, file):
    """A file that no generation names is reported after its grace period."""
    leftover = file.with_name("20200101T000000-" + "0" * 32 + ".parquet")
    leftover.write_bytes(b"x")
    assert check(database) == []
    os.utime(leftover, (0, GRACE))
    (fault,) = check(database)
    assert (fault.path, fault.kind) == (str(leftover), FaultKind.LEFTOVER)


def test_files_that_were_exchanged_are_found(database, events, file):
    """A file with the right size and other events is noticed by its schema."""
    database.add([events([1], "zeek.foo"), events([1], "zeek.bar")])
    files = {f.schema_name: f for f in database.snapshot().files}
    foo, bar = Path(files["zeek.foo"].path), Path(files["zeek.bar"].path)
    if foo.stat().st_size == bar.stat().st_size:
        foo.write_bytes(bar.read_bytes())
    else:
        foo.unlink()
    (fault,) = check(database)
    assert fault.path == str(foo)


def test_a_damaged_manifest_is_found_and_named(database, file):
    """A generation that cannot be read is named, also where it was read before."""
    path = manifest.file_of(database.path, 1)
    path.write_bytes(path.read_bytes()[:100])
    (fault,) = check(database)
    assert fault.path == str(path)


@pytest.mark.parametrize("name", [generation.NAME, "generations"])
def test_a_missing_part_of_the_manifest_is_found(database, file, name):
    """A database without its manifest, or its generations, is a damaged one."""
    (database.path / name).rename(database.path.parent / "away")
    (fault,) = check(database.path)
    assert fault.kind is FaultKind.DAMAGED
    assert name in str(fault)
