r"""The expression language of VAST: parser and printer.

>>> from vastlab.expression import parse
>>> print(parse("resp_p == 443 and not orig_h in 10.0.0.0/8"))
resp_p == 443 && orig_h !in 10.0.0.0/8

A name that contains characters other than letters, digits, ``_``, ``-`` and ``:``, or that reads
like a value, is put in backticks, each part of a path separately. Inside them, ``\``` is a
backtick, ``\\`` a backslash, and ``\x2f``, ``\u200b`` and ``\U0001f600`` are characters by number.

>>> print(parse("`@timestamp` > 2026-03-01 && record.`odd name`.x && `null` == 5 && `plain`"))
`@timestamp` > 2026-03-01 && record.`odd name`.x != null && `null` == 5 && plain != null
"""

from __future__ import annotations

from vastlab.expression.ast import Expr
from vastlab.expression.parameters import bind
from vastlab.expression.parser import parse, parse_query
from vastlab.expression.rewrite import normal_form

__all__ = ["Expr", "bind", "normal_form", "parse", "parse_query"]
