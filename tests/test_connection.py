"""The synchronous facade."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from tests.display.conftest import conn
from tests.doubles import read_without_end
from vastlab import errors
from vastlab._waiting import Waiting
from vastlab.connection import Connection, connect
from vastlab.nodes.base import Step
from vastlab.nodes.embedded import EmbeddedNode


@pytest.fixture
def vast(small_database) -> Iterator[Connection]:
    with connect(str(small_database)) as connection:
        yield connection


class Display:
    """A progress display that only remembers, and calls back at each step."""

    def __init__(self, on: Callable[[Step], None] = lambda step: None) -> None:
        self.on = on
        self.steps: list[Step] = []
        self.opened = self.closed = 0

    def __call__(self):
        self.opened += 1
        return self._open()

    @contextlib.contextmanager
    def _open(self):
        try:
            yield self._show
        finally:
            self.closed += 1

    def _show(self, step: Step, elapsed: float) -> None:
        assert elapsed >= 0
        self.steps.append(step)
        self.on(step)


def _interrupt_when(ready: threading.Event, times: int = 1) -> threading.Thread:
    def interrupt() -> None:
        ready.wait(10)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


@pytest.fixture
def endless(vast, monkeypatch) -> threading.Event:
    """Let the connection give one slice and then nothing more; set when it waits."""
    waiting = threading.Event()
    run = vast._vast.run

    async def stuck(*args: object, **how: object):
        async for part in run(*args, **how):
            yield part
            waiting.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(vast._vast, "run", stuck)
    return waiting


# --- queries --------------------------------------------------------------------------------


def test_query_gives_all_that_matches(vast):
    """A query without a limit gives every event that matches, by schema."""
    result = vast.query("resp_p >= 1", limit=0)
    assert {name: len(frame) for name, frame in result.items()} == {"zeek.conn": 4, "zeek.dns": 2}
    assert (result.expression, result.mode, result.limit) == ("resp_p >= 1", "historical", 0)
    assert not result.limit_reached
    assert not result.partial
    assert vast.last is result


def test_the_limit_is_exact_and_reported(vast):
    """No more events than the limit come, and the result says that there may be more."""
    result = vast.query("", limit=2)
    assert result.num_rows == 2
    assert result.limit_reached


@pytest.mark.parametrize("limit, told", [(7, True), (8, False), (9, False), (0, False)])
def test_a_limit_that_meets_the_last_event_ends_nothing(vast, limit, told):
    """Where the events are read here, it is known whether there are more than the limit."""
    assert vast.query("", limit=limit).limit_reached is told


def test_nothing_is_known_of_what_was_left_out_of_a_narrowed_result(vast):
    """What the limit left out was counted for another question."""
    limited, whole = vast.query(limit=2), vast.query(limit=0)
    assert limited.left_out
    assert limited.where("resp_p >= 0").left_out is None
    assert whole.where("resp_p >= 0").left_out == {}


@pytest.mark.parametrize(
    "limit, left_out", [(2, {"zeek.dns": 3}), (5, {"zeek.dns": 3}), (6, {}), (8, {}), (0, {})]
)
def test_the_limit_hides_no_schema(vast, limit, left_out):
    """The result says which other schemas have matches, and how many."""
    result = vast.query("", limit=limit)
    assert result.left_out == left_out
    assert ("left out: zeek.dns (3 events)" in repr(result)) == bool(left_out)
    assert ("left out: zeek.dns (3 events)" in result.line()) == bool(left_out)
    assert ("left out: zeek.dns (3 events)" in result._repr_html_()) == bool(left_out)


def test_only_what_matches_is_left_out(vast):
    """Schemas of which nothing matches are not named."""
    assert vast.query("#type == /.*conn/ && resp_p >= 1", limit=2).left_out == {}
    assert vast.query("resp_p >= 1", limit=2).left_out == {"zeek.dns": 2}


def test_what_takes_too_long_to_count_is_not_looked_at(vast, monkeypatch):
    """The answer does not wait for it, and says so."""

    async def never(*args: object, **how: object) -> dict[str, int]:
        return await asyncio.Event().wait()

    monkeypatch.setattr(EmbeddedNode, "counts", never)
    result = vast.query("", limit=2)
    assert result.left_out is None
    assert "other schemas were not looked at" in repr(result)


@pytest.mark.parametrize("limit, told", [(1, True), (4, True), (5, False), (0, False)])
def test_a_limit_for_each_schema_is_exact(vast, limit, told):
    """No schema is left out, and the result says whether one has more."""
    result = vast.query("", limit=limit, per_schema=True)
    most = limit or 10
    assert {name: len(frame) for name, frame in result.items()} == {
        "zeek.conn": min(most, 5),
        "zeek.dns": min(most, 3),
    }
    assert result.limit_reached is told
    assert result.left_out == {}
    events = "1 event" if limit == 1 else f"{limit} events"
    assert (f"first {events} of each schema (limit reached" in repr(result)) == told


def test_the_newest_events_come_first(vast):
    """In frames and views, and the limit keeps them."""
    result = vast.query('#type == "zeek.conn"', limit=3, order="newest")
    assert result["zeek.conn"]["note"].tolist() == ["n0", "n1", "n2"]
    assert result["zeek.conn"]["ts"].is_monotonic_decreasing
    assert repr(result).startswith("newest 3 events (limit reached")
    shown = repr(result.show())
    assert shown.index("08:00:04") < shown.index("08:00:03") < shown.index("08:00:02")
    parts = vast.export('#type == "zeek.conn"', limit=3, order="newest")
    assert [n for part in parts for n in part.to_pyarrow()["note"].to_pylist()] == [
        "n0", "n1", "n2",
    ]  # fmt: skip


def test_the_newest_of_each_schema(vast):
    """Both options at once."""
    result = vast.query("", limit=1, order="newest", per_schema=True)
    assert {name: frame["note"].tolist() for name, frame in result.items()} == {
        "zeek.conn": ["n0"],
        "zeek.dns": ["n2"],
    }


def test_in_other_modes_the_limit_ends_the_query(vast):
    """Where new events may come, only the limit has ended the query."""
    assert vast.query("", limit=8, mode="unified").limit_reached


def test_parameters_show_in_the_final_expression(vast):
    """Values take the places of names, and the result shows what was asked in the end."""
    result = vast.query("resp_p == $port", params={"port": 3})
    assert result.expression == "resp_p == 3"
    assert result.num_rows == 1


def test_bounds(vast):
    """`since` and `until` bound the event time."""
    result = vast.query("", since="2009-11-18T08:00:01", until="2009-11-18T08:00:03")
    assert result.num_rows == 4


def test_bounds_are_part_of_what_a_result_shows(vast):
    """The displays and two attributes say from when to when was asked."""
    result = vast.query("resp_p < 9 && 1k > resp_p", since="2009-11-18T08:00:01")
    asked = "resp_p < 9 && 1k > resp_p · since 2009-11-18 08:00:01"
    assert asked in repr(result)
    assert result.line().endswith(asked)
    assert "since 2009-11-18 08:00:01" in result._repr_html_()
    assert (str(result.since), result.until) == ("2009-11-18 08:00:01+00:00", None)


async def test_query_inside_a_running_loop(vast):
    """The facade works where an event loop runs already, as in a notebook."""
    assert vast.query("resp_p == 1").num_rows == 2


def test_export_gives_slices(vast):
    """An export gives the events batch by batch."""
    parts = list(vast.export("", limit=0))
    assert sum(part.num_rows for part in parts) == 8
    assert {part.name for part in parts} == {"zeek.conn", "zeek.dns"}


def test_closing_ends_exports(small_database):
    """An export that is open when its connection closes does not look whole."""
    connection = connect(str(small_database))
    parts, left, whole = (connection.export("", limit=0) for _ in range(3))
    next(parts)
    left.close()
    assert len(list(whole)) == 2
    connection.close()
    with pytest.raises(errors.UsageError, match="closed before the export ended"):
        next(parts)
    assert list(left) == list(whole) == []


def test_counts(vast):
    """Counts are a series, most first; a count is their sum."""
    counts = vast.counts()
    assert counts.to_dict() == {"zeek.conn": 5, "zeek.dns": 3}
    assert (counts.index[0], counts.name, counts.index.name) == ("zeek.conn", "events", "schema")
    assert vast.count("resp_p == 4") == 1
    assert vast.counts("resp_p == 99").empty


def test_counts_are_shown_as_a_table(vast):
    """Names and numbers are aligned, without the type of the numbers."""
    assert repr(vast.counts()) == "zeek.conn  5\nzeek.dns   3"
    assert repr(vast.counts("resp_p == 99")) == "no events"


def test_a_pattern_that_finds_nothing_has_a_hint(vast):
    """Patterns match whole texts, which is worth a line where nothing was found."""
    with pytest.warns(errors.VastlabWarning, match="matches whole texts only"):
        assert vast.query(":string == /C/").num_rows == 0
    with pytest.warns(errors.VastlabWarning, match="matches whole texts only"):
        assert vast.count(":string == /C/") == 0


def test_what_is_there(vast):
    """Status, schemas, concepts, models and plans can be asked for."""
    assert vast.status()["catalog"]
    assert set(vast.schemas()) == {"zeek.conn", "zeek.dns"}
    assert "net.src.ip" in vast.concepts().index
    assert vast.models().loc["net.connection", "concepts"]
    assert "resp_p == 80" in str(vast.explain("resp_p == 80"))


def test_ingest(tmp_path):
    """Events can be added, and are there afterwards."""
    with connect(str(tmp_path / "new.db")) as connection:
        report = connection.ingest(conn([0, 1], name="my.events"))
        assert report.events == {"my.events": 2}
        assert connection.counts().to_dict() == {"my.events": 2}


def test_unknown_names_are_warned_of_where_the_user_is(vast):
    """A field that no schema has is a warning that points at the user's own line."""
    for _ in range(2):
        with pytest.warns(errors.VastlabWarning, match="no schema has a field nope") as caught:
            vast.query("nope == 1")
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(errors.VastlabWarning, match="no schema has a field nape") as caught:
        vast.counts("nape == 1")
    assert [warning.filename for warning in caught] == [__file__]


