"""Small logs that are read together give what each gives alone."""

from __future__ import annotations

import io
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vastlab import readers
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import FormatError
from vastlab.readers.problems import Problems
from vastlab.store import checksums, follow, read_ahead, small_logs
from vastlab.store.database import Database
from vastlab.store.ingest import ingest
from vastlab.store.log_folder import LogFolder

FIELDS = "#fields\tts\tuid\tid.orig_h\tn\tx\tok\tgap\ttags\tnets"
TYPES = "#types\ttime\tstring\taddr\tcount\tdouble\tbool\tinterval\tset[string]\tset[subnet]"
LINE = "1.5\tC{}\t10.0.0.{}\t{}\t0.25\tT\t0.1\ta,b\t10.0.0.0/8"
# One value that is unusual, or does not match its type.
VALUES = {
    0: ["-", "1e-3", "99999999999", "x", "1.5x", ""],
    1: ["-", "(empty)", "\\x41", "\\xff", "ä", "\x00", "#close", " ", "\ufeff"],
    2: ["-", "::1", "300.1.1.1", "fe80::1%eth0", "1.2.3.4"],
    3: ["-", "-1", "18446744073709551615", "18446744073709551616", "1.0", "01"],
    4: ["-", "1e999", "NaN", "inf", "-0", "1e-05", "x"],
    5: ["-", "F", "T ", "true"],
    6: ["-", "0.1234567891", "-0.5", "1e-05"],
    7: ["-", "(empty)", "a,-", ",", "a"],
    8: ["-", "(empty)", "10.0.0.1/8", "x,10.0.0.0/8"],
}
# Lines that are none, or not complete.
ODD = ["", " ", "\t", "#close\t2", "#path\tdns", FIELDS, TYPES, "#", "a\tb", LINE + "\tx", "\r"]
LOG_TEXTS = ("#separator \\x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-")


@st.composite
def lines(draw):
    """Draw a line, which is mostly what Zeek writes."""
    number = draw(st.integers(0, 250))
    values = LINE.format(*[number] * 3).split("\t")
    match draw(st.integers(0, 29)):
        case 0:
            return draw(st.sampled_from(ODD))
        case 1 | 2:
            column = draw(st.sampled_from(sorted(VALUES)))
            values[column] = draw(st.sampled_from(VALUES[column]))
    return "\t".join(values)


@st.composite
def logs(draw):
    """Draw a log: most have a common header, an end and complete lines."""
    rare = st.integers(0, 19).map(lambda number: number == 19)
    texts = list(LOG_TEXTS)
    if draw(rare):
        texts[draw(st.integers(0, 3))] = draw(
            st.sampled_from(["#separator ,", "#set_separator\t|", "#empty_field\t", "#unset_field"])
        )
    path = draw(st.sampled_from([*["conn"] * 8, "dns", ""]))
    opened = [f"#open\t{draw(st.integers(0, 9))}"] if draw(st.booleans()) else []
    body = draw(st.lists(lines(), min_size=0 if draw(rare) else 1, max_size=6))
    close = [f"#close\t{draw(st.integers(0, 9))}"] if draw(st.booleans()) else []
    text = "\n".join([*texts, f"#path\t{path}", *opened, FIELDS, TYPES, *body, *close, ""])
    text = text.replace("\n", "\r\n") if draw(rare) else text
    encoding = "utf-8" if not draw(rare) else draw(st.sampled_from(["utf-8-sig", "cp1252"]))
    data = text.encode(encoding, "replace")
    return data[:-1] if draw(rare) else data


folders = st.lists(logs(), min_size=2, max_size=12)


@given(folders)
def test_reading_together_is_reading_each_alone(contents):
    """What is read together has the same events, and no problem."""
    found = read_ahead.read_together({str(i): data for i, data in enumerate(contents)}, {})
    for path, ready in found.items():
        problems = Problems()
        data = contents[int(path)]
        [batch] = readers.read(io.BytesIO(data), problems=problems)
        assert ready.content == data
        assert problems.count == 0
        events = ready.layout.events(ready.rows)
        assert events.schema.equals(batch.schema, check_metadata=True)
        assert repr(events.to_pylist()) == repr(batch.to_pylist())  # NaN is not equal to itself


def plain(number, *more):
    body = [LINE.format(number, number, i) for i in range(3)]
    return "\n".join([*LOG_TEXTS, "#path\tconn", FIELDS, TYPES, *body, *more, ""]).encode()


@pytest.mark.parametrize(
    "line", [LINE.format(1, 1, "x"), "a\tb", "", "#path\tdns", LINE.format("\r", 1, 1)]
)
def test_an_unusual_log_does_not_keep_others_from_being_read_together(line):
    """It alone is left out."""
    contents = {str(i): plain(i) for i in range(100)}
    odd = {"odd": plain(0, line)}
    assert read_ahead.read_together(odd | contents, {}).keys() == contents.keys()
    assert read_ahead.read_together(contents | odd, {}).keys() == contents.keys()
    assert not read_ahead.read_together(odd, {})


