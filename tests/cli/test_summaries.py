"""Groups on the shell: summarize, top and timeline."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pytest

import vastlab
from tests.cli.program import one_line


def rows(capfd):
    """Return the lines of JSON on standard output."""
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_aggregates_and_an_expression_in_any_order(shell, capfd, database):
    """What is written NAME=FUNCTION(FIELD) is an aggregate, anything else the expression."""
    command = ["summarize", "-e", database, "--by", "proto", "--by", "#type"]
    assert shell(*command, "n=count()", "resp_p == 443", "bytes=sum(orig_bytes)") == 0
    first = rows(capfd)
    assert first
    assert all(list(row) == ["proto", "#type", "n", "bytes"] for row in first)
    assert shell(*command, "n=count()", "bytes=sum(orig_bytes)", "resp_p == 443") == 0
    assert rows(capfd) == first
    assert shell("count", "-e", database, "resp_p == 443") == 0
    assert int(capfd.readouterr().out) == sum(row["n"] for row in first)


def test_values_are_written_as_their_types_ask(shell, capfd, database):
    """Times in ISO 8601, durations with a unit, lists as JSON, null as nothing."""
    values = ["first=min(ts)", "d=max(duration)", "p=distinct(proto)", "any=any(local_orig)"]
    command = ["summarize", "-e", database, "--every", "1d", *values, '#type == "zeek.conn"']
    assert shell(*command, "-f", "json") == 0
    found = rows(capfd)
    assert found[0]["time"].endswith("T00:00:00")
    assert found[0]["first"] >= found[0]["time"]
    assert found[0]["d"].endswith(("s", "min", "h"))
    assert set(found[0]["p"]) <= {"tcp", "udp", "icmp"}
    assert shell(*command, "-f", "csv") == 0
    table = list(csv.DictReader(io.StringIO(capfd.readouterr().out)))
    assert [json.loads(row["p"]) for row in table] == [row["p"] for row in found]
    assert {row["any"] for row in table} <= {"true", "false", ""}


def test_a_limit_and_what_is_left_out_are_told(shell, capfd, database):
    """On stderr, each in a line."""
    assert shell("summarize", "-e", database, "--by", "id.orig_h", "-n", "1", "-f", "json") == 0
    answer = capfd.readouterr()
    assert len(answer.out.splitlines()) == 1
    assert "more groups; -n 0 for all" in answer.err
    assert "left out, without id.orig_h: demo.asset, suricata.alert, " in answer.err


def test_top_and_timeline_draw_bars(shell, capfd, database):
    """The longest bar is that of the largest value."""
    assert shell("top", "-e", database, "net.src.ip", "-n", "3", "-f", "table") == 0
    bars = [line.count("█") for line in capfd.readouterr().out.splitlines()]
    assert bars[2:] == sorted(bars[2:], reverse=True)
    assert max(bars) == 40
    assert shell("timeline", "-e", database, "--every", "1d", "-f", "table") == 0
    assert max(line.count("█") for line in capfd.readouterr().out.splitlines()) == 40
    assert shell("timeline", "-e", database, "-f", "json") == 0
    assert sum(row["events"] for row in rows(capfd)) == 3000


def test_nothing_is_an_empty_table(shell, capfd, database):
    """And a line says so."""
    assert shell("top", "-e", database, "proto", "resp_p == 65535", "-f", "table") == 0
    assert "nothing matches" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["summarize", "a=", "x"], "a must be an aggregate"),
        (["summarize", "a=total(b)"], "unknown function total"),
        (["summarize", "a=count()", "a=sum(orig_bytes)"], "the aggregate 'a' is given twice"),
        (["summarize", "resp_p == 1", "resp_p == 2"], "two expressions"),
        (["summarize", "sum(orig_bytes)"], "has no name (such as sum=sum(orig_bytes))"),
        (["summarize", "n=count()", " max(ts)", "resp_p == 2"], "such as max=max(ts)"),
        (["summarize", "--by", "srvice"], "did you mean service"),
        (["summarize", "--every", "0s"], "every must be more than 0 s"),
        (["top", "tunnel_parents"], "by cannot be tunnel_parents, which is a list"),
        (["top", "proto", "--by", "size"], "by must be an aggregate, got 'size'"),
        (["timeline", "--every", "soon"], "every must be a span of time"),
    ],
)
def test_wrong_input_is_one_clear_line(shell, capfd, database, arguments, message):
    """With exit code 2."""
    command, *rest = arguments
    assert shell(command, "-e", database, *rest) == 2
    assert message in one_line(capfd.readouterr().err)


@pytest.mark.parametrize("by", ["max(ts)", "max(query)", "distinct(query)", "sum(n)", "max(d)"])
def test_any_aggregate_can_rank(shell, capfd, tmp_path, by):
    """What is no number has no bar."""
    with vastlab.connect(tmp_path / "a.db") as vast:
        events = {"query": ["a", None], "n": pa.array([None, 1]), "d": [float("inf"), 1.0]}
        times = pa.array([1, 2], pa.timestamp("ns", "UTC"))
        vast.ingest(pa.table({"ts": times, "k": ["", "x;y"], **events}), schema="my.events")
    database = str(tmp_path / "a.db")
    for format_ in ("table", "json", "csv"):
        assert shell("top", "-e", database, "k", "--by", by, "-f", format_) == 0
        shown = capfd.readouterr()
        assert shown.err == ""
        assert "Infinity" not in shown.out
    assert '""' in shown.out
    assert '"x;y"' in shown.out


def test_the_bars_of_a_timeline_count_events_without_a_time(shell, capfd, tmp_path):
    """Their bar has no time; none is left out of the sum."""
    times = pa.array([0, None, None], pa.timestamp("ns", "UTC"))
    with vastlab.connect(str(tmp_path / "some.db")) as vast:
        vast.ingest(pa.table({"ts": times}), schema="my.events")
    assert shell("timeline", "-e", str(tmp_path / "some.db"), "--every", "1d", "-f", "table") == 0
    drawn = [line.split() for line in capfd.readouterr().out.splitlines()[2:]]
    assert [(words[0], words[-2]) for words in drawn] == [("1970-01-01T00:00:00", "1"), ("-", "2")]


def test_a_timeline_says_where_buckets_are_empty(shell, capfd, tmp_path):
    """Two bars that stand below each other would look like neighbours in time."""
    day = 86_400 * 10**9
    times = pa.array([0, day, 3660 * day, None], pa.timestamp("ns", "UTC"))
    with vastlab.connect(str(tmp_path / "some.db")) as vast:
        vast.ingest(pa.table({"ts": times}), schema="my.events")
    for command in (["timeline"], ["summarize"]):
        words = [*command, "-e", str(tmp_path / "some.db"), "--every", "1d", "-f", "table"]
        assert shell(*words) == 0
        lines = capfd.readouterr().out.splitlines()[2:]
        assert [line.split()[0] for line in lines] == [
            "1970-01-01T00:00:00", "1970-01-02T00:00:00", "...", "1980-01-09T00:00:00", "-",
        ]  # fmt: skip
        assert lines[2].strip() == "... 10 years without events"
