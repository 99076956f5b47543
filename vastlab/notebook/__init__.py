"""The notebook layer: magics, completion, progress and widgets.

``%load_ext vastlab`` puts all of it in place, ``%unload_ext vastlab`` takes all of it away.

Completion knows a node's last answer; the first time it waits for that, at most half a second.
Wrong input fails the cell with one line; ``%config VastMagics.tracebacks = True`` shows all of
it. What each endpoint was asked is in ``~/.local/state/vastlab/history.jsonl``. In a cell,
``await`` the asynchronous API; for code that insists on `asyncio.run` there is
`vastlab.allow_nested`.

Displays use HTML without scripts, ipywidgets, and anywidgets that build nothing from text. Tests
run them in JupyterLab 4 and Notebook 7 in a browser, in IPython in a terminal, in nbclient, and
against a kernel's sockets. Where a frontend sends nothing but the current line, Tab completes in
``%vast`` lines, not in the body of a ``%%vast`` cell.
"""

from __future__ import annotations

from typing import Any

from vastlab.connection import Connection
from vastlab.notebook import completion, notes
from vastlab.notebook.cells import without_body, without_semicolons
from vastlab.notebook.live import LiveView, stop_all
from vastlab.notebook.magics import VastMagics
from vastlab.notebook.notes import ProgressLine
from vastlab.notebook.widgets.query_box import QueryBox
from vastlab.notebook.widgets.schema_tree import SchemaTree

__all__ = [
    "LiveView",
    "QueryBox",
    "SchemaTree",
    "load_ipython_extension",
    "unload_ipython_extension",
]

_REGISTERED = VastMagics.__name__
_CLEANUPS = (without_body, without_semicolons)
_NAMES = (
    *(
        "vast",
        "vast_run",
        "vast_schemas",
        "vast_sql",
        "vast_status",
        "vast_summarize",
        "vast_timeline",
    ),
    *("vast_top", "vast_use"),
)


def load_ipython_extension(shell: Any) -> None:
    """Install the magics, the completion and the progress line; can be called again."""
    unload_ipython_extension(shell)
    magics = VastMagics(shell)
    shell.register_magics(magics)
    completion.install(shell, magics)
    notes.install()
    shell.input_transformers_cleanup.extend(_CLEANUPS)
    Connection.progress = ProgressLine
    Connection.in_use = magics.in_use


def unload_ipython_extension(shell: Any) -> None:
    """Remove what loading installed, and close its connections."""
    completion.remove(shell)
    notes.remove()
    cleanups = shell.input_transformers_cleanup
    cleanups[:] = [cleanup for cleanup in cleanups if cleanup not in _CLEANUPS]
    magics = shell.magics_manager.registry.pop(_REGISTERED, None)
    if isinstance(magics, VastMagics):
        stop_all()
        shell.configurables.remove(magics)  # where IPython put it, for %config
        magics.close()
    for kind in shell.magics_manager.magics.values():
        for name in _NAMES:
            kind.pop(name, None)
    Connection.progress = None
    Connection.in_use = staticmethod(lambda: None)
