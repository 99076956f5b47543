"""Counting in many small files at once: the same numbers, checks and errors as in each alone."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import expression_strategies as strategies
from tests import reference_evaluator as reference
from tests.nodes.conftest import chosen
from vastlab.arrow import convert
from vastlab.arrow.schema import IMPORT_TIME
from vastlab.errors import CorruptFileError
from vastlab.expression import parse
from vastlab.expression.taxonomy import Taxonomy
from vastlab.nodes import plan, small_files
from vastlab.nodes.base import Query
from vastlab.nodes.embedded import EmbeddedNode
from vastlab.nodes.engine import Engine
from vastlab.nodes.scan import FileGoneError, FileScan
from vastlab.nodes.small_files import SmallFiles, bundles
from vastlab.store import checksums
from vastlab.store.database import Database

EACH = "resp_p in [5, 15, 25, 35, 45, 55]"  # one in each file


@strategies.share(30)
@given(data=st.data())
def test_counts_equal_the_reference(tmp_path_factory, data):
    """Every expression finds the same events in many files as in one."""
    events = data.draw(strategies.events(max_rows=12))
    nested = convert.nest(events.flat.drop_columns([IMPORT_TIME]), events.schema)
    database = Database.create(tmp_path_factory.mktemp("small") / "test.db")
    for start in range(0, len(nested), 3):
        database.add([nested.slice(start, 3)])
    snapshot, engine = database.snapshot(), Engine()
    for expr in data.draw(st.lists(strategies.expressions(events), min_size=3, max_size=6)):
        if IMPORT_TIME in str(expr):  # which is another one in the database
            continue
        tasks = list(plan.tasks(Query(expr), snapshot.layouts, snapshot.files))
        found = SmallFiles(engine, tasks, FileScan).count() if tasks else 0
        assert found == sum(reference.answers(expr, events.schema, events.rows, Taxonomy())), expr


def test_only_small_files_of_one_layout_are_read_together(six_files, monkeypatch):
    """A large file, and few small ones, are scanned alone."""
    tasks = chosen(six_files, 'n != 15 || query == "a"')
    assert [len(part) for part in bundles(tasks)] == [6, 1]
    assert [task for part in bundles(tasks) for task in part] == tasks
    assert [len(part) for part in bundles(tasks[:3])] == [1, 1, 1]
    with mock.patch.object(small_files, "_MOST_ROWS", 45):
        assert [len(part) for part in bundles(tasks)] == [4, 1, 1, 1]
    with mock.patch.object(small_files, "_SMALL", 9):
        assert [len(part) for part in bundles(tasks)] == [1] * 7


async def test_a_count_of_small_files_makes_no_scan_of_each(six_files, monkeypatch):
    """One plan for all of them."""
    monkeypatch.setattr(FileScan, "count", mock.Mock(side_effect=AssertionError))
    node = EmbeddedNode(six_files.path)
    assert await node.counts(Query(parse(EACH))) == {"zeek.conn": 6}
    await node.aclose()


def test_a_damaged_file_is_found(six_files):
    """What is read together is verified as well."""
    tasks = chosen(six_files, EACH)
    path = Path(tasks[2].file.path)
    content, end = path.read_bytes(), tasks[2].file.size - tasks[2].file.tail[0]
    path.write_bytes(content[:4] + bytes(byte ^ 1 for byte in content[4:end]) + content[end:])
    checksums.forget()
    with pytest.raises(CorruptFileError, match=path.name):
        SmallFiles(Engine(), tasks, FileScan).count()


def test_a_missing_file_is_an_error(six_files):
    """A newer generation may know why."""
    tasks = chosen(six_files, EACH)
    Path(tasks[2].file.path).unlink()
    with pytest.raises(FileGoneError):
        SmallFiles(Engine(), tasks, FileScan).count()


def test_a_stopped_count_reads_nothing_more(six_files):
    """Its answer counts no more."""
    several = SmallFiles(Engine(), chosen(six_files, "n != 15"), FileScan)
    several.stop()
    assert several.count() == 0
