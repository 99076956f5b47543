"""Completion."""

from __future__ import annotations

import threading

import pytest
from IPython.core.completer import provisionalcompleter

from tests.display.conftest import CONN
from vastlab import errors
from vastlab.notebook.completion import Catalogue, candidates


class Node:
    """A connection that counts how often it is asked."""

    def __init__(self, *, broken: bool = False) -> None:
        self.asked = 0
        self.done = threading.Event()
        self._broken = broken

    def schemas(self):
        self.asked += 1
        self.done.set()
        if self._broken:
            raise errors.NodeConnectionError("nothing answers")
        return {CONN.name: CONN}


def _settled(catalogue: Catalogue, node: Node) -> tuple[str, ...]:
    catalogue.names()
    assert node.done.wait(5)
    for thread in threading.enumerate():
        if thread.name == "vastlab-catalogue":
            thread.join(5)
    return catalogue.names()


@pytest.mark.parametrize(
    "before, expected",
    [
        ("%vast id.o", ["id.orig_h"]),
        ("%vast -n 5 id.o", ["id.orig_h"]),
        ("%vast -m un", ["unified"]),
        ("%vast --mode=c", ["continuous"]),
        ("%vast --lim", ["--limit"]),
        ("%vast x in $su", ["$suspects"]),
        ("%vast #ty", ["#type"]),
        ("%vast :ui", [":uint64"]),
        ("%vast zzz", []),
    ],
)
def test_what_can_follow(before, expected):
    """Fields, modes, options, variables and extractors are offered where they fit."""
    assert candidates(before, ["id.orig_h", "uid"], ["suspects", "_hidden"]) == expected


def test_the_catalogue_knows_the_node():
    """Fields, schemas and concepts of the node are known after it has answered."""
    node = Node()
    names = _settled(Catalogue(lambda: node), node)
    assert {"id.orig_h", "zeek.conn", "net.src.ip"} <= set(names)


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
    assert _settled(Catalogue(lambda: node), node) == ()


def test_only_vast_cells_are_completed(shell):
    """In other cells Python's own completion is left alone."""
    shell.names["resp_value"] = 1
    assert "resp_value" in _completed(shell, "resp_v")
    assert _completed(shell, "%vast --li") == ["--limit"]
    assert _completed(shell, "%%vast -n 5\n:ui") == [":uint64"]


def _completed(shell, text: str) -> list[str]:
    with provisionalcompleter():
        return [word.text for word in shell.ip.Completer.completions(text, len(text))]
