"""From events to the events around them: whatever holds one of their values, near in time."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab._text import listed, plural
from vastlab.arrow import schema as arrow_schema
from vastlab.display.columns import named
from vastlab.display.preview import sort_keys
from vastlab.display.tally import Numbers, Values, element, values
from vastlab.errors import UsageError, VastlabError
from vastlab.expression import parse
from vastlab.expression.ast import FieldExtractor, Predicate
from vastlab.expression.literals import Duration, Time
from vastlab.expression.parameters import to_literal
from vastlab.expression.taxonomy import Taxonomy
from vastlab.table_slice import TableSlice
from vastlab.types import Kind, Leaf, Schema

__all__ = ["Kinds", "Pivot", "plan", "span"]

MOST_VALUES = 10_000
_MOST_OPERANDS = 1_000  # each element of a list is looked for on its own
# Names of identifiers that Zeek and Suricata give to one thing in several events.
_IDENTIFIERS = {
    "uid": ("uid", "uids", "conn_uids", "tunnel_parents"),
    "fuid": ("fuid", "fuids", "orig_fuids", "resp_fuids", "parent_fuid"),
    "flow_id": ("flow_id",),
    "community_id": ("community_id",),
}
_CONCEPTS = {
    "community_id": ("net.community_id",),
    "domain": ("net.domain", "net.hostname", "net.src.hostname", "net.dst.hostname"),
    "md5": ("file.hash.md5",),
    "sha1": ("file.hash.sha1",),
    "sha256": ("file.hash.sha256",),
    "source port": ("net.src.port",),
    "destination port": ("net.dst.port",),
}
_NO_CONCEPT_KNOWS = {"zeek.http.host": "domain"}
_NUMBER = " (number)"
_LATEST = int(np.iinfo(np.int64).max)
_NO_TIME = _LATEST
_MOST_SPANS = 4
_LEAST_GAP = 1_000_000_000  # nanoseconds


class Kinds:
    """Knows which fields hold values of one kind, by the concepts of a taxonomy."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._fields = dict(_NO_CONCEPT_KNOWS)
        for kind, concepts in _CONCEPTS.items():
            for concept in concepts:
                if concept in taxonomy.concepts:
                    self._fields.update(dict.fromkeys(taxonomy.fields(concept), kind))
        self._names = {name: kind for kind, names in _IDENTIFIERS.items() for name in names}

    def of(self, schema: str, leaf: Leaf) -> str:
        """Return the kind of a field; ``""`` if its values cannot be followed."""
        match element(leaf.type).kind:
            case Kind.IP:
                return "ip"
            case Kind.STRING:
                return self._meaning(schema, leaf)
            case Kind.UINT64 | Kind.INT64:
                return f"{self._meaning(schema, leaf)}{_NUMBER}"
            case _:
                return ""

    def _meaning(self, schema: str, leaf: Leaf) -> str:
        named = self._names.get(leaf.path[-1])
        return named or self._fields.get(f"{schema}.{leaf.name}") or leaf.path[-1]

    def leaves(self, schema: Schema, kind: str) -> Iterator[Leaf]:
        """Return the fields of a schema that are of a kind."""
        return (leaf for leaf in schema.leaves if self.of(schema.name, leaf) == kind)


@dataclass(frozen=True, slots=True)
class Pivot:
    """What to ask for; `keep` filters the answer.

    Parameters
    ----------
    spans
        Disjoint bounds of the event time in nanoseconds, in order; empty for any time.
    near
        Filters the answer by time; None for no filter.
    skipped
        Fields that are not searched, each with the reason.
    reason
        Why there is nothing to ask for, where the expression is empty.
    """

    expression: str = ""
    params: Mapping[str, object] | None = None
    spans: tuple[tuple[int, int], ...] = ()
    near: Near | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    def remarks(self) -> Iterator[str]:
        """Say what is not searched, and why there is nothing to ask for."""
        for reason in dict.fromkeys(self.skipped.values()):
            names = [name for name, why in self.skipped.items() if why == reason]
            yield f"not looked into: {listed(names)} ({reason})"
        if not self.expression:
            yield f"nothing to pivot on: {self.reason}"

    def keep(self, part: TableSlice) -> TableSlice | None:
        """Return the events of a part of the answer that are near enough in time."""
        return part if self.near is None else self.near.keep(part)

    async def ask(
        self, export: Callable[..., AsyncGenerator[TableSlice]], limit: int
    ) -> AsyncGenerator[TableSlice]:
        """Run the query for each span."""
        # As text, since a datetime is not exact enough.
        texts = [{"since": str(Time(low)), "until": str(Time(high))} for low, high in self.spans]
        for bounds in texts or [{}]:
            asked = export(self.expression, limit=limit, params=self.params, **bounds)
            async with aclosing(asked) as parts:
                async for part in parts:
                    yield part


