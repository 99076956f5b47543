"""What widgets leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import ipywidgets as widgets
import pytest
from IPython.utils.capture import capture_output

from tests.conftest import ROOT
from tests.display.test_html import check
from vastlab.connection import Connection
from vastlab.notebook import LiveView, QueryBox, SchemaTree
from vastlab.notebook.widgets.views import ClosingBox

_WIDGET = "application/vnd.jupyter.widget-view+json"


def _asked(vast: Connection) -> QueryBox:
    box = QueryBox(vast, limit=0)
    box.run()
    return box


_MAKERS: dict[str, Callable[[Connection], ClosingBox]] = {
    "QueryBox": _asked,
    "SchemaTree": SchemaTree,
    "LiveView": lambda vast: LiveView(vast, start=False),
}


@pytest.fixture(params=_MAKERS)
def make(request, folder):
    with Connection(str(folder)) as vast:
        yield lambda: _MAKERS[request.param](vast)


def test_no_widget_is_left(make):
    """Every widget that is made is closed again, also those that are not shown at the end."""
    made: list[widgets.Widget] = []
    widgets.Widget.on_widget_constructed(made.append)
    try:
        box = make()
        box.close()
        box.close()
    finally:
        widgets.Widget.on_widget_constructed(None)
    assert len(made) > 20
    assert [widget for widget in made if widget.comm is not None] == []


def test_text_takes_the_place_of_what_is_closed(make, shell):
    """Wherever it was shown, the notebook holds text and no widget after it was closed."""
    shell.names["box"] = box = make()
    with capture_output() as shown:
        shell.run("box")
        shell.run("display(box)")
        shell.run("box.close()")
        shell.run("box.close()")
        shell.run("box")
    *pairs, after = shown._outputs
    assert [_WIDGET in output["data"] for output in pairs] == [True, True, False, False]
    assert [output["update"] for output in pairs] == [False, False, True, True]
    places = [output["transient"]["display_id"] for output in pairs]
    assert places[:2] == places[2:]
    for output in (*pairs[2:], after):
        assert output["data"]["text/plain"] == repr(box)
        check(output["data"].get("text/html", ""))


def test_an_answer_stays(shell, folder):
    """What was found is a table in the notebook when its form is gone."""
    with Connection(str(folder)) as vast:
        shell.names["box"] = _asked(vast)
        with capture_output() as shown:
            shell.run("box")
            shell.run("box.close()")
    left = shown._outputs[-1]["data"]["text/html"]
    assert "08:00:04" in "".join(check(left).text)


def test_the_text_of_a_form_is_whole(shell, folder):
    """Where there are no widgets, all of the text is there."""
    with Connection(str(folder)) as vast:
        shell.names["box"] = box = _asked(vast)
        with capture_output() as shown:
            shell.run("box")
    (output,) = shown._outputs
    assert output["data"]["text/plain"] == repr(box)
    assert len(repr(box)) > 200


_SESSION = """
import sys
from IPython.terminal.interactiveshell import TerminalInteractiveShell

shell = TerminalInteractiveShell.instance()
shell.run_cell("%load_ext vastlab")
shell.run_cell(f"%vast_use {sys.argv[1]}")
for _ in range(3):
    shell.run_cell("%vast --explore", store_history=True)
"""


def test_a_terminal_ends_quietly_after_an_explorer(folder, tmp_path):
    """Python takes its modules apart before the widgets that are still shown."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path)}
    command = [sys.executable, "-c", _SESSION, str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert "QueryBox" in done.stdout
    assert "Exception ignored" not in done.stderr
