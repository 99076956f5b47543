"""A script written for PyVAST runs when its import is changed.

Thirty runs of PyVAST 3.1 against a real node were recorded. Each is run again, against a node
that holds what the real one was recorded to hold, and prints what PyVAST printed. Where it does
not, `DEVIATIONS` says what it prints instead, and why.
"""

from __future__ import annotations

import functools
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tests.nodes.fake_vast import Export, FakeVast, Faults, Link
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow.ipc import read_streams

SCRIPT = Path(__file__).with_name("pyvast_script.py")
ROOT = SCRIPT.parent.parent.parent
CASES = [f"y{number:02}" for number in range(1, 31)]
# What the real node held, as far as scripts saw it: schema, recording of its events, how often.
# Logs were imported several times.
HELD = [
    ("zeek.snmp", "export/e04", 1),
    ("suricata.stats", "continuous/c04", 4),
    ("suricata.netflow", "continuous/c04", 4),
    ("suricata.quic", "continuous/c04", 4),
    ("suricata.fileinfo", "continuous/c04", 4),
    ("suricata.dns", "continuous/c04", 1),
    ("suricata.dns", "continuous/c05", 1),
    ("suricata.flow", "export/e46", 1),
    ("suricata.flow", "continuous/c04", 3),
    ("suricata.alert", "continuous/c10", 1),
    ("suricata.http", "continuous/c04", 4),
    ("golden.types", "types/golden_types", 1),
    ("zeek.conn", "continuous/c07", 6),
    ("zeek.dns", "continuous/c01", 1),
]
COUNTED = {"zeek.conn": 78158, "zeek.dns": 92107 - 78158}  # how the rest divides is not known
NEVER_ENDED = "PyVAST never ended: the recorder killed it after 12 to 40 s"
SWALLOWED = "PyVAST takes an export that failed for an empty one"
SUBCLASS = "PyVAST raises a bare Exception without a reason; a VastlabError is an Exception, too"
# What vastlab prints instead (a pattern for all of it), and why.
DEVIATIONS = {
    "y06": (
        r"rows 4\n(VastRow\(name='golden.types', .*\n){3}",
        "PyVAST cannot read IPv4 networks as VAST stores them",
    ),
    "y10": (r"EXC ExpressionSyntaxError unexpected end of the expression(.*\n){3}", SUBCLASS),
    "y11": (
        r"<class 'dict'> \['catalog', 'filesystem', 'importer', 'index', 'system', 'version'\]\n",
        "a status is always the detailed one, which has all keys of the other",
    ),
    "y13": (r"EXC ExpressionSyntaxError unexpected end of the expression(.*\n){3}", SWALLOWED),
    "y14": (r"EXC NodeConnectionError nothing answers at 127.0.0.1:[0-9]+.*\n", SWALLOWED),
    "y15": (r"EXC NodeConnectionError nothing answers at 127.0.0.1:[0-9]+.*\n", SUBCLASS),
    "y16": (r"EXC NodeConnectionError nothing answers at 127.0.0.1:[0-9]+.*\n", SUBCLASS),
    "y17": (r"EXC NodeConnectionError nothing answers at 127.0.0.1:[0-9]+.*\n", SUBCLASS),
    "y18": (
        r"rows 370\n(VastRow.*\n){3}",
        "a limit of 0 means all events, as PyVAST's documentation says and its code does not do",
    ),
    "y19": (
        r"EXC UsageError limit must not be negative, got -1 \(0 for all events\)\n",
        "a negative limit is an error; PyVAST's documentation knows none",
    ),
    "y23": (
        r"rows 1\nVastRow\(name='golden.types', data={'b': True, 'i': -42, .*\n",
        "PyVAST lets `vast` take a leading dash for an option, and swallows that error",
    ),
    "y24": (r"left zeek.conn\n", NEVER_ENDED),
    "y25": (r"cancelled True\n", NEVER_ENDED),
    "y26": (r"0\n", NEVER_ENDED),
    "y27": (r"rows 3\n(VastRow.*\n){3}", NEVER_ENDED),
    "y28": (
        r"EXC ClientNotFoundError .*`vast`.*\n",
        "a missing program is an error of vastlab's own, which says what to install",
    ),
    "y29": (
        r"EXC ExpressionSyntaxError .*\(pipelines are not supported; did you mean .*\)(.*\n){3}",
        "vastlab asks expressions: it has no pipelines",
    ),
}
# Seconds that a script waits for nothing; no promise depends on how many they are.
IN_A_HURRY = {"y17": ["status_timeout", "0.3"], "y25": ["continuous", "1000", "0.3"]}
# Whether and how a process ends is part of what was recorded.
ALONE = {"y24", "y25", "y27"}


@functools.cache
def recorded_events(path: Path, name: str) -> list[pa.RecordBatch]:
    """Return the events of one schema in a recording."""
    return [b for b in read_streams(path) if arrow_schema.name_of(b.schema) == name]


@pytest.fixture
def server(server, only_vast, tmp_path, monkeypatch):
    """Run a node that scripts find, with `vast` as the only client."""
    monkeypatch.setenv("VAST_ENDPOINT", server.endpoint)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return server


