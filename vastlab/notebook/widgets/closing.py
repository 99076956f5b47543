"""Taking widgets away with everything inside them, so that a saved notebook holds none."""

from __future__ import annotations

from typing import Any

import ipywidgets as widgets
from IPython.display import display


class ClosingBox(widgets.VBox):  # type: ignore[misc]  # ipywidgets carries no type information
    """A box that leaves text in its place when it is closed.

    A notebook that was saved would else show an error there, since what it refers to is gone.

    Examples
    --------
    >>> box = ClosingBox([widgets.Label("text")])
    >>> box.close()
    >>> list(box.left_behind())
    ['text/plain']
    """

    _shown: tuple[Any, ...] = ()

    def left_behind(self) -> dict[str, str]:
        """Return what stays, by MIME type."""
        return {"text/plain": repr(self)}

    def close(self) -> None:
        """Take the box away with everything in it; twice is once."""
        shown, self._shown = self._shown, ()
        for handle in shown:
            handle.update(self.left_behind(), raw=True)
        close_all(self)

    def _ipython_display_(self) -> None:
        if self.comm is None:
            display(self.left_behind(), raw=True)
            return
        # The text that ipywidgets gives is cut, and only what has a name can be replaced.
        bundle = {**self._repr_mimebundle_(), "text/plain": repr(self)}
        self._shown = (*self._shown, display(bundle, raw=True, display_id=True))


def close_all(widget: Any) -> None:
    """Close a widget with its children, layout and style, which ipywidgets leaves behind.

    So do we with what it has to ``spare``, which may be among its children at other times.

    Parameters
    ----------
    widget
        It may be closed already.
    """
    for child in (*getattr(widget, "children", ()), *getattr(widget, "spare", ())):
        close_all(child)
    for name in ("layout", "style"):
        if name in widget.trait_names() and (inside := getattr(widget, name)) is not None:
            inside.close()
    widgets.Widget.close(widget)
