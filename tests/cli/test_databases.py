"""Databases made, filled and checked on the shell."""

from __future__ import annotations

import gzip
import io
import json
import re
import sys

import pytest

from tests.cli.program import LINE, one_line
from vastlab.cli import databases
from vastlab.nodes import demo as demo_node


def test_torn_file_does_not_stop_the_others(shell, capfd, tmp_path):
    """A truncated gzip adds nothing and is named; whole files beside it count; the code is 1."""
    whole = gzip.compress(LINE.encode() * 50_000)
    (tmp_path / "torn.json.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "eve.json").write_text(LINE)
    assert shell("import", "-e", "new.db", "torn.json.gz", "eve.json") == 1
    assert "torn.json.gz" in capfd.readouterr().err
    assert shell("count", "-e", "new.db") == 0
    assert capfd.readouterr().out == "1\n"


def test_import_counts_and_names_bad_lines(shell, capfd, tmp_path):
    """Events are counted by schema; a malformed line is named with its file and number."""
    (tmp_path / "eve.json").write_text(LINE + "{broken\n" + LINE + "{\n")
    assert shell("import", "-e", "new.db", "eve.json") == 0
    out, err = capfd.readouterr()
    assert re.search(r"suricata\.alert +2\b", out)
    assert "eve.json:2" in err
    assert "eve.json:4" in err
    assert "2 problems in all" in err
    assert shell("count", "-e", "new.db") == 0
    assert capfd.readouterr().out == "2\n"


def test_import_says_which_fields_are_text_because_of_a_value(shell, capfd, tmp_path):
    """One line names the field, the file, the line and the value; it is not a problem."""
    (tmp_path / "app.json").write_text('{"a":"192.0.2.1"}\n{"a":"n/a"}\n')
    assert shell("import", "-e", "x.db", "app.json") == 0
    err = capfd.readouterr().err
    assert err.count("app: a is text: ") == 1
    assert "app.json:2: 'n/a' is not ip as before" in err
    assert "problem" not in err


def test_import_strict_adds_nothing(shell, capfd, tmp_path):
    """With --strict a malformed line is an error, and there is no database afterwards."""
    (tmp_path / "eve.json").write_text(LINE + "{broken\n")
    assert shell("import", "-e", "new.db", "--strict", "eve.json") == 2
    assert "eve.json:2" in one_line(capfd.readouterr().err)
    assert not (tmp_path / "new.db").exists()


def test_import_twice_wants_force(shell, capfd, tmp_path):
    """A file counts once, unless --force says otherwise."""
    (tmp_path / "eve.json").write_text(LINE)
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
        (tmp_path / name).write_text(LINE * (number + 1))
    shell("import", "-e", "new.db", "a.json")
    capfd.readouterr()
    assert shell("import", "-e", "new.db", "a.json") == 0
    assert one_line(capfd.readouterr().err).endswith(
        "a.json was left out, as its content was added before; --force adds it again"
    )
    shell("import", "-e", "new.db", *files[:4])
    capfd.readouterr()
    assert shell("import", "-e", "new.db", *files) == 0
    message = one_line(capfd.readouterr().err)
    assert "4 of 5 files were left out, as their content was added before; --force" in message
    assert message.endswith(": a.json, b.json, c.json and 1 more")


def test_import_says_first_why_files_were_not_added(shell, capfd, tmp_path):
    """More bad lines than are shown do not hide a file of which there is nothing."""
    (tmp_path / "a.json").write_text("[\n" + '{"x": ]\n' * 20 + LINE)
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(LINE.encode() * 1000)[:-8])
    assert shell("import", "-e", "new.db", "a.json", "b.json.gz") == 1
    first = capfd.readouterr().err.splitlines()[0]
    assert "b.json.gz" in first
    assert "incomplete" in first


def test_a_log_that_grew_since_an_import_is_reported(shell, capfd, tmp_path):
    """Its first part is there twice then; --force says that this is wanted."""
    path = tmp_path / "a.json"
    path.write_text(LINE)
    assert shell("import", "-e", "new.db", "a.json") == 0
    path.write_text(LINE * 2)
    capfd.readouterr()
    assert shell("import", "-e", "new.db", "a.json") == 0
    assert f"its first {len(LINE)} bytes were added before it grew" in capfd.readouterr().err
    path.write_text(LINE * 3)
    assert shell("import", "-e", "new.db", "--force", "a.json") == 0
    assert capfd.readouterr().err == ""


def test_an_empty_path_is_refused(shell, capfd):
    """A variable of the shell that is not set does not stand for this folder."""
    assert shell("import", "-e", "new.db", "") == 2
    assert "the path is empty" in one_line(capfd.readouterr().err)


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
        (LINE.encode(), [], "suricata.alert"),
        (gzip.compress(LINE.encode()), [], "suricata.alert"),
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
    assert "nothing is piped in (zcat" in one_line(capfd.readouterr().err)
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