def test_where_many_logs_have_problems_all_are_read_alone():
    """To look for those without would take longer."""
    bad = {f"bad {i}": plain(0, LINE.format(1, 1, "x")) for i in range(read_ahead._FEW + 1)}
    assert not read_ahead.read_together({"good": plain(0), "other": plain(1)} | bad, {})


def test_logs_of_many_windows_are_read_in_their_order(tmp_path, monkeypatch):
    """A few bytes at a time; large logs and those that are gone are left to be read alone."""
    monkeypatch.setattr(read_ahead, "_WINDOW", 3 * len(plain(0)))
    monkeypatch.setattr(read_ahead, "_SMALL", len(plain(0)))
    contents = [plain(0, "#close\t1") if i % 5 == 0 else plain(i % 10) for i in range(20)]
    write(tmp_path, contents)
    states = follow.list_files(tmp_path, ())
    (tmp_path / "11.log").unlink()
    found = list(read_ahead.read_ahead(states, lambda state: state if state.idle else None, {}))
    assert [state for state, _ in found] == states
    alone = [i for i, (_, ready) in enumerate(found) if ready is None]
    assert alone == [0, 5, 10, 11, 15]


def write(folder, contents):
    """Write logs that were not written to for a while."""
    folder.mkdir(exist_ok=True)
    for i, content in enumerate(contents):
        path = folder / f"{i:02}.log"
        path.write_bytes(content)
        os.utime(path, (path.stat().st_atime - 3600, path.stat().st_mtime - 3600))


def state(folder):
    """Return all that is known of a folder: events, sources and problems."""
    snapshot = folder.refresh().snapshot()
    events = []
    for file in snapshot.files:
        layout = snapshot.layouts[file.fingerprint]
        for rows in checksums.read(file, layout):
            batch = layout.events(rows)
            name = arrow_schema.name_of(batch.schema)
            events += [(name, repr(row)) for row in batch.to_pylist()]
    known = ("key", "size", "digest", "format", "lines", "appendable", "problems", "problem_count")
    known += ("tail_size", "tail_digest", "tail_problem", "origin", "remarks")
    sources = [
        [getattr(source, name) for name in known] + [len(source.segments)]
        for source in snapshot.sources.values()
    ]
    return sorted(events), sorted(sources), folder.problems, folder.remarks, folder.problem_count


@settings(max_examples=30)
@given(folders, st.data())
def test_a_folder_is_the_same_with_and_without_reading_ahead(contents, data):
    """Events, problems and sources; also when one of the logs is gone."""
    with (
        tempfile.TemporaryDirectory() as place,
        mock.patch.object(small_logs, "_MIN_GROUP", 2),
    ):
        path = Path(place, "logs")
        write(path, [b'{"n": 1}\n', *contents])
        ahead = LogFolder(path, Path(place, "ahead"))
        with mock.patch.object(read_ahead, "_SMALL", -1):
            alone = LogFolder(path, Path(place, "alone"))
            expected = state(alone)
        assert state(ahead) == expected
        os.unlink(data.draw(st.sampled_from(sorted(path.iterdir()))))
        assert state(ahead) == state(alone)


def imported(path, database, **options):
    """Import a folder; return its events, sources, report and the database."""
    database = Database.create(database)
    try:
        report = ingest(database, path, **options)
    except FormatError as error:
        return str(error)
    snapshot = database.snapshot()
    tables = [pq.read_table(file.path).drop("#import_time") for file in snapshot.files]
    events = sorted(repr(row) for table in tables for row in table.to_pylist())
    sources = {source.key: (source.content, source.stamp) for source in snapshot.sources.values()}
    return events, sources, replace(report, elapsed=0.0)


@settings(max_examples=30)
@given(folders, st.booleans(), st.sampled_from([None, "zeek", "json"]))
def test_an_import_is_the_same_with_and_without_reading_ahead(contents, strict, format_):
    """Events, sources and what the report says; also where logs occur twice."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "logs")
        write(path, [b'{"n": 1}\n', *contents, *contents[:1]])
        options = {"strict": strict, "format": format_}
        found = imported(path, Path(place, "ahead"), **options)
        with mock.patch.object(read_ahead, "_SMALL", -1):
            assert found == imported(path, Path(place, "alone"), **options)


def test_what_is_no_file_is_not_held_back():
    """Events in memory are read when they come, not once all files are listed."""
    sources = iter([1, 2, 3])
    ahead = read_ahead.read_ahead(sources, lambda _: None, {})
    assert next(ahead) == (1, None)
    assert next(sources) == 2
