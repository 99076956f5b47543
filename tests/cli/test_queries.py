"""Questions on the shell: every format, and what terminals see of it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter

import pyarrow as pa
import pytest
from pyarrow import parquet

import vastlab
from tests.cli.program import on_a_terminal, one_line
from vastlab.result import Result


def test_endpoint_before_and_after_the_command(shell, capfd, database, monkeypatch):
    """-e counts wherever it stands, the last one wins, and VAST_ENDPOINT is the fallback."""
    monkeypatch.setenv("VAST_ENDPOINT", database)
    for args in (
        ["-e", database, "count"],
        ["count", "-e", database],
        ["--endpoint", "missing", "count", "--endpoint", database],
        ["count"],
    ):
        assert shell(*args) == 0
        assert capfd.readouterr().out == "3000\n"


@pytest.mark.parametrize(
    "params, expression",
    [
        (["net=10.1.4.0/24"], "orig_h in $net"),
        (["$net=10.1.4.0/24", "ports=[443, 80]"], "orig_h in $net && resp_p in $ports"),
        (['name="invoice-portal.example"'], "query == $name"),
        (["name=invoice-portal.example"], "query == $name"),
        (["name=a && b"], "query == $name"),
        (["name="], "query != $name"),
        (["like=/invoice.*/"], "query == $like"),
    ],
)
def test_params_are_values_of_the_expression(shell, capfd, database, params, expression):
    """A value is read as in an expression, and what is none there is text, whatever it says."""
    written = expression
    for param in params:
        name, _, value = param.removeprefix("$").partition("=")
        value = value if value[:1] in {*'1["/'} else json.dumps(value)
        written = written.replace(f"${name}", value)
    assert shell("count", "-e", database, written) == 0
    expected = capfd.readouterr().out
    options = [part for param in params for part in ("--param", param)]
    assert shell("count", "-e", database, expression, *options) == 0
    assert capfd.readouterr().out == expected
    assert shell("query", "-e", database, "-n", "0", expression, *options) == 0
    assert len(capfd.readouterr().out.splitlines()) == int(expected)


def test_params_from_files(shell, capfd, database, tmp_path):
    """A list comes from the lines of a file, or from a column of a CSV file."""
    (tmp_path / "iocs.txt").write_text("# hosts\n10.1.4[.]17\ninvoice-portal.example\n")
    (tmp_path / "iocs.csv").write_text("kind,ioc\nip,10.1.4.0/24\n")
    for expression, list_, same in (
        (":ip in $list", "iocs.txt", ":ip == 10.1.4.17"),
        (":string in $list", "iocs.txt", ':string == "invoice-portal.example"'),
        ("$list", "iocs.txt", '10.1.4.17 || "invoice-portal.example"'),
        ("orig_h in $list", "iocs.csv:ioc", "orig_h in 10.1.4.0/24"),
    ):
        assert shell("count", "-e", database, same) == 0
        expected = capfd.readouterr().out
        assert shell("count", "-e", database, "--params-from", f"list={list_}", expression) == 0
        assert capfd.readouterr().out == expected
        assert int(expected) > 0
        options = ["-n", "0", "--params-from", f"list={list_}"]
        assert shell("query", "-e", database, *options, expression) == 0
        assert len(capfd.readouterr().out.splitlines()) == int(expected)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--params-from", "list"], "is not NAME=FILE"),
        (["--params-from", "list=missing.txt"], "cannot read 'missing.txt'"),
        (["--params-from", "other=iocs.txt"], "no $other"),
        (["--params-from", "list=iocs.txt", "-p", "list=1"], "$list has two values"),
    ],
)
def test_params_from_files_that_cannot_be(shell, capfd, database, tmp_path, options, message):
    """A list without a file, or without a place in the expression, is an error."""
    (tmp_path / "iocs.txt").write_text("::1\n")
    assert shell("count", "-e", database, ":ip in $list", *options) == 2
    assert message in capfd.readouterr().err


def test_count_by_schema(shell, capfd, database):
    """--schemas gives a number for each schema in every format, and they sum up."""
    assert shell("count", "-e", database, "--schemas") == 0
    counts = json.loads(capfd.readouterr().out)
    assert sum(counts.values()) == 3000
    assert counts["demo.asset"] == 40
    assert shell("count", "-e", database, "--schemas", "-f", "csv") == 0
    rows = list(csv.reader(io.StringIO(capfd.readouterr().out)))
    assert rows == [["#type", "events"], *([name, str(n)] for name, n in counts.items())]
    assert shell("count", "-e", database, "--schemas", "-f", "table") == 0
    assert "3,000" in capfd.readouterr().out


def test_json_is_a_line_for_each_event(shell, capfd, database):
    """Piped events are JSON objects that name their schema."""
    assert shell("query", "-e", database, "-n", "0", "203.0.113.66") == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {row["#type"] for row in rows} >= {"zeek.conn", "zeek.http", "suricata.alert"}
    assert all("203.0.113.66" in json.dumps(row) for row in rows)


def test_csv_repeats_its_header(shell, capfd, database):
    """Each schema of a CSV answer has a header of its own, and rows of that width."""
    assert shell("query", "-e", database, "-n", "0", "-f", "csv", "203.0.113.66") == 0
    width, headers = 0, 0
    for row in csv.reader(io.StringIO(capfd.readouterr().out)):
        if row[0] == "#type":
            width, headers = len(row), headers + 1
        assert len(row) == width
    assert headers > 3


def test_arrow_holds_all_schemas(shell, capfdbinary, database):
    """An Arrow answer is a sequence of streams with VAST's names and types."""
    assert shell("query", "-e", database, "-n", "0", "-f", "arrow") == 0
    source = io.BytesIO(capfdbinary.readouterr().out)
    names, events = set(), 0
    while source.tell() < len(source.getbuffer()):
        with pa.ipc.open_stream(source) as stream:
            names.add(stream.schema.metadata[b"VAST:name:0"])
            events += stream.read_all().num_rows
    assert events == 3000
    assert len(names) == 7


