"""Keys that run a query."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget


class Keys(anywidget.AnyWidget):
    """Calls `run` with the text of the query on Ctrl+Enter and Shift+Enter.

    It is for a text area in the same box, which has the class ``vastlab-box``.
    """

    _esm = Path(__file__).parent / "keys.js"

    def __init__(self, run: Callable[[str], None]) -> None:
        super().__init__()
        self._run = run
        self.on_msg(self._received)

    def _received(self, _: Any, message: Any, __: Any) -> None:
        match message:
            case {"do": "run", "text": str(text)}:
                self._run(text)
