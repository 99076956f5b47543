"""The expression language of VAST: text to tree and back.

>>> from vastlab.expression import parse
>>> print(parse("resp_p == 443 and not orig_h in 10.0.0.0/8"))
resp_p == 443 && orig_h !in 10.0.0.0/8
"""

from __future__ import annotations

from vastlab.expression.ast import Expr
from vastlab.expression.normal_form import normal_form
from vastlab.expression.parameters import bind
from vastlab.expression.parser import parse, parse_query

__all__ = ["Expr", "bind", "normal_form", "parse", "parse_query"]
