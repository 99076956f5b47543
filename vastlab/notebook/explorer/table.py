"""A table of text on the page; whatever is done there is a message to the kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

_HERE = Path(__file__).parent

NOTHING: dict[str, Any] = {
    "version": 0,
    "schemas": [],
    "columns": [],
    "rows": [],
    "chosen": None,
    "fixed": [],
    "sorts": False,
    "page": 0,
    "pages": 0,
    "note": "",
    "dimmed": False,
}


class Table(anywidget.AnyWidget):
    """Rows and columns of text.

    Parameters
    ----------
    received
        Called with what the page sends: ``do`` says what, ``row`` and ``column`` where.
    """

    _esm = _HERE / "table.js"
    _css = _HERE / "explorer.css"
    view = traitlets.Dict(NOTHING).tag(sync=True)

    def __init__(self, received: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._act = received
        self.on_msg(self._received)

    def show(self, **view: Any) -> None:
        """Replace what is shown; what is not given is empty.

        Messages of the page carry the ``version`` of the view that they mean.
        """
        self.view = {**NOTHING, **view}

    def copy(self, text: str) -> None:
        """Put a text into the clipboard of the user who clicked."""
        self.send({"copy": text})

    def _received(self, _: Any, message: Any, __: Any) -> None:
        if isinstance(message, dict):
            self._act(message)
