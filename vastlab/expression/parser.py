"""The parser: from the text of an expression to its tree."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vastlab.errors import ExpressionSyntaxError
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
    Operator,
    Or,
    Predicate,
    TypeExtractor,
    Written,
)
from vastlab.expression.checks import problem
from vastlab.expression.literals import ALGEBRA, Literal, Null, Parameter
from vastlab.expression.rewrite import any_field_equals, normalise, typed
from vastlab.expression.scanner import (
    MAX_DEPTH,
    InvalidLiteral,
    continues_name,
    exponent_number,
    increase_depth,
    match_keyword,
    skip_space,
    syntax_error,
)
from vastlab.expression.tokens import (
    NamedOperand,
    fields_compared,
    invalid_operand,
    missing_operand,
    missing_operator,
    operand_literal,
    path,
    unexpected_text,
    values_compared,
)
from vastlab.types import Field, Kind, Type

_BUILT_IN = {
    "bool": Kind.BOOL,
    "int64": Kind.INT64,
    "uint64": Kind.UINT64,
    "double": Kind.DOUBLE,
    "duration": Kind.DURATION,
    "time": Kind.TIME,
    "string": Kind.STRING,
    "ip": Kind.IP,
    "subnet": Kind.SUBNET,
    "int": Kind.INT64,
    "count": Kind.UINT64,
    "real": Kind.DOUBLE,
    "addr": Kind.IP,
}
_IDENTIFIER = re.compile(r"[A-Za-z0-9_.]++")
_QUOTED = re.compile(r'"((?>\\\\|\\"|[^"\x00-\x1f\x7f])*+)"')
_ATTRIBUTE = re.compile(
    r'#[A-Za-z0-9_.]++(?:=(?:"(?>\\"|[^"\x00-\x1f\x7f])*+"|[^\x00-\x20\x7f,>}]++))?+'
)
_FIELD_PATH = re.compile(r"[A-Za-z0-9_]++(?:\.[A-Za-z0-9_]++)*+")
_OPERATORS = ("+>", "+", "<+")
_Found = tuple[Type, int] | None


def type_name(text: str, at: int, depth: int) -> _Found:
    """Parse a type."""
    found = _simple_type(text, at, depth)
    if not found:
        return None
    type_, end = found
    if type_.kind not in (Kind.LIST, Kind.ENUM):
        type_, end = _algebra(type_, text, end, depth)
    while attribute := _ATTRIBUTE.match(text, skip_space(text, end)):
        end = attribute.end()
    return type_, end


def _simple_type(text: str, at: int, depth: int) -> _Found:
    name = _IDENTIFIER.match(text, at)
    if not name:
        return None
    if kind := _BUILT_IN.get(name[0]):
        return Type(kind), name.end()
    compound = _COMPOUND.get(name[0])
    return (compound(text, name.end(), increase_depth(depth, text, at)) if compound else None) or (
        Type(Kind.NULL, names=(name[0],)),
        name.end(),
    )


def _enum(text: str, at: int, depth: int) -> _Found:
    labels: list[tuple[str, int]] = []
    end = _after("{", text, at)
    while end is not None and (label := _IDENTIFIER.match(text, end)):
        labels.append((label[0], len(labels)))
        end = skip_space(text, label.end())
        comma = _after(",", text, end)
        if comma is None:
            break
        end = comma
    if end is None or not labels or not text.startswith("}", end):
        return None
    return Type(Kind.ENUM, labels=tuple(labels)), end + 1


def _list(text: str, at: int, depth: int) -> _Found:
    start = _after("<", text, at)
    item = type_name(text, start, depth) if start is not None else None
    end = skip_space(text, item[1]) if item else at
    return (Type(Kind.LIST, item=item[0]), end + 1) if item and text.startswith(">", end) else None


def _record(text: str, at: int, depth: int) -> _Found:
    fields: list[Field] = []
    end = _after("{", text, at)
    while end is not None and (field := _field(text, end, depth)):
        fields.append(field[0])
        end = skip_space(text, field[1])
        comma = _after(",", text, end)
        if comma is None:
            break
        end = comma
    if end is None or not fields or not text.startswith("}", end):
        return None
    return Type(Kind.RECORD, fields=tuple(fields)), end + 1


_COMPOUND = {"enum": _enum, "list": _list, "record": _record}


def _field(text: str, at: int, depth: int) -> tuple[Field, int] | None:
    name = _IDENTIFIER.match(text, at) or _QUOTED.match(text, at)
    start = _after(":", text, skip_space(text, name.end())) if name else None
    found = type_name(text, start, depth) if start is not None else None
    if not name or not found:
        return None
    return Field(name[name.lastindex or 0], found[0]), found[1]


def _algebra(first: Type, text: str, at: int, depth: int) -> tuple[Type, int]:
    fields, end = [Field("", first)], at
    while step := _algebra_step(text, skip_space(text, end), depth):
        fields.append(step[0])
        end = step[1]
    if len(fields) == 1:
        return first, at
    return Type(Kind.RECORD, fields=tuple(fields), attributes=ALGEBRA), end


def _algebra_step(text: str, at: int, depth: int) -> tuple[Field, int] | None:
    for operator in _OPERATORS:
        start = _after(operator, text, at)
        operand = _algebra_operand(text, start, depth) if start is not None else None
        if operand:
            return Field(operator, operand[0]), operand[1]
    start = _after("-", text, at)
    path = _FIELD_PATH.match(text, start) if start is not None else None
    return (Field("-", Type(Kind.NULL, names=(path[0],))), path.end()) if path else None


def _algebra_operand(text: str, at: int, depth: int) -> _Found:
    name = _IDENTIFIER.match(text, at)
    if not name:
        return None
    if name[0] == "record" and (
        record := _record(text, name.end(), increase_depth(depth, text, at))
    ):
        return record
    return Type(Kind.NULL, names=(name[0],)), name.end()


def _after(symbol: str, text: str, at: int) -> int | None:
    at = skip_space(text, at)
    return skip_space(text, at + len(symbol)) if text.startswith(symbol, at) else None


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
_NUMBER_LIKE = re.compile(r"[0-9.:-]+")
_LONGEST_WRITTEN = 1_000  # characters of a literal that is echoed; a longer one is a list
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
    """Parse an expression.

    Parameters
    ----------
    text
        In the language of VAST 3.1, with vastlab's additions.

    Returns
    -------
    Expr
        Normalised: extractors are on the left, nested connectives of one kind are flattened,
        operands are unique, negations are part of the operators, and literals compared with a
        built-in type have VAST's spelling.

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
        whole = _expression(text, skip_space(text, 0), 0)
        if whole.end < len(text):
            raise unexpected_text(text, whole.end, bare=whole.bare)
        return normalise(whole.expr)
    except RecursionError:
        message = "the expression is nested too deeply for the current call stack"
        raise syntax_error(message, text, 0, f"at most {MAX_DEPTH} levels") from None