def test_parquet_holds_one_schema(shell, capfdbinary, database):
    """A Parquet answer is a file of one schema; several are refused before anything is written."""
    asked = '#type == "demo.asset"'
    assert shell("query", "-e", database, "-f", "parquet", asked) == 0
    out = capfdbinary.readouterr().out
    assert parquet.read_table(io.BytesIO(out)).num_rows == 40
    assert shell("query", "-e", database, "-n", "0", "-f", "parquet") == 2
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert "#type ==" in one_line(err.decode())


def test_field_names_do_not_hide_the_schema_name(shell, capfd, tmp_path):
    """A field that is itself called #type gets another name in JSON and CSV."""
    events = pa.table({"#type": ["mine"], "wait": pa.array([163820], pa.duration("us"))})
    Result({"my.log": [events.replace_schema_metadata({"VAST:name:0": "my.log"})]}).to_parquet(
        tmp_path / "db"
    )
    assert shell("query", "-e", str(tmp_path / "db"), "-f", "json") == 0
    row = json.loads(capfd.readouterr().out)
    assert row == {"#type": "my.log", "#type#2": "mine", "wait": "163820us"}
    assert shell("query", "-e", str(tmp_path / "db"), "-f", "csv") == 0
    assert capfd.readouterr().out == '#type,"#type#2",wait\nmy.log,mine,163820us\n'


