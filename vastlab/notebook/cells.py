"""Cells that IPython would not run as they are meant."""

from __future__ import annotations

import re

_CELL_MAGIC = re.compile(r"%%vast(_sql)?(\s|$)")


def without_body(lines: list[str]) -> list[str]:
    """Let ``%%vast -h`` work in a cell that has no body, which IPython would refuse."""
    head, *body = lines or [""]
    if _CELL_MAGIC.match(head) and not "".join(body).strip():
        return [head[1:]]
    return lines


# IPython asks with every Enter on a terminal whether a cell is complete; it leaves this one out
# then, and waits for the body.
vars(without_body)["has_side_effects"] = True


def without_semicolons(lines: list[str]) -> list[str]:
    """Let ``x = %vast ...;`` assign: the semicolon hides, and an assignment shows nothing."""
    return [_ASSIGNED.sub(r"\1\2", line) for line in lines]


_ASSIGNED = re.compile(
    r"^(\s*[^\W\d]\w*\s*=\s*%vast(?:_run|_top|_timeline|_summarize|_sql)?(?:\s.*?)?)[;\s]*;\s*?(\n?)$"
)
