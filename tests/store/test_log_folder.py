"""A folder of logs is always served as it is: nothing twice, nothing stale, nothing lost."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import shutil
import tempfile
import threading
from pathlib import Path

import hypothesis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from vastlab.arrow import types as arrow_types
from vastlab.errors import DatabaseError, FormatError, QueryInterrupted, UsageError
from vastlab.store import folder_update, follow, sources
from vastlab.store.log_folder import LogFolder

HEADER = (
    "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"
)
HEADER += "#fields\tts\tn\n#types\ttime\tcount\n"


def age(path, seconds=60):
    """Make a file look as if it had not been written to for a while."""
    now = path.stat().st_mtime
    os.utime(path, (now - seconds, now - seconds))


def write(path, text, settled=True):
    """Write a log."""
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    if settled:
        age(path)
    return path


def append(path, text):
    """Add to a log, and make it look as if it had not been written to for a while."""
    with path.open("a") as stream:
        stream.write(text)
    age(path)


def lines(*numbers):
    """Write events as JSON lines."""
    return "".join(json.dumps({"n": n}) + "\n" for n in numbers)


def numbers(folder):
    """Refresh, and return the values of the column `n` of all events."""
    return sorted(values(folder.refresh().snapshot().files))


def values(files):
    """Return the values of the column `n` in data files."""
    return [
        value
        for file in files
        for value in pq.read_table(file.path, columns=["n"]).column("n").to_pylist()
    ]


def generations(folder):
    """Refresh, and return how many commits there were so far."""
    return folder.refresh().snapshot().generation


@pytest.fixture
def logs(tmp_path):
    """Make an empty folder for logs."""
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"


@pytest.fixture
def folder(logs, tmp_path):
    """Serve that folder from a cache of its own."""
    return LogFolder(logs, tmp_path / "cache")


def test_a_folder_that_did_not_change_is_not_read_again(folder, logs):
    """Refreshing twice reads and commits once."""
    write(logs / "a.json", lines(1, 2))
    assert numbers(folder) == [1, 2]
    assert generations(folder) == generations(folder) == 1


def test_another_process_finds_what_was_read(folder, logs, tmp_path):
    """The cache outlives the object that made it."""
    write(logs / "a.json", lines(1, 2))
    folder.refresh()
    assert generations(LogFolder(logs, tmp_path / "cache")) == 1


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_new_changed_and_deleted_files_are_noticed(folder, logs, name):
    """Events come and go with their files."""
    write(logs / "other.json", lines(7))
    write(logs / name, lines(1, 2))
    assert numbers(folder) == [1, 2, 7]
    write(logs / name, lines(3))
    assert numbers(folder) == [3, 7]
    (logs / name).unlink()
    assert numbers(folder) == [7]


def test_a_file_of_the_same_size_that_changed_is_noticed(folder, logs):
    """Content counts, not size."""
    write(logs / "a.json", lines(1, 2))
    numbers(folder)
    write(logs / "a.json", lines(1, 3))
    assert numbers(folder) == [1, 3]


def test_a_touched_file_is_not_read_again(folder, logs):
    """If only the modification time is new, no data file is added."""
    path = write(logs / "a.json", lines(1, 2))
    before = folder.refresh().snapshot().files
    age(path, 500)
    assert folder.refresh().snapshot().files == before


@pytest.mark.parametrize("header", ["", HEADER, "t,n\n", "\ufefft,n\n"])
def test_only_what_was_appended_is_read(folder, logs, header):
    """A log that grew keeps its files, and its new lines become a new one."""
    rows = {"": lines, HEADER: "{0}.5\t{0}\n".format, "t,n\n": '"a\nb",{}\n'.format}
    row = rows[header.lstrip("\ufeff")]
    name = "conn.csv" if "," in header and "#" not in header else "conn.log"
    path = write(logs / name, header + row(1) + row(2))
    assert numbers(folder) == [1, 2]
    before = folder.refresh().snapshot().files
    append(path, row(3))
    assert numbers(folder) == [1, 2, 3]
    after = folder.refresh().snapshot()
    assert set(before) < set(after.files)
    assert after.counts == {"zeek.conn" if header == HEADER else "conn": 3}
    append(path, row(4) + "#close\t2024-01-01-00-00-00\n" * (header == HEADER))
    assert numbers(folder) == [1, 2, 3, 4]
    assert len(after.schemas()) == len(folder.refresh().snapshot().layouts) == 1


def leaf_types(folder):
    """Refresh, and return the types of all fields of all layouts."""
    layouts = folder.refresh().snapshot().layouts.values()
    found = {}
    for layout in layouts:
        for leaf in layout.schema.leaves:
            found.setdefault(leaf.name, set()).add(str(leaf.type))
    return found


@pytest.mark.parametrize("again", [True, False])
def test_appended_lines_have_the_types_of_the_lines_before(folder, logs, tmp_path, again):
    """Text stays text, also for a process that did not read the part before."""
    path = write(logs / "app.json", '{"a":"x","n":5}\n{"a":"192.0.2.1","n":6}\n')
    assert leaf_types(folder) == {"a": {"string"}, "n": {"int64"}}
    append(path, '{"a":"192.0.2.2","n":"7"}\n')
    found = folder if again else LogFolder(logs, tmp_path / "cache")
    assert leaf_types(found) == {"a": {"string"}, "n": {"int64"}}
    assert numbers(found) == [5, 6, 7]


def test_a_field_becomes_text_if_appended_values_do_not_match(folder, logs, tmp_path):
    """A value that does not fit is not lost: the new part is text, and a remark says so."""
    path = write(logs / "app.json", '{"a":"192.0.2.1"}\n')
    assert leaf_types(folder) == {"a": {"ip"}}
    append(path, '{"a":"n/a"}\n')
    found = LogFolder(logs, tmp_path / "cache")
    assert leaf_types(found) == {"a": {"ip", "string"}}
    assert found.problem_count == 0
    assert found.remarks == (f"app: a is text: {path}:2: 'n/a' is not ip as before",)
    assert LogFolder(logs, tmp_path / "cache").refresh().snapshot().remarks == found.remarks


def test_appended_lines_after_a_second_header_are_read_with_that_one(folder, logs):
    """Where a log has several headers, appended lines belong to the last."""
    other = HEADER.replace("conn", "other")
    path = write(logs / "merged.log", HEADER + "1.0\t1\n" + other + "2.0\t2\n")
    assert folder.refresh().snapshot().counts == {"zeek.conn": 1, "zeek.other": 1}
    append(path, "3.0\t3\n")
    assert folder.refresh().snapshot().counts == {"zeek.conn": 1, "zeek.other": 2}


def test_a_header_that_arrives_in_parts_is_whole_in_the_end(folder, logs):
    """A log that is seen in the middle of its header is read right later."""
    path = write(logs / "conn.log", HEADER[:-20])
    folder.refresh()
    append(path, HEADER[-20:] + "1.0\t1\n")
    assert numbers(folder) == [1]
    append(path, "2.0\t2\n")
    assert numbers(folder) == [1, 2]


def test_a_line_that_is_being_written_waits_until_it_is_whole(folder, logs):
    """An incomplete last line of an active file is neither an event nor a problem."""
    path = write(logs / "a.json", lines(1) + '{"n": ', settled=False)
    assert numbers(folder) == [1]
    assert folder.problems == ()
    with path.open("a") as stream:
        stream.write("2}\n")
    assert numbers(folder) == [1, 2]
    assert folder.problems == ()


def test_the_last_line_of_an_idle_file_needs_no_newline(folder, logs):
    """A file that is no longer written to is read to its end, and again if it grows."""
    path = write(logs / "a.json", lines(1) + '{"n": 2}')
    assert numbers(folder) == [1, 2]
    append(path, "\n" + lines(3))
    assert numbers(folder) == [1, 2, 3]


def test_rotation_reads_nothing_twice(folder, logs):
    """A log that is renamed, and a new one under its name, give each event once."""
    path = write(logs / "a.json", lines(1, 2))
    numbers(folder)
    before = folder.refresh().snapshot().files
    path.rename(logs / "a.json.1")
    write(path, lines(3))
    assert numbers(folder) == [1, 2, 3]
    assert set(before) < set(folder.refresh().snapshot().files)


def test_rotation_after_growth_reads_only_the_end(folder, logs):
    """Lines that came between the last update and the rotation are not lost."""
    path = write(logs / "a.json", lines(1, 2))
    numbers(folder)
    before = folder.refresh().snapshot().files
    append(path, lines(3))
    path.rename(logs / "a.json.1")
    write(path, lines(4))
    assert numbers(folder) == [1, 2, 3, 4]
    assert set(before) < set(folder.refresh().snapshot().files)


def test_copying_and_truncating_is_rotation_too(folder, logs):
    """A log that is copied away and emptied gives each event once."""
    path = write(logs / "a.json", lines(1, 2))
    numbers(folder)
    before = folder.refresh().snapshot().files
    shutil.copy(path, logs / "a.json.1")
    write(path, "")
    assert numbers(folder) == [1, 2]
    assert folder.refresh().snapshot().files == before
    write(path, lines(3, 4, 5))
    assert numbers(folder) == [1, 2, 3, 4, 5]


def test_compressing_a_rotated_log_reads_nothing_twice(folder, logs):
    """A log that is replaced by its compressed self keeps its files."""
    path = write(logs / "a.json", lines(1, 2))
    numbers(folder)
    before = folder.refresh().snapshot().files
    write(logs / "a.json.1.gz", lines(1, 2))
    path.unlink()
    assert numbers(folder) == [1, 2]
    assert folder.refresh().snapshot().files == before


def test_a_binary_file_may_move(folder, logs):
    """A Parquet file that is renamed keeps its files."""
    pq.write_table(pa.table({"n": [1, 2]}), logs / "a.parquet")
    assert numbers(folder) == [1, 2]
    before = folder.refresh().snapshot().files
    (logs / "a.parquet").rename(logs / "b.parquet")
    assert folder.refresh().snapshot().files == before


def test_two_files_with_the_same_content_count_once(folder, logs):
    """A copy, also a compressed one, adds nothing, and keeps the events when the other goes."""
    path = write(logs / "a.json", lines(1, 2))
    write(logs / "b.json.gz", lines(1, 2))
    assert numbers(folder) == [1, 2]
    path.unlink()
    assert numbers(folder) == [1, 2]


def test_hidden_files_and_databases_are_not_read_as_logs(folder, logs):
    """Hidden files, files in hidden folders and the files of databases are not read."""
    write(logs / "a.json", lines(1))
    write(logs / ".b.json", lines(2))
    (logs / ".git").mkdir()
    write(logs / ".git" / "c.json", lines(3))
    LogFolder(logs, logs / "inside").refresh()
    assert numbers(folder) == [1]
    assert folder.problems == ()


def test_files_that_are_not_logs_are_reported(folder, logs):
    """A file that is not a log is skipped and reported, also by the next process."""
    write(logs / "a.json", lines(1))
    write(logs / "notes.txt", "Dear diary,\nnothing happened.\n")
    assert numbers(folder) == [1]
    (problem,) = folder.problems
    assert problem.path.endswith("notes.txt")
    assert generations(folder) == 1


def test_bad_lines_are_remembered_with_their_numbers(folder, logs):
    """Lines that cannot be read are named, counted from the beginning of the file."""
    path = write(logs / "a.json", lines(1) + "garbage\n")
    numbers(folder)
    append(path, lines(2) + "rubbish\n")
    assert numbers(folder) == [1, 2]
    assert [problem.line for problem in folder.problems] == [2, 4]
    append(path, "nonsense\n" * 30)
    numbers(folder)
    assert len(folder.problems) < folder.problem_count == 32


def test_a_damaged_file_is_named_and_the_others_are_served(folder, logs):
    """A truncated gzip adds nothing and is named; when it is whole, its events come."""
    write(logs / "a.json", lines(1))
    path = write(logs / "b.json.gz", lines(*range(2, 5000)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    age(path)
    assert numbers(folder) == [1]
    (problem,) = folder.problems
    assert "is incomplete" in problem.reason
    path.write_bytes(whole)
    assert numbers(folder) == list(range(1, 5000))
    assert folder.problems == ()


@pytest.mark.parametrize("content", [None, "", "Dear diary,\nnothing happened.\n"])
def test_a_folder_without_logs_is_one_clear_error(folder, logs, content):
    """An empty folder, and one without a log, is named in the error."""
    if content is not None:
        write(logs / "notes.txt", content)
    with pytest.raises(FormatError, match="logs") as caught:
        folder.refresh()
    if content:
        assert caught.value.hint.startswith("notes.txt: ")


def test_a_missing_folder_is_one_clear_error(tmp_path):
    """A folder that is not there is named."""
    with pytest.raises(UsageError, match="nowhere"):
        LogFolder(tmp_path / "nowhere", tmp_path / "cache").refresh()


def test_a_damaged_cache_is_created_again(folder, logs, tmp_path):
    """What is lost from the cache is read again."""
    write(logs / "a.json", lines(1, 2))
    for file in folder.refresh().snapshot().files:
        Path(file.path).unlink()
    assert numbers(LogFolder(logs, tmp_path / "cache")) == [1, 2]
    next((tmp_path / "cache").rglob("generations/*.json")).write_text("{")
    assert numbers(LogFolder(logs, tmp_path / "cache")) == [1, 2]
    shutil.rmtree(folder.refresh().path)
    assert numbers(folder) == [1, 2]


def _delete_first_file(files, root):
    Path(files[0].path).unlink()


def _damage_the_manifest(files, root):
    (root / "manifest.json").write_text("{")


@pytest.mark.parametrize("harm", [_delete_first_file, _damage_the_manifest])
def test_a_damaged_cache_is_not_deleted_while_it_is_read(folder, logs, tmp_path, harm):
    """A second reader reads the logs again elsewhere, and the first one keeps its files."""
    write(logs / "a.json", lines(1, 2))
    write(logs / "b.csv", "n,other\n3,x\n")
    database = folder.refresh()
    files = database.snapshot().files
    harm(files, database.path)
    kept = [path for file in files if (path := Path(file.path)).exists()]
    assert kept
    assert numbers(LogFolder(logs, tmp_path / "cache")) == [1, 2, 3]
    assert all(path.exists() for path in kept)


def test_a_table_that_was_cut_in_a_quoted_field_is_read_again(folder, logs):
    """Where a table seemed to end within a field, the field is whole in the end."""
    path = write(logs / "a.csv", 't,n\n"a",1\n"b\n')
    folder.refresh()
    append(path, 'c",2\n')
    assert numbers(folder) == [1, 2]
    assert folder.problems == ()


def test_the_progress_on_a_large_folder_is_saved(folder, logs, monkeypatch):
    """If the first update is cancelled, the next continues where it stopped."""
    for i in range(3):
        write(logs / f"{i}.json", lines(i))
    monkeypatch.setattr(folder_update, "_SAVE_INTERVAL", 0)
    cancelled = threading.Event()

    def give_up(progress):
        if progress.files_done == 2:
            cancelled.set()

    monkeypatch.setattr(sources, "_REPORT_INTERVAL", 0)
    with pytest.raises(QueryInterrupted):
        folder.refresh(give_up, cancelled=cancelled)
    steps = []
    folder.refresh(steps.append)
    assert steps[-1].events == 1
    assert numbers(folder) == [0, 1, 2]


def test_progress_counts_the_events_that_are_kept(folder, logs, monkeypatch):
    """While a folder is read its events are counted, without those of files that break off."""
    write(logs / "a.json", lines(1, 2))
    broken = write(logs / "b.json.gz", lines(*range(20_000)))
    broken.write_bytes(broken.read_bytes()[:-100])
    write(logs / "c.json", lines(3))
    monkeypatch.setattr(sources, "_REPORT_INTERVAL", 0)
    steps = []
    folder.refresh(steps.append)
    counts = [step.events for step in steps]
    assert counts[0] == 0
    assert max(counts) > counts[-1] == len(numbers(folder))


def test_folders_are_followed_through_links_once(folder, logs):
    """Linked folders count, and a link to a folder above does not lead in circles."""
    (logs / "spool").mkdir()
    write(logs / "spool" / "a.json", lines(1))
    (logs / "current").symlink_to(logs / "spool")
    (logs / "spool" / "up").symlink_to(logs)
    assert numbers(folder) == [1]
    assert len(folder.refresh().snapshot().sources) == 1


def test_files_that_may_not_be_read_are_named(folder, logs, monkeypatch):
    """A file without permission is a problem of that file only."""
    write(logs / "a.json", lines(1))
    write(logs / "b.json", lines(2))
    really_open = open

    def refuse(path, *args, **kwargs):
        if str(path).endswith("b.json"):
            raise PermissionError(13, "Permission denied")
        return really_open(path, *args, **kwargs)

    monkeypatch.setattr("builtins.open", refuse)
    assert numbers(folder) == [1]
    assert [problem.reason for problem in folder.problems] == ["cannot be read: Permission denied"]


def test_a_cache_that_is_not_a_database_is_created_again(folder, logs, tmp_path):
    """Whatever stands in the cache, the folder is served."""
    write(logs / "a.json", lines(1))
    path = folder.refresh().path
    (path / "manifest.json").write_text('{"format": "vastlab", "version": 99}')
    assert numbers(LogFolder(logs, tmp_path / "cache")) == [1]


def test_a_file_that_vanishes_while_it_is_looked_at_is_gone(folder, logs, monkeypatch):
    """A log that is deleted between listing and reading is not an error."""
    write(logs / "a.json", lines(1))
    write(logs / "b.json", lines(2))
    numbers(folder)
    append(logs / "b.json", lines(3))
    plan = follow.plan

    def delete_and_plan(state, *args):
        if state.path.endswith("b.json"):
            Path(state.path).unlink()
        return plan(state, *args)

    monkeypatch.setattr(follow, "plan", delete_and_plan)
    assert numbers(folder) == [1]


def test_cancelling_adds_nothing(folder, logs):
    """A refresh that is cancelled commits nothing and leaves no file."""
    write(logs / "a.json", lines(1, 2))
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(QueryInterrupted):
        folder.refresh(cancelled=cancelled)
    assert numbers(folder) == [1, 2]
    database = folder.refresh()
    assert len(list(database.path.rglob("*.parquet"))) == len(database.snapshot().files)


def test_the_cache_is_bounded(tmp_path):
    """The databases that were not used for longest go first, and none that is in use."""
    folders = []
    for name in ("first", "second", "third"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.json", lines(1))
        folders.append(LogFolder(tmp_path / name, tmp_path / "cache", limit=10**9))
        folders[-1].refresh()
    paths = [folder.refresh().path for folder in folders]
    for i, path in enumerate(paths):
        os.utime(path.with_name(path.name + ".lock"), (i, i))
    del folders[1]
    write(tmp_path / "third" / "b.json", lines(2))
    LogFolder(tmp_path / "third", tmp_path / "cache", limit=1).refresh()
    assert [path.exists() for path in paths] == [True, False, True]


def test_a_cache_that_cannot_be_made_is_an_error_with_a_way_out(logs, tmp_path):
    """It names the folder, and how to choose another one."""
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    write(logs / "a.json", lines(1))
    with pytest.raises(DatabaseError, match="cannot create the cache folder") as caught:
        LogFolder(logs, in_the_way / "cache").refresh()
    assert caught.value.hint == "set XDG_CACHE_HOME to use another folder"


def refresh_in_process(logs, cache, results):
    """Refresh in a process of its own, and report the events."""
    arrow_types.register()
    results.put(LogFolder(logs, cache).refresh().snapshot().counts)


def test_processes_may_refresh_at_the_same_time(logs, tmp_path):
    """Several processes that open one folder at once read every event exactly once."""
    for i in range(5):
        write(logs / f"f{i}.json", lines(*range(i * 10, i * 10 + 10)))
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (logs, tmp_path / "cache", results)
    processes = [context.Process(target=refresh_in_process, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert answers == [{f"f{i}": 10 for i in range(5)}] * 3
    assert numbers(LogFolder(logs, tmp_path / "cache")) == list(range(50))


def test_a_log_that_was_compressed_without_its_half_line_may_grow(folder, logs):
    """What is appended to it is read, and nothing before it once more."""
    path = write(logs / "a.json", lines(1) + '{"n": ')
    age(path, -3600)
    generation = folder.refresh().snapshot().generation
    path.unlink()
    write(logs / "c.json.gz", lines(1))
    generation, files = folder.refresh().added(generation)
    assert values(files) == []
    write(logs / "c.json.gz", lines(1, 2))
    _, files = folder.refresh().added(generation)
    assert values(files) == [2]


class Rotation(RuleBasedStateMachine):
    """Whatever is done to files, a folder has their events, and a follower sees each once."""

    def __init__(self):
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory()
        self.logs = Path(self.temporary.name, "logs")
        self.logs.mkdir()
        self.folder = LogFolder(self.logs, Path(self.temporary.name, "cache"))
        self.number = 0
        self.contents = {}
        self.generation = 0
        self.followed = []

    def fresh(self, count):
        self.number += count
        return list(range(self.number - count, self.number))

    def flush(self, name):
        write(self.logs / name, lines(*self.contents[name]))

    names = st.sampled_from(["a.json", "b.json", "c.json.gz"])

    @rule(name=names, count=st.integers(1, 3))
    def create(self, name, count):
        self.contents[name] = self.fresh(count)
        self.flush(name)

    @rule(name=names, count=st.integers(1, 3))
    def grow(self, name, count):
        self.contents[name] = self.contents.get(name, []) + self.fresh(count)
        self.flush(name)

    @rule(name=st.sampled_from(["a.json", "b.json"]))
    def grow_by_half_a_line(self, name):
        if name in self.contents:
            path = write(self.logs / name, lines(*self.contents[name]) + '{"n": ')
            age(path, -3600)

    @rule(source=names, goal=names)
    def move(self, source, goal):
        if source in self.contents and source != goal:
            self.contents[goal] = self.contents.pop(source)
            (self.logs / source).unlink()
            self.flush(goal)

    @rule(name=names)
    def delete(self, name):
        if self.contents.pop(name, None) is not None:
            (self.logs / name).unlink()

    @rule()
    def poll(self):
        if not self.contents:
            return
        expected = sorted(n for content in self.contents.values() for n in content)
        assert numbers(self.folder) == expected
        self.generation, files = self.folder.refresh().added(self.generation)
        self.followed += values(files)
        assert len(self.followed) == len(set(self.followed))
        assert set(self.followed) >= set(expected)

    def teardown(self):
        self.temporary.cleanup()


TestRotation = Rotation.TestCase
TestRotation.settings = hypothesis.settings(max_examples=30, stateful_step_count=20)


@hypothesis.given(st.lists(st.integers(0, 3 * sources.BLOCK), min_size=1, max_size=4))
@hypothesis.settings(max_examples=30)
def test_a_digest_can_be_resumed(sizes):
    """However content comes in pieces, and wherever hashing continues, the digest is the same."""
    whole, parts, data = sources.Digest(), sources.Digest(), b""
    for i, size in enumerate(sizes):
        piece = bytes([i + 1]) * size
        data += piece
        parts.update(piece)
        rest = data[sources.rest_start(len(data)) :]
        parts = sources.Digest.resume(parts.value(), rest)
        assert parts is not None
        if rest:
            assert sources.Digest.resume(parts.value(), rest[:-1] + b"\xff") is None
    whole.update(data)
    assert whole.value() == parts.value()


TABLES = {
    "comments": "# a list\n#\nt,n\n1,1\n",
    "header in a comment": "# t,n\n1,1\n",
    "sep": "sep=,\nt,n\n1,1\n",
    "header of two lines": '"t\nx",n\n1,1\n',
    "of the shell": "#type,t,n\nmy.a,1,1\n",
}


@pytest.mark.parametrize("form", TABLES)
def test_only_what_was_appended_to_a_table_is_read(folder, logs, form):
    """The header belongs before it, with all that stands above the header."""
    path = write(logs / "t.csv", TABLES[form])
    assert numbers(folder) == [1]
    more = "my.a,2,2\n" if form == "of the shell" else "2,2\n"
    append(path, more)
    assert numbers(folder) == [1, 2]
    assert generations(folder) == 2
    source = next(iter(folder.refresh().snapshot().sources.values()))
    assert len(source.segments) == 2


def test_a_table_with_a_new_header_is_read_as_a_whole(folder, logs):
    """What is appended to several tables in one file belongs to the last one."""
    path = write(logs / "t.csv", "#type,n\nmy.a,1\n#type,m,n\nmy.b,1,2\n")
    assert numbers(folder) == [1, 2]
    append(path, "my.b,1,3\n")
    assert numbers(folder) == [1, 2, 3]


def test_text_in_a_wide_encoding_is_read_as_a_whole(logs, tmp_path):
    """If the bytes of a line are not known, a file that has grown is read again."""
    path = logs / "t.csv"
    path.write_bytes("t,n\n1,1\n".encode("utf-16"))
    age(path)
    folder = LogFolder(logs, tmp_path / "wide")
    assert numbers(folder) == [1]
    with path.open("ab") as stream:
        stream.write("1,2\n".encode("utf-16-le"))
    age(path)
    assert numbers(folder) == [1, 2]