@dataclass(frozen=True, slots=True)
class Near:
    """Chooses events within some nanoseconds of one that named the same value.

    `moments` has for each value the sorted times at which it was named.
    """

    kinds: Kinds
    kind: str
    values: pa.Array
    moments: tuple[Numbers, ...]
    within: int

    def keep(self, part: TableSlice) -> TableSlice | None:
        """Return the events of a slice that are near; None where there are none."""
        batch = part.to_pyarrow()
        table = pa.Table.from_batches([batch])
        times = sort_keys(table)
        chosen = np.zeros(len(batch), np.bool_)
        for leaf in self.kinds.leaves(arrow_schema.from_arrow(batch.schema), self.kind):
            found = values(table, leaf)
            codes = _places(found.texts, self.values)[found.codes]
            rows = found.rows[codes >= 0]
            chosen[rows[self._near(codes[codes >= 0], times[rows])]] = True
        if chosen.all():
            return part
        return TableSlice(batch.filter(pa.array(chosen))) if chosen.any() else None

    def _near(self, codes: Numbers, times: Numbers) -> npt.NDArray[np.bool_]:
        near = np.zeros(len(codes), np.bool_)
        for code in np.unique(codes):
            rows = np.flatnonzero((codes == code) & (times != _NO_TIME))
            named, asked = self.moments[code], times[rows]
            if len(named):
                right = np.searchsorted(named, asked)
                before = asked - named[np.maximum(right - 1, 0)]
                after = named[np.minimum(right, len(named) - 1)] - asked
                near[rows] = np.minimum(abs(before), abs(after)) <= self.within
        return near


def plan(
    field: str,
    tables: Mapping[str, Sequence[pa.Table]],
    schemas: Mapping[str, Schema],
    taxonomy: Taxonomy,
    within: int | None = None,
) -> Pivot:
    """Find out which query follows the values of a field into other events.

    `within` is the largest number of nanoseconds between an event and one that named its value.
    """
    kinds = Kinds(taxonomy)
    kind, found = _source(field, tables, kinds)
    texts = pa.chunked_array([part.texts for _, part in found], pa.string()).unique()
    wanted = pa.array(sorted(text for text in texts.to_pylist() if text), pa.string())
    if len(wanted) > MOST_VALUES:
        raise UsageError(
            f"{field} has {len(wanted):,} different values, more than the {MOST_VALUES:,} "
            "that can be followed",
            hint="choose some first: result.where(expression).pivot(field)",
        )
    if not len(wanted):
        return Pivot(reason=f"no event of this result has a value in {field!r}")
    expression, params, skipped = _question(schemas, kinds, kind, _read(kind, wanted))
    reason = "" if expression else f"no schema has a field for values of {field!r}"
    if within is None:
        return Pivot(expression, params, skipped=skipped, reason=reason)
    moments = _moments(found, wanted)
    named = np.concatenate(moments)
    if not len(named):
        return Pivot(reason=f"no event of this result with a value in {field!r} has a time")
    near = Near(kinds, kind, wanted, moments, within)
    return Pivot(expression, params, _spans(named, within), near, skipped, reason)


def span(within: str | timedelta) -> int:
    """Parse a span such as ``"5m"``, or a timedelta, as nanoseconds."""
    read: object = None
    with contextlib.suppress(VastlabError):
        read = _literal(within) if isinstance(within, str) else to_literal(within)
    if not isinstance(read, Duration) or read.nanoseconds < 0:
        raise UsageError(
            f"within takes a span of time, not {within!r}", hint='such as "5m" or a timedelta'
        )
    return read.nanoseconds


def _literal(text: str) -> object:
    expr = parse(f"span == {text}")
    return expr.literal if isinstance(expr, Predicate) else None