def test_parquet_needs_a_field(shell, capfd, tmp_path):
    """Events without fields are refused: a Parquet file would lose their number."""
    events = pa.table({"e": pa.array([{}], pa.struct([]))})
    Result({"my.log": [events.replace_schema_metadata({"VAST:name:0": "my.log"})]}).to_parquet(
        tmp_path / "db"
    )
    assert shell("query", "-e", str(tmp_path / "db"), "-f", "parquet") == 2
    assert "no fields" in one_line(capfd.readouterr().err)
    assert shell("query", "-e", str(tmp_path / "db"), "-f", "csv") == 0
    assert capfd.readouterr().out == "#type\nmy.log\n"


def test_table_says_what_it_leaves_out(shell, capfd, database):
    """A table has a title for each schema, and says when the limit ended the query."""
    assert shell("query", "-e", database, "-f", "table", "-n", "5", "10.1.4.17") == 0
    out, err = capfd.readouterr()
    assert re.search(r"^\S+  \d+ events?, \d+ of \d+ columns$", out, re.MULTILINE)
    assert "stopped after 5 events" in one_line(err)
    assert shell("query", "-e", database, "-f", "table", "192.0.2.77") == 0
    assert "nothing matches" in capfd.readouterr().err


def test_table_shows_as_many_rows_as_are_asked_for(shell, capfd, database):
    """The limit says how many; without one, a table stays short."""
    asked = ["query", "-e", database, "-f", "table", '#type == "zeek.conn"']
    assert shell(*asked, "-n", "60") == 0
    assert "60 events" in capfd.readouterr().out
    assert shell(*asked, "-n", "0") == 0
    assert re.search(r"zeek.conn  50 of [\d,]+ events", capfd.readouterr().out)


@pytest.mark.parametrize("format_", ["json", "csv", "arrow", "parquet"])
def test_file_of_the_first_events_is_no_secret(shell, capfdbinary, database, format_):
    """Every format says on stderr that the limit ended the query, and only then."""
    asked = ["query", "-e", database, "-f", format_, '#type == "demo.asset"']
    assert shell(*asked, "-n", "5") == 0
    assert "stopped after 5 events; -n 0" in one_line(capfdbinary.readouterr().err.decode())
    assert shell(*asked) == 0
    assert capfdbinary.readouterr().err == b""


def test_limit_hides_no_schema(shell, capfd, database):
    """What the limit left out of other schemas is on stderr, and --per-schema shows some of it."""
    asked = ["query", "-e", database, "-f", "json", "-n", "2", "10.1.4.17"]
    assert shell(*asked) == 0
    assert "left out: zeek.conn (407 events)" in one_line(capfd.readouterr().err)
    assert shell(*asked, "--per-schema") == 0
    out, err = capfd.readouterr()
    counts = Counter(json.loads(line)["#type"] for line in out.splitlines())
    assert set(counts.values()) <= {1, 2}
    assert len(counts) > 4
    assert one_line(err) == "vastlab: stopped after 2 events of each schema; -n 0 for all"


def test_newest_events_come_first(shell, capfd, database):
    """-r prints the newest events, the last one first, in every format."""
    asked = ["query", "-e", database, '#type == "zeek.conn"', "-f", "json"]
    assert shell(*asked, "-n", "0") == 0
    times = [json.loads(line)["ts"] for line in capfd.readouterr().out.splitlines()]
    for option in ("-r", "--newest"):
        assert shell(*asked, "-n", "7", option) == 0
        found = [json.loads(line)["ts"] for line in capfd.readouterr().out.splitlines()]
        assert found == sorted(times, reverse=True)[:7]
    assert shell(*asked[:-1], "table", "-n", "3", "-r") == 0
    out = capfd.readouterr().out
    places = [out.index(time[:19].replace("T", " ")) for time in found[:3]]
    assert places == sorted(places)
    assert shell(*asked, "-r", "-m", "unified") == 2
    assert "no newest events" in one_line(capfd.readouterr().err)


def test_bounds_of_time(shell, capfd, database):
    """--since and --until bound the event time, half open."""
    for bounds in (["--until", "2026-03-04"], ["--since", "2026-03-04"], []):
        assert shell("count", "-e", database, *bounds) == 0
    early, late, all_ = map(int, capfd.readouterr().out.split())
    assert early + late == all_ == 3000
    assert early
    assert late