def test_known_names_are_not_warned_of(vast):
    """A sound query says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vast.query("resp_p == 1")


# --- errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how, kind",
    [
        ({"limit": -1}, errors.UsageError),
        ({"limit": "many"}, errors.UsageError),
        ({"mode": "sometimes"}, errors.UsageError),
        ({"since": "whenever"}, errors.UsageError),
        ({"timeout": -1}, errors.UsageError),
        ({"expression": "resp_p =="}, errors.ExpressionSyntaxError),
        ({"expression": "resp_p == $x"}, errors.ParameterError),
        ({"expression": 5}, errors.UsageError),
        ({"expression": pd.DataFrame({"a": range(100)})}, errors.UsageError),
        ({"limit": 1e9}, errors.UsageError),
        ({"limit": True}, errors.UsageError),
        ({"limit": 10**5_000}, errors.UsageError),
        ({"limit": -(10**5_000)}, errors.UsageError),
        ({"limit": "x" * 1_000_000}, errors.UsageError),
        ({"mode": "x" * 1_000_000}, errors.UsageError),
        ({"until": ["x"] * 1_000_000}, errors.UsageError),
    ],
)
def test_bad_arguments_fail_and_keep_the_last_result(vast, how, kind):
    """A bad argument is an error of vastlab's own, and the newest result stays."""
    before = vast.query("resp_p == 1")
    with pytest.raises(kind) as caught:
        vast.query(**how)
    assert vast.last is before
    assert len(str(caught.value)) < 250


