"""``%vast`` and ``%%vast`` in a shell."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vastlab
from vastlab import errors, notebook
from vastlab.connection import Connection
from vastlab.notebook import overviews
from vastlab.notebook.cells import without_body
from vastlab.notebook.magics import VastMagics
from vastlab.notebook.notes import Note, ProgressLine
from vastlab.result import Result
from vastlab.types import Schema


def test_the_line_magic_gives_a_result(shell):
    """``%vast`` asks, and its value is the result."""
    result = shell.run("%vast -n 3 resp_p >= 1")
    assert isinstance(result, Result)
    assert (result.num_rows, result.limit, result.expression) == (3, 3, "resp_p >= 1")


def test_the_cell_magic_gives_a_result(shell):
    """``%%vast`` takes the body as the expression, over several lines."""
    assert shell.run("%%vast -n 0\nresp_p >= 1\n&& resp_p < 3").num_rows == 4


def test_the_newest_come_first(shell):
    """``-r`` asks for the newest events, ``--per-schema`` for some of each schema."""
    assert shell.run('%vast -r -n 1 #type == "zeek.conn"').one()["note"].tolist() == ["n0"]
    result = shell.run("%vast --newest --per-schema -n 1")
    assert {name: len(frame) for name, frame in result.items()} == {"zeek.conn": 1, "zeek.dns": 1}


def test_assignment(shell):
    """``x = %vast`` and ``-o x`` both put the result in a variable."""
    assert shell.run("x = %vast resp_p == 4\nx.num_rows") == 1
    shown = shell.run("%%vast -o y\nresp_p == 4")
    assert shell.names["y"].num_rows == 1
    assert repr(shown).startswith("y = 1 event in 1 schema · ")
    assert shown._repr_html_().startswith("<div>y = 1 event")


def test_a_semicolon_hides_the_result(shell):
    """With a trailing semicolon nothing is shown, but ``-o`` still assigns."""
    assert shell.run("%vast resp_p == 4;") is None
    assert shell.run("%vast -o z resp_p == 4;") is None
    assert shell.names["z"].num_rows == 1
    shell.run("before = 1\nw = %vast resp_p == 4;\nv = %vast resp_p == 3 ; ")
    assert (shell.names["w"].num_rows, shell.names["v"].expression) == (1, "resp_p == 3")


def test_parameters_come_from_the_namespace(shell):
    """``$name`` is the value of the user's variable, also of a function's own."""
    shell.names["ports"] = [3, 4]
    result = shell.run("%vast resp_p in $ports")
    assert (result.num_rows, result.expression) == (2, "resp_p in [3, 4]")
    local = "def f(p):\n    return get_ipython().run_line_magic('vast', 'resp_p == $p')\nf(4)"
    assert shell.run(local).num_rows == 1


@pytest.mark.parametrize("text", ['note == "{x} $x {{y}}"', r'note == "a\\b"', 'note == "C$"'])
def test_text_is_not_expanded(shell, text):
    """Braces, dollars and backslashes in strings reach the language as they are."""
    shell.names["x"] = "boom"
    assert shell.run(f"%vast {text}").num_rows == 0


@pytest.mark.parametrize(
    "cell, kind",
    [
        ("%vast -n abc x == 1", errors.UsageError),
        ("%vast -n -1 resp_p == 1", errors.UsageError),
        ("%vast -m never resp_p == 1", errors.UsageError),
        ("%vast --since never resp_p == 1", errors.UsageError),
        ("%vast -e /no/such/folder resp_p == 1", errors.UsageError),
        ("%vast resp_p ==", errors.ExpressionSyntaxError),
        ("%vast resp_p == $unset", errors.ParameterError),
    ],
)
def test_errors_fail_the_cell_in_few_lines(shell, cell, kind, capsys):
    """An error fails the cell, shows no traceback, and leaves the variable alone."""
    shell.names["kept"] = "before"
    with pytest.raises(kind):
        shell.run(cell.replace("%vast", "%vast -o kept"))
    shown = capsys.readouterr().out
    assert kind.__name__ in shown
    assert "Traceback" not in shown
    assert len(shown.strip().split("\n")) <= 3
    assert shell.names["kept"] == "before"


def test_unknown_names_are_remarked_on(shell, capsys):
    """A field that no schema knows is said in the cell, not as a Python warning."""
    assert shell.run("%vast nope == 1").num_rows == 0
    captured = capsys.readouterr()
    assert "no schema has a field nope" in captured.out
    assert captured.err == ""


@pytest.fixture
def stopped(monkeypatch) -> Result:
    """Let each query be interrupted; what it had by then is the fixture's value."""
    partial = Result({})

    def interrupted(*_: object, **__: object) -> None:
        raise errors.QueryInterrupted("interrupted after 0 events", partial=partial)

    monkeypatch.setattr(Connection, "query", interrupted)
    return partial


