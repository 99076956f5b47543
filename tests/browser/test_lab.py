"""vastlab in JupyterLab, as people use it."""

from __future__ import annotations

import pytest

from tests.browser.completing import FACTS, prepared, wrong

_LOAD = "%load_ext vastlab\nimport vastlab\nvast = vastlab.connect('demo:')"


@pytest.mark.parametrize("name", ["quickstart.ipynb", "hunting.ipynb"])
def test_a_notebook_runs(notebook, name):
    """Our notebooks run from top to bottom, with pictures, tables and widgets that all show."""
    page = notebook(name)
    page.run_all()
    page.settle()
    page.lay_out()
    page.until(lambda: page.count(".jupyter-widgets button", has_text="Run") == 1)
    page.until(lambda: page.count(".jp-OutputArea-output img") > 0)
    assert page.count(".jp-OutputArea-output table") > 0
    assert page.count("[data-mime-type='application/vnd.jupyter.error']") == 0
    assert page.broken() == 0


def test_a_query_box(notebook):
    """A click on Run asks, with the mode and the limit that were chosen, and shows tabs."""
    page = notebook(
        "box.ipynb",
        _LOAD,
        "from vastlab.notebook import QueryBox\n"
        "box = QueryBox(vast, expression='203.0.113.99', limit=5)\nbox",
    )
    page.run_all()
    page.click("Run")
    page.until(lambda: page.has("first 5 events (limit reached"))
    limit = page.page.locator("input[type='number']")
    limit.fill("0")
    limit.press("Tab")
    page.click("unified")
    page.click("Run")
    page.until(lambda: page.has("asking … · 737 events"))
    page.click("Stop")
    page.until(lambda: page.has("partial: stopped after 737 events"))
    page.until(lambda: page.has("zeek.conn (368)"))
    page.run("print('mode', box.mode, 'limit', box.limit, 'rows', box.result.num_rows)")
    page.until(lambda: page.has("mode unified limit 0 rows 737"))
    assert page.broken() == 0


def test_a_schema_tree(notebook):
    """What is looked at in a tree goes into a form on a click, and only then."""
    page = notebook(
        "tree.ipynb",
        _LOAD,
        "from vastlab.notebook import QueryBox, SchemaTree\n"
        "box = QueryBox(vast)\ntree = SchemaTree(vast, box)\ntree.schema = 'demo.asset'\ntree",
    )
    page.run_all()
    fields = page.page.locator(".jupyter-widgets select").nth(1)
    page.until(lambda: "address" in fields.inner_text())
    fields.select_option(index=1)
    page.run("print('nothing', [box.expression])")
    page.until(lambda: page.has("nothing ['']"))
    page.click("Insert field")
    page.run("print('clicked', [box.expression] == [list(tree.fields)[1]])")
    page.until(lambda: page.has("clicked True"))
    assert page.broken() == 0


def test_a_live_view(notebook):
    """A view counts on while events are added, stops on a click, and starts again."""
    page = notebook(
        "live-view.ipynb",
        "%load_ext vastlab\nimport tempfile, threading, vastlab\n"
        "import pyarrow as pa\n"
        "folder = tempfile.mkdtemp()\nvast = vastlab.connect(f'{folder}/live.db')\n"
        "def add(*ports): vast.ingest(pa.table({'port': list(ports)}), schema='my.ports')\n"
        "add(1, 2)",
        "from vastlab.notebook.live import LiveView\nview = LiveView(vast, 'port >= 0')\nview",
        "add(3, 4, 5)\nprint('added')",
    )
    page.run_all()
    page.until(lambda: page.has("my.ports (5)"))
    page.click("Stop")
    page.until(lambda: page.has("stopped"))
    page.run("add(6)\nprint('added', view.events)")
    page.until(lambda: page.has("added 5"))
    page.click("Start")
    page.until(lambda: page.has("my.ports (6)"))
    page.run("view.close()\nprint('closed', vastlab.notebook.live.running())")
    page.until(lambda: page.has("closed ()"))


def test_interrupt(notebook):
    """The kernel's interrupt ends a query that waits, shows its part, and keeps it."""
    page = notebook(
        "interrupt.ipynb", _LOAD, "%vast -m unified -n 0 -o kept 203.0.113.99", "print('not run')"
    )
    page.run_all()
    page.until(lambda: page.has("737 events"))
    page.server.interrupt()
    page.until(lambda: page.has("QueryInterrupted"))
    page.settle()
    assert page.has("partial: stopped after 737 events")
    assert not page.has("not run")
    page.run("print('kept', kept.num_rows, kept.partial)")
    page.until(lambda: page.has("kept 737 True"))


def test_completion(notebook):
    """Tab completes in line and cell magics: all that can be named, and what each name is."""
    page = prepared(notebook)
    assert [text for fact in FACTS if (text := wrong(page, fact))] == []
