"""What a node wrote into its archive comes out of it, and nothing of it is missed silently."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from tests import archive_files
from tests.arrow_strategies import KINDS, tables
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import UsageError
from vastlab.store.archive import Archive, OpenFile, is_archive, key
from vastlab.types import Kind

NAMED = st.sampled_from(("zeek.conn", "a/b", "<b>", "ä"))


def parts(folder, live=None):
    """Read everything in a folder."""
    snapshot = Archive(folder).view(live).snapshot
    found = []
    for file in snapshot.files:
        with OpenFile(file, snapshot.layouts[file.fingerprint]) as opened:
            found += list(opened.parts())
    return found


def has_empty_record(type_):
    """Whether Parquet cannot hold a type: a record without fields."""
    inner = (type_.item, type_.key, *(member.type for member in type_.fields))
    is_empty = type_.kind is Kind.RECORD and not type_.fields
    return is_empty or any(t is not None and has_empty_record(t) for t in inner)


# --- what comes back ------------------------------------------------------------------------


@hypothesis.settings(max_examples=100)
@hypothesis.given(
    drawn=tables(names=NAMED),
    prefix=st.sampled_from(archive_files.PREFIXES),
    suffix=st.sampled_from(archive_files.FORMATS),
    time=st.integers(-(10**18), 10**18),
)
def test_events_of_every_type_come_back_as_they_were(drawn, prefix, suffix, time):
    """Both formats and both prefixes give the events in vastlab's own form, nulls and all."""
    schema, batch = drawn
    hypothesis.assume("internal" not in dict(schema.attributes))
    if suffix == "parquet":
        hypothesis.assume(
            schema.fields and not any(has_empty_record(f.type) for f in schema.fields)
        )
    with tempfile.TemporaryDirectory() as folder:
        archive_files.add(folder, batch, time, suffix=suffix, prefix=prefix)
        found = parts(folder)
        assert list(Archive(folder).view().snapshot.schemas().values()) == [schema]
    assert sum(part.events.num_rows for part in found) == len(batch)
    for part in found:
        part.events.validate(full=True)
        assert part.events.schema.equals(arrow_schema.to_arrow(schema), check_metadata=True)
        assert str(part.events.to_pylist()) == str(batch.to_pylist())
        assert set(part.import_time.cast(pa.int64()).to_pylist()) <= {time}


@pytest.mark.parametrize("suffix", archive_files.FORMATS)
def test_a_null_event_is_an_event_of_nulls(tmp_path, suffix, events):
    """The row stays; values that lie below a null event are not seen."""
    archive_files.add(tmp_path, events([1, 2, 3]), absent={1}, suffix=suffix)
    (part,) = parts(tmp_path)
    assert part.events.column("bytes").to_pylist() == [0, None, 2]
    assert part.events.column("ts").is_null().to_pylist() == [False, True, False]
    assert part.events.num_rows == 3


def test_batches_keep_their_own_import_times(tmp_path, events):
    """Each event has the import time that stands beside it."""
    (tmp_path / "archive").mkdir()
    path = tmp_path / "archive" / f"{uuid.uuid4()}.feather"
    archive_files.write(
        path, archive_files.wrap(events([1]), 10), archive_files.wrap(events([2, 3]), 20)
    )
    (file,) = Archive(tmp_path).view().snapshot.files
    assert (file.rows, file.import_first, file.import_last) == (3, 10, 20)
    assert [p.import_time.cast(pa.int64()).to_pylist() for p in parts(tmp_path)] == [[10], [20, 20]]


@pytest.mark.parametrize("suffix", archive_files.FORMATS)
def test_files_are_in_the_order_of_their_import(tmp_path, suffix, events):
    """Within a schema, what was imported first comes first."""
    for time in (30, 10, 20):
        archive_files.add(tmp_path, events([100 - time]), time, suffix=suffix)
    files = Archive(tmp_path).view().snapshot.files
    assert [file.import_first for file in files] == [10, 20, 30]
    assert {(file.rows, file.schema_name) for file in files} == {(1, "zeek.conn")}


