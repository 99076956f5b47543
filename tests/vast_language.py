"""VAST's own language, without what vastlab adds to it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from unittest import mock

from vastlab.expression import parser, tokens


@contextlib.contextmanager
def without_additions() -> Iterator[None]:
    """Read as VAST does: no words for signs, no spellings of our own."""
    never = re.compile(r"(?!)")
    names = {name: meta for name, meta in parser._METAS.items() if name != "#schema"}
    with (
        mock.patch.multiple(
            parser,
            match_keyword=lambda *_: None,
            exponent_number=lambda *_: None,
            _NOT_IN=never,
            _METAS=names,
        ),
        mock.patch.multiple(
            tokens,
            plus_literal=lambda *_: None,
            exponent_number=lambda *_: None,
            _vastlab_literal=lambda *_: None,
        ),
    ):
        yield