def test_repair_keeps_what_is_intact_and_lists_the_losses(shell, capfd, tmp_path):
    """The damaged file is moved aside, what was in it is named, and the rest can be queried."""
    demo_node.make(tmp_path / "small.db", 500)
    damaged = max((tmp_path / "small.db").rglob("*.parquet"), key=lambda path: path.stat().st_size)
    content = bytearray(damaged.read_bytes())
    content[100] ^= 0xFF
    damaged.write_bytes(content)
    assert shell("check", "-e", "small.db") == 1
    assert "check --repair" in capfd.readouterr().err
    assert shell("check", "-e", "small.db", "--repair") == 1
    message = capfd.readouterr().err
    assert re.search(r"lost: [\d,]+ events of [a-z.]+ between 20", message)
    assert damaged.name in message
    assert "small.db/damaged" in message
    assert shell("check", "-e", "small.db") == 0
    assert shell("query", "-e", "small.db", "-n", "0", "-f", "json") == 0
    assert shell("check", "-e", "small.db", "--repair") == 0


def test_compact_merges_small_files(shell, capfd, tmp_path):
    """The command says how many files there were and are; no event is lost."""
    for i in range(3):
        (tmp_path / f"{i}.json").write_text(LINE.replace("}", f', "n": {i}}}', 1))
        assert shell("import", "-e", "new.db", f"{i}.json") == 0
    capfd.readouterr()
    assert shell("compact", "-e", "new.db") == 0
    assert re.search(r"new\.db: 3 files before, 1 file now", capfd.readouterr().out)
    assert shell("count", "-e", "new.db") == 0
    assert capfd.readouterr().out == "3\n"


def test_demo_shows_next_steps(shell, capfd, tmp_path):
    """The demo shows counts, first rows and next steps, and refuses a folder of other things."""
    assert shell("demo", "-e", "some.db", "--events", "2000") == 0
    out = capfd.readouterr().out
    assert "2,000" in out
    assert databases.DEMO_EXPRESSION in out
    assert "zeek.conn" in out
    assert "What to try next" in out
    (tmp_path / "logs").mkdir()
    assert shell("demo", "-e", "logs") == 2
    assert "logs" in one_line(capfd.readouterr().err)


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
    """Whatever first asks for the demo says that it is made; there is no message if it exists."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(demo_node, "EVENTS", 500)
    monkeypatch.setattr(demo_node.make, "__defaults__", (500,))  # the same number, bound earlier
    for message in ("vastlab: making the demo database of 500 events\n", ""):
        assert shell("count", "-e", "demo:") == 0
        assert capfd.readouterr() == ("500\n", message)


def test_a_file_that_gave_nothing_may_be_added_in_another_format(shell, capfd, tmp_path):
    """The message says that nothing was added, and the file does not count as added."""
    path, database = tmp_path / "n.json", str(tmp_path / "n.db")
    path.write_text('{"a": 1}\n')
    assert shell("import", "-e", database, "--format", "csv", str(path)) == 0
    assert "nothing was added" in capfd.readouterr().err
    assert shell("import", "-e", database, str(path)) == 0
    assert "added before" not in capfd.readouterr().err
    assert shell("count", "-e", database, "a == 1") == 0
    assert capfd.readouterr().out.strip() == "1"


def test_import_reads_text_as_the_user_says(shell, capfd, tmp_path):
    """--encoding names the encoding, --raw leaves text as it is, a wrong name is one line."""
    (tmp_path / "hosts.csv").write_bytes("host,label\n192.0.2.1,caf\xe9\n".encode("cp1252"))
    assert shell("import", "-e", "x.db", "--raw", "--encoding", "cp1252", "hosts.csv") == 0
    assert shell("query", "-e", "x.db", "-f", "json", 'host == "192.0.2.1"') == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["label"] == "café"
    assert shell("import", "-e", "y.db", "--encoding", "cp1525", "hosts.csv") == 2
    assert "unknown encoding: 'cp1525'" in one_line(capfd.readouterr().err)


def test_a_database_in_an_object_store_is_filled_and_checked(shell, capfd, tmp_path, object_store):
    """It is imported into, counted, compacted, checked and repaired, as one in a folder is."""
    (tmp_path / "eve.json").write_text(LINE)
    url = object_store.url()
    assert shell("import", "-e", url, "eve.json") == 0
    assert shell("count", "-e", url) == 0
    assert shell("compact", "-e", url) == 0
    assert f"{url}: 1 file before, 1 file now" in capfd.readouterr().out
    for command in (("check",), ("check", "--repair")):
        assert shell(*command, "-e", url) == 0
        assert f"{url} is sound" in capfd.readouterr().out
    (key,) = (key for key in object_store.keys(url) if "/data/" in key)
    object_store.direct.delete(key)
    assert shell("check", "-e", url) == 1
    assert "is missing" in capfd.readouterr().err
    assert shell("check", "-e", url, "--repair") == 1
    assert "lost: 1 events" in capfd.readouterr().err
    assert shell("check", "-e", url) == 0
