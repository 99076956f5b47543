"""A result as one page: complete, safe, without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import arrow_strategies as arrow
from tests import hostile
from tests.display.conftest import conn, wide
from vastlab import errors
from vastlab.connection import connect
from vastlab.display import page
from vastlab.display.preview import Outcome
from vastlab.result import Result

TAGS = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "dl", "dt", "dd", "code"}
TAGS |= {"img", "div", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "section"}
TAGS |= {"ol", "li"}
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "title", "alt", "src"}
ATTRIBUTES |= {"open"}


class Parsed(HTMLParser):
    """The elements, attributes and text of a page, which must be balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def written(result: Result, folder, **how) -> str:
    """Return the page of a result."""
    result.to_html(folder / "case.html", **how)
    return (folder / "case.html").read_text(encoding="utf-8")


def check_safe(text: str) -> Parsed:
    """Check that a page has no element, attribute or address but its own."""
    parsed = Parsed(text)
    assert set(parsed.tags) <= TAGS
    assert {name for name, _ in parsed.attributes} <= ATTRIBUTES
    sources = [value for name, value in parsed.attributes if name == "src"]
    assert all(value.startswith("data:image/png;base64,") for value in sources)
    assert parsed.tags.count("style") == 1
    assert hostile.controls(text) == []
    return parsed


@pytest.fixture
def result() -> Result:
    """Two schemas of a stopped query."""
    tables = {"zeek.dns": [conn([7], name="zeek.dns")], "zeek.conn": [conn([20, 0, 10])]}
    outcome = Outcome(
        "resp_p == 80",
        partial=True,
        elapsed=0.5,
        endpoint="demo:",
        asked=1_772_600_767_000_000_000,
        since=1_772_582_400_000_000_000,
    )
    return Result(tables, outcome, zone=ZoneInfo("Europe/Berlin"))


def test_the_page_says_what_was_asked_and_found(result, tmp_path):
    """Query, endpoint, time, counts and whether it is partial come first, in the zone."""
    parsed = check_safe(written(result, tmp_path))
    told = " ".join(parsed.texts)
    for text in (
        "partial: stopped after 4 events",
        "resp_p == 80",
        "demo:",
        "2026-03-04 06:06:07",
        "2026-03-04 01:00:00",
        "4 events in 2 schemas",
        "no, the query was stopped",
        "Europe/Berlin",
        "2009-11-18 09:00:00 to 2009-11-18 09:00:20",
    ):
        assert text in told
    assert parsed.tags.count("img") == 1
    assert "10.0.0.1" in told


def test_the_policy_allows_only_the_style_of_the_page(result, tmp_path):
    """The digest in the policy is that of the style sheet; all else is forbidden."""
    text = written(result, tmp_path)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert "prefers-color-scheme: dark" in style
    assert not re.search(r"https?:|url\(|@import|<script|<link", text)


def test_rows_that_are_left_out_are_counted(tmp_path):
    """No more rows than asked for are shown, the first in time, and the rest is counted."""
    events = Result({"zeek.conn": [conn(range(30))]})
    told = " ".join(check_safe(written(events, tmp_path, rows=7)).texts)
    assert "7 of 30 events" in told
    assert "23 events left out" in told
    assert "n6" in told
    assert "n7" not in told


def test_columns_without_a_value_are_left_out_and_counted(tmp_path):
    """A column that is null in all rows shown takes no room."""
    table = pa.table({"a": [1, 2], "b": pa.array([None, None], pa.string())})
    parsed = check_safe(written(Result({"x": [table]}), tmp_path))
    assert "1 of 2 columns" in " ".join(parsed.texts)
    assert parsed.tags.count("th") == 3 + 1


def test_a_page_has_a_bound(tmp_path, monkeypatch):
    """A page that is full says how much is left out."""
    monkeypatch.setattr(page, "_MOST_BYTES", 20_000)
    tables = {f"s{i}": [wide(20, 20, "x" * 30, f"s{i}")] for i in range(5)}
    text = written(Result(tables), tmp_path)
    assert "the page is full: 80 events of 4 schemas are left out" in text
    assert len(text) < 40_000


