"""vastlab: explore security telemetry in VAST, Tenzir or a folder of logs.

`connect` returns a `Connection` with synchronous calls for notebooks and scripts; `VAST` is the
asynchronous interface below it. Both take the same expressions on every kind of node.
"""

from __future__ import annotations

from typing import Any

from vastlab._nested import allow_nested
from vastlab.arrow import types as _arrow_types
from vastlab.client import VAST, ExportMode
from vastlab.collect import VastRow, collect_pyarrow, to_json_rows
from vastlab.connection import Connection, connect
from vastlab.expression.taxonomy import Taxonomy
from vastlab.frames import to_frames
from vastlab.nodes.own import OwnNode, start_node
from vastlab.result import Result
from vastlab.table_slice import TableSlice, to_pyarrow

__all__ = [
    "VAST",
    "Connection",
    "ExportMode",
    "OwnNode",
    "Result",
    "TableSlice",
    "Taxonomy",
    "VastRow",
    "__version__",
    "allow_nested",
    "collect_pyarrow",
    "connect",
    "load_ipython_extension",
    "start_node",
    "to_frames",
    "to_json_rows",
    "to_pyarrow",
    "unload_ipython_extension",
]

__version__ = "1.0.0"

_arrow_types.register()


def load_ipython_extension(shell: Any) -> None:
    """Put ``%vast`` and all that belongs to it into a notebook: ``%load_ext vastlab``.

    Parameters
    ----------
    shell
        The running IPython shell.
    """
    # Here, since a script that imports vastlab does not need widgets.
    from vastlab import notebook

    notebook.load_ipython_extension(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take everything out again: ``%unload_ext vastlab``.

    Parameters
    ----------
    shell
        The running IPython shell.
    """
    from vastlab import notebook

    notebook.unload_ipython_extension(shell)