def test_status(shell, capfd, database):
    """The status has VAST's keys as JSON, and schemas as a table."""
    assert shell("status", "-e", database) == 0
    assert json.loads(capfd.readouterr().out)["catalog"]["schemas"]["zeek.conn"]["num-events"]
    assert shell("status", "-e", database, "-f", "table") == 0
    out = capfd.readouterr().out
    assert "system.database-path" in out
    assert "3,000" in out


def test_warning_is_one_line(shell, capfd, database):
    """A name that no schema knows is a warning with close matches, and no error."""
    assert shell("count", "-e", database, "orig_bites > 1") == 0
    out, err = capfd.readouterr()
    assert out == "0\n"
    assert "orig_bytes" in one_line(err)


@pytest.mark.parametrize("format_", ["table", "json", "csv"])
def test_terminal_shows_no_controls_of_events(cache, tmp_path, database, format_):
    """Escapes, bidi and other controls of attackers never reach a terminal."""
    asked = '"window.__p" in uri || "invoice" in uri || "all clear" in uri || "jndi" in uri'
    asked += ' || "DROP" in uri || /.*[\\x00-\\x1f].*/ == uri'
    text = on_a_terminal(cache, tmp_path, "query", "-e", database, "-n", "0", "-f", format_, asked)
    assert "window.__p" in text
    assert "all clear" in text
    without_colours = re.sub(r"\x1b\[[0-9;]*m", "", text) if format_ == "table" else text
    assert not re.search(
        r"[^\n\r\x20-\x7e\xa0-\uffff]|[\u202a-\u202e\u200b\ufeff]", without_colours
    )
    assert "\x1b[31mall" not in text


def test_terminal_gets_a_table(cache, tmp_path, database):
    """Without a format, a terminal gets tables in colour."""
    text = on_a_terminal(cache, tmp_path, "query", "-e", database, "203.0.113.66")
    assert "\x1b[" in text
    assert "zeek.http" in text
    assert '"#type"' not in text


def test_a_status_fits_on_a_screen(shell, capfd, tmp_path):
    """Of many schemas the largest are shown; ``-v`` shows all."""
    names = [f"my.events{number}" for number in range(40)]
    with vastlab.connect(f"{tmp_path}/many.db") as vast:
        for number, name in enumerate(names, 1):
            vast.ingest(pa.table({"x": range(number)}), schema=name)
    assert shell("status", "-e", f"{tmp_path}/many.db", "-f", "table") == 0
    shown = capfd.readouterr()
    assert len((shown.out + shown.err).splitlines()) <= 40
    assert "my.events39" in shown.out
    assert re.search(r"^and 28 more schemas +406$", shown.out, re.MULTILINE)
    assert re.search(r"^all +820$", shown.out, re.MULTILINE)
    assert "-v shows everything" in shown.err
    assert shell("status", "-v", "-e", f"{tmp_path}/many.db", "-f", "table") == 0
    shown = capfd.readouterr()
    assert all(name in shown.out for name in names)
    assert shown.err == ""


@pytest.mark.parametrize(
    "name, columns",
    [
        ("zeek.http", "id.orig_h id.resp_h id.resp_p method host uri"),
        ("suricata.alert", "src_ip dest_ip dest_port alert.signature alert.severity"),
    ],
)
def test_what_matters_fits_into_120_columns(shell, capfd, database, monkeypatch, name, columns):
    """Texts and fractions of a second are shortened before a column has no room."""
    monkeypatch.setenv("COLUMNS", "120")
    assert shell("query", "-e", database, "-n", "9", "-f", "table", f'#type == "{name}"') == 0
    header = capfd.readouterr().out.splitlines()[1]
    assert header.split()[1 : len(columns.split()) + 1] == columns.split()
