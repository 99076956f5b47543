"""The parser: VAST 3.1's grammar, and what vastlab accepts on top.

It is written by hand after the PEG of VAST, whose ordered choice decides what a text means
(``5m`` is a duration and ``5mm`` a field). On top come ``and``, ``or``, ``not`` and ``not in``,
blanks and comments at the front, ``!!x``, bare field names that begin like a literal,
``1e5``, ``+4.2``, ``+5s``, ``[ ]``, ``#schema`` for ``#type``, numbers of any spelling after
``:int64``, ``:uint64`` and ``:double``, and ``$name`` for a value to come.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vastlab.errors import ExpressionSyntaxError
from vastlab.expression._faults import (
    left_over,
    no_operand,
    no_operator,
    two_names,
    two_values,
    unreadable,
)
from vastlab.expression._numbers import exponent
from vastlab.expression._scan import MAX_DEPTH, Fault, continues, deeper, fault, lone_word, skip
from vastlab.expression._types import type_name
from vastlab.expression._values import operand_literal
from vastlab.expression.ast import (
    AliasExtractor,
    And,
    Constant,
    Expr,
    Extractor,
    FieldExtractor,
    Meta,
    MetaExtractor,
    Not,
    Or,
    Predicate,
    TypeExtractor,
)
from vastlab.expression.literals import Literal, Null, Parameter
from vastlab.expression.operators import Operator
from vastlab.expression.rewrite import alone, normalise, typed
from vastlab.expression.validation import problem
from vastlab.types import Kind

_FIELD = re.compile(r"(?![:-])[A-Za-z0-9_:-]++(?:\.[A-Za-z0-9_:-]++)*+")
_PARAMETER = re.compile(r"\$([^\W\d]\w*+)")
_METAS = {
    "#type": Meta.TYPE,
    "#import_time": Meta.IMPORT_TIME,
    "#schema": Meta.TYPE,
}
_OPERATOR = re.compile(r"==|!=|<=|<|>=|>|in|!in|ni|!ni|\[\+|\[-|\+\]|-\]")
_NOT_IN = re.compile(r"not(?:[ \t\n\v\f\r]++|/\*.*?\*/)++in", re.DOTALL)
_SPELLINGS = {
    **{operator.value: operator for operator in Operator},
    "[+": Operator.IN,
    "[-": Operator.NOT_IN,
    "+]": Operator.NI,
    "-]": Operator.NOT_NI,
}
_NO_NAME = re.compile(r"[0-9.:-]+")
_WHERE = re.compile(r"[ \t\n\v\f\r]*+where(?=[ \t\n\v\f\r])")


@dataclass(frozen=True, slots=True)
class _Operand:
    node: Extractor | Literal
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Group:
    expr: Expr
    end: int
    bare: bool = False


def parse(text: str) -> Expr:
    """Read an expression.

    Parameters
    ----------
    text
        In the language of VAST 3.1, with vastlab's additions.

    Returns
    -------
    Expr
        Normalised: extractors stand on the left, nested connectives of one kind are one,
        siblings are unique, negations are in the operators, and what stands behind a built-in
        type is written as VAST writes it.

    Raises
    ------
    ExpressionSyntaxError
        With the position and what was expected there.

    Examples
    --------
    >>> str(parse("not (dest_port == 443 or proto == 'udp')".replace("'", '"')))
    'dest_port != 443 && proto != "udp"'
    >>> print(parse("10.0.0.0/8 ni src_ip"))
    src_ip in 10.0.0.0/8
    """
    _check_unicode(text)
    try:
        whole = _expression(text, skip(text, 0), 0)
        if whole.end < len(text):
            raise left_over(text, whole.end, bare=whole.bare)
        return normalise(whole.expr)
    except RecursionError:
        message = "the expression is nested too deep for the stack that is left"
        raise fault(message, text, 0, f"at most {MAX_DEPTH} levels") from None


def parse_literal(text: str) -> Literal | None:
    """Read a value as it stands in an expression.

    Parameters
    ----------
    text
        What may be a value.

    Returns
    -------
    Literal or None
        None for anything but one value: a field's name, a ``$name``, an expression, prose.

    Examples
    --------
    >>> print(parse_literal("10.0.0.0/8"), parse_literal('"two words"'), parse_literal("two words"))
    10.0.0.0/8 "two words" None
    """
    try:
        _check_unicode(text)
        operand = _operand(text, skip(text, 0), 0)
    except ExpressionSyntaxError:
        return None
    operand = _exponent(text, operand) or operand
    if isinstance(operand.node, Extractor | Parameter) or skip(text, operand.end) < len(text):
        return None
    return operand.node


def parse_query(text: str) -> Expr:
    """Read what somebody asks a node for: an expression, or nothing for everything.

    Parameters
    ----------
    text
        An expression, also behind ``where`` as in VAST's pipelines, or the empty text, which is
        none.

    Returns
    -------
    Expr
        As `parse` returns it.

    Raises
    ------
    ExpressionSyntaxError
        With the position and what was expected there.

    Examples
    --------
    >>> parse_query("")
    Constant(value=True)
    >>> print(parse_query("where resp_p == 443"))
    resp_p == 443
    """
    if not text:
        return Constant(True)
    try:
        return parse(text)  # first, since a field may have this name
    except ExpressionSyntaxError:
        if (operator := _WHERE.match(text)) is None:
            raise
    end = operator.end()
    return parse(" " * end + text[end:])  # an error names a position in the whole text


# --- connectives ----------------------------------------------------------------------------


def _expression(text: str, at: int, depth: int) -> _Group:
    group = _group(text, at, depth)
    arms: list[list[Expr]] = [[group.expr]]
    while True:
        end = skip(text, group.end)
        connective = _connective(text, end)
        if not connective:
            break
        joins_or, start = connective
        group = _group(text, skip(text, start), depth)
        if joins_or:
            arms.append([group.expr])
        else:
            arms[-1].append(group.expr)
    operands = [And(tuple(arm)) if len(arm) > 1 else arm[0] for arm in arms]
    expr = Or(tuple(operands)) if len(operands) > 1 else operands[0]
    return _Group(expr, end, group.bare)


def _connective(text: str, at: int) -> tuple[bool, int] | None:
    """Whether an ``or`` stands here (else an ``and``), and where it ends."""
    if text.startswith(("||", "&&"), at):
        return text[at] == "|", at + 2
    if end := lone_word("or", text, at):
        return True, end
    if end := lone_word("and", text, at):
        return False, end
    return None


def _group(text: str, at: int, depth: int) -> _Group:
    negations = 0
    while following := _negation(text, at):
        negations += 1
        at = skip(text, following)
    if text.startswith("(", at):
        inner = _expression(text, skip(text, at + 1), deeper(depth, text, at))
        if not text.startswith(")", inner.end):
            raise left_over(text, inner.end, bare=inner.bare, opened=True)
        group = _Group(inner.expr, inner.end + 1)
    else:
        group = _predicate(text, at, depth)
    return _Group(Not(group.expr), group.end, group.bare) if negations % 2 else group


def _negation(text: str, at: int) -> int | None:
    if text.startswith("!", at):
        return at + 1
    end = lone_word("not", text, at)
    if not end or _is_field_not(text, at):
        return None
    return end


def _is_field_not(text: str, at: int) -> bool:
    """Whether VAST's reading, in which ``not`` is the name of a field, makes sense."""
    end = skip(text, at + len("not"))
    if _ends(text, end):
        return True
    if not _OPERATOR.match(text, end):
        return False
    try:
        return _ends(text, skip(text, _predicate(text, at, 0).end))
    except ExpressionSyntaxError:
        return False