@pytest.fixture
def real(server, shared, monkeypatch):
    """Let the node hold and say what the real one did."""
    for name, recording, times in HELD:
        (path,) = (shared / "golden").glob(f"{recording}*.stdout.bin")
        for batch in recorded_events(path, name) * times:
            server.add(batch)
    recorded = (shared / "golden" / "introspect" / "status_detailed.stdout.txt").read_text()
    monkeypatch.setattr(server, "_status", lambda: json.loads(recorded))
    export = functools.partial(count_as_recorded, server._export)
    monkeypatch.setattr(server, "_export", export)
    return server


def count_as_recorded(export, request: dict, link: Link) -> None:
    """Return as many events of a schema as the real node counted, where they are counted."""
    text, selects, _ = request["query"].partition(" | select ")
    if not selects:
        return export(request, link)
    answer = Export(link, None, 0, Faults(), lambda batch: batch)
    for name, number in COUNTED.items():
        if name in text or text == 'where (#type != "")':
            events = pa.record_batch(
                [pa.nulls(number, pa.timestamp("ns"))],
                schema=pa.schema([("ts", pa.timestamp("ns"))], {"VAST:name:0": name}),
            )
            link.out(answer.encoded(events))
    return None


@pytest.fixture
def run(monkeypatch, capsys):
    """Return a function that runs the script in this process."""

    def run(*argv: str) -> str:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *argv])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out

    return run


def run_alone(*argv: str) -> str:
    """Run the script in a process whose standard input is a pipe that stays open."""
    reading, writing = os.pipe()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", str(SCRIPT), *argv]
    try:
        done = subprocess.run(
            command, env=environment, stdin=reading, capture_output=True, text=True, timeout=60
        )
    finally:
        os.close(reading)
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# What another pandas, another pyarrow and another moment print differently.
ELSEWISE = [
    (r"^(seconds|loop closed after) [0-9.]+\n", ""),
    (r"^(\w+) +(object|str)$", r"\1 text"),  # pandas 3 has a type for text
    (r"\b(None|NaN|NaT)\b", "null"),
    (r"<(IP|Subnet|Enum|Enumeration)Type>", ""),  # a class has another name than its type
    (r"(?<={) (?=\")|(?<=\") (?=})", ""),  # JSON within metadata
    (r" {2,}", "  "),
]


def comparable(text: str) -> str:
    """Leave out of what was printed what is not the script's doing."""
    for pattern, instead in ELSEWISE:
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


@pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")  # of an unknown schema
@pytest.mark.parametrize("case", CASES)
def test_a_recorded_script_prints_what_it_printed(shared, real, run, monkeypatch, case):
    """The output is PyVAST's, or what is written down here for a reason."""
    (path,) = (shared / "golden" / "pyvast").glob(f"{case}_*.json")
    recorded = json.loads(path.read_text())
    argv = IN_A_HURRY.get(case, recorded["case"])
    place(real, recorded["env"], monkeypatch)
    found = run_alone(*argv) if case in ALONE else run(*argv)
    expected = path.with_suffix(".stdout.txt").read_text()
    if case in DEVIATIONS:
        pattern, reason = DEVIATIONS[case]
        assert re.fullmatch(pattern, found), reason
        assert comparable(found) != comparable(expected)
    else:
        assert comparable(found) == comparable(expected)


def place(server: FakeVast, environment: dict[str, str], monkeypatch) -> None:
    """Let the surroundings be those of a recording."""
    if "EPX" in environment:  # the script's argument, against which the variable does not count
        monkeypatch.setenv("EPX", server.endpoint)
        monkeypatch.setenv("VAST_ENDPOINT", "127.0.0.1:1")
    if "NOVAST" in environment:
        monkeypatch.setenv("PATH", "/nowhere")
    if environment.get("VAST_ENDPOINT") == "127.0.0.1:5291":  # where nothing listened
        server.close()


NUMBER = 0xC0A80167 - 0x0A000000
"""The number for which `make_conn` makes a connection of 192.168.1.103."""


@pytest.mark.parametrize(
    "argv, printed",
    [
        (
            ["seed"],
            r"(VastRow\(name='zeek.conn', data={.*'orig_h': '192.168.1.103'.*\n){10}",
        ),
        (["rows", "192.168.1.103", "3"], r"rows 3\n(VastRow.*\n){3}"),
        (["collect", "n > 0", "7"], r"<class '.*dict'>\n'zeek.conn' list \[\(7, 3\)\]\n(.*\n)+"),
        (["pandas", '#type == "zeek.conn"', "5"], r"zeek.conn \(5, 3\)\n(.*\n)+"),
        (["count", "192.168.1.103"], r"12\n"),
        (["count"], r"12\n"),
        (["count", "n =="], r"EXC ExpressionSyntaxError (.*\n)+"),
        (["status"], r"<class 'dict'> \['catalog', 'system', 'version'\]\n"),
        (["break", 'where #type == "zeek.conn"'], r"left zeek.conn\n"),
        (["continuous", "1000", "0.3"], r"cancelled True\n"),
    ],
)
def test_a_script_runs(server, make_conn, run, argv, printed):
    """What PyVAST can be asked for is answered, and the process ends whatever it was busy with."""
    server.add(make_conn([NUMBER] * 12))
    start = run_alone if argv[0] in ("break", "continuous", "rows") else run
    assert re.fullmatch(printed, start(*argv))


def test_every_recording_has_its_case(shared):
    """No recorded run is left out."""
    found = {path.stem[:3] for path in (shared / "golden" / "pyvast").glob("*.json")}
    assert found == set(CASES)
