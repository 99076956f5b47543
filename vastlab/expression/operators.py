"""The relational operators of the language and their algebra."""

from __future__ import annotations

from enum import Enum


class Operator(Enum):
    """A relational operator; its value is the canonical spelling.

    Examples
    --------
    >>> Operator.LT.flipped, Operator.LT.complement
    (<Operator.GT: '>'>, <Operator.GE: '>='>)
    """

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    IN = "in"
    NOT_IN = "!in"
    NI = "ni"
    NOT_NI = "!ni"

    @property
    def flipped(self) -> Operator:
        """The operator that means the same with the operands exchanged."""
        return _FLIPPED[self]

    @property
    def complement(self) -> Operator:
        """The operator that holds on non-null cells where this one does not."""
        return _COMPLEMENT[self]

    @property
    def is_negated(self) -> bool:
        """Whether several matching fields join as a conjunction (specification, section 3)."""
        return self in _NEGATED

    @property
    def is_ordering(self) -> bool:
        """Whether the operator compares by order."""
        return self in _ORDERING

    @property
    def positive(self) -> Operator:
        """The operator itself, or the one that a negated operator negates."""
        return self.complement if self.is_negated else self


_NEGATED = frozenset({Operator.NE, Operator.NOT_IN, Operator.NOT_NI})
_ORDERING = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})
_FLIPPED = {
    Operator.EQ: Operator.EQ,
    Operator.NE: Operator.NE,
    Operator.LT: Operator.GT,
    Operator.LE: Operator.GE,
    Operator.GT: Operator.LT,
    Operator.GE: Operator.LE,
    Operator.IN: Operator.NI,
    Operator.NOT_IN: Operator.NOT_NI,
    Operator.NI: Operator.IN,
    Operator.NOT_NI: Operator.NOT_IN,
}
_COMPLEMENT = {
    Operator.EQ: Operator.NE,
    Operator.NE: Operator.EQ,
    Operator.LT: Operator.GE,
    Operator.GE: Operator.LT,
    Operator.GT: Operator.LE,
    Operator.LE: Operator.GT,
    Operator.IN: Operator.NOT_IN,
    Operator.NOT_IN: Operator.IN,
    Operator.NI: Operator.NOT_NI,
    Operator.NOT_NI: Operator.NI,
}