def _ends(text: str, at: int) -> bool:
    return at == len(text) or text.startswith(")", at) or _connective(text, at) is not None


# --- predicates -----------------------------------------------------------------------------


def _predicate(text: str, at: int, depth: int) -> _Group:
    left = _operand(text, at, depth)
    place = skip(text, left.end)
    spelled = _operator(text, place)
    if not spelled:
        return _short_form(text, left)
    operator, end = spelled
    right = _operand(text, skip(text, end), depth)
    extractor, operator, literal = _aligned(text, left, operator, right)
    if found := problem(extractor, operator, literal):
        value = left if left.node is literal else right
        at = place if found.in_operator else value.start
        raise fault(found.message, text, at, found.expected, hint=found.hint)
    return _Group(typed(Predicate(extractor, operator, literal)), right.end)


def _operator(text: str, at: int) -> tuple[Operator, int] | None:
    if found := _OPERATOR.match(text, at):
        return _SPELLINGS[found[0]], found.end()
    if found := _NOT_IN.match(text, at):
        return Operator.NOT_IN, found.end()
    return None


def _aligned(
    text: str, left: _Operand, operator: Operator, right: _Operand
) -> tuple[Extractor, Operator, Literal]:
    left, right = _as_numbers(text, left, right)
    if not isinstance(left.node, Extractor):
        if isinstance(right.node, Extractor):
            return right.node, operator.flipped, left.node
        raise two_values(text, left.start)
    if not isinstance(right.node, Extractor):
        return left.node, operator, right.node
    raise two_names(text, (left.node, left.start), (right.node, right.start))


