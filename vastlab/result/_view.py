"""A safe view of some events."""

from __future__ import annotations

from vastlab.display import html, text
from vastlab.display.preview import Preview


class View:
    """The first events of one schema, neutralised; made by `Result.show`.

    Parameters
    ----------
    shown
        What to show.
    """

    def __init__(self, shown: Preview) -> None:
        self._shown = shown

    def __repr__(self) -> str:
        return text.table(self._shown)

    def _repr_html_(self) -> str:
        return f"<div>{html.table(self._shown)}</div>"