def test_a_bad_zone_is_an_error():
    """A time zone that does not exist is named."""
    for zone in ("Mars/Olympus", "../etc/passwd"):
        with pytest.raises(errors.UsageError, match="no such time zone"):
            connect("logs", tz=zone)


def test_a_closed_connection_says_so(small_database):
    """After `close`, every call is one clear error; closing again is nothing."""
    connection = connect(str(small_database))
    connection.close()
    connection.close()
    for call in (connection.query, connection.count, connection.status, connection.export):
        with pytest.raises(errors.UsageError, match="closed"):
            call()


def test_a_failing_node_leaves_its_partial_result(vast, monkeypatch):
    """What had arrived when a node failed is in the error and in `last`."""
    run = vast._vast.run

    async def failing(*args: object, **how: object):
        async for part in run(*args, **how):
            yield part
            raise errors.NodeError("gone")

    monkeypatch.setattr(vast._vast, "run", failing)
    with pytest.raises(errors.NodeError, match="gone") as caught:
        vast.query("", limit=0)
    assert caught.value.partial is vast.last
    assert vast.last.partial
    assert vast.last.num_rows > 0


# --- interrupts -----------------------------------------------------------------------------


def test_interrupt_keeps_what_arrived(vast, endless):
    """Ctrl-C ends the query with an error that carries what had arrived."""
    thread = _interrupt_when(endless)
    with pytest.raises(errors.QueryInterrupted, match="interrupted after 5 events") as caught:
        vast.query("", limit=0)
    thread.join()
    assert caught.value.partial is vast.last
    assert vast.last.partial
    assert not vast.last.limit_reached
    assert vast.last.num_rows == 5
    assert "partial" in repr(vast.last)


def test_a_connection_works_after_an_interrupt(vast, endless, monkeypatch):
    """An interrupted query leaves the connection as it was."""
    thread = _interrupt_when(endless)
    with pytest.raises(errors.QueryInterrupted):
        vast.query("", limit=0)
    thread.join()
    monkeypatch.undo()
    assert vast.query("", limit=0).num_rows == 8


