"""VAST's own language, without what vastlab adds to it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from unittest import mock

from vastlab.expression import _values, parser


@contextlib.contextmanager
def without_additions() -> Iterator[None]:
    """Read as VAST does: no words for signs, no spellings of our own."""
    never = re.compile(r"(?!)")
    names = {name: meta for name, meta in parser._METAS.items() if name != "#schema"}
    with (
        mock.patch.multiple(
            parser, lone_word=lambda *_: None, exponent=lambda *_: None, _NOT_IN=never, _METAS=names
        ),
        mock.patch.multiple(
            _values, plus=lambda *_: None, exponent=lambda *_: None, _added=lambda *_: None
        ),
    ):
        yield
