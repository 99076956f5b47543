"""What Tab has to offer, whatever the frontend."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.browser.servers import Page


def known(field: str) -> str:
    """Return a cell that ends once a field is known: the catalogue is fetched in the background."""
    return f"""
import time
from IPython.core.completer import provisionalcompleter
def known(text):
    with provisionalcompleter():
        return [word.text for word in get_ipython().Completer.completions(text, len(text))]
while {field!r} not in known('%vast ' + {field[:-2]!r}):
    time.sleep(0.1)
print('the catalogue is there')
"""


class Fact(NamedTuple):
    """Some lines, and what Tab offers at their end."""

    lines: tuple[str, ...]
    offered: str
    kind: str


FACTS = (
    Fact(("%vast orig_by",), "orig_bytes", ""),
    Fact(("%%vast -n 5", "orig_by"), "orig_bytes", ""),
    Fact(("%vast id.",), "id.orig_h", "ip"),
    Fact(("%%vast -n 5", "resp_p == 22 &&", "  id."), "id.resp_p", "port"),
    Fact(("%%vast", '#type == "zeek.'), "zeek.conn", "schema"),
    Fact(("%vast resp_p !",), "!in", "operator"),
    Fact(("%vast #",), "#import_time", "meta"),
    Fact(("%vast :",), ":duration", "type"),
    Fact(("%vast net.",), "net.src.ip", "concept"),
    Fact(("%vast --",), "--mode", "mode"),
    Fact(("%vast -m ",), "unified", "mode"),
    Fact(("%%vast -n 5", "resp_h in $off"), "$office", ""),
    Fact(("%vast resp_h in $",), "$office", "variable"),
)


def prepared(open_: Callable[..., Page]) -> Page:
    """Open a notebook in which everything that can be completed is known."""
    page = open_("completion.ipynb", "%load_ext vastlab\noffice, other = 1, 2", known("orig_bytes"))
    page.run_all()
    page.until(lambda: page.has("the catalogue is there"))
    page.settle()
    return page


def wrong(page: Page, fact: Fact) -> str:
    """Say what Tab offers instead; nothing where it is right."""
    found = page.completed(*fact.lines)
    kind = found.get(fact.offered)
    right = kind is not None and (not fact.kind or kind == fact.kind)
    return "" if right else f"{fact.lines}: {list(found.items())[:10]}"