def _spans(named: Numbers, within: int) -> tuple[tuple[int, int], ...]:
    """Find the times to ask for: around all that was named, but for the widest gaps.

    Each further question has its price, so that they are few, and one alone where several
    would not leave out half of the time.
    """
    times = np.unique(named)
    # Floats do not overflow; that they are not exact matters less than the least gap.
    gaps = np.diff(times.astype(np.float64)) - 2.0 * within
    widest = np.argsort(gaps)[::-1][: _MOST_SPANS - 1]
    cuts = np.sort(widest[gaps[widest] > _LEAST_GAP])
    whole = float(times[-1]) - float(times[0]) + 2.0 * within
    if gaps[cuts].sum() < whole / 2:
        cuts = cuts[:0]
    firsts, lasts = times[[0, *(cuts + 1)]], times[[*cuts, -1]]
    return tuple(
        (max(int(first) - within, -_LATEST), min(int(last) + within + 1, _LATEST))
        for first, last in zip(firsts, lasts, strict=True)
    )


def _source(
    field: str, tables: Mapping[str, Sequence[pa.Table]], kinds: Kinds
) -> tuple[str, list[tuple[pa.Table, Values]]]:
    """Return the kind of a field, and its values in each table."""
    found: set[str] = set()
    parts: list[tuple[pa.Table, Values]] = []
    for name, layouts in tables.items():
        for table in layouts:
            schema = arrow_schema.from_arrow(table.schema, name)
            for leaf in named(field, schema):
                if kind := kinds.of(name, leaf):
                    found.add(kind)
                    parts.append((table, values(table, leaf)))
    if not found:
        raise UsageError(
            f"no events of this result have a field {field!r} that can be followed",
            hint="fields hold addresses, text or whole numbers, and are named as in an expression",
        )
    if len(found) > 1:
        raise UsageError(
            f"{field!r} means several things here: {', '.join(sorted(found))}",
            hint="put the schema before it, as in 'zeek.conn.uid'",
        )
    return found.pop(), parts


def _places(texts: pa.Array, wanted: pa.Array) -> Numbers:
    """Return where each text is among those that are wanted; -1 for nowhere."""
    return np.asarray(pc.fill_null(pc.index_in(texts, value_set=wanted), -1), np.int64)


def _moments(found: Sequence[tuple[pa.Table, Values]], wanted: pa.Array) -> tuple[Numbers, ...]:
    """Return for each value when it was named, in order of time."""
    codes = np.concatenate([_places(part.texts, wanted)[part.codes] for _, part in found])
    times = np.concatenate([sort_keys(table)[part.rows] for table, part in found])
    order = np.lexsort((times, codes))
    starts = np.searchsorted(codes[order], np.arange(len(wanted) + 1))
    ordered = times[order]
    groups = (ordered[a:b] for a, b in itertools.pairwise(starts))
    return tuple(group[group != _NO_TIME] for group in groups)


def _read(kind: str, values: pa.Array) -> list[object]:
    texts = values.to_pylist()
    if kind == "ip":
        return [ipaddress.ip_address(text) for text in texts]
    return [int(text) for text in texts] if kind.endswith(_NUMBER) else texts


def _question(
    schemas: Mapping[str, Schema], kinds: Kinds, kind: str, values: list[object]
) -> tuple[str, dict[str, object], dict[str, str]]:
    fields = {
        str(FieldExtractor(f"{schema.name}.{leaf.name}")): leaf.type.kind is Kind.LIST
        for schema in schemas.values()
        for leaf in kinds.leaves(schema, kind)
    }
    lists = [name for name, is_list in fields.items() if is_list]
    looks = len(lists) * len(values)
    into = lists if looks <= _MOST_OPERANDS else []
    params: dict[str, object] = {"values": values}
    operands = [f"{name} in $values" for name, is_list in fields.items() if not is_list]
    if kind == "ip":
        operands = [":ip in $values"]  # which stands for all of them
    if into:
        params |= {f"value{i}": value for i, value in enumerate(values)}
        operands += [f"{name} ni $value{i}" for name in into for i in range(len(values))]
    skipped: dict[str, str] = {}
    if not into:
        too_many = (
            f"{plural(len(values), 'value')} in {plural(len(lists), 'list')} are "
            f"{looks:,} comparisons, more than {_MOST_OPERANDS:,}"
        )
        skipped = dict.fromkeys(lists, too_many)
    return " || ".join(operands), params, skipped
