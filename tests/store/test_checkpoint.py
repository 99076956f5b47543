"""A checkpoint is what the generations before it say, and nothing is lost without it."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
import tempfile
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow
from tests import expression_strategies as strategies
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import CorruptFileError, DatabaseError
from vastlab.store import checkpoint, file_table, generation, manifest
from vastlab.store.check import FaultKind, check
from vastlab.store.database import Database
from vastlab.store.file_table import Extent
from vastlab.store.files import Files
from vastlab.store.generation import Change, NewerVersionError
from vastlab.store.layout import DataFile, Layout, Range, Source
from vastlab.store.place import Folder
from vastlab.store.repair import repair
from vastlab.types import Field, Kind, Schema, Type

BOUNDS = {
    **dict.fromkeys((Kind.INT64, Kind.TIME, Kind.DURATION), st.integers(-(2**63), 2**63 - 1)),
    Kind.UINT64: st.integers(0, 2**64 - 1),
    Kind.BOOL: st.booleans(),
    Kind.DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
    Kind.STRING: arrow.texts(),
    Kind.IP: arrow.addresses(),
}


@st.composite
def ranges(draw, schema, rows):
    """Draw the bounds of some columns."""
    kinds = {leaf.column: leaf.type.kind for leaf in schema.leaves} | {"#import_time": Kind.TIME}
    found = {}
    for name, kind in kinds.items():
        nulls = draw(st.integers(0, rows))
        ends = st.none() | BOUNDS[kind] if kind in BOUNDS and nulls < rows else st.none()
        if draw(st.integers(0, 4)):
            found[name] = Range(draw(ends), draw(ends), nulls, rows)
    return found


@st.composite
def new_file(draw, root, layouts, number):
    """Draw an entry; several have the same times."""
    layout = draw(st.sampled_from(layouts))
    rows = draw(st.integers(1, 3))
    first = draw(st.sampled_from((0, 5, 5, -7, 2**62)))
    name = f"20260101T000000-{draw(st.integers(0, 99)):028x}{number:04x}.parquet"
    return DataFile(
        f"{root}/data/{layout.fingerprint}/{name}",
        layout.schema.name,
        layout.fingerprint,
        rows,
        *(draw(st.integers(0, 9)), first, first + draw(st.integers(0, 9)), 1, 2),
        draw(ranges(layout.schema, rows)),
        *(draw(st.integers(0, 2)), draw(st.integers(0, 1))),
        source=draw(st.sampled_from(("", "a", "tail-b"))),
        tail=draw(st.sampled_from(((0, ""), (9, "ff" * 32)))),
    )


@st.composite
def changes(draw, root):
    """Draw the changes of some commits."""
    schemas = draw(st.lists(arrow.schemas(min_fields=1), min_size=1, max_size=3))
    layouts = {arrow_schema.fingerprint(each): each for each in schemas}
    layouts = {key: Layout(key, each) for key, each in layouts.items()}
    present, number, made = [], 0, []
    for _ in range(draw(st.integers(1, 8))):
        new = []
        for _ in range(draw(st.integers(0, 4))):
            number += 1
            new.append(draw(new_file(root, list(layouts.values()), number)))
        gone = draw(st.sets(st.sampled_from(present))) if present else set()
        present = sorted({file.path for file in new} | (set(present) - gone))
        keys = draw(st.sets(st.sampled_from("xyz")))
        remark = draw(arrow.texts())
        sources = {k: Source(k, 1, "d", segments=("a",), remarks=(remark,)) for k in keys}
        forgotten = draw(st.frozensets(st.sampled_from("xyz"))) - keys
        made.append(Change(tuple(new), frozenset(gone), layouts, sources, forgotten))
    return made


def commit(root, change, known=None):
    """Commit a change of the manifest alone."""
    with Database(root).staging() as staging:
        return manifest.commit(Folder(root), staging, lambda _: change, known)


def file_of(root, kind, number):
    """Return the file of a generation, or of its checkpoint."""
    return root / kind.key_of(number)


def checkpoint_files(root):
    return [file_of(root, checkpoint, number) for number in checkpoint.numbers(Folder(root))]


@pytest.fixture
def small(monkeypatch):
    """Let small databases have checkpoints."""
    monkeypatch.setattr(checkpoint, "LEAST", 1)


def assert_same(*snapshots):
    """Compare snapshots with all that `==` leaves out."""
    first, *others = snapshots
    for other in others:
        assert checkpoint.is_same(first, other)
        assert (first.counts, first.sources) == (other.counts, other.sources)
        assert first.database == other.database
        assert list(first.files[1:3]) == list(first.files)[1:3]
        assert [first.files[i] for i in range(-len(first.files), 0)] == list(other.files)
    for each in snapshots:
        assert_answered(each.files)


def assert_answered(files):
    """Compare what is asked of all files at once with a look at each of them."""
    every = list(files)
    paths = [file.path for file in every]
    assert files.paths() == set(paths)
    assert files.have(paths)
    assert not files.have([*paths, "/another"])
    assert list(files.smaller(5)) == [file for file in every if file.size < 5]
    assert list(files.merged()) == [file for file in every if file.oldest]
    assert list(files.without_checksums()) == [file for file in every if not any(file.tail)]
    named = [file for file in every if file.source in ("a", "tail-b")]
    assert list(files.of_sources({"a", "tail-b"})) == named
    layouts = Counter(file.fingerprint for file in every)
    assert Counter(files.numbers()) == layouts
    for name, extent in files.extents().items():
        held = [file for file in every if file.schema_name == name]
        assert extent == Extent(
            len(held),
            sum(file.rows for file in held),
            min(file.first for file in held),
            max(file.last for file in held),
            min(file.import_first for file in held),
            max(file.import_last for file in held),
        )
    assert files.extents().keys() == {file.schema_name for file in every}


@strategies.share(40)
@given(st.data())
def test_a_checkpoint_equals_the_chain(data):
    """Whatever is added and dropped, each way to read the manifest gives the same."""
    folder = Path(tempfile.mkdtemp())
    patch = pytest.MonkeyPatch()
    try:
        patch.setattr(manifest, "SPAN", 2)
        patch.setattr(manifest, "BLOCK", 4)
        root = Database.create(folder / "db").path
        follower = known = None
        for change in data.draw(changes(root)):
            patch.setattr(checkpoint, "LEAST", data.draw(st.sampled_from((1, 3, 512))))
            known = commit(root, change, data.draw(st.sampled_from((None, known))))
            if data.draw(st.booleans()):
                follower = manifest.load(Folder(root), follower)
                assert_same(follower, known)
        chain = manifest.load_generation(Folder(root), known.generation)
        assert_same(
            chain, known, manifest.load(Folder(root)), manifest.load(Folder(root), follower)
        )
        expected = sorted(chain.files, key=lambda file: (file.schema_name, file.first, file.path))
        assert list(known.files) == expected
        assert list(known.layouts) == sorted({file.fingerprint for file in expected})
    finally:
        patch.undo()
        shutil.rmtree(folder)


LAYOUT = Layout("f", Schema("my.events", (Field("port", Type(Kind.UINT64)),)))


def entry(root, number, **others):
    path = f"{root}/data/my.events/f/20260101T000000-{number:032x}.parquet"
    known = {"port": Range(number, number + 1, 0, 7)}
    file = DataFile(path, "my.events", "f", 7, 1, number, number, 0, 0, known, source=str(number))
    return replace(file, **others)


def change(root, *numbers):
    files = tuple(entry(root, number) for number in numbers)
    sources = {str(n): Source(str(n), 1, "d", segments=(str(n),)) for n in numbers}
    return Change(files, layouts={"f": LAYOUT}, sources=sources)


@pytest.fixture
def filled(tmp_path, small):
    """Make a manifest of three commits, of which each has a checkpoint."""
    root = Database.create(tmp_path / "db").path
    for number in range(1, 4):
        commit(root, change(root, number))
    assert checkpoint.numbers(Folder(root)) == [1, 2, 3]
    return root


def test_many_files_get_a_checkpoint_and_few_do_not(tmp_path):
    """A small database has only generations; a large one is not read entry by entry."""
    root = Database.create(tmp_path / "db").path
    known = commit(root, change(root, *range(checkpoint.LEAST - 1)))
    assert checkpoint.numbers(Folder(root)) == []
    known = commit(root, change(root, checkpoint.LEAST), known)
    assert checkpoint.numbers(Folder(root)) == [2]
    assert (len(known.files.table), known.files.added) == (checkpoint.LEAST, ())
    known = commit(root, change(root, 9999), known)
    assert checkpoint.numbers(Folder(root)) == [2]
    fresh = manifest.load(Folder(root))
    assert (fresh.checkpoint, len(fresh.files.added)) == (2, 1)
    assert_same(fresh, known, manifest.load_generation(Folder(root), 3))


def test_a_checkpoint_follows_where_a_generation_passes_over_the_last_one(tmp_path):
    """A generation that covers a checkpoint's own is followed by a new checkpoint."""
    root = Database.create(tmp_path / "db").path
    known = commit(root, change(root, *range(checkpoint.LEAST)))
    for number in range(2, manifest.SPAN + 1):
        known = commit(root, change(root, 10_000 + number), known)
    assert checkpoint.numbers(Folder(root)) == [1, manifest.SPAN]
    assert_same(manifest.load(Folder(root)), known)


