"""Checksums cover every byte of a data file, and each is compared once."""

from __future__ import annotations

import dataclasses
import os
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from vastlab.errors import CorruptFileError
from vastlab.store import checksums, writer
from vastlab.store.checksums import VerifiedFile, tail_of, verified


@pytest.fixture
def file(database, events, monkeypatch):
    """Return what the manifest says of a file with four row groups."""
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 64)
    database.add([events([*range(199), None])])
    (file,) = database.snapshot().files
    return file


@pytest.fixture
def compared(monkeypatch):
    """Return the ranges of bytes that are compared, as they are."""
    ranges = []
    crc = checksums._crc

    def count(stream, offset, length):
        ranges.append((offset, length))
        return crc(stream, offset, length)

    monkeypatch.setattr(checksums, "_crc", count)
    return ranges


def test_all_bytes_are_covered(file, compared):
    """The ranges and the tail follow one another from the first byte to the last."""
    VerifiedFile(file).verify_all()
    length, _ = file.tail
    end = 0
    for offset, size in sorted([*compared, (file.size - length, length)]):
        assert offset == end
        end += size
    assert end == file.size == os.path.getsize(file.path)


def test_other_readers_pass_the_checksums_over(file):
    """The file is a Parquet file like any other."""
    table = pq.read_table(file.path)
    assert table.num_rows == 200


def test_the_tail_of_a_file_is_found_without_the_manifest(file):
    """Where the manifest is lost, the file itself says where its checksums are."""
    assert tail_of(Path(file.path)) == file.tail


def test_a_file_of_another_program_has_no_checksums(tmp_path, file):
    """A Parquet file without checksums is distinguished from one with checksums."""
    path = tmp_path / "other.parquet"
    pq.write_table(pq.read_table(file.path), path)
    assert tail_of(path) == (0, "")


def test_groups_know_their_times(file):
    """Times that are missing come last."""
    groups = VerifiedFile(file).groups
    second = 1_000_000_000
    assert [(g.rows, g.first, g.last, g.nulls) for g in groups] == [
        (64, 0, 63 * second, 0),
        (64, 64 * second, 127 * second, 0),
        (64, 128 * second, 191 * second, 0),
        (8, 192 * second, 198 * second, 1),
    ]


def test_only_the_requested_parts_are_compared(file, compared):
    """One column of one row group is one range, and no range is compared twice."""
    whole = VerifiedFile(file)
    compared.clear()
    whole.verify([1], {"uid"})
    assert len(compared) == 1
    whole.verify([1], {"uid"})
    assert len(compared) == 1
    whole.verify([1])
    assert len(compared) == len(whole.columns)


def test_damage_is_named(file):
    """The error says which bytes of which file are wrong."""
    with open(file.path, "r+b") as stream:
        stream.seek(10)
        stream.write(b"\xff\xff\xff")
    whole = VerifiedFile(file)
    with pytest.raises(CorruptFileError, match=r"\wrong checksum of \d+ bytes at position 4"):
        whole.verify([0])
    whole.verify([1, 2, 3])


@pytest.mark.parametrize("lost", [1, 100])
def test_a_damaged_tail_is_an_error(file, lost):
    """Nothing of a file is trusted whose checksums are not."""
    with open(file.path, "r+b") as stream:
        stream.seek(-lost, os.SEEK_END)
        stream.write(b"\0")
    with pytest.raises(CorruptFileError, match="wrong checksum of its metadata"):
        VerifiedFile(file)


@pytest.fixture
def later(monkeypatch):
    """Let files count as unchanged for a while, and forget them afterwards."""
    monkeypatch.setattr(checksums, "_TIMESTAMP_STEP", -(10**18))
    yield
    checksums.forget()


def test_a_file_that_has_just_changed_is_compared_again(file):
    """It may change once more, and keep its times."""
    assert verified(file) is not verified(file)


@pytest.mark.usefixtures("later")
def test_a_file_is_remembered_until_it_changes(file):
    """A change in place is noticed by the times of the file, and by its size."""
    first = verified(file)
    assert verified(file) is first
    os.utime(file.path)
    assert verified(file) is not first


@pytest.mark.usefixtures("later")
def test_another_tail_is_another_file(file):
    """What another manifest says is compared again."""
    verified(file)
    with pytest.raises(CorruptFileError):
        verified(dataclasses.replace(file, tail=(file.tail[0], "0" * 64)))


# --- Bloom filters --------------------------------------------------------------------------


def test_filters_hold_what_was_written(file):
    """Every value of a column passes its filter, and most others do not."""
    whole = VerifiedFile(file)
    whole.verify_filters()
    assert whole.has_filter(0, "uid")
    assert not whole.has_filter(0, "ts")
    with pq.ParquetFile(file.path) as parquet:
        for group in range(parquet.num_row_groups):
            for uid in parquet.read_row_group(group, ["uid"])["uid"].to_pylist():
                assert whole.may_contain(group, "uid", uid.encode())
    draw = random.Random(1)  # noqa: S311 - it chooses values
    others = [draw.randbytes(draw.randrange(100)) for _ in range(500)]
    assert sum(whole.may_contain(0, "uid", other) for other in others) < 100
