"""vastlab in JupyterLab, as people use it."""

from __future__ import annotations

import pytest

_LOAD = "%load_ext vastlab\nimport vastlab\nvast = vastlab.connect('demo:')"


@pytest.mark.parametrize("name", ["quickstart.ipynb", "hunting.ipynb"])
def test_a_notebook_runs(notebook, name):
    """Our notebooks run from top to bottom, with pictures, tables and widgets that all show."""
    page = notebook(name)
    page.run_all()
    page.settle()
    page.lay_out()
    assert page.page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.broken() == 0
    assert page.page.locator(".jp-OutputArea-output table").count() > 0
    assert page.page.locator(".jp-OutputArea-output img").count() > 0
    assert page.page.locator(".jupyter-widgets button", has_text="Run").count() == 1


def test_a_query_box(notebook):
    """A click on Run asks, with the mode and the limit that were chosen, and shows tabs."""
    page = notebook(
        "box.ipynb",
        _LOAD,
        "from vastlab.notebook import QueryBox\n"
        "box = QueryBox(vast, expression='203.0.113.99', limit=5)\nbox",
        "1",
    )
    page.run_all()
    page.settle()
    click = page.page.locator
    click(".jupyter-button", has_text="Run").click()
    page.until(lambda: page.has("first 5 events (limit reached"))
    limit = click("input[type='number']")
    limit.fill("0")
    limit.press("Tab")
    click(".jupyter-button", has_text="unified").click()
    click(".jupyter-button", has_text="Run").click()
    click(".jupyter-button", has_text="Stop").wait_for()
    page.until(lambda: page.has("asking … 737 events"))
    click(".jupyter-button", has_text="Stop").click()
    page.until(lambda: page.has("partial: stopped after 737 events"))
    assert page.has("zeek.conn (368)")
    page.cell("print('mode', box.mode, 'limit', box.limit, 'rows', box.result.num_rows)")
    page.page.keyboard.press("Shift+Enter")
    page.until(lambda: page.has("mode unified limit 0 rows 737"))
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
        "1",
    )
    page.run_all()
    page.settle()
    page.until(lambda: page.has("my.ports (5)"))
    page.page.locator(".jupyter-button", has_text="Stop").click()
    page.until(lambda: page.has("stopped"))
    page.cell("add(6)\nprint('added', view.events)")
    page.page.keyboard.press("Shift+Enter")
    page.until(lambda: page.has("added 5"))
    page.page.locator(".jupyter-button", has_text="Start").click()
    page.until(lambda: page.has("my.ports (6)"))
    page.cell("view.close()\nprint('closed', vastlab.notebook.live.running())")
    page.page.keyboard.press("Shift+Enter")
    page.until(lambda: page.has("closed ()"))


def test_interrupt(notebook):
    """The kernel's interrupt ends a query that waits, shows its part, and keeps it."""
    page = notebook(
        "interrupt.ipynb", _LOAD, "%vast -m unified -n 0 -o kept 203.0.113.99", "print('not run')"
    )
    page.run_all()
    page.until(lambda: page.has("737 events"))
    page.lab.interrupt()
    page.until(lambda: page.has("QueryInterrupted"))
    page.settle()
    assert page.has("partial: stopped after 737 events")
    assert not page.has("not run")
    page.cell("print('kept', kept.num_rows, kept.partial)")
    page.page.keyboard.press("Shift+Enter")
    page.until(lambda: page.has("kept 737 True"))


def test_completion(notebook):
    """Tab completes the name of a field in a magic."""
    page = notebook("completion.ipynb", _LOAD, "%vast -n 1 203.0.113.99", "1")
    page.run_all()
    page.settle()
    page.cell("%vast orig_by")

    def completed() -> bool:
        # What is known comes in the background; a later Tab finds it.
        page.page.keyboard.press("Tab")
        page.page.wait_for_timeout(500)
        shown = page.page.locator(".jp-Completer-item").all_inner_texts()
        typed = page.page.locator(".jp-Cell").last.inner_text()
        return any("orig_bytes" in text for text in [typed, *shown])

    page.until(completed)