def test_the_next_commit_gives_a_database_without_one_a_checkpoint(filled):
    """What an older version wrote is read, and is not read so slowly again."""
    for path in checkpoint_files(filled):
        path.unlink()
    old = manifest.load(Folder(filled))
    assert old.checkpoint == 0
    assert len(old.files.table) == 3  # many files are put in a table all the same
    commit(filled, change(filled, 9))
    assert checkpoint.numbers(Folder(filled)) == [4]
    assert [file.first for file in manifest.load(Folder(filled)).files] == [1, 2, 3, 9]


def rewrite(path, edit):
    """Change what is in a checkpoint."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    edit(parts)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    path.write_bytes(sink.getvalue())


def index(**others):
    def edit(parts):
        held, _ = generation.unseal(parts["checkpoint.json"])
        parts["checkpoint.json"] = generation.seal({**held, **others})[0]

    return lambda path: rewrite(path, edit)


def without(name):
    return lambda path: rewrite(path, lambda parts: parts.pop(name))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def outside(path):
    """Let the table name a file that is not in the database."""

    def edit(parts):
        table = file_table.read(parts["files.parquet"])
        paths = [f"../{path}" for path in table["path"].to_pylist()]
        data = file_table.write(table.set_column(0, "path", [paths]))
        held, _ = generation.unseal(parts["checkpoint.json"])
        held["parts"]["files.parquet"] = checkpoint.hashlib.sha256(data).hexdigest()
        parts |= {
            "files.parquet": data,
            "checkpoint.json": generation.seal(held)[0],
        }

    rewrite(path, edit)


HARMS = {
    "empty": lambda path: path.write_bytes(b""),
    "short": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "flipped": flip,
    "no archive": lambda path: path.write_bytes(b"x" * 999),
    "no index": without("checkpoint.json"),
    "no files": without("files.parquet"),
    "no bounds": without("bounds-0.parquet"),
    "no sources": without("sources.parquet"),
    "other number": index(generation=2),
    "outside": outside,
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_checkpoint_is_not_used(filled, harm):
    """The generations say the same, `check` names the file, and a repair moves it away."""
    path = file_of(filled, checkpoint, 3)
    whole = manifest.load(Folder(filled))
    assert whole.checkpoint == 3
    HARMS[harm](path)
    found = manifest.load(Folder(filled))
    assert found.checkpoint == 2
    assert_same(whole, found)
    (fault,) = [fault for fault in check(filled) if fault.file is None]
    assert (fault.path, fault.kind) == (str(path), FaultKind.DAMAGED)
    shutil.rmtree(filled / "data", ignore_errors=True)
    repair(filled)
    assert not path.exists()
    assert [each.name.endswith(path.name) for each in (filled / "damaged").iterdir()].count(True)


@pytest.mark.parametrize("digest", ["", "0" * 64])
def test_a_checkpoint_of_another_generation_is_not_used(filled, digest):
    """Only the digest that the chain has counts; `check` tells of the difference."""
    path = file_of(filled, checkpoint, 3)
    index(digest=digest)(path)
    assert manifest.load(Folder(filled)).checkpoint == 2
    commit(filled, change(filled, 4))
    file_of(filled, checkpoint, 4).unlink()
    assert manifest.load(Folder(filled)).checkpoint == 2
    assert [fault.path for fault in check(filled) if fault.file is None] == [str(path)]


def test_check_compares_checkpoints_with_the_generations(filled):
    """A checkpoint that is whole, but says something else, is a fault."""
    other = manifest.load(Folder(filled))
    wrong = replace(other, files=other.files.changed([], [other.files[0].path]))
    path = file_of(filled, checkpoint, 3)
    path.unlink()
    with Database(filled).staging() as staging:
        checkpoint.publish(Folder(filled), staging, wrong)
    assert "it differs from the generations" in [fault.detail for fault in check(filled)]


def test_a_newer_checkpoint_is_not_used_and_no_fault(filled):
    """A reader that does not know the version reads the generations."""
    for path in checkpoint_files(filled):
        index(version=99)(path)
    assert manifest.load(Folder(filled)).checkpoint == 0
    assert [file.first for file in manifest.load(Folder(filled)).files] == [1, 2, 3]
    assert [fault for fault in check(filled) if fault.file is None] == []


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"{")])
def test_a_newer_checkpoint_without_its_generations_is_one_clear_error(filled, harm):
    """If only a newer version can read the database, the error says so."""
    harm(file_of(filled, manifest, 1))
    index(version=99)(file_of(filled, checkpoint, 3))
    for number in (1, 2):
        file_of(filled, checkpoint, number).unlink()
    with pytest.raises(NewerVersionError, match="version 99") as error:
        manifest.load(Folder(filled))
    assert "upgrade vastlab" in str(error.value)
    with pytest.raises(NewerVersionError):
        repair(filled)  # nor does a repair throw away what that version can read


def test_a_checkpoint_stands_in_for_the_generations_before_it(filled):
    """What is damaged before the checkpoint is reported, but nothing is lost."""
    file_of(filled, manifest, 1).write_bytes(b"{")
    assert [file.first for file in manifest.load(Folder(filled)).files] == [1, 2, 3]
    faults = [fault.path for fault in check(filled) if fault.file is None]
    assert faults == [str(file_of(filled, manifest, 1))]


def test_damage_after_the_checkpoint_is_an_error(filled):
    """A checkpoint is never taken for the newest state."""
    commit(filled, change(filled, 4))
    file_of(filled, checkpoint, 4).unlink()
    file_of(filled, manifest, 4).write_bytes(b"{")
    with pytest.raises(CorruptFileError, match="000000004"):
        manifest.load(Folder(filled))


@pytest.mark.parametrize("error", [OSError(28, "no space"), DatabaseError("no links"), MemoryError])
def test_a_commit_does_not_depend_on_its_checkpoint(filled, monkeypatch, error):
    """If the checkpoint cannot be written, the commit is complete all the same."""

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "publish", fail)
        known = commit(filled, change(filled, 4))
    assert known.generation == 4
    assert checkpoint.numbers(Folder(filled)) == [1, 2, 3]
    assert_same(known, manifest.load(Folder(filled)))


def test_entries_that_no_table_can_hold_are_kept_as_they_are(tmp_path, small):
    """Bounds of another type, or of an unknown column, prevent a checkpoint and nothing else."""
    root = Database.create(tmp_path / "db").path
    for number, (name, range_) in enumerate(
        [
            ("port", Range("a", "b", 0, 7)),
            ("port", Range(2**64, 2**65, 0, 7)),
            ("other", Range(1, 2, 0, 7)),
        ]
    ):
        file = entry(root, number, ranges={name: range_})
        known = commit(root, Change((file,), layouts={"f": LAYOUT}))
        assert checkpoint.numbers(Folder(root)) == []
        assert_same(known, manifest.load(Folder(root)))


def test_old_checkpoints_are_deleted(filled):
    """Two are kept, so that one may be damaged."""
    Database(filled).sweep()
    assert checkpoint.numbers(Folder(filled)) == [2, 3]
    assert [file.first for file in manifest.load(Folder(filled)).files] == [1, 2, 3]


def test_a_file_of_a_table_is_a_file(filled):
    """What is decoded when it is asked for can be copied, and sent elsewhere without the rest."""
    (file, *_) = manifest.load(Folder(filled)).files
    sent = pickle.loads(pickle.dumps(file))  # noqa: S301 - of this test
    for other in (sent, copy.copy(file), replace(file, size=1)):
        assert dict(other.ranges) == {"port": Range(1, 2, 0, 7)} == dict(file.ranges)
        assert len(other.ranges) == 1
    assert type(sent.ranges) is dict
    with pytest.raises(KeyError):
        file.ranges["other"]
    with pytest.raises(IndexError):
        manifest.load(Folder(filled)).files[3]
    assert manifest.load(Folder(filled)).files != [file]
    assert repr(Files.of([])) == "Files(0 files)"


def test_files_of_the_same_time_are_sorted_by_path(tmp_path, small):
    """What is inserted between others is where a sort would put it."""
    root = Database.create(tmp_path / "db").path
    known = commit(root, change(root, 2, 4, 6))
    same = tuple(entry(root, number, first=4, generation=0) for number in (5, 1, 3, 7))
    added = known.files.changed(same)
    expected = sorted(added, key=lambda file: (file.schema_name, file.first, file.path))
    assert list(added) == expected
    assert [file.path[-9] for file in added] == ["2", "1", "3", "4", "5", "7", "6"]
