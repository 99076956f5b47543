"""Questions to events that are here already."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import pyarrow as pa

from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.errors import VastlabWarning
from vastlab.expression import parse_query
from vastlab.expression.ast import And, Expr
from vastlab.expression.rewrite import normalise
from vastlab.expression.suggest import suggest
from vastlab.nodes._local import LocalFilter
from vastlab.nodes.base import Query
from vastlab.table_slice import TableSlice


def matching(tables: Mapping[str, Sequence[pa.Table]], query: Query) -> dict[str, list[pa.Table]]:
    """Return the events that match; names that nothing here has are warned of."""
    local = LocalFilter(query)
    found: dict[str, list[pa.Table]] = {}
    schemas = [
        arrow_schema.from_arrow(part.schema, name)
        for name, parts in tables.items()
        for part in parts
    ]
    for line in suggest(query.expression, schemas, query.taxonomy) if schemas else ():
        warnings.warn(line, VastlabWarning, stacklevel=3)  # where the user's code stands
    for name, parts in tables.items():
        for part in parts:
            batches = (convert.normalise(b, name) for b in part.to_batches() if len(b))
            kept = [few for b in batches if (few := local.keep(TableSlice(b))) is not None]
            if kept:
                table = pa.Table.from_batches([few.to_pyarrow() for few in kept])
                found.setdefault(name, []).append(table)
    return found


def both(first: str, second: Expr) -> str:
    """Write what events match that match both; the first one may be empty."""
    return str(normalise(And((parse_query(first), second)))) if first else str(second)
