"""From a magic to a live view: loaded only when one is wanted."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from vastlab import errors
from vastlab.connection import Connection
from vastlab.notebook.options import Options

_MODULE = "vastlab.notebook.live"


def open_view(connection: Connection, asked: Options, params: Mapping[str, object]) -> Any:
    """Open a view of events as they come, and start it.

    Parameters
    ----------
    connection
        What to ask.
    asked
        The options of the magic.
    params
        Values for the ``$names`` of the expression.

    Returns
    -------
    LiveView
        At once; it runs in the background.
    """
    try:
        module = importlib.import_module(_MODULE)
    except ModuleNotFoundError as error:
        raise errors.UsageError(
            f"live views need {error.name!r}, which is not installed",
            hint="-m unified waits for events in the cell",
        ) from error
    if asked.timeout is not None:
        raise errors.UsageError("--live takes no --timeout", hint="stop the view instead")
    return module.LiveView(
        connection,
        asked.expression,
        asked.mode or "unified",
        asked.limit or 0,
        since=asked.since,
        until=asked.until,
        params=params,
    )


def running() -> list[str]:
    """Describe the live views that run, one line each."""
    module = sys.modules.get(_MODULE)
    return [] if module is None else [repr(view) for view in module.running()]


def stop_all() -> None:
    """Stop the live views that run."""
    module = sys.modules.get(_MODULE)
    if module is not None:
        module.stop_all()
