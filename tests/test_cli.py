"""The shell: every command, every format, and one clear line for everything that goes wrong."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from vastlab import cli
from vastlab.cli import _commands, _databases, _terminal
from vastlab.nodes import _programs
from vastlab.nodes import demo as demo_node
from vastlab.nodes.base import Step

_LINE = (
    '{"timestamp":"2026-03-04T09:42:13.000001+0000","event_type":"alert","flow_id":1,'
    '"src_ip":"10.1.4.17","src_port":1,"dest_ip":"203.0.113.66","dest_port":80,"proto":"TCP",'
    '"alert":{"action":"allowed","signature":"one","severity":1}}\n'
)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """Give a cache folder to these tests alone."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def database(tmp_path_factory) -> str:
    """Make a small demo database."""
    path = tmp_path_factory.mktemp("demo") / "demo.db"
    demo_node.make(path, 3_000)
    return str(path)


@pytest.fixture
def shell(cache, tmp_path, monkeypatch):
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("VAST_ENDPOINT", raising=False)
    return lambda *args: cli.run(args)


def _environment(cache: Path) -> dict[str, str]:
    """Return what a program of its own runs in."""
    root = str(Path(__file__).resolve().parent.parent)
    kept = {name: value for name, value in os.environ.items() if name != "VAST_ENDPOINT"}
    return kept | {"PYTHONPATH": root, "XDG_CACHE_HOME": str(cache), "COLUMNS": "120"}


def _start(cache: Path, folder: Path, *args: str, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "vastlab", *args],
        cwd=folder,
        env=_environment(cache),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        **{"stdout": subprocess.PIPE} | options,
    )


def _one_line(text: str) -> str:
    """Return the only line of stderr."""
    assert "Traceback" not in text
    lines = text.rstrip("\n").split("\n")
    assert len(lines) == 1, text
    return lines[0]


# --- the table of bad input -----------------------------------------------------------------


