"""Results."""

from __future__ import annotations

import csv
import importlib
import pickle
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vastlab
from tests import arrow_strategies as arrow
from tests.display.conftest import START, conn, wide
from vastlab import errors
from vastlab.connection import connect
from vastlab.display.preview import Outcome
from vastlab.result import Result
from vastlab.store.database import Database


@pytest.fixture
def result() -> Result:
    """Two schemas; the connections are not in order of time."""
    tables = {"zeek.dns": [conn([7], name="zeek.dns")], "zeek.conn": [conn([20, 0, 10])]}
    return Result(tables, Outcome("resp_p == 80", "historical", 4, 0.5, limit_reached=True))


def _rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_result_is_a_mapping_of_frames(result):
    """Names lead to frames, in the order of the names."""
    assert list(result) == ["zeek.conn", "zeek.dns"]
    assert len(result) == 2
    assert "zeek.conn" in result
    assert "nope" not in result
    assert all(isinstance(frame, pd.DataFrame) for frame in result.values())
    assert result.get("nope") is None


def test_frames_are_made_once(result):
    """The same name gives the same frame, so that what is added to it stays."""
    assert result["zeek.conn"] is result["zeek.conn"]


def test_a_result_passes_between_processes(tmp_path, result):
    """Pickle keeps the events and how they were found, and leaves the connection behind."""
    tokyo = ZoneInfo("Asia/Tokyo")
    with connect(str(tmp_path)) as source:
        there = Result(result.to_arrow(), Outcome("resp_p == 80"), zone=tokyo, source=source)
        copy = pickle.loads(pickle.dumps(there))  # noqa: S301 - our own bytes
    assert copy.to_arrow() == result.to_arrow()
    assert copy.expression == "resp_p == 80"
    assert copy["zeek.conn"].equals(result["zeek.conn"])
    with pytest.raises(errors.UsageError, match="connection"):
        copy.pivot("uid")


def test_frames_are_in_event_time_order(result):
    """Events of a frame are in order of time."""
    assert result["zeek.conn"]["note"].tolist() == ["n1", "n2", "n0"]


def test_a_missing_schema_is_named(result):
    """A name that is not there is an error that lists what is, and a KeyError for mappings."""
    with pytest.raises(errors.UsageError, match=r"'zeek.http'.*zeek.conn, zeek.dns"):
        result["zeek.http"]
    with pytest.raises(KeyError):
        result["zeek.http"]


def test_one_wants_one_schema(result):
    """`one` gives the only frame, and refuses to choose."""
    assert len(Result({"zeek.conn": [conn([0, 1])]}).one()) == 2
    with pytest.raises(errors.UsageError, match=r"has 2: zeek.conn, zeek.dns"):
        result.one()
    with pytest.raises(errors.UsageError, match="has 0"):
        Result({}).one()


def test_facts(result):
    """The question and the end of the query can be read."""
    facts = (result.expression, result.mode, result.limit, result.elapsed)
    assert facts == ("resp_p == 80", "historical", 4, 0.5)
    assert (result.limit_reached, result.partial) == (True, False)
    assert (result.num_rows, result.names) == (4, ["zeek.conn", "zeek.dns"])


def test_arrow_tables_stay_as_they_arrived(result):
    """Tables come back unchanged, one for each layout, and the result cannot be changed by them."""
    tables = result.to_arrow()
    assert tables["zeek.conn"] == [conn([20, 0, 10])]
    tables["zeek.conn"].clear()
    assert result.num_rows == 4


def test_dicts_are_rows(result):
    """Every event becomes a nested dictionary of plain values."""
    (row,) = result.to_dicts()["zeek.dns"]
    assert row["id"] == {"orig_h": "10.0.0.1", "resp_p": 0}
    assert row["note"] == "n0"


def test_summary(result):
    """The summary has a row for each schema, most events first."""
    summary = result.summary()
    assert summary.index.tolist() == ["zeek.conn", "zeek.dns"]
    assert summary["events"].tolist() == [3, 1]
    assert summary["first"].tolist()[0] == pd.Timestamp(START, tz="UTC")
    assert Result({"x": [wide(1, 1, "x")]}).summary()["first"].isna().all()


def test_polars_is_optional(result, monkeypatch):
    """Without polars there is one error that says how to get it."""
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(errors.UsageError, match=r"'polars'.* not installed.*vastlab\[polars\]"):
        result.to_polars()


def test_polars_frames(result):
    """Where polars is there, each schema is a flat frame."""
    pytest.importorskip("polars", reason="polars is an extra")
    frame = result.to_polars()["zeek.conn"]
    assert frame.columns == ["ts", "id.orig_h", "id.resp_p", "note"]
    assert frame["id.orig_h"].to_list() == ["10.0.0.1"] * 3


# --- files ----------------------------------------------------------------------------------


def test_parquet_is_a_database(result, tmp_path):
    """What is written is a vastlab database with the same events and types."""
    result.to_parquet(tmp_path / "case")
    snapshot = Database.open(tmp_path / "case").snapshot()
    assert snapshot.counts == {"zeek.conn": 3, "zeek.dns": 1}
    assert [str(leaf.type) for leaf in snapshot.schemas()["zeek.conn"].leaves] == [
        "timestamp",
        "ip",
        "port",
        "string",
    ]


