"""Small logs share files of the cache, and each still comes and goes with its events."""

from __future__ import annotations

import os
import random
import shutil

import pytest

from tests.store.following import FORMATS, Follower, append
from vastlab.store import small_logs
from vastlab.store.layout import GROUP

LOGS = 9


@pytest.fixture
def follower(tmp_path):
    """Serve nine logs of two events in three formats that were not written to for a while."""
    (tmp_path / "logs").mkdir()
    follower = Follower(tmp_path / "logs", tmp_path / "cache")
    for i in range(3 * LOGS):
        write(follower, name_of(i), 100 * i, 100 * i + 1)
    return follower


def name_of(number):
    """Return the name of a log, in a folder of its own: its schema is named after the file."""
    return f"{number // 3}/{list(FORMATS)[number % 3]}"


def form(name):
    """Return the header of a log, and the function that makes its lines."""
    return FORMATS[name.partition("/")[2]]


def write(follower, name, *numbers):
    """Write a log, with an old time."""
    header, line = form(name)
    path = follower.logs / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(header + "".join(map(line, numbers)))
    os.utime(path, (path.stat().st_atime - 3600, path.stat().st_mtime - 3600))
    return path


def groups(follower):
    """Return the files that are shared."""
    files = follower.folder.refresh().snapshot().files
    return [file for file in files if file.source.startswith(GROUP)]


def test_small_logs_share_a_file_of_each_layout(follower):
    """All events are there, in three files, and another process finds them."""
    everything = sorted(n for i in range(3 * LOGS) for n in (100 * i, 100 * i + 1))
    assert follower.historical() == everything
    assert len(groups(follower)) == len(follower.folder.refresh().snapshot().files) == 3
    other = Follower(follower.logs, follower.folder._cache_dir)
    assert other.historical() == everything
    assert other.folder.refresh().snapshot().generation == 1


def test_few_small_logs_have_files_of_their_own(follower):
    """A file is shared only where that saves something."""
    for folder in follower.logs.iterdir():
        if folder.name > "2":
            shutil.rmtree(folder)
    assert not groups(follower)


@pytest.mark.parametrize("name", ["4/a.json", "4/b.csv", "4/c.log"])
def test_a_running_export_gives_no_event_again_when_a_log_goes(follower, name):
    """The file without its events is as old as the one that it replaces."""
    follower.begin()
    before = follower.historical()
    path = follower.logs / name
    number = 3 * 4 + list(FORMATS).index(name[2:])
    gone = [100 * number, 100 * number + 1]
    path.unlink()
    assert follower.poll() == []
    assert follower.historical() == sorted(set(before) - set(gone))
    append(follower.logs / f"5{name[1:]}", form(name)[1](7))
    assert follower.poll() == [7]
    write(follower, name, *gone)
    assert follower.poll() == gone
    assert follower.warnings
    assert follower.historical() == sorted([*before, 7])


def test_a_damaged_file_is_made_again_when_one_of_its_logs_goes(follower):
    """Its events are read from the logs again."""
    before = follower.historical()
    path = groups(follower)[0].path
    with open(path, "r+b") as file:
        file.seek(20)
        file.write(b"damage")
    (follower.logs / "0/a.json").unlink()
    (follower.logs / "0/b.csv").unlink()
    (follower.logs / "0/c.log").unlink()
    assert follower.historical() == sorted(set(before) - {0, 1, 100, 101, 200, 201})


@pytest.mark.parametrize("full", [0, small_logs._FULL])
def test_a_field_that_turns_out_to_be_text_is_read_again(follower, monkeypatch, full):
    """Also where its events were saved by then, and others keep theirs."""
    monkeypatch.setattr(small_logs, "_FULL", full)
    monkeypatch.setattr(small_logs, "_MIN_GROUP", 1)
    path = write(follower, "9/a.json")
    path.write_text('{"n": "7"}\n')
    everything = follower.historical()
    assert everything == sorted([7, *(n for i in range(3 * LOGS) for n in (100 * i, 100 * i + 1))])
    path.unlink()
    assert follower.historical() == [n for n in everything if n != 7]


@pytest.mark.parametrize("seed", range(2))
def test_whatever_happens_to_the_logs_their_events_are_served(follower, seed):
    """Appending, renaming, copying, replacing, truncating and deleting, at random."""
    draw = random.Random(seed)  # noqa: S311 - the seed makes a run repeatable
    content = {name_of(i): [100 * i, 100 * i + 1] for i in range(3 * LOGS)}
    assert follower.historical() == sorted(n for numbers in content.values() for n in numbers)
    assert groups(follower)
    for step in range(12):
        for _ in range(draw.randint(1, 4)):
            change(follower, content, draw, 10_000 * (step + 1) + draw.randrange(10_000))
        expected = {number for numbers in content.values() for number in numbers}
        assert set(follower.historical()) == expected
    anew = Follower(follower.logs, follower.logs.parent / "another cache")
    assert set(anew.historical()) == expected


def change(follower, content, draw, new):
    """Change one log in some way, and what is expected of it."""
    name = draw.choice(sorted(content))
    path = follower.logs / name
    other = f"{draw.randrange(9, 99)}/{path.name}"
    (follower.logs / other).parent.mkdir(exist_ok=True)
    match draw.choice(["append", "rename", "copy", "replace", "rewrite", "delete"]):
        case "append":
            append(path, form(name)[1](new))
            content[name] = [*content[name], new]
        case "rename":
            path.rename(follower.logs / other)
            content[other] = content.pop(name)
        case "copy":
            shutil.copyfile(path, follower.logs / other)
            content[other] = content[name]
        case "replace":
            path.unlink()
            write(follower, name, new)
            content[name] = [new]
        case "rewrite":
            write(follower, name, new, new + 1_000_000)
            content[name] = [new, new + 1_000_000]
        case "delete":
            path.unlink()
            del content[name]
