"""vastlab: explore security telemetry in VAST, Tenzir or a folder of logs.

`connect` returns a `Connection` with synchronous calls for notebooks and scripts; `VAST` is the
asynchronous interface below it. Both take the same expressions on every kind of node.

What the package exports is imported on first use: ``vastlab --help`` needs neither pandas nor
the query engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vastlab._loop import allow_nested
    from vastlab.client import VAST, ExportMode
    from vastlab.connection import Connection, connect
    from vastlab.expression.parameters import indicators
    from vastlab.expression.taxonomy import Taxonomy
    from vastlab.frames import to_frames
    from vastlab.nodes.local_cluster import local_cluster
    from vastlab.nodes.own import OwnNode, start_node
    from vastlab.result import Result
    from vastlab.table_slice import TableSlice, VastRow, collect_pyarrow, to_json_rows, to_pyarrow

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
    "indicators",
    "load_ipython_extension",
    "local_cluster",
    "start_node",
    "to_frames",
    "to_json_rows",
    "to_pyarrow",
    "unload_ipython_extension",
]

__version__ = "1.0.0"

_MODULES = {
    "VAST": "client",
    "Connection": "connection",
    "ExportMode": "client",
    "OwnNode": "nodes.own",
    "Result": "result",
    "TableSlice": "table_slice",
    "Taxonomy": "expression.taxonomy",
    "VastRow": "table_slice",
    "allow_nested": "_loop",
    "collect_pyarrow": "table_slice",
    "connect": "connection",
    "indicators": "expression.parameters",
    "local_cluster": "nodes.local_cluster",
    "start_node": "nodes.own",
    "to_frames": "frames",
    "to_json_rows": "table_slice",
    "to_pyarrow": "table_slice",
}


def __getattr__(name: str) -> Any:
    """Import a name of ``__all__``, or a module such as ``vastlab.errors``, on first use."""
    if name in _MODULES:
        value = getattr(importlib.import_module(f"vastlab.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"vastlab.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"vastlab.{name}":
                raise
    raise AttributeError(f"module 'vastlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


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
