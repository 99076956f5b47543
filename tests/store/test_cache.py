"""The database of a folder of logs is a cache: damage is repaired beside those who read it."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from tests.store.following import append, json_line, start, values
from vastlab.store.log_folder import CacheEntry, LogFolder


def test_a_damaged_cache_stays_for_those_who_read_it(logs, tmp_path):
    """A process that repairs a cache begins another and deletes nothing that others hold."""
    (logs / "a.json").write_text(json_line(101))
    reader = LogFolder(logs, tmp_path / "cache")
    held = reader.refresh().snapshot().files
    damaged = next(Path(reader.refresh().path, "generations").glob("*.json"))
    damaged.write_text("{")
    second, third = (LogFolder(logs, tmp_path / "cache") for _ in range(2))
    assert values(second.refresh().snapshot().files) == [101]
    assert values(third.refresh().snapshot().files) == [101]
    assert second.refresh().path == third.refresh().path != reader.refresh().path
    assert values(held) == [101]


def test_a_replaced_cache_is_deleted_when_it_is_not_used(logs, tmp_path):
    """What a repair left goes once no process holds it."""
    (logs / "a.json").write_text(json_line(101))
    old = LogFolder(logs, tmp_path / "cache").refresh().path
    next(Path(old, "generations").glob("*.json")).write_text("{")
    repairing = LogFolder(logs, tmp_path / "cache")
    new = repairing.refresh().path
    with (tmp_path / "cache" / f"{old.name}.lock").open() as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    del repairing
    LogFolder(logs, tmp_path / "cache").refresh()
    (logs / "a.json").write_text(json_line(102))
    assert LogFolder(logs, tmp_path / "cache").refresh().path == new
    assert not old.exists()


def test_an_export_outlives_a_repair_and_says_so(follower):
    """If the cache was created again, all events are returned, with a warning."""
    path = start(follower, "a.json", "", json_line, 101)
    shutil.rmtree(follower.folder.refresh().path)
    append(path, json_line(102))
    assert follower.poll() == [101, 102]
    assert len(follower.warnings) == 1
    assert follower.poll() == []


def test_a_damaged_cache_is_not_deleted_while_a_process_reads_it(tmp_path):
    """What a repair left stays as long as a reader holds it, and goes after that."""
    what, cache = "logs", tmp_path / "entries"
    reader = CacheEntry(what, cache)
    reader.path.mkdir()
    repairing = CacheEntry(what, cache)
    repairing.renew()
    repairing.path.mkdir()
    later = CacheEntry(what, cache)
    later.discard_older()
    assert reader.path.exists()
    old = reader.path
    del reader, repairing
    later.discard_older()
    assert not old.exists()
    assert later.path.exists()
