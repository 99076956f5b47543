"""One event as a tree: records open, every value whole as far as a page can bear."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import pyarrow as pa

from vastlab import _text
from vastlab.arrow import nesting, render
from vastlab.arrow import schema as arrow_schema
from vastlab.types import Leaf

_VALUE_WIDTH = 2_000
_FAINT = "opacity:.7"
_WHOLE = "line-height:1.45"
_INSIDE = "margin-left:1.4em"
_VALUE = "font-family:monospace;white-space:pre-wrap;overflow-wrap:anywhere"

_Entry = tuple[Leaf, str | None]


def tree(table: pa.Table, row: int) -> str:
    """Draw one event.

    Parameters
    ----------
    table
        Events of one layout.
    row
        Which of them.

    Returns
    -------
    str
        HTML.
    """
    batch = table.slice(row, 1).combine_chunks().to_batches()[0]
    flat = nesting.flatten(batch)
    leaves = arrow_schema.from_arrow(table.schema).leaves
    texts = [
        render.text(column, field)[0].as_py()
        for column, field in zip(flat.columns, flat.schema, strict=True)
    ]
    return (
        f'<div style="{_WHOLE}">{"".join(_drawn(list(zip(leaves, texts, strict=True)), 0))}</div>'
    )


def _drawn(entries: Sequence[_Entry], depth: int) -> Iterator[str]:
    for name, group in groupby(entries, lambda entry: entry[0].path[depth]):
        members = list(group)
        if len(members) == 1 and len(members[0][0].path) == depth + 1:
            yield _value(name, *members[0])
        elif all(len(leaf.path) > depth + 1 for leaf, _ in members):
            inside = "".join(_drawn(members, depth + 1))
            yield (
                f"<details open><summary><b>{_name(name)}</b></summary>"
                f'<div style="{_INSIDE}">{inside}</div></details>'
            )
        else:  # names that occur twice
            yield from (_value(".".join(leaf.path[depth:]), leaf, text) for leaf, text in members)


def _value(name: str, leaf: Leaf, text: str | None) -> str:
    kind = f'<span style="{_FAINT}">{_text.html(_text.cut(str(leaf.type), 80))}</span>'
    if text is None:
        shown = f'<span style="{_FAINT}">null</span>'
    else:
        cut = _text.cut(text, _VALUE_WIDTH)
        shown = f'<span style="{_VALUE}">{_text.html(cut)}</span>'
    return f"<div><b>{_name(name)}</b> {shown} {kind}</div>"


def _name(name: str) -> str:
    return _text.html(_text.cut(name, 80))
