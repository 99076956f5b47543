"""Which columns of a schema are shown, and in what order: for tables of the shell and of notebooks.

A reader of an alert wants its signature, which stands behind twenty other columns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum

import pyarrow as pa
import pyarrow.compute as pc

from vastlab import _text
from vastlab.arrow import convert, render
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import ExpressionError, UsageError
from vastlab.expression import parse_query
from vastlab.expression.ast import FieldExtractor
from vastlab.expression.parser import parse_field
from vastlab.expression.resolve import match
from vastlab.expression.rewrite import predicates
from vastlab.expression.taxonomy import Taxonomy
from vastlab.types import Kind, Leaf, Schema

_LOOKED_AT = 50  # rows of each table, as many as the largest preview has
_CELL = 80  # characters that tell values apart
_LONGEST = 10_000  # characters of an expression; a longer one is a list of indicators
_BLANK = frozenset({None, "", "[]"})
_PORT = re.compile(r"(?:.*_)?port|(?:orig|resp)_p")
_SOURCE_PORT = re.compile(r"orig_p|(?:.*_)?(?:src|source|client)_port")

# By the end of their path, in the order in which they are read.
_TELLING = {
    "suricata.alert": ("alert.signature", "alert.severity", "alert.category", "alert.action"),
    "suricata.dns": ("rrname", "rrtype", "rcode"),
    "suricata.fileinfo": ("fileinfo.filename", "fileinfo.magic", "md5", "sha1", "sha256"),
    "suricata.flow": (
        "app_proto", "flow.bytes_toserver", "flow.bytes_toclient", "flow.state", "proto",
    ),
    "suricata.http": ("http_method", "hostname", "url", "status", "http_user_agent"),
    "suricata.tls": ("tls.sni", "tls.subject", "tls.issuerdn", "tls.version"),
    "zeek.conn": ("service", "orig_bytes", "resp_bytes", "duration", "conn_state", "proto"),
    "zeek.dns": ("query", "answers", "rcode_name"),
    "zeek.files": ("mime_type", "filename", "md5", "sha1", "sha256", "tx_hosts", "rx_hosts"),
    "zeek.http": ("method", "host", "uri", "status_code", "user_agent"),
    "zeek.notice": ("note", "msg", "sub"),
    "zeek.smtp": ("mailfrom", "rcptto", "subject"),
    "zeek.ssh": ("auth_success", "client", "server"),
    "zeek.ssl": ("server_name", "version", "cipher"),
    "zeek.weird": ("name", "addl"),
    "zeek.x509": ("certificate.subject", "certificate.issuer"),
}  # fmt: skip
_MOST_TELLING = max(map(len, _TELLING.values()))
_TELLING_ANYWHERE = frozenset(
    {"host", "hostname", "query", "service", "signature", "uri", "url", "user_agent"}
)
_IDENTIFIERS = frozenset(
    {
        "community_id",
        "event_type",
        "flow_id",
        "in_iface",
        "pcap_cnt",
        "trans_id",
        "tx_id",
        "uid",
        "vlan",
    }
)


class _Rank(IntEnum):
    """Ranks a column: the smallest comes first."""

    EVENT_TIME = 0
    ENDS = 1  # addresses, and ports of services
    ASKED = 2
    OF_SCHEMA = 3
    TELLING = 4
    SOURCE_PORT = 5  # any number, and it takes the room of what tells more
    VARIED = 6
    SPARSE = 7
    CONSTANT = 8
    IDENTIFIER = 9


def sensible(name: str, tables: Sequence[pa.Table], asked: Collection[str] = ()) -> list[str]:
    """Order the columns of a schema by how much they tell, and leave out those without a value.

    First the event time, addresses and ports of services, what was asked for, and what matters in
    events of that name; then source ports, what varies, what says the same in each event, and
    identifiers. Where no event has a value in any column, all are there.

    Parameters
    ----------
    name
        The schema.
    tables
        Some of its events, such as those that are to be shown; the first ones of each table are
        looked at.
    asked
        Columns that the query names, as from `fields_of`; they are never left out.

    Returns
    -------
    list of str
        Names of flat columns, such as ``id.orig_h``.

    Examples
    --------
    >>> events = pa.table({"note": [None, None], "uid": ["C1", "C2"], "uri": ["/a", "/b"]})
    >>> sensible("my.events", [events])
    ['uri', 'uid']
    """
    heads = [table.slice(0, min(_LOOKED_AT, table.num_rows)) for table in tables]
    schemas = [arrow_schema.from_arrow(table.schema, name) for table in tables]
    leaves = {leaf.column: leaf for schema in schemas for leaf in schema.leaves}
    times = {schema.event_time for schema in schemas}
    samples = _samples(heads)
    rows = sum(head.num_rows for head in heads)
    ranks: dict[str, tuple[int, int]] = {}
    for place, (column, leaf) in enumerate(leaves.items()):
        values = samples.get(column, _NO_VALUES)
        if values.filled or column in asked:
            telling = _telling(name, leaf)
            if leaf in times:
                rank = _Rank.EVENT_TIME
            elif column in asked and not _is_end(leaf):
                rank = _Rank.ASKED
            else:
                rank = _rank(leaf, values, rows, is_of_schema=telling is not None)
            ranks[column] = (rank, place if telling is None else telling - _MOST_TELLING)
    if not any(values.filled for values in samples.values()):
        return list(leaves)
    return sorted(ranks, key=lambda column: ranks[column])


def chosen(name: str, tables: Sequence[pa.Table], fields: Sequence[str]) -> list[str]:
    """Return the columns that names mean: the ends of paths, in the order of the names.

    Raises
    ------
    UsageError
        Where no event has such a field.

    Examples
    --------
    >>> events = pa.table({"uid": ["C1"], "id": [{"orig_h": "10.0.0.1", "resp_p": 443}]})
    >>> chosen("my.events", [events], ["resp_p", "uid"])
    ['id.resp_p', 'uid']
    """
    if isinstance(fields, str) or not all(isinstance(field, str) for field in fields):
        raise UsageError(f"columns must be a list of names, not {_text.cut(repr(fields), 80)}")
    schemas = [arrow_schema.from_arrow(table.schema, name) for table in tables]
    found: dict[str, None] = {}
    for field in fields:
        columns = [leaf.column for schema in schemas for leaf in named(field, schema)]
        if not columns:
            known = [suffix for schema in schemas for suffix in schema.leaves_by_suffix]
            raise UsageError(
                f"{name} has no field {field!r}",
                hint=_text.did_you_mean(field, known, "%vast_schemas lists all"),
            )
        found.update(dict.fromkeys(columns))
    return list(found)


def fields_of(
    expression: str, name: str, tables: Sequence[pa.Table], taxonomy: Taxonomy | None = None
) -> list[str]:
    """Return the columns of a schema that an expression names, also by concepts.

    Examples
    --------
    >>> events = pa.table({"port": [443], "note": ["x"]})
    >>> fields_of('note == "x" && other > 1', "my.events", [events])
    ['note']
    """
    if len(expression) > _LONGEST:
        return []
    try:
        asked = parse_query(expression)
    except ExpressionError:
        return []
    words = taxonomy or Taxonomy()
    extractors = {p.extractor for p in predicates(asked) if isinstance(p.extractor, FieldExtractor)}
    meant = [
        FieldExtractor(field)
        for extractor in extractors
        if extractor.name in words.concepts
        for field in words.fields(extractor.name)
    ]
    schemas = [arrow_schema.from_arrow(table.schema, name) for table in tables]
    found = (
        leaf.column
        for schema in schemas
        for each in (*extractors, *meant)
        for leaf in match(each, schema)
    )
    return list(dict.fromkeys(found))


def named(field: str, schema: Schema) -> Sequence[Leaf]:
    """Return the fields that a name means: the end of a path, with or without the schema."""
    if "`" in field and (written := parse_field(field)) is not None:
        return match(written, schema)
    prefix = f"{schema.name}."
    if field.startswith(prefix):
        wanted = field.removeprefix(prefix)
        return [leaf for leaf in schema.leaves if wanted in (leaf.name, leaf.column)]
    exact = [leaf for leaf in schema.leaves if leaf.column == field]
    return exact or schema.leaves_by_suffix.get(field, ())


@dataclass(frozen=True, slots=True)
class _Values:
    """How many of the rows have a value in a column, and whether all have the same."""

    filled: int
    is_constant: bool


_NO_VALUES = _Values(0, True)


def _samples(tables: Sequence[pa.Table]) -> dict[str, _Values]:
    texts: dict[str, list[str | None]] = {}
    rows = 0
    for table in tables:
        rows += table.num_rows
        for batch in table.combine_chunks().to_batches():
            flat = convert.flatten(convert.normalise(batch))
            for column, field in zip(flat.columns, flat.schema, strict=True):
                if column.null_count < len(column):  # many columns of a wide schema are empty
                    short = pc.utf8_slice_codeunits(render.text(column, field), 0, _CELL)
                    texts.setdefault(field.name, []).extend(short.to_pylist())
    found = {}
    for name, values in texts.items():
        filled = sum(value not in _BLANK for value in values)
        distinct = len(set(values)) + (len(values) < rows)
        found[name] = _Values(filled, distinct < min(2, rows))
    return found


def _rank(leaf: Leaf, values: _Values, rows: int, *, is_of_schema: bool) -> _Rank:
    own = leaf.path[-1]
    if _is_end(leaf):
        return _Rank.ENDS
    if is_of_schema:
        return _Rank.OF_SCHEMA
    if own in _TELLING_ANYWHERE:
        return _Rank.TELLING
    if _is_source_port(leaf):
        return _Rank.SOURCE_PORT
    if own in _IDENTIFIERS:
        return _Rank.IDENTIFIER
    if values.is_constant:
        return _Rank.CONSTANT
    return _Rank.SPARSE if 2 * values.filled < rows else _Rank.VARIED


def _is_end(leaf: Leaf) -> bool:
    """Whether a field is an address or a service's port: lists are not, they take much room."""
    return leaf.type.kind is Kind.IP or (_is_port(leaf) and not _is_source_port(leaf))


def _is_source_port(leaf: Leaf) -> bool:
    return _is_port(leaf) and _SOURCE_PORT.fullmatch(leaf.path[-1]) is not None


def _is_port(leaf: Leaf) -> bool:
    is_named = "port" in leaf.type.names or _PORT.fullmatch(leaf.path[-1]) is not None
    return is_named and leaf.type.kind in (Kind.UINT64, Kind.INT64)


def _telling(name: str, leaf: Leaf) -> int | None:
    """Return the place of a field among those that matter in events of that name."""
    for place, end in enumerate(_TELLING.get(name, ())):
        if leaf.name == end or leaf.name.endswith(f".{end}"):
            return place
    return None
