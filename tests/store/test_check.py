"""`check` finds every damage, and names the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vastlab.store import manifest
from vastlab.store.check import check


@pytest.fixture
def file(database, events):
    """Make a database with two files, and return the path of one."""
    database.add([events(range(1000)), events([1], "zeek.dns")])
    return Path(database.snapshot().files[0].path)


def test_a_sound_database_has_no_problems(database, file):
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
    (problem,) = check(database)
    assert problem.startswith(str(file))
    assert "\n" not in problem


def test_files_that_were_exchanged_are_found(database, events, file):
    """A file with the right size and other events is noticed by its schema."""
    database.add([events([1], "zeek.foo"), events([1], "zeek.bar")])
    files = {f.schema_name: f for f in database.snapshot().files}
    foo, bar = Path(files["zeek.foo"].path), Path(files["zeek.bar"].path)
    if foo.stat().st_size == bar.stat().st_size:
        foo.write_bytes(bar.read_bytes())
    else:
        foo.unlink()
    (problem,) = check(database)
    assert problem.startswith(str(foo))


def test_a_damaged_manifest_is_found_and_named(database, file):
    """A generation that cannot be read is named, also where it was read before."""
    path = manifest.file_of(database.path, 1)
    path.write_bytes(path.read_bytes()[:100])
    (problem,) = check(database)
    assert path.name in problem