@pytest.mark.parametrize(
    "args, said",
    [
        (["query", "-e", "missing"], "no such folder: missing"),
        (["count", "-e", "empty"], "/empty' holds no files (name one with logs"),
        (["query", "-e", "odd"], "odd"),
        (["query", "-e", "demo"], "no such folder: demo (did you mean demo:?)"),
        (["query", "-e", "logs", "--explode"], "--explode (vastlab --help says more)"),
        (["import", "-e", "new.db", "no.log"], "no.log"),
        (["import", "-e", "new.db", "torn.json.gz"], "torn.json.gz"),
        (["import", "-e", "new.db", "gone.json"], "gone.json"),
        (["check", "-e", "missing"], "missing"),
        (["check", "-e", "logs"], "can be queried as it is"),
        (["query", "-e", "logs", "-n", "-1"], "-1 is negative"),
        (["query", "-e", "logs", "-n", "many"], "'many' is no whole number"),
        (["query", "-e", "logs", "-m", "later"], "'later' is none of historical"),
        (["query", "-e", "logs", "-f", "xml"], "xml"),
        (["query", "-e", "logs", "--since", "yesterdayish"], "yesterdayish"),
        (["count", "-e", "logs", "--since", "2010-01-01", "--until", "2009-01-01"], "is after"),
        (["query", "-e", "logs", "-p", "port", "resp_p == $port"], "'port' is no NAME=VALUE"),
        (["query", "-e", "logs", "-p", "port=1", "resp_p == 1"], "has no $port (put the"),
        (["count", "-e", "logs", "resp_p == $port"], "$port has no value"),
        (["query", "-e", "ftp://host/logs"], "ftp"),
        (["query", "-e", "logs", "resp_p", "==", "80"], "wants quotes"),
        (["query", "-e", "logs", "-f", "parquet", "8.8.8.8"], "nothing matches"),
        (["explode"], "explode"),
        ([], "no command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_clear_line(shell, capfd, tmp_path, args, said):
    """What is wrong is named in one line on stderr, with exit code 2 and nothing left behind."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "picture.bin").write_bytes(bytes(range(256)))
    (tmp_path / "no.log").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "eve.json").write_text(_LINE)
    whole = gzip.compress(_LINE.encode() * 5000)
    (tmp_path / "torn.json.gz").write_bytes(whole[: len(whole) // 2])
    before = sorted(tmp_path.rglob("*"))
    assert shell(*args) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in _one_line(err)
    assert sorted(tmp_path.rglob("*")) == before


def test_bad_expression_shows_where(shell, capfd, database):
    """A syntax error has its line, the text and a caret, and exit code 2."""
    assert shell("query", "-e", database, "resp_p ==") == 2
    out, err = capfd.readouterr()
    assert out == ""
    first, text, caret = err.rstrip("\n").split("\n")
    assert first.startswith("vastlab: ")
    assert text.strip() == "resp_p =="
    assert caret.strip() == "^"


def test_torn_file_does_not_stop_the_others(shell, capfd, tmp_path):
    """A truncated gzip adds nothing and is named; whole files beside it count; the code is 1."""
    whole = gzip.compress(_LINE.encode() * 50_000)
    (tmp_path / "torn.json.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "eve.json").write_text(_LINE)
    assert shell("import", "-e", "new.db", "torn.json.gz", "eve.json") == 1
    assert "torn.json.gz" in capfd.readouterr().err
    assert shell("count", "-e", "new.db") == 0
    assert capfd.readouterr().out == "1\n"


def test_nothing_answers(shell, capfd, tmp_path, monkeypatch):
    """Where no node runs, the error says what works without one."""
    assert shell("count", "-e", "127.0.0.1:1") == 2
    assert "demo:" in _one_line(capfd.readouterr().err)


def test_unexpected_error_is_one_line(shell, capfd, monkeypatch):
    """Even a fault of vastlab shows no traceback, unless it is asked for."""

    def broken(_):
        raise RuntimeError("two\nlines \x1b[31m")

    monkeypatch.setattr(cli, "COMMANDS", {"status": broken})
    assert shell("status") == 2
    line = _one_line(capfd.readouterr().err)
    assert "RuntimeError: two lines" in line
    assert "\x1b" not in line
    assert shell("status", "--traceback") == 2
    assert "Traceback" in capfd.readouterr().err


# --- answers --------------------------------------------------------------------------------


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
    assert "#type ==" in _one_line(err.decode())


def test_table_says_what_it_leaves_out(shell, capfd, database):
    """A table has a title for each schema, and tells when the limit ended the query."""
    assert shell("query", "-e", database, "-f", "table", "-n", "5", "10.1.4.17") == 0
    out, err = capfd.readouterr()
    assert re.search(r"^\S+  \d+ events?, \d+ of \d+ columns$", out, re.MULTILINE)
    assert "stopped after 5 events" in _one_line(err)
    assert shell("query", "-e", database, "-f", "table", "192.0.2.77") == 0
    assert "nothing matches" in capfd.readouterr().err


@pytest.mark.parametrize("format_", ["json", "csv", "arrow", "parquet"])
def test_file_of_the_first_events_is_no_secret(shell, capfdbinary, database, format_):
    """Every format tells on stderr that the limit ended the query, and only then."""
    asked = ["query", "-e", database, "-f", format_, '#type == "demo.asset"']
    assert shell(*asked, "-n", "5") == 0
    assert "stopped after 5 events; -n 0" in _one_line(capfdbinary.readouterr().err.decode())
    assert shell(*asked) == 0
    assert capfdbinary.readouterr().err == b""


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
    assert "orig_bytes" in _one_line(err)


def test_version_and_help(shell, capfd):
    """--version and --help print to stdout and succeed."""
    assert shell("--version") == 0
    assert shell("--help") == 0
    assert shell("query", "--help") == 0
    out, err = capfd.readouterr()
    assert out.startswith("vastlab ")
    assert "EXPRESSION" in out
    assert err == ""


# --- import and check -----------------------------------------------------------------------


def test_import_counts_and_names_bad_lines(shell, capfd, tmp_path):
    """Events are counted by schema; a malformed line is named with its file and number."""
    (tmp_path / "eve.json").write_text(_LINE + "{broken\n" + _LINE + "{\n")
    assert shell("import", "-e", "new.db", "eve.json") == 0
    out, err = capfd.readouterr()
    assert re.search(r"suricata\.alert +2\b", out)
    assert "eve.json:2" in err
    assert "eve.json:4" in err
    assert "2 problems in all" in err
    assert shell("count", "-e", "new.db") == 0
    assert capfd.readouterr().out == "2\n"


def test_import_strict_adds_nothing(shell, capfd, tmp_path):
    """With --strict a malformed line is an error, and there is no database afterwards."""
    (tmp_path / "eve.json").write_text(_LINE + "{broken\n")
    assert shell("import", "-e", "new.db", "--strict", "eve.json") == 2
    assert "eve.json:2" in _one_line(capfd.readouterr().err)
    assert not (tmp_path / "new.db").exists()


def test_import_twice_wants_force(shell, capfd, tmp_path):
    """A file counts once, unless --force says otherwise."""
    (tmp_path / "eve.json").write_text(_LINE)
    numbers = []
    for extra in ([], [], ["--force"]):
        shell("import", "-e", "new.db", "eve.json", *extra)
        capfd.readouterr()
        shell("count", "-e", "new.db")
        numbers.append(int(capfd.readouterr().out))
    assert numbers == [1, 1, 2]


def test_import_says_in_one_line_what_was_there(shell, capfd, tmp_path):
    """Files that were added before are counted, some of them named, on one line."""
    files = [f"{name}.json" for name in "abcde"]
    for number, name in enumerate(files):
        (tmp_path / name).write_text(_LINE * (number + 1))
    shell("import", "-e", "new.db", "a.json")
    capfd.readouterr()
    assert shell("import", "-e", "new.db", "a.json") == 0
    assert _one_line(capfd.readouterr().err).endswith(
        "a.json was added before; --force adds it again"
    )
    shell("import", "-e", "new.db", *files[:4])
    capfd.readouterr()
    assert shell("import", "-e", "new.db", *files) == 0
    said = _one_line(capfd.readouterr().err)
    assert "4 of 5 files were added before: a.json, b.json, c.json and 1 more; --force" in said


class Piped(io.TextIOWrapper):
    """Standard input with something in it."""

    def __init__(self, data: bytes, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data))
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(
    "data, options, schema",
    [
        (_LINE.encode(), [], "suricata.alert"),
        (gzip.compress(_LINE.encode()), [], "suricata.alert"),
        (b"a,b\n1,2\n", [], "stdin"),
        (b"a,b\n1,2\n", ["--format", "csv", "--schema", "my.table"], "my.table"),
    ],
)
def test_import_of_standard_input(shell, capfd, monkeypatch, data, options, schema):
    """``-`` is what is piped in; its format is found out, and its schema can be named."""
    stdin = Piped(data)
    stdin.buffer.name = "<stdin>"
    monkeypatch.setattr(sys, "stdin", stdin)
    assert shell("import", "-e", "new.db", "-", *options) == 0
    capfd.readouterr()
    assert shell("count", "-e", "new.db", "--schemas", "-f", "json") == 0
    assert json.loads(capfd.readouterr().out) == {schema: 1}


@pytest.mark.parametrize("stdin", [None, Piped(b"", terminal=True)])
def test_import_wants_something_piped_in(shell, capfd, monkeypatch, tmp_path, stdin):
    """A terminal, or no standard input at all, is an error and not a wait."""
    monkeypatch.setattr(sys, "stdin", stdin)
    assert shell("import", "-e", "new.db", "-") == 2
    assert "nothing is piped in (zcat" in _one_line(capfd.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_check_finds_damage(shell, capfd, tmp_path):
    """A sound database passes; after one byte changed, the file is named and the code is 1."""
    demo_node.make(tmp_path / "small.db", 500)
    assert shell("check", "-e", "small.db") == 0
    assert "sound" in capfd.readouterr().out
    damaged = max((tmp_path / "small.db").rglob("*.parquet"), key=lambda path: path.stat().st_size)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 3] ^= 0xFF
    damaged.write_bytes(content)
    assert shell("check", "-e", "small.db") == 1
    assert damaged.name in capfd.readouterr().err


# --- demo and lab ---------------------------------------------------------------------------


def test_demo_tells_where_to_go(shell, capfd, tmp_path):
    """The demo shows counts, first rows and next steps, and refuses a folder of other things."""
    assert shell("demo", "-e", "some.db", "--events", "2000") == 0
    out = capfd.readouterr().out
    assert "2,000" in out
    assert _databases.DEMO_EXPRESSION in out
    assert "zeek.conn" in out
    assert "What to try next" in out
    (tmp_path / "logs").mkdir()
    assert shell("demo", "-e", "logs") == 2
    assert "logs" in _one_line(capfd.readouterr().err)


@pytest.mark.parametrize(
    "called, path, shown",
    [
        ("/opt/my tools/vastlab", "", "'/opt/my tools/vastlab' query -e some.db"),
        (".venv/bin/vastlab", "", ".venv/bin/vastlab query -e some.db"),
        (".venv/bin/vastlab", ".venv/bin", "vastlab query -e some.db"),
        ("/usr/lib/python3/vastlab/__main__.py", "", "vastlab query -e some.db"),
    ],
)
def test_demo_names_the_program_as_it_can_be_called(
    shell, capfd, tmp_path, monkeypatch, called, path, shown
):
    """What to try next begins with a program that the shell finds."""
    program = tmp_path / ".venv" / "bin" / "vastlab"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", path)
    monkeypatch.setattr(sys, "argv", [called])
    assert shell("demo", "-e", "some.db", "--events", "100") == 0
    assert f"\n  {shown} " in capfd.readouterr().out


def test_demo_is_announced_wherever_it_is_made(shell, capfd, tmp_path, monkeypatch):
    """Whatever first asks for the demo says that it is made; nothing is said where it is there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(demo_node, "EVENTS", 500)
    monkeypatch.setattr(demo_node.make, "__defaults__", (500,))  # the same number, bound earlier
    for said in ("vastlab: making the demo database of 500 events\n", ""):
        assert shell("count", "-e", "demo:") == 0
        assert capfd.readouterr() == ("500\n", said)


class Screen(io.StringIO):
    """A terminal that remembers all that was written."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "step, shown",
    [
        (None, "count"),
        (Step("reading 4 logs", 9000, 0.7), "reading 4 logs .* 9,000 events"),
        (Step("looking\x1b[31m"), r"looking\\x1b\[31m"),
    ],
)
def test_progress_says_what_is_done_first(monkeypatch, step, shown):
    """A bar shows the work before the work, and its own otherwise; no escapes get through."""
    monkeypatch.setattr(sys, "stderr", Screen())
    with _terminal.progress("count", preparing=lambda: step):
        pass
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sys.stderr.getvalue())
    assert re.search(shown, plain)
    assert ("count" in plain) == (step is None)


def test_lab_starts_on_the_demo(shell, monkeypatch, tmp_path):
    """JupyterLab gets the notebooks, the demo by default, and folders as absolute paths."""
    started = []

    def become(command, environment):
        started.append((command, environment["VAST_ENDPOINT"]))
        return 0

    monkeypatch.setattr(_commands.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(_commands, "_become", become)
    assert shell("lab") == 0
    assert shell("lab", "-e", "logs", "--", "--no-browser") == 0
    (first, demo), (second, logs) = started
    assert first[1:3] == ["-m", "jupyterlab"]
    assert demo == "demo:"
    assert second[-1] == "--no-browser"
    assert logs == str(tmp_path / "logs")


def test_lab_says_what_is_missing(shell, capfd, monkeypatch):
    """Without JupyterLab the error says how to get it."""
    monkeypatch.setattr(_commands.importlib.util, "find_spec", lambda name: None)
    assert shell("lab") == 2
    assert "vastlab[lab" in _one_line(capfd.readouterr().err)


# --- as a program of its own ----------------------------------------------------------------


def test_process_ends_with_the_code(cache, tmp_path):
    """The program itself ends with the code, one line on stderr, and nothing on stdout."""
    process = _start(cache, tmp_path, "query", "-e", "missing")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert "missing" in _one_line(err.decode())


def test_closed_pipe_is_quiet(cache, tmp_path, database):
    """A reader that goes away ends the program without a word."""
    process = _start(cache, tmp_path, "query", "-e", database, "-n", "0")
    assert process.stdout.readline().startswith(b'{"#type"')
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == b""
    assert process.wait() == 141


def test_interrupt_ends_with_130(cache, tmp_path, database):
    """Ctrl-C ends a query that waits for more, with one line and exit code 130."""
    process = _start(cache, tmp_path, "query", "-e", database, "-m", "unified", "-n", "0")
    for _ in range(3000):
        assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert _one_line(err.decode()) == "vastlab: interrupted"


def test_second_interrupt_shows_no_traceback(cache, tmp_path, database):
    """Ctrl-C twice, as impatient people press it, ends the program just as cleanly."""
    process = _start(cache, tmp_path, "query", "-e", database, "-m", "unified", "-n", "0")
    for _ in range(3000):
        assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == b"vastlab: interrupted\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert err == b""
    assert process.returncode in (130, -signal.SIGINT)


def _on_a_terminal(cache: Path, folder: Path, *args: str) -> str:
    """Run the program with its output on a terminal, and return what arrives there."""
    leader, follower = pty.openpty()
    process = _start(cache, folder, *args, stdout=follower)
    os.close(follower)
    parts = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(leader)
    process.communicate()
    assert process.returncode == 0
    return b"".join(parts).decode()


@pytest.mark.parametrize("format_", ["table", "json", "csv"])
def test_terminal_shows_no_controls_of_events(cache, tmp_path, database, format_):
    """Escapes, bidi and other controls of attackers never reach a terminal."""
    asked = '"window.__p" in uri || "invoice" in uri || "all clear" in uri || "jndi" in uri'
    asked += ' || "DROP" in uri || /.*[\\x00-\\x1f].*/ == uri'
    text = _on_a_terminal(cache, tmp_path, "query", "-e", database, "-n", "0", "-f", format_, asked)
    assert "window.__p" in text
    assert "all clear" in text
    without_colours = re.sub(r"\x1b\[[0-9;]*m", "", text) if format_ == "table" else text
    assert not re.search(
        r"[^\n\r\x20-\x7e\xa0-\uffff]|[\u202a-\u202e\u200b\ufeff]", without_colours
    )
    assert "\x1b[31mall" not in text


def test_terminal_gets_a_table(cache, tmp_path, database):
    """Without a format, a terminal gets tables in colour."""
    text = _on_a_terminal(cache, tmp_path, "query", "-e", database, "203.0.113.66")
    assert "\x1b[" in text
    assert "zeek.http" in text
    assert '"#type"' not in text


# --- a node of one's own --------------------------------------------------------------------


@pytest.mark.parametrize("action", ["stop", "status"])
def test_no_node_runs(shell, capfd, tmp_path, action):
    """Where no node was started, it is said, and the exit code is 1."""
    assert shell("node", action, str(tmp_path)) == 1
    assert "no node" in _one_line(capfd.readouterr().err)


def test_node_cannot_start(shell, capfd, tmp_path, monkeypatch):
    """Where no engine is installed, the remedy is named."""
    monkeypatch.setattr(_programs, "_bundled", lambda *parts: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shell("node", "start", "state") == 2
    assert "vastlab[tenzir]" in _one_line(capfd.readouterr().err)


@pytest.mark.full
@pytest.mark.skipif(_programs.find_tenzir() is None, reason="the package tenzir is not installed")
def test_node_starts_tells_and_stops(cache, tmp_path):
    """A node that the shell started answers until the shell stops it."""

    def node(action: str) -> tuple[int, str]:
        process = _start(cache, tmp_path, "node", action, "state")
        out, _ = process.communicate(timeout=120)
        return process.returncode, out.decode()

    try:
        code, endpoint = node("start")
        assert code == 0
        assert node("status") == (0, endpoint)
        count = _start(cache, tmp_path, "count", "-e", endpoint.strip())
        assert count.communicate(timeout=120)[0] == b"0\n"
    finally:
        assert node("stop") == (0, "")
    assert node("status") == (1, "")