# --- life -----------------------------------------------------------------------------------


def test_progress_is_reported_in_the_waiting_thread(vast, endless, monkeypatch):
    """A progress display is used by the thread that waits, and closed at the end."""
    seen: list[tuple[str, Step]] = []

    def interrupt(step: Step) -> None:
        seen.append((threading.current_thread().name, step))
        if step.events:
            os.kill(os.getpid(), signal.SIGINT)

    display = Display(interrupt)
    monkeypatch.setattr(Connection, "progress", display)
    with pytest.raises(errors.QueryInterrupted):
        vast.query("", limit=10)
    assert (display.opened, display.closed) == (1, 1)
    assert seen[-1] == (threading.main_thread().name, Step("", 5, 0.5))
    assert {name for name, _ in seen} == {threading.main_thread().name}


CALLS = [
    (Connection.count, "counting"),
    (Connection.counts, "counting"),
    (Connection.explain, "planning"),
    (Connection.status, "asking for the status"),
    (Connection.schemas, "asking for the schemas"),
]


@pytest.mark.parametrize("call, doing", CALLS)
@pytest.mark.parametrize("times", [1, 2])
def test_every_call_shows_what_is_done_and_can_be_interrupted(
    vast, monkeypatch, call, doing, times
):
    """What takes long is named meanwhile; one interrupt ends it in a line, a second one at once."""
    release = threading.Event()

    async def stuck(*_: object, **__: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            if times > 1:
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.to_thread(release.wait)

    display = Display(lambda _: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr(vast._vast, call.__name__, stuck)
    monkeypatch.setattr(Connection, "progress", display)
    kind = errors.QueryInterrupted if times == 1 else KeyboardInterrupt
    with pytest.raises(kind, match=f"interrupted while {doing}" if times == 1 else None):
        call(vast)
    release.set()
    assert display.steps[0] == Step(doing)
    assert (display.opened, display.closed) == (1, 1)
    monkeypatch.undo()
    assert vast.count() == 8


def test_an_export_shows_one_line_however_many_batches(vast, monkeypatch):
    """Waiting for the batches of one export is one display, with the events taken so far."""
    display = Display()
    monkeypatch.setattr(Connection, "progress", display)
    taken = sum(part.num_rows for part in vast.export("", limit=0))
    assert (display.opened, display.closed) == (1, 1)
    assert display.steps[-1] == Step("", taken)


def test_an_export_that_is_left_closes_its_line(vast, monkeypatch):
    """Who stops taking batches leaves no display behind."""
    display = Display()
    monkeypatch.setattr(Connection, "progress", display)
    for _ in vast.export("", limit=0):
        break
    assert (display.opened, display.closed) == (1, 1)


def test_an_interrupted_export_says_how_far_it_was(vast, endless):
    """Ctrl-C while the next batch is awaited is one clear error, and the batches stay."""
    parts = vast.export("", limit=0)
    taken = [next(parts)]
    thread = _interrupt_when(endless)
    with pytest.raises(errors.QueryInterrupted, match="interrupted after 5 events"):
        taken += parts
    thread.join()
    assert len(taken) == 1


def test_an_export_warns_where_the_user_is(vast):
    """A field that no schema has is said of an export as of a query, and only once."""
    with pytest.warns(errors.VastlabWarning, match="no schema has a field nope") as caught:
        assert list(vast.export("nope == 1")) == []
    assert [warning.filename for warning in caught] == [__file__]


def test_reading_a_folder_of_logs_is_shown(tmp_path, monkeypatch):
    """Before the first answer from a folder, the line says what is read, and how far that is."""
    _, stopped = read_without_end(monkeypatch)
    reading = Step("reading 4 logs", 9000, 0.25)

    def interrupt(step: Step) -> None:
        if step == reading:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Connection, "progress", display := Display(interrupt))
    with (
        connect(str(tmp_path)) as vast,
        pytest.raises(errors.QueryInterrupted, match="interrupted after 0 events"),
    ):
        vast.query("")
    assert display.steps[-1] == reading
    assert stopped.wait(10)


def test_quiet_shows_no_progress(vast, monkeypatch):
    """A quiet query makes no display."""
    monkeypatch.setattr(Connection, "progress", lambda: pytest.fail("a display was made"))
    assert vast.query("", quiet=True).num_rows == 8


def test_repr_has_no_secrets():
    """The endpoint is shown without control characters; user and password are left out."""
    assert repr(Connection("/tmp/a\x1bb")) == r"Connection('/tmp/a\x1bb')"  # noqa: S108


def test_a_file_in_the_folder_that_chooses_the_endpoint_is_named(
    small_database, tmp_path, monkeypatch
):
    """In a stranger's folder, the result says which endpoint its settings chose."""
    monkeypatch.delenv("VAST_ENDPOINT", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(small_database, tmp_path / "small.db")
    (tmp_path / "vast.yaml").write_text(f"vast:\n  endpoint: '{folder}'\n")
    with connect() as connection:
        assert f"endpoint {folder} from vast.yaml" in repr(connection.query())
    with connect(str(folder)) as connection:
        assert "vast.yaml" not in repr(connection.query())


def test_the_zone_reaches_the_displays(small_database):
    """Displays use the zone of the connection; frames stay in UTC."""
    with connect(str(small_database), tz="Europe/Berlin") as connection:
        result = connection.query("", limit=0)
    assert "2009-11-18 09:00:00" in repr(result)
    assert "Europe/Berlin" in result._repr_html_()
    assert result["zeek.conn"]["ts"].iloc[0] == pd.Timestamp("2009-11-18T08:00", tz="UTC")


_FORK = """
import os, sys
from vastlab.connection import connect
from vastlab.errors import UsageError
vast = connect(sys.argv[1])
assert vast.count() == 8
pid = os.fork()
if pid == 0:
    try:
        vast.count()
    except UsageError:
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert vast.count() == 8
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_connection_is_an_error_not_a_deadlock(small_database):
    """A child process gets an error that says to connect again; the parent keeps working."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORK, str(small_database)], check=True, timeout=60
    )


_EXIT = """
import sys
from vastlab.connection import connect
vast = connect(sys.argv[1])
parts = vast.export("", limit=0)
next(parts)
"""


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_processes_that_end_in_the_middle_exit_cleanly(small_database):
    """Scripts that end with an open export exit with code 0 and say nothing."""
    number = int(os.environ.get("SHORT_PROCESSES", "20"))

    def end_early(_: int) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", _EXIT, str(small_database)],
            check=False,
            timeout=120,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stderr

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(end_early, range(number))) == {(0, "")}


