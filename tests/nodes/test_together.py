"""Several files in one plan: the same answers, checks and errors as in each file alone."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

import pandas as pd
import pyarrow as pa
import pytest

from tests.nodes.conftest import chosen, conn_batch
from vastlab import group_frames
from vastlab.compile.groups import Groups
from vastlab.errors import CorruptFileError
from vastlab.expression import parse
from vastlab.expression.aggregates import Summary
from vastlab.nodes import counting, small_files, tallies
from vastlab.nodes import together as in_one_plan
from vastlab.nodes.base import Query
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.nodes.engine import Engine
from vastlab.nodes.scan import FileGoneError, FileScan
from vastlab.nodes.small_files import SmallFiles
from vastlab.nodes.together import FilesTogether, bundles
from vastlab.store import checksums
from vastlab.store.database import Database

SUMMARY = Summary.parse(
    "id.orig_h", "20s", {"total": "sum(n)", "ports": "count_distinct(id.resp_p)"}
)
QUESTIONS = ["", "n != 15", "n in [5, 25, 26] || n > 41", "n > 12"]


def changed(name, numbers):
    """Make connections with other numbers in one column."""
    batch = conn_batch(range(len(numbers)))
    field = batch.schema.field(name)
    return batch.set_column(
        batch.schema.get_field_index(name), field, pa.array(numbers, field.type)
    )


def grouping(tasks, groups=None):
    return (groups or Groups(SUMMARY, None)).grouping("conn", tasks[0].layout.schema)


def together(tasks, scan=FileScan):
    return list(FilesTogether(Engine(), tasks, scan).group(grouping(tasks)))


def frame(tables, tasks):
    groups = Groups(SUMMARY, None)
    grouping(tasks, groups)
    for table in tables:
        groups.add("conn", table)
    return group_frames.to_frame(groups, SUMMARY, None, 0)


@pytest.mark.parametrize("text", QUESTIONS)
def test_the_groups_are_those_of_each_file(six_files, text):
    """Whatever is asked, and also where some files match as a whole."""
    tasks = chosen(six_files, f'#type == "zeek.conn" && ({text or "n >= 0"})')
    alone = [t for task in tasks for t in FileScan(Engine(), task).group(grouping(tasks))]
    pd.testing.assert_frame_equal(frame(together(tasks), tasks), frame(alone, tasks))


@pytest.mark.usefixtures("remembering")
def test_files_share_few_values(six_files, monkeypatch):
    """What a file adds takes as long as all that is shared."""
    tasks = chosen(six_files, '#type == "zeek.conn" && resp_p != 15')
    for most in (1, 25):
        monkeypatch.setattr(tallies, "_MOST_SHARED", most)
        engine = Engine()
        for _ in range(2):
            assert FilesTogether(engine, tasks, FileScan).count() == 59
        known = engine.tallies._known.values()
        columns = {id(each.column): each.column for kept in known for each in kept.values()}
        assert max(len(column._values) for column in columns.values()) <= most + 12


def test_many_conditions_are_compared_row_by_row(six_files, monkeypatch):
    """One by one, they would take longer."""
    monkeypatch.setattr(counting, "MOST_OPERANDS", 1)
    monkeypatch.setattr(tallies.Tallies, "count", mock.Mock(side_effect=AssertionError))
    tasks = chosen(six_files, '#type == "zeek.conn" && (resp_p == 5 || n == 59)')
    assert FilesTogether(Engine(), tasks, FileScan).count() == 2


def test_only_some_small_files_are_in_memory_at_once(six_files, monkeypatch):
    """Files that do not follow each other are read by the engine."""
    node, tasks = EmbeddedNode(six_files.path), chosen(six_files)
    assert isinstance(node._counter(Engine(), tasks), SmallFiles)
    monkeypatch.setattr(small_files, "_MOST_ROWS", 59)
    assert isinstance(node._counter(Engine(), tasks), FilesTogether)


EACH = "n in [5, 15, 25, 35, 45, 55]"  # one event of each file
COUNTED = [
    *(EACH, *QUESTIONS[1:], "n == -1"),
    *("resp_p != 15", ":ip == 10.0.0.15", "n > 12 && resp_p < 30", "resp_p == 7 || n == 8"),
]


@pytest.fixture
def remembering(monkeypatch):
    """Remember the values of all columns, also of new files."""
    monkeypatch.setattr(tallies, "_FEWEST", 0)
    monkeypatch.setattr(tallies, "_FEW", 1 << 30)
    monkeypatch.setattr(checksums, "_TIMESTAMP_STEP", 0)


@pytest.mark.parametrize("text", COUNTED)
@pytest.mark.usefixtures("remembering")
def test_the_numbers_are_those_of_each_file(six_files, text):
    """Whatever is asked, and also where columns with few values are remembered."""
    tasks = chosen(six_files, f'#type == "zeek.conn" && ({text})')
    number = sum(FileScan(Engine(), task).count() for task in tasks)
    engine = Engine()
    for _ in range(3):  # by row, made into tallies, and from the tallies
        assert FilesTogether(engine, tasks, FileScan).count() == number
    assert FilesTogether(engine, tasks, partial(FileScan, verify=False)).count() == number


async def test_a_count_makes_no_plan_for_each_file(six_files, monkeypatch):
    """Several files are counted in one."""
    monkeypatch.setattr(small_files, "_SMALL", 0)
    monkeypatch.setattr(FileScan, "count", mock.Mock(side_effect=AssertionError))
    node = EmbeddedNode(six_files.path)
    assert await node.counts(Query(parse(EACH))) == {"zeek.conn": 6}
    await node.aclose()


@pytest.mark.usefixtures("remembering")
def test_a_condition_is_computed_once_for_all_files(six_files, monkeypatch):
    """Where all values of the column are known, and there are few."""
    engine = Engine()
    computed = mock.Mock(wraps=engine.matching)
    monkeypatch.setattr(engine, "matching", computed)
    for text, number in (("resp_p > 6", 53), ("resp_p > 7", 52), ("resp_p > 8", 51)):
        computed.reset_mock()
        tasks = chosen(six_files, f'#type == "zeek.conn" && {text}')
        assert FilesTogether(engine, tasks, FileScan).count() == number
    assert computed.call_count == 1


async def test_a_summary_makes_no_plan_for_each_file(six_files, monkeypatch):
    """Several files are grouped in one."""
    monkeypatch.setattr(FileScan, "group", mock.Mock(side_effect=AssertionError))
    node = EmbeddedNode(six_files.path)
    groups = await node.summarize(Query(parse('#type == "zeek.conn"')), SUMMARY)
    found = group_frames.to_frame(groups, SUMMARY, None, 0)
    assert found["total"].sum() == sum(range(60))
    await node.aclose()


def parts(tasks, at_once=1):
    return [len(part) for part in bundles(tasks, at_once)]


def test_files_are_put_together_as_far_as_is_good(six_files, monkeypatch):
    """Both workers have something to do, and neither can be stopped only after a long time."""
    tasks = chosen(six_files)
    assert parts(tasks) == [6]
    assert parts(tasks, at_once=2) == [3, 3]
    monkeypatch.setattr(in_one_plan, "_MOST_ROWS", 20)
    assert parts(tasks) == [2, 2, 2]
    monkeypatch.setattr(in_one_plan, "_MOST_ROWS", 9)
    assert parts(tasks) == [1] * 6
    monkeypatch.setattr(in_one_plan, "_MOST_ROWS", 100)
    monkeypatch.setattr(in_one_plan, "_MOST_FILES", 4)
    assert parts(tasks) == [4, 2]


def test_a_file_with_large_values_or_old_times_is_grouped_alone(six_files):
    """Its rules take longer, and are not needed for the others."""
    six_files.add([changed("n", [2**62])])
    six_files.add([changed("ts", [-1])])
    tasks = chosen(six_files)
    known = {tasks[0].file.fingerprint: grouping(tasks)}
    node = EmbeddedNode(six_files.path)
    assert sorted(map(len, node._grouped_together(tasks, known))) == [1, 1, 3, 3]


def test_a_sum_that_fits_each_file_may_not_fit_all(tmp_path):
    """The bounds of several files are those of all their values, for as many rows."""
    database = Database.create(tmp_path / "test.db")
    most = (2**63 - 1) // in_one_plan._MOST_ROWS
    for number in range(4):
        database.add([changed("n", [most - number] * 3)])
    tasks = chosen(database)
    assert parts(tasks) == [4]
    found = frame(together(tasks), tasks)
    assert found["total"].sum() == sum(3 * (most - number) for number in range(4))


@pytest.mark.parametrize("name", ["with space", "odd [*] ?%20 é #", ".hidden", "_x"])
def test_the_temporary_folder_may_have_any_name(six_files, tmp_path, monkeypatch, name):
    """The engine sees the files in it wherever it is."""
    (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    tasks = chosen(six_files)
    monkeypatch.setattr(FileScan, "group", mock.Mock(side_effect=AssertionError))
    assert frame(together(tasks), tasks)["total"].sum() == sum(range(60))
    assert os.listdir(tmp_path / name) == []


def test_without_a_temporary_folder_the_files_are_grouped_one_by_one(
    six_files, tmp_path, monkeypatch
):
    """The answer is the same."""
    tasks = chosen(six_files)
    expected = frame(together(tasks), tasks)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    found = together(tasks)
    assert len(found) == len(tasks)
    pd.testing.assert_frame_equal(frame(found, tasks), expected)


def grouped(tasks, scan=FileScan):
    list(FilesTogether(Engine(), tasks, scan).group(grouping(tasks)))


def counted(tasks, scan=FileScan):
    FilesTogether(Engine(), tasks, scan).count()


@pytest.mark.parametrize("ask", [grouped, counted])
def test_a_damaged_file_is_named(six_files, ask):
    """What is read together is verified as well; and where it is not, the engine complains."""
    tasks = chosen(six_files, EACH)
    path = Path(tasks[2].file.path)
    content, end = path.read_bytes(), tasks[2].file.size - tasks[2].file.tail[0]
    path.write_bytes(content[:4] + bytes(byte ^ 1 for byte in content[4:end]) + content[end:])
    checksums.forget()
    with pytest.raises(CorruptFileError, match=path.name):
        ask(tasks)
    with pytest.raises(CorruptFileError, match=path.name):
        ask(tasks, partial(FileScan, verify=False))


@pytest.mark.parametrize("ask", [grouped, counted])
def test_a_missing_file_is_an_error(six_files, ask):
    """A newer generation may know why; the engine would take it for one without events."""
    tasks = chosen(six_files, EACH)
    Path(tasks[2].file.path).unlink()
    with pytest.raises(FileGoneError):
        ask(tasks)


@pytest.mark.parametrize("ask", [grouped, counted])
def test_a_file_that_goes_while_it_is_read_is_an_error(six_files, monkeypatch, ask):
    """The files are looked at again after the engine has read them."""
    tasks = chosen(six_files, EACH)
    found = FilesTogether._found

    def late(self, *arguments):
        Path(tasks[2].file.path).unlink()
        return found(self, *arguments)

    monkeypatch.setattr(FilesTogether, "_found", late)
    with pytest.raises(FileGoneError):
        ask(tasks)


def test_an_error_of_ours_is_no_damaged_file(six_files, monkeypatch):
    """It is raised as it is."""
    monkeypatch.setattr(FilesTogether, "_grouped", mock.Mock(side_effect=TypeError("a fault")))
    with pytest.raises(TypeError, match="a fault"):
        together(chosen(six_files))
    error = CorruptFileError("damaged")
    monkeypatch.setattr(FilesTogether, "_grouped", mock.Mock(side_effect=error))
    with pytest.raises(CorruptFileError, match="damaged"):
        together(chosen(six_files))


def test_what_is_stopped_reads_nothing_more(six_files):
    """Its answer counts no more."""
    tasks = chosen(six_files)
    several = FilesTogether(Engine(), tasks, FileScan)
    several.stop()
    assert several.count() == 0
    assert list(several.group(grouping(tasks))) == []
