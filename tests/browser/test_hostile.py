"""Events written by attackers, in a real page: nothing runs, nothing is hidden."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import arrow_strategies as arrow
from vastlab.arrow import schema as arrow_schema
from vastlab.store.database import Database
from vastlab.types import Field, Kind, Schema, Type

_EVIL = (
    '<img src=x onerror="window.__p=1">',
    "<script>window.__p=1</script>",
    "</style></textarea></pre><img src=x onerror=window.__p=1>",
    "\x1b[31mred\x1b[0m\x07",
    "safe\u202egnp.exe\u2066",
    "a\u0085b\u009b31m",
    "$\\href{javascript:window.__p=1}{x}$",
    "[x](javascript:window.__p=1)",
)
# Blanks, and what a page needs between its lines.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Make a database in which every name and every text is hostile."""
    path = tmp_path_factory.mktemp("hostile") / "hostile.db"
    database = Database.create(path)
    for number, evil in enumerate(_EVIL):
        schema = Schema(
            f"{number}{evil}",
            (
                Field("ts", Type(Kind.TIME, names=("timestamp",))),
                Field("src_ip", Type(Kind.IP)),
                Field("dest_ip", Type(Kind.IP)),
                Field("label", Type(Kind.ENUM, labels=((evil, 0), ("other", 1)))),
                Field("text", Type(Kind.STRING)),
                Field(evil, Type(Kind.RECORD, fields=(Field(evil, Type(Kind.STRING)),))),
            ),
        )
        address = bytes(10) + b"\xff\xff\x0a\0\0\1"
        values = ([number], [address], [address], [evil], [evil], [(evil,)])
        columns = [
            arrow.array(field.type, column)
            for field, column in zip(schema.fields, values, strict=True)
        ]
        database.add([arrow_schema.record_batch(columns, arrow_schema.to_arrow(schema), 1)])
    return path


def _cells(folder: Path) -> tuple[str, ...]:
    return (
        f"%load_ext vastlab\nimport vastlab\nfolder, evil = {str(folder)!r}, {_EVIL!r}\n"
        "vast = vastlab.connect(folder)\nresult = vast.query(limit=0)\nnames = list(result)",
        "result",
        "print(repr(result))",
        "for name in names: display(result.show(name))",
        "result.tabs()",
        "result.timeline()",
        "result.timeline(by='text')",
        "result.top('text')",
        "result.graph()",
        "from vastlab.notebook import QueryBox\n"
        "from vastlab.notebook.live import LiveView\n"
        "from vastlab.notebook.widgets.schema_tree import SchemaTree\n"
        "box = QueryBox(vast, limit=0)\nbox.run()\nbox",
        "view = LiveView(vast)\nview",
        "tree = SchemaTree(vast, box)\ntree",
        "import pathlib, tempfile\nfile = pathlib.Path(tempfile.mkdtemp()) / evil[0]\n"
        "file.write_bytes(b'\\x1b<script>window.__p=1</script>')\nvast.ingest(file)",
        "vast.query('text == $x &&', params={'x': evil[0]})",
        "vast.query('\"\\x1b<img src=x onerror=window.__p=1>\" ==')",
        "result['<img src=x onerror=window.__p=1>\\x1b']",
        '%vast "<img src=x onerror=window.__p=1>" == \x1b nothing',
        "vast.query('nothing_<b> == 1')",
        "print('the end')",
    )


def test_every_display(notebook, folder):
    """In every display of vastlab, hostile text is text, and what would hide is visible."""
    page = notebook("hostile.ipynb", *_cells(folder))
    _run_each(page, len(_cells(folder)))
    page.until(lambda: page.has("the end"))
    page.until(lambda: page.has("8 events in 8 schemas"))
    page.lay_out()
    text = page.text()
    assert page.page.evaluate("window.__p") is None
    assert "<img src=x onerror" in text
    assert r"\x1b[31mred" in text
    assert r"\u202e" in text
    assert [text[max(0, m.start() - 60) : m.end()] for m in _CONTROLS.finditer(text)] == []
    assert (
        page.page.locator(
            ".jp-OutputArea-output script, .jp-OutputArea-output img[src='x']"
        ).count()
        == 0
    )
    assert page.broken() == 0


def test_a_plain_frame(notebook, folder):
    """A DataFrame keeps the exact values, and still nothing runs."""
    page = notebook(
        "frame.ipynb",
        f"import vastlab\nvast = vastlab.connect({str(folder)!r})\nresult = vast.query(limit=0)\n"
        f"evil = {_EVIL!r}",
        "for name in result: display(result[name])",
        "print('exact', sorted(result[n]['text'].iloc[0] for n in result) == sorted(evil))",
    )
    page.run_all()
    page.until(lambda: page.has("exact True"))
    page.lay_out()
    assert page.page.evaluate("window.__p") is None
    assert page.page.locator(".jp-OutputArea-output img").count() == 0


def _run_each(page, count: int) -> None:
    """Run the cells one by one, since those that fail would stop the others."""
    page.page.locator(".jp-Notebook .jp-Cell").first.click()
    page.page.keyboard.press("Escape")
    for _ in range(count):
        page.page.keyboard.press("Shift+Enter")
        page.settle()
        page.page.keyboard.press("Escape")
