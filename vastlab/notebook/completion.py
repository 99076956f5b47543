"""Completion in the magics: what the node knows, without waiting for it longer than a moment."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher

from vastlab import _text, queries
from vastlab.config import Settings
from vastlab.expression.ast import FieldExtractor
from vastlab.expression.taxonomy import Taxonomy
from vastlab.notebook.magics import VastMagics
from vastlab.notebook.options import FLAGS, MODES
from vastlab.types import Schema

IDENTIFIER = "vastlab.vast"
_OPERATORS = ("&&", "||", "in", "!in", "ni", "!ni", "and", "or", "not", "==", "!=", "<=", ">=")
_META = ("#type", "#schema", "#import_time", "#field")
_TYPES = (
    *(":bool", ":int64", ":uint64", ":double", ":duration", ":time", ":string", ":ip", ":subnet"),
)
_MAGIC = re.compile(r"\s*(?:[\w, ]+=\s*)?%{1,2}(?P<name>vast(?:_use|_run|_schemas|_status)?)(?!\w)")
_TOKEN = re.compile(r"(?:[&|=<>]+|!=?\w*|[#:$@\w./\-]*)$")
# What is closed before the cursor: texts, and names in backticks.
_CLOSED = re.compile(r'"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`')
_OPENED = re.compile(r"[\w.:\-]*`[^`]*$")
_ESCAPED = re.compile(r"`|\\(?:x(.{2})|u(.{4})|U(.{8})|(.))?")
_MARKUP = re.compile(r"[<>&\"']")
_QUOTED = re.compile(r'#(?:type|schema)\s*(?:==|!=|ni|!ni|in|!in)\s*\[?[^\]]*"(?P<name>[^"]*)$')
_WRITABLE = re.compile(r"[\w.:#@/ -]+")
_FRESH_FOR = 30.0  # seconds
_MOMENT = 0.5  # seconds
_SHOWN = 500


class Node(Protocol):
    """What the catalogue asks: a connection."""

    def schemas(self) -> dict[str, Schema]:
        """Return what there is."""
        ...


@dataclass(frozen=True, slots=True)
class Names:
    """The names that can be completed, each with its type or description."""

    fields: Mapping[str, str] = field(default_factory=dict)
    schemas: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    concepts: Mapping[str, str] = field(default_factory=dict)
    profiles: Mapping[str, str] = field(default_factory=dict)
    queries: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Catalogue:
    """The names that a node and the settings know, fetched in the background."""

    def __init__(self, connect: Callable[[], Node]) -> None:
        self._connect = connect
        self._known: dict[Node | None, _Known] = {}
        self._lock = threading.Lock()

    def names(self) -> Names:
        """Return what is known, and refresh it if it is old; wait briefly for a first answer."""
        node = self._node()
        with self._lock:
            known = self._known.setdefault(node, _Known())
            is_stale = time.monotonic() - known.asked > _FRESH_FOR
            if is_stale:
                known.asked = time.monotonic()
        if is_stale:
            fetch = threading.Thread(
                target=_fetch, args=(node, known), name="vastlab-catalogue", daemon=True
            )
            fetch.start()
            if not known.names.schemas:
                fetch.join(_MOMENT)
        return known.names

    def _node(self) -> Node | None:
        with contextlib.suppress(Exception):  # nothing that fails may disturb typing
            return self._connect()
        return None


@dataclass(slots=True)
class _Known:
    """What is known of one node, and when it was asked last."""

    names: Names = field(default_factory=Names)
    asked: float = float("-inf")


def _fetch(node: Node | None, known: _Known) -> None:
    # One after the other: where the node does not answer, the settings still do.
    for step in (_from_settings, _from_queries, partial(_from_node, node)):
        with contextlib.suppress(Exception):  # nothing that fails may disturb typing
            known.names = step(known.names)


def _from_node(node: Node | None, names: Names) -> Names:
    if node is None:
        return names
    known = node.schemas().values()
    leaves = [leaf for schema in known for leaf in schema.leaves]
    suffixes = {
        suffix: str(found[0].type)
        for schema in known
        for suffix, found in schema.leaves_by_suffix.items()
    }
    whole = {leaf.name: str(leaf.type) for leaf in leaves}
    concepts = Taxonomy.default().concepts
    return replace(
        names,
        fields={_written(path): kind for path, kind in sorted({**suffixes, **whole}.items())},
        schemas=_writable({schema.name: "schema" for schema in known}),
        aliases=_writable({f":{n}": "alias" for leaf in leaves for n in leaf.type.names}),
        concepts=dict.fromkeys(sorted(concepts), "concept"),
    )


def _from_settings(names: Names) -> Names:
    profiles = dict.fromkeys(Settings.load().profiles, "profile")
    return replace(names, profiles=_writable(profiles))


def _from_queries(names: Names) -> Names:
    saved = queries.load()
    return replace(
        names,
        queries=_writable(dict.fromkeys(saved, "saved query")),
        parameters={n: tuple(p.name for p in query.parameters) for n, query in saved.items()},
    )


def _writable(names: Mapping[str, str]) -> dict[str, str]:
    """Leave out names that cannot be typed, and that a frontend had better not show."""
    return {name: kind for name, kind in names.items() if _WRITABLE.fullmatch(name)}


def _written(path: str) -> str:
    """Write a field as an expression does; what a frontend could take for markup is escaped."""
    return _MARKUP.sub(lambda m: f"\\x{ord(m[0]):02x}", str(FieldExtractor(path)))


def _read(text: str) -> str:
    """Return the name that a field's text stands for, also of a text that is not complete."""

    def character(found: re.Match[str]) -> str:
        number = found[1] or found[2] or found[3]
        return chr(int(number, 16)) if number else found[4] or ""

    try:
        return _ESCAPED.sub(character, text)
    except (ValueError, OverflowError):
        return text


