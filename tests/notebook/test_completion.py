"""Completion."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pyarrow as pa
import pytest
from IPython.core.completer import provisionalcompleter

from tests.display.conftest import CONN
from vastlab import errors
from vastlab.connection import Connection
from vastlab.notebook import completion
from vastlab.notebook.completion import Catalogue, Names, candidates
from vastlab.types import Field, Kind, Schema, Type


class Node:
    """A connection that counts how often it is asked."""

    def __init__(self, known: Sequence[Schema] = (CONN,), *, broken: bool = False) -> None:
        self._known = known
        self.asked = 0
        self.done = threading.Event()
        self._broken = broken

    def schemas(self):
        self.asked += 1
        self.done.set()
        if self._broken:
            raise errors.NodeConnectionError("nothing answers")
        return {schema.name: schema for schema in self._known}


def _settled(catalogue: Catalogue, node: Node) -> Names:
    catalogue.names()
    assert node.done.wait(60)
    for thread in threading.enumerate():
        if thread.name == "vastlab-catalogue":
            thread.join(60)
    return catalogue.names()


KNOWN = Names(
    fields={"id.orig_h": "ip", "uid": "string"},
    schemas={"zeek.conn": "schema"},
    aliases={":port": "alias"},
    concepts={"net.src.ip": "concept"},
    profiles={"case17": "profile"},
    queries={"beacons": "saved query"},
    parameters={"beacons": ("host", "hours")},
)


@pytest.mark.parametrize(
    "before, expected",
    [
        ("%vast id.o", {"id.orig_h": "ip"}),
        ("%vast -n 5 id.o", {"id.orig_h": "ip"}),
        ("%vast -m un", {"unified": "mode"}),
        ("%vast --mode=c", {"continuous": "mode"}),
        ("%vast --lim", {"--limit": "N"}),
        ("%vast x in $su", {"$suspects": "variable"}),
        ("%vast #ty", {"#type": "meta"}),
        ("%vast :ui", {":uint64": "type"}),
        ("%vast :po", {":port": "alias"}),
        ("%vast net.", {"net.src.ip": "concept"}),
        ("%vast resp_p !i", {"!in": "operator"}),
        ('%vast #type == "zeek.', {"zeek.conn": "schema"}),
        ('%vast #type in ["a", "z', {"zeek.conn": "schema"}),
        ("%vast -P c", {"case17": "profile"}),
        ("%vast_use ", {"case17": "profile"}),
        ("%vast_run b", {"beacons": "saved query"}),
        ("%vast_run beacons ho", {"host=": "parameter", "hours=": "parameter"}),
        ("%vast_run beacons host=$s", {"$suspects": "variable"}),
        ("%vast_schemas z", {"zeek.conn": "schema"}),
        ("%vast_status z", {}),
        ("%vast zzz", {}),
    ],
)
def test_what_can_follow(before, expected):
    """Everything that can be named is offered where it fits, with what it is."""
    magic = before.split()[0].lstrip("%")
    assert candidates(before, KNOWN, ["suspects", "_hidden"], magic) == expected


ODD = Names(
    fields={"`@timestamp`": "time", "flow.`Bytes in`": "int64", r"`a\x3cb`": "string", "x": "ip"},
    schemas={"my logs/1": "schema"},
)


@pytest.mark.parametrize(
    "before, typed, expected",
    [
        ("%vast @ti", "@ti", ["`@timestamp`"]),
        ("%vast `@ti", "`@ti", ["`@timestamp`"]),
        ("%vast flow.`Bytes i", "flow.`Bytes i", ["flow.`Bytes in`"]),
        ("%vast `@timestamp` > 2026-01-01 && flow.B", "flow.B", ["flow.`Bytes in`"]),
        ('%vast x == "`" && `a<', "`a<", [r"`a\x3cb`"]),
        (r"%vast `a\x3c", r"`a\x3c", [r"`a\x3cb`"]),
        (r"%vast `a\UFFFFFFFF", r"`a\UFFFFFFFF", []),
        ("%vast my", "my", ["`my logs/1`"]),
    ],
)
def test_names_in_backticks(before, typed, expected):
    """Names that need backticks are offered with them, whether the first one is typed or not."""
    assert completion.fragment(before) == typed
    assert list(candidates(before, ODD, [])) == expected


def test_odd_fields_of_the_node_are_offered():
    """Every field of the node is offered as an expression writes it."""
    schema = Schema("my.logs", (Field("@timestamp", Type(Kind.TIME)), Field("é", Type(Kind.IP))))
    node = Node([schema])
    assert set(_settled(Catalogue(lambda: node), node).fields) == {"`@timestamp`", "`é`"}


def test_the_catalogue_knows_the_node():
    """Fields, schemas and concepts of the node are known after it has answered."""
    node = Node()
    names = _settled(Catalogue(lambda: node), node)
    assert names.fields["id.orig_h"] == names.fields["orig_h"] == "ip"
    assert "zeek.conn" in names.schemas
    assert "net.src.ip" in names.concepts
    assert ":port" in names.aliases


def test_hostile_names_are_not_offered():
    """Names that cannot be typed are left out: Tab puts neither markup nor controls in a cell."""
    evil = ("<img src=x>", "a\x1b[31m", "b\u202e", 'c" || "', "d\ne", "f && g")
    fields = (*(Field(name, Type(Kind.STRING)) for name in evil), *CONN.fields)
    schemas = [Schema(name, fields) for name in ("zeek.conn", "my logs/1", *evil)]
    node = Node(schemas)
    names = _settled(Catalogue(lambda: node), node)
    assert set(names.schemas) == {"zeek.conn", "my logs/1"}
    assert "id.orig_h" in names.fields
    assert not [name for name in names.fields for part in evil if part in name]


def test_the_catalogue_asks_seldom():
    """Names that are fresh are not asked for again."""
    node = Node()
    catalogue = Catalogue(lambda: node)
    for _ in range(5):
        _settled(catalogue, node)
    assert node.asked == 1


def test_a_broken_node_does_not_disturb():
    """Where the node fails, nothing is known and nothing is raised."""
    node = Node(broken=True)
    assert _settled(Catalogue(lambda: node), node) == Names()


@pytest.fixture
def patient(monkeypatch):
    """Let a busy machine count as quick."""
    monkeypatch.setattr(completion, "_MOMENT", 60.0)


def test_the_first_tab_knows_a_quick_node(shell, patient):
    """Fields and schemas are there when they are wanted for the first time."""
    assert _completed(shell, "%vast id.or") == ["id.orig_h"]
    assert _completed(shell, "%vast_schemas zeek.c") == ["zeek.conn"]


def test_a_slow_node_is_not_waited_for():
    """While a node does not answer, Tab gives what else is known, and later all of it."""
    node, answers = Node(), threading.Event()
    known = node.schemas

    def slow():
        assert answers.wait(60)
        return known()

    node.schemas = slow
    catalogue = Catalogue(lambda: node)
    assert catalogue.names() == catalogue.names() == Names()
    answers.set()
    assert "zeek.conn" in _settled(catalogue, node).schemas


def test_each_node_has_names_of_its_own(patient):
    """Once another node is chosen, no name of the one before is offered, and back again it is."""
    nodes = [Node(), Node([Schema("my.logs", (Field("mine", Type(Kind.STRING)),))])]
    chosen = [0]
    catalogue = Catalogue(lambda: nodes[chosen[0]])
    assert set(catalogue.names().schemas) == {"zeek.conn"}
    chosen[0] = 1
    assert set(catalogue.names().fields) == {"mine"}
    chosen[0] = 0
    assert set(catalogue.names().schemas) == {"zeek.conn"}
    assert [node.asked for node in nodes] == [1, 1]


def test_a_profile_brings_its_names(shell, patient, tmp_path, monkeypatch):
    """After ``%vast_use`` the first Tab offers what is there now, and nothing else."""
    with Connection(f"{tmp_path}/other.db") as other:
        other.ingest(pa.table({"mine": ["x"]}), schema="my.logs")
    profile = f"vastlab: {{profiles: {{other: {{endpoint: {tmp_path}/other.db}}}}}}"
    (tmp_path / "vast.yaml").write_text(profile)
    monkeypatch.chdir(tmp_path)
    assert _completed(shell, "%vast id.or") == ["id.orig_h"]
    shell.run("%vast_use other")
    assert _completed(shell, "%vast id.or") == []
    assert _completed(shell, "%vast mi") == ["mine"]


def test_an_endpoint_that_cannot_be_does_not_disturb(patient):
    """Where no connection can be made, nothing is known and nothing is raised."""

    def refuse():
        raise errors.ConfigError("no such profile")

    assert Catalogue(refuse).names() == Names()


def test_only_vast_cells_are_completed(shell):
    """In other cells Python's own completion is left alone."""
    shell.names["resp_value"] = 1
    assert "resp_value" in _completed(shell, "resp_v")
    assert _completed(shell, "%vast --lim") == ["--limit"]
    assert _completed(shell, "%%vast -n 5\n:ui") == [":uint64"]


def _completed(shell, text: str) -> list[str]:
    with provisionalcompleter():
        return [word.text for word in shell.ip.Completer.completions(text, len(text))]


@pytest.mark.parametrize(
    "before", ['%vast uid == "ui', '%vast "', '%vast uid == "a" && uid == "\\"u']
)
def test_nothing_is_completed_in_a_text(before):
    """Between quotes stands what the user looks for, which no name completes."""
    assert candidates(before, KNOWN, ["uid"]) == {}
    assert candidates(f'{before}" && ui', KNOWN, []) == {"uid": "string"}
    assert candidates('%vast #type == "zeek.', KNOWN, []) == {"zeek.conn": "schema"}
