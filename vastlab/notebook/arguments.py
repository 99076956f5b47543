"""What a magic takes besides its options: words, assignments and the values of parameters."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vastlab import errors
from vastlab.expression import parse_query
from vastlab.expression.ast import Expr
from vastlab.expression.parameters import indicators
from vastlab.notebook import options
from vastlab.notebook.options import Options

_WORD = re.compile(r"(?:`[^`]*`|[^\s`])+")
_ASSIGNMENT = re.compile(r"\s*([^\W\d]\w*)=(?!=)([A-Za-z_]+\([^)]*\)|\S+)")


def params_of(
    asked: Options, wanted: Sequence[str], namespace: Mapping[str, Any]
) -> dict[str, object]:
    """Return the values of parameters: of variables, or of the files that an option names."""
    params = {name: namespace[name] for name in wanted if name in namespace}
    return params | from_files(asked, wanted)


def from_files(asked: Options, wanted: Sequence[str]) -> dict[str, object]:
    """Return the values of parameters that files have."""
    for name in asked.files:
        if name not in wanted:
            raise errors.UsageError(f"the expression has no ${name}", hint="--params-from names it")
    return {name: indicators(file) for name, file in asked.files.items()}


def limit_of(asked: Options, otherwise: int) -> int:
    return otherwise if asked.limit is None else asked.limit


def first_word(asked: Options, example: str) -> tuple[str, Options]:
    """Take the first word off the expression."""
    found = _WORD.match(asked.expression)
    if found is None:
        raise errors.UsageError("the field is missing", hint=example)
    return found[0], replace(asked, expression=asked.expression[found.end() :].strip())


def assigned(asked: Options) -> tuple[Options, dict[str, str]]:
    """Take what is written ``NAME=value`` off the beginning of the expression."""
    given: dict[str, str] = {}
    rest = asked.expression
    while (found := _ASSIGNMENT.match(rest)) is not None:
        if found[1] in given:
            raise errors.UsageError(f"{found[1]}= is given twice")
        given[found[1]] = found[2]
        rest = rest[found.end() :]
    return replace(asked, expression=rest.strip()), given


def parsed(expression: str) -> Expr:
    try:
        return parse_query(expression)
    except errors.ExpressionSyntaxError as error:
        if options.is_option(expression, error.position):
            error.hint = "options come before the expression"
        raise


def words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise errors.UsageError(f"cannot tell the words apart: {error}") from None


def given(word: str, namespace: Mapping[str, Any]) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals:
        raise errors.UsageError(
            f"{word!r} gives no parameter a value", hint="as in host=10.1.4.17 or host=$variable"
        )
    if not value.startswith("$"):
        return name, value
    if value[1:] not in namespace:
        raise errors.ParameterError(f"there is no variable {value[1:]!r}")
    return name, namespace[value[1:]]
