"""Saved queries."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import language_strategies as language
from tests.display.conftest import conn
from vastlab import errors
from vastlab.config import Settings
from vastlab.connection import connect
from vastlab.expression.literals import Duration, String
from vastlab.queries import FILE, Parameter, Queries, load, save

BEACONS = """
- name: beacons
  description: one host to some ports
  expression: 'id.orig_h == $host && resp_p in $ports'
  params:
    host: {type: ip}
    ports: {type: list<int>, default: [1, 2]}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / FILE).write_text(BEACONS)
    return tmp_path


def test_a_query_is_a_method(folder):
    """A saved query asks with typed values, defaults, and the arguments of a query."""
    with connect(str(folder / "some.db")) as vast:
        vast.ingest(conn([0, 1, 2, 3]))
        found = vast.queries.beacons(host="10.0.0.1", limit=1)
        assert (found.num_rows, found.limit) == (1, 1)
        assert found.expression == "id.orig_h == 10.0.0.1 && resp_p in [1, 2]"
        host = ipaddress.ip_address("10.0.0.1")
        assert vast.queries["beacons"](host=host, ports="3").num_rows == 1
        assert "beacons" in dir(vast.queries)
        assert repr(vast.queries) == (
            "beacons(host: ip, ports: list<int> = [1, 2]): one host to some ports"
        )


def test_the_folder_of_the_notebook_counts_first(folder, tmp_path_factory):
    """Of two queries with one name, the one beside the notebook counts."""
    user = tmp_path_factory.mktemp("user")
    (user / FILE).write_text("- {name: beacons, expression: ':ip'}\n- {name: all, expression: ''}")
    queries = load(folder, Settings(user_folder=user))
    assert set(queries) == {"all", "beacons"}
    assert queries["beacons"].parameters


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, r"needs \$host, of type ip"),
        ({"host": "nowhere"}, "takes a value of type ip"),
        ({"hots": "10.0.0.1"}, "did you mean 'host'"),
        ({"host": "10.0.0.1", "ports": "1,x"}, "takes a value of type int"),
        ({"host": object()}, "not supported"),
    ],
)
def test_values_that_do_not_fit(folder, given, message):
    """Missing, unknown and misfitting values are errors that name the parameter."""
    with (
        connect(str(folder / "some.db")) as vast,
        pytest.raises(errors.ParameterError, match=message),
    ):
        vast.queries.beacons(**given)


def test_an_unknown_query_is_suggested(folder):
    """A name that is nearly one gives a suggestion, and is a missing attribute to Python."""
    queries = Queries(lambda *_, **__: None)
    with pytest.raises(errors.UsageError, match="did you mean 'beacons'"):
        queries.beacon  # noqa: B018 - the look-up is what is tested
    assert not hasattr(queries, "beacon")


@pytest.mark.parametrize(
    "text, message",
    [
        ("name: x", "expected `list`, got `mapping` .each query begins"),
        ("- 5", "query 1: expected `mapping`, got `int`"),
        ("- {name: x, expression: ':ip', parms: {}}", "did you mean 'params'"),
        ("- {name: 'a b', expression: ':ip'}", "cannot be called"),
        ("- {name: x}", "query 1: missing key `expression`"),
        ("- {name: x, expression: 'resp_p =='}", "unexpected end"),
        ("- {name: x, expression: 'a == $b', params: {c: {type: ip}}}", "does not use"),
        ("- {name: x, expression: 'a == $b', params: {b: {type: address}}}", "unknown type"),
        ("- {name: x, expression: 'a == $b', params: {b: {type: ip, default: x}}}", "default"),
        ("- {name: x, expression: 'a == $b', params: {b: [ip]}}", "params.b: expected `mapping`"),
        (
            "- {name: x, expression: 'a == $b', params: {b: {tip: ip}}}",
            "unknown key 'params.b.tip'",
        ),
        ("- {name: x, expression: ':ip', name: y}", "the key 'name' occurs twice"),
        ("- {name: x, expression: ':ip'}\n- {name: x, expression: ':ip'}", "two queries"),
        ("- {", "cannot read"),
        ("- {name: x, expression: 2001-13-45}", "cannot read"),
        ("[" * 100 + "]" * 100, "cannot read"),
    ],
)
def test_a_file_that_is_wrong(tmp_path, text, message):
    """Each way to write a file wrong is an error that names the file."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(errors.ConfigError, match=message) as raised:
        load(tmp_path, Settings())
    assert FILE in str(raised.value)


@pytest.mark.parametrize(
    "type_, text, value",
    [
        ("string", "a b", "a b"),
        ("int", "-5", -5),
        ("double", "0.5", 0.5),
        ("bool", "True", True),
        ("subnet", "10.0.0.0/8", ipaddress.ip_network("10.0.0.0/8")),
        ("duration", "5s", Duration(5_000_000_000)),
        ("list<string>", "a, b", ["a", "b"]),
    ],
)
def test_text_is_read_as_its_type(type_, text, value):
    """Text becomes a value of the parameter's type."""
    assert Parameter("x", type_).read(text) == value


def test_a_hostile_file_is_listed_as_text(tmp_path, monkeypatch):
    """Descriptions and defaults of a stranger's file are shown without their controls."""
    monkeypatch.chdir(tmp_path)
    entry = {
        "name": "odd",
        "description": "one\n\x1b[31mtwo",
        "expression": "uri == $x",
        "params": {"x": {"type": "string", "default": "\u202egnp"}},
    }
    Path(FILE).write_text(json.dumps([entry]), encoding="utf-8")
    saved = Queries(lambda *_, **__: None)
    assert repr(saved) == r"odd(x: string = \u202egnp): one \x1b[31mtwo"
    assert saved.odd.__doc__ == "one\n\\x1b[31mtwo"


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, unique=True), language.texts())
@example(["a"], "a line\x85and another")
def test_what_is_saved_is_read_again(tmp_path_factory, names, text):
    """Queries are added at the end; what was in the file stays as it was."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / FILE).write_text(f"# mine\n{BEACONS.rstrip()}")
    expressions = {name: f"x == {String(text)} && y == ${name}" for name in names}
    for name, expression in expressions.items():
        assert save(name, expression, folder) == folder / FILE
    found = load(folder, Settings())
    assert (folder / FILE).read_text().startswith(f"# mine\n{BEACONS.rstrip()}\n")
    assert {name: query.expression for name, query in found.items() if name in names} == expressions
    assert "beacons" in found
    assert [path.name for path in folder.iterdir()] == [FILE]


@pytest.mark.parametrize(
    "name, expression, said",
    [
        ("", "x", "needs a name"),
        ("a b", "x", "cannot be called"),
        ("beacons", "x", "choose another name"),
        ("fine", "x ==", "unexpected end"),
    ],
)
def test_what_cannot_be_saved(folder, name, expression, said):
    """A bad name and a bad expression are errors, and the file stays."""
    with pytest.raises(errors.VastlabError, match=said):
        save(name, expression)
    assert (folder / FILE).read_text() == BEACONS


def test_a_file_of_another_form_is_left_alone(folder):
    """Where an entry cannot be added at the end, nothing is written."""
    text = "[{name: one, expression: x}]\n"
    (folder / FILE).write_text(text)
    with pytest.raises(errors.VastlabError, match=FILE):
        save("two", "x")
    assert (folder / FILE).read_text() == text
    assert [path.name for path in folder.iterdir()] == [FILE]
