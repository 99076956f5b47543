"""Taking widgets away with everything inside them."""

from __future__ import annotations

from typing import Any


def close_children(box: Any) -> None:
    """Close all that is inside a widget, which ipywidgets leaves behind.

    Parameters
    ----------
    box
        A widget.
    """
    for child in getattr(box, "children", ()):
        close_children(child)
        child.close()
    if "layout" in box.trait_names() and box.layout is not None:
        box.layout.close()