def test_an_interrupted_ingest_says_so(tmp_path, monkeypatch):
    """An interrupt while files are added is an error of its own; a second one goes through."""
    with connect(str(tmp_path / "new.db")) as vast:
        first, second = KeyboardInterrupt(), KeyboardInterrupt()
        second.__context__ = first
        for raised, kind in ((first, errors.QueryInterrupted), (second, KeyboardInterrupt)):

            def stop(waiting, ingest, call, look, raised=raised):
                ingest.close()
                raise raised

            monkeypatch.setattr(Waiting, "run", stop)
            with pytest.raises(kind):
                vast.ingest(conn([1]))


LONG = [f"nothing{i}" for i in range(500)]
NETWORKS = [ipaddress.ip_network(f"172.16.{i}.0/24") for i in range(200)]


@pytest.mark.parametrize(
    "expression, values, same",
    [
        ("orig_h in $list", [*NETWORKS, *LONG, "10.0.0.1"], '#type == ""'),
        (":ip in $list", [ipaddress.ip_address("10.0.0.1"), *NETWORKS], ":ip == 10.0.0.1"),
        (":ip in $list", [ipaddress.ip_network("10.0.0.0/30"), *NETWORKS], ":ip in 10.0.0.0/30"),
        (":ip !in $list", NETWORKS, ":ip"),
        (":string in $list", [*LONG, "n1", *NETWORKS], 'note == "n1"'),
        (":string !in $list", [*LONG, "n1"], 'note != "n1"'),
        ("! (:string in $list)", [*LONG, "n1"], 'note != "n1"'),
        ("$list", [*LONG, "n1", ipaddress.ip_address("10.0.0.2")], "resp_p == 1"),
        ("resp_p in $list", list(range(1, 1000)), "resp_p >= 1"),
        ("resp_p in $list || note in $list", [*range(2, 1000), "n0"], "resp_p in [0, 2]"),
    ],
)
def test_long_lists_find_what_each_value_finds(tmp_path, expression, values, same):
    """Hundreds of values find the same events as a short question, stored and in memory."""
    with connect(str(tmp_path / "some.db")) as vast, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a question may name a field that is not there
        vast.ingest(conn([0, 60, 600]))
        given = {"list": values}
        found = vast.count(expression, params=given)
        assert found == vast.count(same)
        asked = vast.query(expression, params=given, limit=0)
        everything = vast.query(limit=0)
        assert asked.num_rows == everything.where(expression, params=given).num_rows == found
        assert repr(vast.explain(expression, params=given))
