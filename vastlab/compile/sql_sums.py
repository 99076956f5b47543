"""Sums in SQL that do not wrap around: the engine adds in 64 bits, and says nothing beyond them.

Each sum of a statement is compared with the same sum of doubles, which is never far from the right
one, whereas one that wrapped around is wrong by a multiple of 2^64. What wrapped around is added
once more, as decimals.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Sequence

import datafusion
import numpy as np
import pyarrow as pa

from vastlab.errors import UsageError

_SAME, _CLOSE = "vastlab_same_sum", "vastlab_same_mean"
# Changes nothing: the engine would give two columns one name that differ in a cast only.
_DOUBLE = "vastlab_double"
_CHECKS = {"sum": _SAME, "avg": _CLOSE, "mean": _CLOSE}
_TOKEN = re.compile(
    r"(?P<space>\s+|--[^\n]*|/\*.*?\*/)"
    r"|(?P<text>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"
    r'|"(?:[^"]|"")*"|\w+|.',
    re.DOTALL,
)
_BEFORE_COLUMN = frozenset({"select", "distinct", "all", ","})
_CLAUSES = frozenset(
    {"from", "where", "group", "having", "order", "limit", "union", "except", "intersect"}
)
_LONGEST = 1 << 20  # characters
_FAR = 2.0**62
_TOLERANCE = 1e-6  # of sums of doubles in another order, and of decimals


class Sums:
    """The sums of one statement.

    Parameters
    ----------
    context
        Gets the functions that `written` calls.
    failed
        Takes an error before the engine makes a text of it.
    """

    def __init__(
        self, context: datafusion.SessionContext, failed: Callable[[UsageError], None]
    ) -> None:
        self.large: set[int] = set()
        """Where in the statement sums stand that did not fit in 64 bits."""
        self._failed = failed
        double = pa.float64()
        for name, least in ((_SAME, _FAR), (_CLOSE, 1.0)):
            check = self._check(least, is_sum=name == _SAME)
            takes = [double, double, pa.int64()]
            context.register_udf(datafusion.udf(check, takes, pa.bool_(), "immutable", name))
        context.register_udf(datafusion.udf(lambda x: x, [double], double, "immutable", _DOUBLE))

    def written(self, statement: str) -> str:
        """Write a statement so that what wraps around is an error; what did is exact now."""
        return checked(statement, self.large)

    def _check(
        self, least: float, *, is_sum: bool
    ) -> Callable[[pa.Array, pa.Array, pa.Array], pa.Array]:
        def check(found: pa.Array, doubles: pa.Array, places: pa.Array) -> pa.Array:
            a, b = (np.asarray(each.fill_null(0.0), np.float64) for each in (found, doubles))
            with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinities are no overflow
                is_far = np.abs(a - b) > np.maximum(least, np.abs(b) * _TOLERANCE)
            if is_far.any():
                if is_sum:
                    self.large.add(places[0].as_py())
                error = too_large()
                self._failed(error)
                raise error
            return pa.array(np.ones(len(a), np.bool_))

        return check


def too_large() -> UsageError:
    """Return what is to be said of a sum that cannot be computed."""
    return UsageError(
        "a sum of durations does not fit in 64 bits",
        hint="cast(x as double) is their number of nanoseconds",
    )


def checked(statement: str, exact: Collection[int] = ()) -> str:
    """Write a statement so that a sum or mean that wraps around is an error.

    Parameters
    ----------
    statement
        What was written.
    exact
        Where sums stand of whole numbers that are to be added as decimals.

    Examples
    --------
    >>> checked("select min(x) from t")
    'select min(x) from t'
    >>> checked("select sum(x) as n from t", exact=[7])
    'select sum( cast(x + 0 as decimal(38, 0)) ) as n from t'
    """
    tokens = [(each.group(), each.lastgroup, each.start()) for each in _TOKEN.finditer(statement)]
    return _written(tokens, exact)


_Token = tuple[str, str | None, int]


def _written(tokens: Sequence[_Token], exact: Collection[int]) -> str:
    parts: list[str] = []
    at, before, length = 0, "", 0
    clauses = [""]  # of each query around
    while at < len(tokens):
        text, kind, place = tokens[at]
        name = text.strip('"').lower() if kind is None else ""
        opened = _next(tokens, at + 1)
        if name in _CHECKS and before != "." and _word(tokens, opened) == "(":
            closed = _closing(tokens, opened)
            end = _suffix(tokens, closed + 1)
            suffix = _written(tokens[closed + 1 : end], exact)
            text = _call(name, place, tokens[opened + 1 : closed], suffix, exact)
            at = end
            following = _word(tokens, _next(tokens, end))
            is_column = before in _BEFORE_COLUMN and following in {*_CLAUSES, ",", ")", ""}
            if clauses[-1] == "select" and is_column:  # else order by 2 would not find it
                text += f' as "sum at {place}"'
        else:
            at += 1
            match text.lower():
                case "(":
                    clauses.append("")
                case ")" if len(clauses) > 1:
                    clauses.pop()
                case "select" | "from" | "order" as clause:
                    clauses[-1] = clause
        if kind != "space":
            before = text.lower()
        parts.append(text)
        length += len(text)
        if length > _LONGEST:
            raise UsageError("the statement is too long", hint="nest fewer sums")
    return "".join(parts)


def _call(
    name: str, place: int, inside: Sequence[_Token], suffix: str, exact: Collection[int]
) -> str:
    """Write a call that is compared with the same of doubles, or one of decimals."""
    first = _next(inside, 0)
    start = first + 1 if _word(inside, first) in ("distinct", "all") else 0
    depths = enumerate(_depths(inside))
    stop = next((i for i, d in depths if not d and _word(inside, i) == "order"), len(inside))
    above, value, order = (
        _written(part, exact) for part in (inside[:start], inside[start:stop], inside[stop:])
    )

    def call(value: str) -> str:
        return f"{name}({above}{value}{order}){suffix}"

    if place in exact:
        # Of durations, which have no such sum, nothing can be added to a number.
        return call(f" cast({value} + 0 as decimal(38, 0)) ")
    doubles = call(f" {_DOUBLE}(cast({value} as double)) ")
    same = f"{_CHECKS[name]}(cast({call(value)} as double), {doubles}, {place})"
    return f"(case when {same} then {call(value)} end)"


def _suffix(tokens: Sequence[_Token], at: int) -> int:
    """Return where ends what belongs to a call behind its arguments."""
    while True:
        first = _next(tokens, at)
        second = _next(tokens, first + 1)
        match _word(tokens, first):
            case "ignore" | "respect" if _word(tokens, second) == "nulls":
                at = second + 1
            case "filter" | "over" if _word(tokens, second) == "(":
                at = _closing(tokens, second) + 1
            case "over":
                at = second + 1
            case _:
                return at


def _closing(tokens: Sequence[_Token], opened: int) -> int:
    """Return where a parenthesis is closed."""
    depths = _depths(tokens[opened:])
    return opened + next((i for i, depth in enumerate(depths) if depth == 0), len(depths))


def _depths(tokens: Sequence[_Token]) -> list[int]:
    """Return in how many parentheses each token is, of which `)` is in one less than `(`."""
    return list(itertools.accumulate((text == "(") - (text == ")") for text, *_ in tokens))


def _next(tokens: Sequence[_Token], at: int) -> int:
    """Return the next token that is no space."""
    while at < len(tokens) and tokens[at][1] == "space":
        at += 1
    return at


def _word(tokens: Sequence[_Token], at: int) -> str:
    return tokens[at][0].lower() if at < len(tokens) else ""