def test_layouts_of_one_name_are_kept_apart_and_joined(tmp_path, events):
    """Files of different layouts are read with their own, and described together."""
    batch = events([1])
    archive_files.add(tmp_path, batch)
    archive_files.add(tmp_path, batch.drop_columns(["uid"]))
    snapshot = Archive(tmp_path).view().snapshot
    assert len(snapshot.layouts) == 2
    assert {leaf.name for leaf in snapshot.schemas()["zeek.conn"].leaves} == {
        "ts", "uid", "id.orig_h", "bytes",
    }  # fmt: skip


def test_events_of_the_node_about_itself_are_left_out(tmp_path, events):
    """Internal events are counted as files and otherwise not shown, as a node does."""
    batch = events([1])
    metadata = {"VAST:name:0": "tenzir.metrics.cpu", "VAST:attributes:0": '{ "internal": "" }'}
    archive_files.add(tmp_path, batch.replace_schema_metadata(metadata))
    archive_files.add(tmp_path, batch)
    view = Archive(tmp_path).view()
    assert view.internal == 1
    assert view.snapshot.counts == {"zeek.conn": 1}


# --- what cannot be read --------------------------------------------------------------------


@pytest.mark.parametrize("suffix", archive_files.FORMATS)
def test_a_file_that_is_cut_anywhere_is_left_out_and_named(tmp_path, suffix, events):
    """Wherever a write stopped, the other files are read and the cut one has a reason."""
    whole = archive_files.add(tmp_path, events(range(20)), suffix=suffix)
    archive_files.add(tmp_path, events([1, 2]), suffix=suffix)
    content = whole.read_bytes()
    archive = Archive(tmp_path)
    for size in {0, 1, 5, 6, 11, 12, len(content) // 2, len(content) - 1}:
        whole.write_bytes(content[:size])
        os.utime(whole, ns=(size, size))
        view = archive.view()
        assert [file.rows for file in view.snapshot.files] == [2]
        (unreadable,) = view.unreadable
        assert (unreadable.name, unreadable.is_loss) == (whole.name, False)
    whole.write_bytes(content)
    assert sorted(file.rows for file in archive.view().snapshot.files) == [2, 20]


@hypothesis.given(place=st.integers(0, 10**6), byte=st.integers(1, 255))
@hypothesis.settings(
    max_examples=50, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("suffix", archive_files.FORMATS)
def test_a_damaged_footer_is_a_reason_or_harmless(tmp_path, suffix, events, place, byte):
    """Looking at a file with a changed byte gives its schema or a reason, never another error."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        path = archive_files.add(folder, events(range(20)), suffix=suffix)
        content = bytearray(path.read_bytes())
        content[place % len(content)] ^= byte
        path.write_bytes(content)
        view = Archive(folder).view()
        assert len(view.snapshot.files) + len(view.unreadable) == 1


def test_files_without_events_are_listed_with_a_reason(tmp_path, events):
    """Old segments, plain tables and events without a name are named, each with its reason."""
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / f"{str(uuid.uuid4()).upper()}.store").write_bytes(b"segment")
    plain = pa.RecordBatch.from_pydict({"port": [80]})
    archive_files.write(archive / f"{uuid.uuid4()}.feather", plain)
    archive_files.write(archive / f"{uuid.uuid4()}.parquet", plain)
    archive_files.add(tmp_path, plain)
    archive_files.add(tmp_path, events([1]))
    view = Archive(tmp_path).view()
    assert view.snapshot.counts == {"zeek.conn": 1}
    reasons = sorted(each.reason for each in view.unreadable)
    assert [reason.split(":")[0] for reason in reasons] == [
        "its events have no schema name",
        "not a file of events",
        "not a file of events",
        "old segment format, which only VAST reads",
    ]
    assert all(each.is_loss for each in view.unreadable)


# --- the folder -----------------------------------------------------------------------------


def test_only_live_files_are_read(tmp_path, events):
    """Names, paths and URLs say which files count; the others are superseded."""
    old = archive_files.add(tmp_path, events([1]))
    new = archive_files.add(tmp_path, events([1, 2]))
    for name in (new.name, str(new), new.as_uri(), new.stem.upper()):
        view = Archive(tmp_path).view({name})
        assert [file.path for file in view.snapshot.files] == [str(new)]
        assert [file.path for file in view.superseded] == [str(old)]
    assert key(new.as_uri()) == new.stem


def test_merged_files_are_recognised_by_their_metadata(tmp_path, events):
    """A file that was not just ingested may hold events that others held before."""
    ingested = archive_files.add(tmp_path, events([1]), prefix="TENZIR", origin="ingest")
    rebuilt = archive_files.add(tmp_path, events([1]), prefix="TENZIR", origin="rebuild")
    silent = archive_files.add(tmp_path, events([1]))
    merged = Archive(tmp_path).view().merged
    assert merged == {str(rebuilt), str(silent)}
    assert str(ingested) not in merged


def test_an_open_file_can_be_read_after_it_was_deleted(tmp_path, events):
    """A node may delete what is being read."""
    for suffix in archive_files.FORMATS:
        path = archive_files.add(tmp_path, events([1, 2]), suffix=suffix)
        snapshot = Archive(tmp_path).view().snapshot
        with OpenFile(snapshot.files[0], *snapshot.layouts.values()) as file:
            path.unlink()
            assert [part.events.num_rows for part in file.parts()] == [2]
        with pytest.raises(FileNotFoundError):
            OpenFile(snapshot.files[0], *snapshot.layouts.values())


def test_a_folder_of_a_node_is_recognised(tmp_path, events):
    """The folder, its `archive/` and a state without events are; folders of logs are not."""
    state, logs = tmp_path / "state", tmp_path / "logs"
    archive_files.add(state, events([1]))
    assert is_archive(state)
    assert is_archive(state / "archive")
    assert Archive(state / "archive").path == Archive(state).path == state
    (logs / "archive").mkdir(parents=True)
    assert not is_archive(logs)
    (logs / "index").mkdir()
    assert is_archive(logs)
    archive_files.write(logs / "archive" / "conn.parquet", events([1]))
    assert not is_archive(logs)
    assert not is_archive(tmp_path / "nothing")


def test_a_missing_folder_is_a_usage_error_and_an_empty_one_is_empty(tmp_path):
    """An empty archive is not an error; a missing folder is one."""
    assert Archive(tmp_path).view().snapshot.files == ()
    with pytest.raises(UsageError, match="no such folder"):
        Archive(tmp_path / "gone").view()


def test_nothing_is_written(tmp_path, events):
    """Looking and reading leave the folder as it was, down to every time."""
    archive_files.add(tmp_path, events([1]))
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    assert len(parts(tmp_path)) == 1
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


# --- recordings -----------------------------------------------------------------------------


def test_files_of_a_real_node_are_read_whole(tmp_path, shared):
    """The recorded store files of VAST 3.1 give their events, with names and types."""
    (tmp_path / "archive").mkdir()
    for source in (shared / "golden" / "disk").glob("*.feather"):
        shutil.copy(source, tmp_path / "archive" / source.name.split("__")[1])
    view = Archive(tmp_path).view()
    assert view.unreadable == ()
    assert view.snapshot.counts == {
        "all_types": 4, "golden.types": 4, "suricata.stats": 4, "zeek.snmp": 4,
    }  # fmt: skip
    kinds = {f.name: f.type.kind for f in view.snapshot.schemas()["golden.types"].fields}
    assert {kinds[name] for name in ("a", "n", "e", "la", "t", "dur")} <= set(KINDS)
    assert (kinds["a"], kinds["n"], kinds["e"]) == (Kind.IP, Kind.SUBNET, Kind.ENUM)
    for part in parts(tmp_path):
        part.events.validate(full=True)
        assert part.events.num_rows == 4