def test_an_interrupt_shows_and_keeps_what_arrived(shell, stopped, capsys):
    """An interrupted query shows its part, assigns it, says so, and fails the cell."""
    with pytest.raises(errors.QueryInterrupted, match="what had arrived is in kept"):
        shell.run("%vast -o kept resp_p == 1")
    assert shell.names["kept"] is stopped
    assert "0 events in 0 schemas" in capsys.readouterr().out


def test_an_interrupt_leaves_what_arrived_as_the_last_output(shell, stopped):
    """Without a variable the part is ``_``, until the next output is."""
    with pytest.raises(errors.QueryInterrupted, match="what had arrived is in _"):
        shell.run("%vast resp_p == 1")
    assert shell.run("_") is stopped
    assert shell.run("1 + 1") == shell.run("_") == 2


def test_an_interrupt_leaves_a_variable_of_the_users_alone(shell, stopped):
    """Where ``_`` is the user's, as after a loop, it stays so, and the part has a number."""
    shell.run("for _ in range(3): pass")
    with pytest.raises(errors.QueryInterrupted, match="what had arrived is in _") as caught:
        shell.run("%vast resp_p == 1")
    name = str(caught.value).rstrip(")").split()[-1]
    assert name != "_"
    assert shell.run(name) is stopped
    assert shell.names["_"] == 2


def test_an_interrupt_without_a_cache_says_what_to_do(shell, stopped, monkeypatch):
    """Where IPython keeps no outputs, nothing is promised."""
    monkeypatch.setattr(shell.ip.displayhook, "cache_size", 0)
    with pytest.raises(errors.QueryInterrupted, match="-o NAME keeps"):
        shell.run("%vast resp_p == 1")


def test_help(shell):
    """``-h`` shows all options, also in a cell without a body."""
    for cell in ("%vast -h", "%%vast -h", "%%vast --help\nx == 1"):
        assert "--limit N" in repr(shell.run(cell))


def test_other_magics_keep_their_cells():
    """Only ``%%vast`` without a body is rewritten."""
    for lines in ([], ["%%vastly"], ["%%vast", "x"], ["%%time"], ["x"]):
        assert without_body(lines) == lines


def test_one_connection_for_each_endpoint(shell, folder):
    """However an endpoint is spelled, the magics have one connection to it."""
    magics = shell.ip.magics_manager.registry[VastMagics.__name__]
    assert magics.connection() is magics.connection(str(folder))


def test_reload_is_idempotent(shell):
    """Loading twice leaves one of everything."""
    before = list(shell.ip.Completer.custom_matchers), list(shell.ip.input_transformers_cleanup)
    notebook.load_ipython_extension(shell.ip)
    after = shell.ip.Completer.custom_matchers, shell.ip.input_transformers_cleanup
    assert [len(x) for x in before] == [len(x) for x in after]
    assert shell.run("%vast resp_p == 4").num_rows == 1


def test_unload_removes_everything(shell):
    """After unloading nothing is left in the shell, and the connections are closed."""
    magics = shell.ip.magics_manager.registry[VastMagics.__name__]
    connection = magics.connection()
    assert Connection.progress is ProgressLine
    notebook.unload_ipython_extension(shell.ip)
    assert "vast" not in shell.ip.magics_manager.magics["line"]
    assert "vast" not in shell.ip.magics_manager.magics["cell"]
    assert VastMagics.__name__ not in shell.ip.magics_manager.registry
    assert without_body not in shell.ip.input_transformers_cleanup
    assert not any("vastlab" in str(m) for m in shell.ip.Completer.custom_matchers)
    assert Connection.progress is None
    with pytest.raises(errors.UsageError, match="closed"):
        connection.query()
    notebook.unload_ipython_extension(shell.ip)


PROFILES = "vastlab: {profiles: {small: {endpoint: %s}, gone: {endpoint: /no/such/folder}}}"
QUERIES = "- {name: port, expression: 'resp_p == $p', params: {p: {type: int, default: 4}}}"