def test_csv_files_are_flat_and_ordered(result, tmp_path):
    """Each schema is a file with flat columns, in event-time order."""
    result.to_csv(tmp_path / "case")
    rows = _rows(tmp_path / "case", "zeek.conn")
    assert [row["note"] for row in rows] == ["n1", "n2", "n0"]
    assert {row["#type"] for row in rows} == {"zeek.conn"}
    assert rows[0]["id.orig_h"] == "10.0.0.1"
    assert len(list((tmp_path / "case").iterdir())) == 2


def test_csv_keeps_values_by_default(tmp_path):
    """Values are exact; `safe` quotes formulas, `defang` breaks links."""
    result = Result({"x": [conn([0, 1], ["=1+1", "http://evil.example"])]})
    result.to_csv(tmp_path / "exact")
    result.to_csv(tmp_path / "safe", safe=True, defang=True)
    exact = [row["note"] for row in _rows(tmp_path / "exact", "x")]
    safe = [row["note"] for row in _rows(tmp_path / "safe", "x")]
    assert exact == ["=1+1", "http://evil.example"]
    assert safe == ["'=1+1", "hxxp://evil[.]example"]


@pytest.mark.parametrize("write", [Result.to_csv, Result.to_parquet])
def test_nothing_is_overwritten(result, tmp_path, write):
    """A folder with anything in it, and a file, are refused and left alone."""
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(errors.UsageError, match="not empty"):
        write(result, tmp_path)
    with pytest.raises(errors.UsageError, match="is a file"):
        write(result, tmp_path / "note.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_a_failed_write_leaves_nothing(result, tmp_path, monkeypatch):
    """Where writing fails half-way, the folder is as it was."""

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("vastlab.display.files.render.write_csv", fail)
    with pytest.raises(errors.DatabaseError, match="cannot be written: disk full"):
        result.to_csv(tmp_path / "case")
    assert not (tmp_path / "case").exists()


def test_hostile_names_stay_in_the_folder(tmp_path):
    """A schema name cannot choose where its file goes."""
    Result({"../../evil": [conn([0])]}).to_csv(tmp_path / "a" / "b")
    assert [path.parent for path in tmp_path.rglob("*.csv")] == [tmp_path / "a" / "b"]


@given(st.data())
def test_csv_of_any_events(tmp_path_factory, data):
    """Whatever types events have, they can be written, one line for each event."""
    schema, batch = data.draw(arrow.tables(min_fields=1, depth=1))
    folder = tmp_path_factory.mktemp("csv") / "out"
    Result({"x": [pa.Table.from_batches([batch])]}).to_csv(folder, safe=True, defang=True)
    with (folder / "x.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    width = 1 + len(schema.leaves)
    assert [len(line) for line in lines] == [width] * (1 + batch.num_rows)


# --- displays -------------------------------------------------------------------------------


def test_both_displays(result):
    """A result has a text for terminals and HTML for notebooks."""
    assert repr(result).startswith("first 4 events (limit reached; limit 0 for all)\n4 events in 2")
    assert "<details" in result._repr_html_()
    assert result.line().endswith("resp_p == 80")


def test_show_is_a_safe_view():
    """`show` makes controls and markup visible in both displays; the frame stays exact."""
    evil = "\x1b[2J<script>"
    result = Result({"x": [conn([0], [evil])]})
    view = result.show()
    assert r"\x1b[2J<script>" in repr(view)
    assert r"\x1b[2J&lt;script&gt;" in view._repr_html_()
    assert result.one()["note"].tolist() == [evil]


def test_show_wants_a_schema_and_a_number(result):
    """With several schemas one must be named, and the number must be one."""
    assert "2 of 3 events" in repr(result.show("zeek.conn", 2))
    with pytest.raises(errors.UsageError, match=r"zeek\.conn, zeek\.dns"):
        result.show()
    for number in (-1, True, "3"):
        with pytest.raises(errors.UsageError, match="number of events"):
            result.show("zeek.conn", number)


def test_showing_makes_no_frame(result):
    """The displays look at Arrow only, so that showing millions of events is cheap."""
    repr(result)
    result._repr_html_()
    assert result._frames == {}


@pytest.mark.parametrize("tables", [{}, {"zeek.conn": [conn([])]}])
def test_pictures_of_no_events_say_so(tables):
    """Where a query found nothing, each picture says that, whatever was to be drawn."""
    found = Result(tables)
    for picture in (found.timeline(), found.timeline("note"), found.top("note"), found.graph()):
        (text,) = picture.axes[0].texts
        assert text.get_text() == "no events"


def test_timeline(result):
    """The picture of a result is one that a notebook shows."""
    assert result.timeline()._repr_png_().startswith(b"\x89PNG")


def test_names_are_offered_for_completion(result):
    """A notebook completes ``result["``."""
    assert result._ipython_key_completions_() == ["zeek.conn", "zeek.dns"]


def test_results_are_compared_by_identity(result):
    """Comparing results asks nothing of frames, which have no single answer."""
    assert result == result
    assert result != Result(result.to_arrow())
    assert len({result, result}) == 1


def test_where_filters_without_asking_again():
    """``where`` keeps the events that match, in every schema, and says of how many."""
    hits = Result(
        {"zeek.conn": [conn([3, 1, 2]), conn([9])], "zeek.dns": [conn([5], name="zeek.dns")]},
        Outcome("resp_p >= 0", limit=5, limit_reached=True),
    )
    few = hits.where("resp_p >= $port", params={"port": 1})
    assert {name: len(frame) for name, frame in few.items()} == {"zeek.conn": 2}
    assert few.expression == "resp_p >= 0 && resp_p >= 1"
    assert few.limit_reached
    assert repr(few).startswith("of the first 5 events (limit reached; limit 0 for all)\n2 events")
    assert few.where("").num_rows == 2
    assert few.where("resp_p == 2").where("resp_p == 1").num_rows == 0


def test_where_remarks_on_unknown_names():
    """A field that no event here has is warned of, and finds nothing."""
    hits = Result({"zeek.conn": [conn([1])]})
    with pytest.warns(errors.VastlabWarning, match="resp_q"):
        assert hits.where("resp_q == 1").num_rows == 0


@pytest.mark.parametrize("expression", ["resp_p ==", "resp_p == $x"])
def test_where_accepts_expressions_only(expression):
    """``where`` raises the errors of a query."""
    with pytest.raises(errors.ExpressionError):
        Result({"zeek.conn": [conn([1])]}).where(expression)


def _hard() -> dict[str, Result]:
    fields = [pa.field("n", pa.int64())]
    nothing = pa.table({"n": []}, pa.schema(fields, metadata={"VAST:name:0": "none"}))
    return {
        "no rows": Result({"none": [nothing]}),
        "nothing": Result({}),
        "2,000 columns": Result({"wide": [wide(2_000, 5, "x")]}),
        "300 schemas": Result({f"s{n}": [conn([n], name=f"s{n}")] for n in range(300)}),
        "strings of a megabyte": Result({"x": [conn([0, 1, 2], ["<&\x1b\u202e" * 250_000] * 3)]}),
    }


@pytest.mark.parametrize("case", list(_hard()))
def test_hard_results_stay_small(case):
    """Whatever a result holds, its displays stay small and its conversions work."""
    result = _hard()[case]
    assert len(repr(result)) < 10_000
    markup = result._repr_html_()
    assert len(markup) < 200_000
    assert not {"\x1b", "\u202e"} & set(repr(result) + markup)
    assert len(result.line()) < 500
    assert len(result.summary()) == len(result)
    assert {name: len(frame) for name, frame in result.items()} == {
        name: sum(part.num_rows for part in parts) for name, parts in result.to_arrow().items()
    }
    assert result.timeline()._repr_png_()
    assert result.where("").num_rows == result.num_rows
    assert result.tabs() is not None


@pytest.mark.parametrize("call", ["top", "graph"])
@pytest.mark.parametrize("n", [-1, True, "3", 5_000])
def test_pictures_want_a_number_that_can_be_drawn(call, n):
    """A picture takes a number of marks, and not too many."""
    result = Result({"zeek.conn": [conn([1])]})
    with pytest.raises(errors.UsageError, match=call):
        result.top("note", n) if call == "top" else result.graph(n=n)


def test_pictures_of_a_result():
    """Top values, a timeline by a field and a graph are pictures that a notebook shows."""
    result = Result({"zeek.conn": [conn([1, 2, 3])]})
    for picture in (
        result.top("note"),
        result.timeline("note"),
        result.graph("id.orig_h", "note"),
    ):
        assert picture._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(errors.UsageError, match="'nope'"):
        result.timeline("nope")


def test_pictures_say_what_is_missing(monkeypatch):
    """Without matplotlib each picture says what to install."""
    found = importlib.import_module

    def missing(name):
        if name == "vastlab.display.figures":
            raise ModuleNotFoundError("no", name="matplotlib")
        return found(name)

    monkeypatch.setattr("vastlab._optional.importlib.import_module", missing)
    result = Result({"zeek.conn": [conn([1])]})
    for draw in (result.timeline, result.graph, lambda: result.top("note")):
        with pytest.raises(errors.UsageError, match=r"vastlab\[plots\]"):
            draw()


@pytest.mark.parametrize("path", [3, None, b"x", ["x"], "a\0b", "~no such user/x"])
@pytest.mark.parametrize(
    "call",
    [
        Result({}).to_html,
        Result({}).to_csv,
        Result({}).to_parquet,
        vastlab.indicators,
        vastlab.start_node,
        lambda path: vastlab.VAST("demo:", taxonomy=path or 0),
    ],
)
def test_what_is_no_path_is_one_clear_line(call, path):
    """Of every call that takes a path."""
    with pytest.raises(errors.UsageError, match=r"must be a path|null character|no such user"):
        call(path)