def parse_literal(text: str) -> Literal | None:
    """Parse a single value as it is written in an expression; None for anything else."""
    try:
        _check_unicode(text)
        operand = _operand(text, skip_space(text, 0), 0)
        operand = _exponent(text, operand) or operand
    except ExpressionSyntaxError:
        return None
    if isinstance(operand.node, Extractor | Parameter) or skip_space(text, operand.end) < len(text):
        return None
    return operand.node


def parse_field(text: str) -> FieldExtractor | None:
    """Parse a single field name as it is written in an expression; None for anything else."""
    try:
        _check_unicode(text)
        found = path(text, 0)
    except ExpressionSyntaxError:
        return None
    return FieldExtractor.of(found[0]) if found and found[1] == len(text) else None


def parse_extractor(text: str) -> Extractor | None:
    """Parse what stands on the left of an operator; None for anything else."""
    try:
        _check_unicode(text)
        operand = _operand(text, 0, 0)
    except ExpressionSyntaxError:
        return None
    is_whole = operand.end == len(text) and isinstance(operand.node, Extractor)
    return operand.node if is_whole else None  # type: ignore[return-value]  # checked above


def parse_query(text: str) -> Expr:
    """Parse a query: an expression, or an empty text for all events.

    Parameters
    ----------
    text
        An expression, optionally after ``where`` as in VAST's pipelines, or an empty text.

    Returns
    -------
    Expr
        As returned by `parse`; true for an empty text.

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
        return parse(text)  # first, since a field may be named where
    except ExpressionSyntaxError:
        if (operator := _WHERE.match(text)) is None:
            raise
    end = operator.end()
    return parse(" " * end + text[end:])  # keep the positions of errors


# --- connectives ----------------------------------------------------------------------------


def _expression(text: str, at: int, depth: int) -> _Group:
    group = _group(text, at, depth)
    disjuncts: list[list[Expr]] = [[group.expr]]
    while True:
        end = skip_space(text, group.end)
        connective = _connective(text, end)
        if not connective:
            break
        joins_or, start = connective
        group = _group(text, skip_space(text, start), depth)
        if joins_or:
            disjuncts.append([group.expr])
        else:
            disjuncts[-1].append(group.expr)
    operands = [
        And(tuple(conjuncts)) if len(conjuncts) > 1 else conjuncts[0] for conjuncts in disjuncts
    ]
    expr = Or(tuple(operands)) if len(operands) > 1 else operands[0]
    return _Group(expr, end, group.bare)


def _connective(text: str, at: int) -> tuple[bool, int] | None:
    """Whether ``or`` (else ``and``) is next, and where it ends."""
    if text.startswith(("||", "&&"), at):
        return text[at] == "|", at + 2
    if end := match_keyword("or", text, at):
        return True, end
    if end := match_keyword("and", text, at):
        return False, end
    return None


def _group(text: str, at: int, depth: int) -> _Group:
    negations = 0
    while following := _negation(text, at):
        negations += 1
        at = skip_space(text, following)
    if text.startswith("(", at):
        inner = _expression(text, skip_space(text, at + 1), increase_depth(depth, text, at))
        if not text.startswith(")", inner.end):
            raise unexpected_text(text, inner.end, bare=inner.bare, opened=True)
        group = _Group(inner.expr, inner.end + 1)
    else:
        group = _predicate(text, at, depth)
    return _Group(Not(group.expr), group.end, group.bare) if negations % 2 else group


def _negation(text: str, at: int) -> int | None:
    if text.startswith("!", at):
        return at + 1
    end = match_keyword("not", text, at)
    if not end or _is_field_not(text, at):
        return None
    return end


def _is_field_not(text: str, at: int) -> bool:
    """Whether ``not`` is a field name here, as VAST reads it."""
    end = skip_space(text, at + len("not"))
    if _at_end(text, end):
        return True
    if not _OPERATOR.match(text, end):
        return False
    try:
        return _at_end(text, skip_space(text, _predicate(text, at, 0).end))
    except ExpressionSyntaxError:
        return False


def _at_end(text: str, at: int) -> bool:
    return at == len(text) or text.startswith(")", at) or _connective(text, at) is not None


# --- predicates -----------------------------------------------------------------------------


def _predicate(text: str, at: int, depth: int) -> _Group:
    left = _operand(text, at, depth)
    place = skip_space(text, left.end)
    spelled = _operator(text, place)
    if not spelled:
        return _short_form(text, left)
    operator, end = spelled
    right = _operand(text, skip_space(text, end), depth)
    extractor, operator, literal = _extractor_first(text, left, operator, right)
    value = right if left.node is extractor else left
    if found := problem(extractor, operator, literal):
        at = place if found.in_operator else value.start
        raise syntax_error(found.message, text, at, found.expected, hint=found.hint)
    written = _written(text, value, literal, is_first=value is left)
    return _Group(typed(Predicate(extractor, operator, literal, written)), right.end)


def _written(text: str, value: _Operand, literal: Literal, *, is_first: bool) -> Written | None:
    if value.end - value.start > _LONGEST_WRITTEN:
        return None
    return Written(literal, text[value.start : value.end], is_first)


def _operator(text: str, at: int) -> tuple[Operator, int] | None:
    if found := _OPERATOR.match(text, at):
        return _SPELLINGS[found[0]], found.end()
    if found := _NOT_IN.match(text, at):
        return Operator.NOT_IN, found.end()
    return None


def _extractor_first(
    text: str, left: _Operand, operator: Operator, right: _Operand
) -> tuple[Extractor, Operator, Literal]:
    left, right = _as_numbers(text, left, right)
    if not isinstance(left.node, Extractor):
        if isinstance(right.node, Extractor):
            return right.node, operator.flipped, left.node
        raise values_compared(text, left.start)
    if not isinstance(right.node, Extractor):
        return left.node, operator, right.node
    raise fields_compared(text, _name(left), _name(right))


def _name(operand: _Operand) -> NamedOperand:
    node = operand.node
    name = node.name if isinstance(node, FieldExtractor) else None
    return NamedOperand(name, operand.start, operand.end)


def _as_numbers(text: str, left: _Operand, right: _Operand) -> tuple[_Operand, _Operand]:
    """Read ``1e5`` as a number where a field, as VAST reads it, cannot be meant."""
    if isinstance(left.node, Extractor) and isinstance(right.node, Extractor):
        if number := _exponent(text, right):
            return left, number
        return _exponent(text, left) or left, right
    return left, right


def _exponent(text: str, operand: _Operand) -> _Operand | None:
    found = exponent_number(text, operand.start)
    if not found or found[1] != operand.end:
        return None
    return _Operand(_value(text, operand.start, found[0]), operand.start, operand.end)


def _short_form(text: str, operand: _Operand) -> _Group:
    """Parse a bare value, field or type."""
    node = (_exponent(text, operand) or operand).node
    if not isinstance(node, Extractor):
        return _Group(any_field_equals(node), operand.end, bare=True)
    match node:
        case MetaExtractor():
            raise missing_operator(text, operand.start, operand.end)
        case FieldExtractor() if _NUMBER_LIKE.fullmatch(text, operand.start, operand.end):
            raise invalid_operand(text, operand.start, operand.end)
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
    if found_path := path(text, at):
        parts, end = found_path
        return _Operand(FieldExtractor.of(parts), at, end)
    if (parameter := _PARAMETER.match(text, at)) and not continues_name(text, parameter.end()):
        return _Operand(Parameter(parameter[1]), at, parameter.end())
    raise missing_operand(text, at)


def _value(text: str, at: int, value: Literal | InvalidLiteral) -> Literal:
    if isinstance(value, InvalidLiteral):
        raise syntax_error(value.message, text, at, value.expected)
    return value


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise syntax_error(
            "unpaired surrogate character", text, error.start, "valid Unicode"
        ) from None