@pytest.fixture
def beside(tmp_path, monkeypatch, folder):
    """Work in a folder with saved queries, as a user who has profiles."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "vast").mkdir(parents=True)
    (tmp_path / "config" / "vast" / "vast.yaml").write_text(PROFILES % folder)
    (tmp_path / "queries.yaml").write_text(QUERIES)
    return tmp_path


def test_profiles(shell, beside, folder):
    """``-P`` asks a profile once, ``%vast_use`` from then on, and ``-`` goes back."""
    assert shell.run("%vast -P small resp_p == 4").num_rows == 1
    assert str(folder) in repr(shell.run("%vast_use"))
    assert repr(shell.run("%vast_use gone")) == "using /no/such/folder (profile gone)"
    with pytest.raises(errors.UsageError):
        shell.run("%vast resp_p == 4")
    assert repr(shell.run("%vast_use -")) == f"using {folder}"
    for cell in ("%vast_use smal", "%vast --profile smal resp_p == 4"):
        with pytest.raises(errors.ConfigError, match="did you mean 'small'"):
            shell.run(cell)


def test_an_endpoint_is_used_as_a_profile_is(shell, beside, folder):
    """``%vast_use`` takes what ``connect`` takes, where it cannot be a profile."""
    assert repr(shell.run("%vast_use /no/such/folder")) == "using /no/such/folder"
    assert repr(shell.run("%vast_use localhost")) == "using localhost:5158"
    assert repr(shell.run("%vast_use ::1")) == "using [::1]:5158"
    assert repr(shell.run(f"%vast_use {folder}")) == f"using {folder}"
    assert shell.run("%vast resp_p == 4").num_rows == 1


def test_a_dash_goes_back_as_cd_does(shell, folder, tmp_path):
    """To what was asked before, also to a connection, and there and back again."""

    def used(line: str) -> str:
        return repr(shell.run(f"%vast_use {line}")).removeprefix("using ")

    with pytest.raises(errors.UsageError, match="nothing else was used before"):
        shell.run("%vast_use -")
    assert used("/first") == "/first"
    assert used("/second") == "/second"
    assert [used("-"), used("-"), used("-")] == ["/first", "/second", "/first"]
    with vastlab.connect(f"{tmp_path}/mine.db") as mine:
        assert [used("-"), used("-")] == ["/first", mine.endpoint]
        assert [used("/third"), used("-")] == ["/third", mine.endpoint]


def test_a_folder_may_be_named_by_one_word(shell, beside, folder, monkeypatch):
    """As for `connect`, where no profile has that name."""
    monkeypatch.chdir(folder.parent)
    assert repr(shell.run(f"%vast_use {folder.name}")) == f"using {folder.name}"
    assert shell.run("%vast resp_p == 4").num_rows == 1


def test_saved_queries(shell, beside):
    """``%vast_run`` asks a saved query, with options, values and variables."""
    assert shell.run("%vast_run port").num_rows == 1
    assert shell.run("%vast_run -n 1 port p=2").num_rows == 1
    shell.names["mine"] = 3
    assert shell.run("%vast_run -o found port p=$mine;") is None
    assert shell.names["found"].expression == "resp_p == 3"
    assert "port(p: int = 4)" in repr(shell.run("%vast_run"))


@pytest.mark.parametrize(
    "cell, said",
    [
        ("%vast_run prot", "did you mean 'port'"),
        ("%vast_run port q=1", "no parameter"),
        ("%vast_run --params-from q=x port", r"no \$q"),
        ("%vast_run port 4", "gives no parameter"),
        ("%vast_run port p=$unset", "no variable 'unset'"),
        ("%vast_run port 'p=4", "apart"),
        ("%vast_status x", "takes nothing"),
        ("%vast_schemas zeek.con", "did you mean 'zeek.conn'"),
        ("%vast --live --timeout 5 resp_p == 4", "live"),
    ],
)
def test_slips_in_the_other_magics(shell, beside, cell, said):
    """Each slip fails the cell with what to do about it."""
    with pytest.raises(errors.VastlabError, match=said):
        shell.run(cell)


def test_status_and_schemas(shell, folder):
    """What is asked, how it is, and what is there, as text."""
    assert repr(shell.run("%vast_status")).startswith(f"using {folder}\n")
    assert repr(shell.run("%vast_schemas")) == (
        "zeek.conn  5 events  4 fields  2009-11-18 08:00\n"
        "zeek.dns   3 events  4 fields  2009-11-18 08:00"
    )
    assert "  id.orig_h  ip" in repr(shell.run("%vast_schemas zeek.c*"))


def test_the_newest_connection_is_asked(shell, folder, tmp_path):
    """``%vast`` asks what `connect` opened last, until it is closed or something else is used."""
    with vastlab.connect(f"{tmp_path}/mine.db") as mine:
        mine.ingest(pa.table({"port": [1]}), schema="my.ports")
        assert shell.run("%vast").num_rows == 1
        assert shell.run(f"%vast -e {folder}").num_rows == 8
        assert repr(shell.run("%vast_use")).startswith(f"using {mine.endpoint}\n")
        shell.run(f"%vast_use {folder}")
        assert shell.run("%vast").num_rows == 8
        with vastlab.connect() as same:
            assert same.endpoint == str(folder)
        with vastlab.connect(mine.endpoint):
            assert shell.run("%vast").num_rows == 1
        assert shell.run("%vast").num_rows == 8
        shell.run("%vast_use -")
        with vastlab.connect() as default:
            assert default.endpoint == str(folder)
    notebook.unload_ipython_extension(shell.ip)
    assert Connection.in_use() is None


@pytest.mark.parametrize("count", [0, 1, 500])
def test_a_status_fits_a_screen(count):
    """However many schemas and components a node has, its status has few lines."""
    facts = {"num-events": 5, "event-time": {"min": "2009-11-18T08:00:00", "max": "x\x1b"}}
    held = {f"s{n}": facts for n in range(count)}
    components = {f"component-{n}": {"x": n} for n in range(count)}
    found = {"catalog": {"num-events": 5, "schemas": held}, "components": components}
    shown = repr(Note(overviews.status(found)))
    assert len(shown.split("\n")) <= 40
    assert "num-events: 5" in shown
    assert "\x1b" not in shown
    if count == 500:
        assert "and 488 more schemas" in shown
        assert "more lines: vast.status() has all" in shown


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.integers() | st.text() | st.none(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=9,
        ),
    )
)
def test_any_status_can_be_shown(status):
    """Whatever a node says of itself, it has a text."""
    for found in (status, {"catalog": status}, {"catalog": {"schemas": status}}):
        assert isinstance(overviews.status(found), str)
        known = {name: Schema(name, ()) for name in status}
        assert len(overviews.schemas(known, found).split("\n")) == max(1, len(known))


def test_lists_of_indicators_from_files(shell, tmp_path):
    """A list from a file is a parameter of the expression, and of a saved query."""
    (tmp_path / "iocs.txt").write_text("10.0.0[.]1\n")
    option = f"--params-from list={tmp_path}/iocs.txt"
    expected = shell.run("%vast -n 0 :ip == 10.0.0.1").num_rows
    assert expected
    assert shell.run(f"%vast -n 0 {option} :ip in $list").num_rows == expected
    assert shell.run(f"%%vast -n 0 {option}\n$list").num_rows == expected
    with pytest.raises(errors.UsageError, match=r"no \$list"):
        shell.run(f"%vast {option} :ip in 10.0.0.0/8")


def test_schemas_name_fields_as_expressions_do(shell, tmp_path, monkeypatch):
    """What is listed can be copied into an expression."""
    monkeypatch.setenv("VAST_ENDPOINT", f"{tmp_path}/odd.db")
    with Connection() as connection:
        connection.ingest(pa.table({"@timestamp": [1], "x\x1b": [2], "y": [3]}), schema="my.logs")
    assert repr(shell.run("%vast_schemas my.*")) == (
        "my.logs\n  `@timestamp`  int64\n  `x\\x1b`       int64\n  y             int64"
    )
    assert shell.run(r"%vast `@timestamp` == 1 && `x\x1b` == 2").num_rows == 1


def test_a_field_of_several_layouts_is_listed_once(shell, tmp_path, monkeypatch):
    """What one layout calls ``a.b`` and another has in a record is one field, of both types."""
    monkeypatch.setenv("VAST_ENDPOINT", f"{tmp_path}/layouts.db")
    with Connection() as connection:
        connection.ingest(pa.table({"a.b": ["x"], "c.d": ["x"]}), schema="my.logs")
        connection.ingest(pa.table({"a": [{"b": "y"}], "c": [{"d": 1}]}), schema="my.logs")
    assert repr(shell.run("%vast_schemas")).startswith("my.logs  2 events  2 fields")
    assert repr(shell.run("%vast_schemas my.*")) == (
        "my.logs\n  a.b  string\n  c.d  string or int64"
    )


@pytest.mark.parametrize(
    "cell, said",
    [
        ("%vast -n -1 resp_p == 1", "whole number"),
        ("%vast -n 1e9 resp_p == 1", "whole number"),
        ("%vast -n 1.5 resp_p == 1", "whole number"),
        ("%vast -n", "needs a value"),
        ("%vast -m histrical resp_p == 1", "did you mean historical"),
        ("%vast --limt 5 resp_p == 1", "did you mean --limit"),
        ("%vast -Z resp_p == 1", "unknown option -Z"),
        ("%vast -o 1x resp_p == 1", "name of a variable"),
        ("%vast -o class resp_p == 1", "name of a variable"),
        ("%vast -e demo: -P x resp_p == 1", "exclude"),
        ("%vast --timeout soon resp_p == 1", "takes seconds"),
        ("%vast --quiet=1 resp_p == 1", "takes no value"),
        ("%vast --live -r resp_p == 1", "--live takes no --newest"),
        ("%vast --live --per-schema", "--live takes no --per-schema"),
        ("%vast -r -m unified resp_p == 1", "the mode unified has no newest events"),
        ("%vast -n 9999999999999999999 resp_p == 1", "must be at most"),
        ("%vast -n " + "9" * 5000 + " resp_p == 1", "whole number"),
    ],
)
def test_bad_options(shell, cell, said, capsys):
    """Every wrong option is one short line that says what would be right."""
    with pytest.raises(errors.UsageError, match=said):
        shell.run(cell)
    assert all(len(line) < 300 for line in capsys.readouterr().out.split("\n"))


@pytest.mark.parametrize("cell", ["%vast resp_p == 4 -n 5", "%%vast -n 5\nresp_p == 4 --since 1d"])
def test_options_behind_the_expression_are_noticed(shell, cell):
    """Who puts options last is told where they stand."""
    with pytest.raises(errors.ExpressionSyntaxError, match="options come before the expression"):
        shell.run(cell)


def test_an_expression_of_a_megabyte(shell, capsys):
    """A huge expression works, and its error and its summary stay short."""
    many = ", ".join(["4"] * 200_000)
    assert len(repr(shell.run(f"%vast -n 1 resp_p in [{many}]"))) < 1_000
    with pytest.raises(errors.ExpressionSyntaxError):
        shell.run(f"%vast resp_p in [{many}, ]] ==")
    assert len(capsys.readouterr().out) < 3_000


def test_an_empty_expression_is_everything(shell):
    """A cell without an expression asks for all events."""
    assert shell.run("%vast").num_rows == shell.run("%%vast -n 0\n\n").num_rows == 8


def test_live_hands_over(shell):
    """``--live`` returns a running view at once, ``%vast_status`` lists it, unloading stops it."""
    view = shell.run("%vast --live -n 0 -o seen resp_p == 4;")
    assert view is None
    assert "live: " in repr(shell.run("%vast_status"))
    notebook.unload_ipython_extension(shell.ip)
    notebook.load_ipython_extension(shell.ip)
    assert "live: " not in repr(shell.run("%vast_status"))


def test_whole_tracebacks_on_wish(shell, capsys):
    """``%config VastMagics.tracebacks`` turns the one line into a traceback, and back."""
    for wish, shown in (("True", True), ("False", False)):
        shell.run(f"%config VastMagics.tracebacks = {wish}")
        with pytest.raises(errors.UsageError):
            shell.run("%vast -n x")
        assert ("Traceback" in capsys.readouterr().out) is shown


def test_unload_removes_all_magics(shell):
    """No magic of vastlab is left, also not in the list of what can be configured."""
    notebook.unload_ipython_extension(shell.ip)
    for kind in shell.ip.magics_manager.magics.values():
        assert not [name for name in kind if name.startswith("vast")]
    assert not [c for c in shell.ip.configurables if isinstance(c, VastMagics)]


def test_a_terminal_waits_for_the_body(shell):
    """A cell magic without a body runs when asked to, but is not complete as long as one types."""
    assert shell.ip.check_complete("%%vast -n 0")[0] == "incomplete"
    assert shell.ip.check_complete("%vast -n 0")[0] == "complete"
    assert shell.run("%%vast -n 0").num_rows == 8


def test_summaries_are_frames(shell):
    """``%vast_top``, ``%vast_timeline`` and ``%vast_summarize`` group the events."""
    found = shell.run("%vast_top resp_p resp_p == 3")
    assert found.to_numpy().tolist() == [[3, len(shell.run("%vast resp_p == 3").one())]]
    assert len(shell.run("%vast_top -n 1 resp_p")) == 1
    ranked = shell.run("%vast_top resp_p by=max(resp_p) resp_p in [3, 4]")
    assert ranked["max(resp_p)"].tolist() == [4, 3]
    days = shell.run("%vast_timeline every=1d by=#type resp_p == 3")
    assert days["events"].sum() == found["events"].sum()
    found = shell.run("%vast_summarize by=#type every=1d most=max(resp_p) n=count() resp_p < 4")
    assert found["most"].max() == 3
    shell.names["ports"] = [1, 2]
    assert shell.run("%vast_summarize resp_p in $ports")["events"].tolist() == [
        shell.run("%vast resp_p in $ports").num_rows
    ]
    shell.run("hidden = %vast_top resp_p;\nalso = %vast_timeline;")
    assert len(shell.names["hidden"]) == 5
    assert len(shell.names["also"])
    for magic in ("top", "timeline", "summarize"):
        usage = repr(shell.run(f"%vast_{magic} -h"))
        assert f"%vast_{magic} [" in usage
        assert "--since TIME" in usage
        assert ("--limit N" in usage) == (magic != "timeline")
        assert "--live" not in usage
    shell.run("%vast_top -o kept resp_p")
    assert len(shell.names["kept"]) == 5


def test_statements_are_frames(shell):
    """``%%vast_sql`` takes the statement from the body, ``%vast_sql`` from the line."""
    body = "select count(*) as n from zeek.conn where id.resp_p < $most;"
    shell.names["most"] = 4

    def count(expression: str) -> int:
        return shell.run(f'%vast -n 0 #type == "zeek.conn" && ({expression})').num_rows

    assert shell.run(f"%%vast_sql\n{body}")["n"].tolist() == [count("resp_p < 4")]
    assert shell.run(f"%vast_sql {body}") is None
    shell.run(f"x = %vast_sql {body}")
    assert shell.names["x"]["n"].tolist() == [count("resp_p < 4")]
    found = shell.run(f"%%vast_sql -o kept resp_p >= $most || resp_p == 3\n{body}")
    assert repr(found) == "kept = 1 row"
    assert shell.names["kept"]["n"].tolist() == [count("resp_p == 3")]
    assert without_body(["%%vast_sql -h"]) == ["%vast_sql -h"]
    assert "select" in repr(shell.run("%vast_sql -h"))


@pytest.mark.parametrize(
    "cell, message",
    [
        ("%%vast_sql\ndrop table x", "may only read"),
        ("%%vast_sql -n 3\nselect 1", "takes no -n"),
        ("%%vast_sql --live\nselect 1", "takes no --live"),
        ("%%vast_sql\nselect $nothing", r"the parameter \$nothing has no value"),
        ("%vast_sql", "the statement is empty"),
    ],
)
def test_wrong_statements_are_one_clear_line(shell, cell, message):
    """Each names what is wrong."""
    with pytest.raises(errors.UsageError, match=message):
        shell.run(cell)


@pytest.mark.parametrize(
    "line, message",
    [
        ("%vast_top", "the field is missing"),
        ("%vast_top nope", "no schema has a field nope"),
        ("%vast_top resp_p every=1h", "%vast_top has no every"),
        ("%vast_timeline often=1d", "%vast_timeline has no often"),
        ("%vast_timeline -n 3", "%vast_timeline takes no limit"),
        ("%vast_top --live resp_p", "a summary takes no --live"),
        ("%vast_top --per-schema resp_p", "a summary takes no --per-schema"),
        ("%vast_summarize n=count() n=max(resp_p)", "n= is given twice"),
        ("%vast_summarize n=total(resp_p)", "unknown function total"),
    ],
)
def test_wrong_summaries_are_one_clear_line(shell, line, message):
    """Each names what is wrong."""
    with pytest.raises(errors.UsageError, match=message):
        shell.run(line)
