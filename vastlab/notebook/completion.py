"""Completion in ``%vast`` and ``%%vast``: what the node knows, without ever waiting for it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from vastlab.connection import Connection
from vastlab.expression.taxonomy import Taxonomy
from vastlab.notebook.magics import VastMagics
from vastlab.notebook.options import FLAGS
from vastlab.types import Schema

IDENTIFIER = "vastlab.vast"
_MODES = ("historical", "continuous", "unified")
_WORDS = (
    *("#type", "#schema", "#import_time", "#field", "&&", "||", "in", "!in", "and", "or", "not"),
    *(":bool", ":int64", ":uint64", ":double", ":duration", ":time", ":string", ":ip", ":subnet"),
)
_MAGIC = re.compile(r"\s*(?:[\w, ]+=\s*)?%{1,2}vast\b")
_TOKEN = re.compile(r"[#:$@\w.\-&|!]*$")
_FRESH_FOR = 30.0  # seconds


class Catalogue:
    """The names that a node knows, fetched in the background.

    Parameters
    ----------
    connect
        Returns the connection to ask.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._names: tuple[str, ...] = ()
        self._asked = float("-inf")
        self._lock = threading.Lock()

    def names(self) -> tuple[str, ...]:
        """Return what is known by now, and ask again when that is old."""
        with self._lock:
            stale = time.monotonic() - self._asked > _FRESH_FOR
            if stale:
                self._asked = time.monotonic()
        if stale:
            threading.Thread(target=self._fetch, name="vastlab-catalogue", daemon=True).start()
        return self._names

    def _fetch(self) -> None:
        try:
            self._names = _names(self._connect().schemas().values())
        except Exception:  # noqa: BLE001 - a node that does not answer must not disturb typing
            return


def install(shell: Any, magics: VastMagics) -> None:
    """Add the matcher to a shell."""
    remove(shell)
    shell.Completer.custom_matchers.insert(0, _matcher(shell, Catalogue(magics.connection)))


def remove(shell: Any) -> None:
    """Take the matcher away from a shell."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [m for m in matchers if getattr(m, "matcher_identifier", "") != IDENTIFIER]


def candidates(before: str, known: Iterable[str], variables: Iterable[str]) -> list[str]:
    """Return what can follow a text, best first.

    Parameters
    ----------
    before
        The line up to the cursor.
    known
        Names of schemas, fields and concepts.
    variables
        Names of the user's variables.

    Examples
    --------
    >>> candidates("%vast id.o", ["id.orig_h", "uid"], [])
    ['id.orig_h']
    """
    token = _fragment(before)
    offered: Iterable[str]
    if re.search(r"(?:-m|--mode)[ =]\S*$", before):
        offered = _MODES
    elif token.startswith("-"):
        offered = [f"--{flag.name}" for flag in FLAGS]
    elif token.startswith("$"):
        offered = [f"${name}" for name in sorted(variables) if not name.startswith("_")]
    else:
        offered = [*known, *_WORDS]
    return [word for word in dict.fromkeys(offered) if word.startswith(token)]


def _matcher(shell: Any, catalogue: Catalogue) -> Any:
    @context_matcher(identifier=IDENTIFIER)  # type: ignore[untyped-decorator]
    def match(context: CompletionContext) -> dict[str, Any]:
        lines = context.full_text.split("\n")
        before = lines[context.cursor_line][: context.cursor_position]
        if not _MAGIC.match(lines[0] if lines[0].lstrip().startswith("%%") else before):
            return {"completions": []}
        words = candidates(before, catalogue.names(), shell.user_ns)
        return {
            "completions": [SimpleCompletion(text=word, type="vast") for word in words],
            "matched_fragment": _fragment(before),
            "suppress": True,
            "ordered": True,
        }

    return match


def _fragment(before: str) -> str:
    match = _TOKEN.search(before)
    return match.group() if match else ""


def _names(schemas: Iterable[Schema]) -> tuple[str, ...]:
    known = list(schemas)
    fields = {leaf.name for schema in known for leaf in schema.leaves}
    concepts = Taxonomy.default().concepts
    return (*sorted(fields), *sorted(schema.name for schema in known), *sorted(concepts))