def install(shell: Any, magics: VastMagics) -> None:
    """Add the matcher to a shell."""
    remove(shell)
    shell.Completer.custom_matchers.insert(0, _matcher(shell, Catalogue(magics.connection)))


def remove(shell: Any) -> None:
    """Take the matcher away from a shell."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [m for m in matchers if getattr(m, "matcher_identifier", "") != IDENTIFIER]


def candidates(
    before: str, known: Names, variables: Iterable[str], magic: str = "vast"
) -> dict[str, str]:
    """Return what can follow a text, best first, each with its type or description."""
    if not _QUOTED.search(before) and '"' in _CLOSED.sub("", before):
        return {}  # in a text, which no names of the node complete
    token = fragment(before)
    offered = _offered(before, token, known, variables, magic)
    start = _read(token)
    fitting = {word: kind for word, kind in offered.items() if _read(word).startswith(start)}
    return dict(list(fitting.items())[:_SHOWN])


def _offered(
    before: str, token: str, known: Names, variables: Iterable[str], magic: str
) -> Mapping[str, str]:
    if re.search(r"(?:-m|--mode)[ =]\S*$", before):
        return dict.fromkeys(MODES, "mode")
    if magic == "vast_use" or re.search(r"(?:-P|--profile)[ =]\S*$", before):
        return known.profiles
    if magic in {"vast_schemas", "vast_status"}:
        return known.schemas if magic == "vast_schemas" else {}
    if token.startswith("-"):
        return {f"--{flag.name}": flag.wants or "option" for flag in FLAGS}
    if token.startswith("$"):
        return {f"${name}": "variable" for name in sorted(variables) if name[:1] != "_"}
    if magic == "vast_run":
        chosen = [word for word in before.split() if word in known.parameters]
        given = known.parameters[chosen[-1]] if chosen else ()
        return {f"{name}=": "parameter" for name in given} if chosen else known.queries
    if _QUOTED.search(before):
        return known.schemas
    return {
        **known.fields,
        **{_written(name): kind for name, kind in known.schemas.items()},
        **known.concepts,
        **dict.fromkeys(_META, "meta"),
        **dict.fromkeys(_TYPES, "type"),
        **known.aliases,
        **dict.fromkeys(_OPERATORS, "operator"),
    }


def fragment(before: str) -> str:
    """Return the word before the cursor."""
    if match := _QUOTED.search(before):
        return match["name"]
    # What is closed is one word, or a blank that ends one.
    masked = _CLOSED.sub(lambda m: ("_" if m[0][0] == "`" else " ") * len(m[0]), before)
    match = _OPENED.search(masked) or _TOKEN.search(masked)
    return before[match.start() :] if match else ""


def _matcher(shell: Any, catalogue: Catalogue) -> Any:
    @context_matcher(identifier=IDENTIFIER)  # type: ignore[untyped-decorator]  # IPython has no types
    def match(context: CompletionContext) -> dict[str, Any]:
        lines = context.full_text.split("\n")
        before = lines[context.cursor_line][: context.cursor_position]
        found = _MAGIC.match(lines[0] if lines[0].lstrip().startswith("%%") else before)
        if found is None or (context.cursor_line == 0 and found.end() >= len(before)):
            return {"completions": []}
        words = candidates(before, catalogue.names(), list(shell.user_ns), found["name"])
        return {
            "completions": [
                SimpleCompletion(text=word, type=_text.plain(kind)) for word, kind in words.items()
            ],
            "matched_fragment": fragment(before),
            "suppress": True,
            "ordered": True,
        }

    return match