def _as_numbers(text: str, left: _Operand, right: _Operand) -> tuple[_Operand, _Operand]:
    """Read ``1e5`` as a number where VAST's reading, a field, makes no sense."""
    if isinstance(left.node, Extractor) and isinstance(right.node, Extractor):
        if number := _exponent(text, right):
            return left, number
        return _exponent(text, left) or left, right
    return left, right


def _exponent(text: str, operand: _Operand) -> _Operand | None:
    found = exponent(text, operand.start)
    if not found or found[1] != operand.end:
        return None
    return _Operand(_value(text, operand.start, found[0]), operand.start, operand.end)


def _short_form(text: str, operand: _Operand) -> _Group:
    """Read what stands alone: a value, a field or a type."""
    node = (_exponent(text, operand) or operand).node
    if not isinstance(node, Extractor):
        return _Group(alone(node), operand.end, bare=True)
    match node:
        case MetaExtractor():
            raise no_operator(text, operand.start, operand.end)
        case FieldExtractor(name) if _NO_NAME.fullmatch(name):
            raise unreadable(text, operand.start, name)
        case _:
            return _Group(Predicate(node, Operator.NE, Null()), operand.end, bare=True)


# --- operands -------------------------------------------------------------------------------


def _operand(text: str, at: int, depth: int) -> _Operand:
    if found := operand_literal(text, at, depth):
        return _Operand(_value(text, at, found[0]), at, found[1])
    for word, meta in _METAS.items():
        if text.startswith(word, at):
            return _Operand(MetaExtractor(meta), at, at + len(word))
    if text.startswith(":", at) and (found_type := type_name(text, at + 1, depth)):
        type_, end = found_type
        if type_.kind is Kind.NULL:
            return _Operand(AliasExtractor(type_.names[0]), at, end)
        return _Operand(TypeExtractor(type_), at, end)
    if name := _FIELD.match(text, at):
        return _Operand(FieldExtractor(name[0]), at, name.end())
    if (parameter := _PARAMETER.match(text, at)) and not continues(text, parameter.end()):
        return _Operand(Parameter(parameter[1]), at, parameter.end())
    raise no_operand(text, at)


def _value(text: str, at: int, value: Literal | Fault) -> Literal:
    if isinstance(value, Fault):
        raise fault(value.message, text, at, value.expected)
    return value


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise fault("half of a character", text, error.start, "valid Unicode") from None