def test_queries_that_led_to_a_result_are_listed(tmp_path):
    """What was filtered and pivoted from is told in order, with the last query at the end."""
    with connect("demo:") as vast:
        first = vast.query("10.1.4.17 && resp_p == 3389", limit=3)
        then = first.where("orig_bytes > 0").pivot("uid")
    items = re.findall(r"<li>(.*?)</li>", written(then, tmp_path))
    assert [re.sub("<.*?>", "", item) for item in items[:2]] == [
        ":ip == 10.1.4.17 &amp;&amp; resp_p == 3389",
        ":ip == 10.1.4.17 &amp;&amp; resp_p == 3389 &amp;&amp; orig_bytes &gt; 0",
    ]
    assert len(items) == 3
    assert "uid in [" in items[2]
    assert "led here" not in written(first, tmp_path, overwrite=True)


def test_long_queries_open(tmp_path):
    """A query of many values is shown whole only when it is opened."""
    result = Result({}, Outcome("x in [" + ", ".join(map(str, range(1000))) + "]"))
    parsed = check_safe(written(result, tmp_path))
    assert [len(text) for text in parsed.texts if text.startswith("x in")] == [100, 300, 4895]


def test_hostile_events_are_text(tmp_path):
    """Hostile names, values, labels and queries appear as text, with controls made visible."""
    with connect(hostile.database(tmp_path)) as vast:
        result = vast.query("text == $x || src_ip", params={"x": hostile.EVIL[1]}, limit=0)
        found = result.where("text != $x", params={"x": hostile.EVIL[0] + "\x1b[31m"})
    parsed = check_safe(written(found, tmp_path))
    told = "\n".join(parsed.texts)
    assert "<script>window.__p=1</script>" in told
    assert "\\x1b[31mred\\x1b[0m\\x07" in told
    assert "safe\\u202egnp.exe" in told


@settings(max_examples=25)
@given(st.data())
def test_pages_of_any_events_are_safe(tmp_path_factory, data):
    """Whatever the schema and the values are, the page is balanced and has only its own markup."""
    schema, batch = data.draw(arrow.tables(depth=1))
    folder = tmp_path_factory.mktemp("page")
    result = Result(
        {schema.name: [pa.Table.from_batches([batch])]}, Outcome(data.draw(arrow.texts()))
    )
    check_safe(written(result, folder))


def test_no_events_and_no_matplotlib_are_fine(result, tmp_path, monkeypatch):
    """Without events or without matplotlib there is a page without a picture."""
    assert "no events" in written(Result({}), tmp_path)
    monkeypatch.setitem(sys.modules, "vastlab.display.figures", None)
    parsed = check_safe(written(result, tmp_path, overwrite=True))
    assert "img" not in parsed.tags


def test_files_are_replaced_only_if_asked(result, tmp_path):
    """A file of that name is kept unless `overwrite` says otherwise; a folder always."""
    (tmp_path / "case.html").write_text("mine")
    with pytest.raises(errors.UsageError, match="exists"):
        result.to_html(tmp_path / "case.html")
    assert (tmp_path / "case.html").read_text() == "mine"
    with pytest.raises(errors.UsageError, match="is a folder"):
        result.to_html(tmp_path, overwrite=True)
    result.to_html(tmp_path / "case.html", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["case.html"]


def test_a_full_disk_leaves_the_old_page(result, tmp_path, monkeypatch):
    """Where writing fails, the old file stays, nothing else does, and one line says why."""
    (tmp_path / "case.html").write_text("mine")

    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("vastlab.store.disk.os.write", full)
    with pytest.raises(errors.DatabaseError, match="cannot be written: No space left on device"):
        result.to_html(tmp_path / "case.html", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["case.html"]
    assert (tmp_path / "case.html").read_text() == "mine"


@pytest.mark.parametrize("rows", [-1, True, "5"])
def test_rows_must_be_a_number(result, tmp_path, rows):
    """A wrong number is one clear line, and nothing is written."""
    with pytest.raises(errors.UsageError, match="takes a number of events"):
        result.to_html(tmp_path / "case.html", rows=rows)
    assert list(tmp_path.iterdir()) == []
