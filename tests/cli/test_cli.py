"""The shell: one clear line for everything that goes wrong, and an exit code."""

from __future__ import annotations

import gzip
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import LINE, one_line, start
from vastlab import client


@pytest.mark.parametrize(
    "args, message",
    [
        (["query", "-e", "missing"], "no such folder: missing"),
        (["count", "-e", "empty"], "/empty' contains no files (pass a folder with logs"),
        (["query", "-e", "odd"], "odd"),
        (["query", "-e", "demo"], "no such folder: demo (did you mean demo:?)"),
        (
            ["query", "-e", "logs", "--explode"],
            "unknown option: --explode. Did you mean --mode? (vastlab query",
        ),
        (["query", "-e", "logs", "--limi", "1"], "--limi. Did you mean --limit?"),
        (["import", "-e", "new.db", "--explode", "logs"], "unknown option: --explode"),
        (["import", "-e", "new.db", "no.log"], "no.log"),
        (["import", "-e", "new.db", "torn.json.gz"], "torn.json.gz"),
        (["import", "-e", "new.db", "gone.json"], "gone.json"),
        (["check", "-e", "missing"], "missing"),
        (["check", "-e", "logs"], "query the folder of logs directly"),
        (["query", "-e", "logs", "-n", "-1"], "-1 is negative"),
        (["query", "-e", "logs", "-n", "many"], "must be a whole number, got 'many'"),
        (["query", "-e", "logs", "-m", "later"], '"later" for MODE. Choose from: "historical"'),
        (["query", "-e", "logs", "-f", "xml"], "xml"),
        (["query", "-e", "logs", "--since", "yesterdayish"], "yesterdayish"),
        (["count", "-e", "logs", "--since", "2010-01-01", "--until", "2009-01-01"], "is after"),
        (["query", "-e", "logs", "-p", "port", "resp_p == $port"], "'port' is not NAME=VALUE"),
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
def test_bad_input_is_one_clear_line(shell, capfd, tmp_path, args, message):
    """What is wrong is named in one line on stderr, with exit code 2 and nothing left behind."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "picture.bin").write_bytes(bytes(range(256)))
    (tmp_path / "no.log").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "eve.json").write_text(LINE)
    whole = gzip.compress(LINE.encode() * 5000)
    (tmp_path / "torn.json.gz").write_bytes(whole[: len(whole) // 2])
    before = sorted(tmp_path.rglob("*"))
    assert shell(*args) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert message in one_line(err)
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


def test_nothing_answers(shell, capfd, tmp_path, monkeypatch):
    """Where no node runs, the error says what works without one."""
    assert shell("count", "-e", "127.0.0.1:1") == 2
    assert "demo:" in one_line(capfd.readouterr().err)


def test_unexpected_error_is_one_line(shell, capfd, monkeypatch):
    """Even a fault of vastlab shows no traceback, unless it is asked for."""

    def broken(_):
        raise RuntimeError("two\nlines \x1b[31m")

    monkeypatch.setattr(client, "VAST", broken)
    assert shell("status") == 2
    line = one_line(capfd.readouterr().err)
    assert "RuntimeError: two lines" in line
    assert "\x1b" not in line
    assert shell("status", "--traceback") == 2
    assert "Traceback" in capfd.readouterr().err


def test_version_and_help(shell, capfd):
    """--version and --help print to stdout and succeed."""
    assert shell("--version") == 0
    assert shell("--help") == 0
    assert shell("query", "--help") == 0
    out, err = capfd.readouterr()
    assert out.startswith("vastlab ")
    assert "EXPRESSION" in out
    assert err == ""


def test_process_ends_with_the_code(cache, tmp_path):
    """The program itself ends with the code, one line on stderr, and nothing on stdout."""
    process = start(cache, tmp_path, "query", "-e", "missing")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, b"")
    assert "missing" in one_line(err.decode())


def test_closed_pipe_is_quiet(cache, tmp_path, database):
    """A reader that goes away ends the program without a word."""
    process = start(cache, tmp_path, "query", "-e", database, "-n", "0")
    assert process.stdout.readline().startswith(b'{"#type"')
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == b""
    assert process.wait() == 141


def test_interrupt_ends_with_130(cache, tmp_path, database):
    """Ctrl-C ends a query that waits for more, with one line and exit code 130."""
    process = start(cache, tmp_path, "query", "-e", database, "-m", "unified", "-n", "0")
    for _ in range(3000):
        assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert one_line(err.decode()) == "vastlab: interrupted"


_IMPORTED = ("vastlab.cli", "cyclopts", "pyarrow", "vastlab.store.database")


@pytest.mark.parametrize(
    "module, args",
    [
        *((name, [command]) for name in _IMPORTED for command in ("count", "check")),
        ("datafusion", ["count", "resp_p == 53"]),
        ("datafusion", ["top", "id.resp_p"]),
        ("pandas", ["top", "id.resp_p"]),
    ],
)
def test_interrupt_while_python_imports_is_one_line(module, args, database):
    """From the entry point on, there is no moment in which Ctrl-C shows a traceback."""
    code = f"""
import os, signal, sys
from vastlab import __main__

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["vastlab", *{args!r}, "-e", {database!r}]
__main__.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"vastlab: interrupted\n")
    assert done.stdout == b""


def test_second_interrupt_shows_no_traceback(cache, tmp_path, database):
    """Ctrl-C twice, as impatient people press it, ends the program just as cleanly."""
    process = start(cache, tmp_path, "query", "-e", database, "-m", "unified", "-n", "0")
    for _ in range(3000):
        assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == b"vastlab: interrupted\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert err == b""
    assert process.returncode in (130, -signal.SIGINT)


@pytest.mark.parametrize("args", [["--help"], ["count", "-e", "demo:"]])
def test_a_closed_standard_output_is_one_clear_line(args):
    """The answer has nowhere to go, and no file that is opened takes its place."""
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "vastlab", *args]
    done = subprocess.run(command, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert "standard output is closed" in one_line(done.stderr.decode())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("form", ["table", "json", "csv", "arrow"])
def test_a_full_disk_behind_standard_output_is_one_clear_line(cache, tmp_path, database, form):
    """What was written before stays; the exit code says that it is not all."""
    with open("/dev/full", "wb") as full:
        process = start(cache, tmp_path, "query", "-e", database, "-f", form, stdout=full)
        _, err = process.communicate()
    assert process.returncode == 2
    assert "cannot write: No space left on device" in one_line(err.decode())
