"""Pictures of events in memory; they need the extra ``plots``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from vastlab._optional import import_optional
from vastlab.display.histogram import histogram
from vastlab.display.tally import flows, tally
from vastlab.errors import UsageError
from vastlab.expression.taxonomy import Taxonomy

if TYPE_CHECKING:
    from vastlab.display.figures import Picture

Tables = Mapping[str, Sequence[pa.Table]]


def timeline(tables: Tables, zone: tzinfo | None, by: str | None = None) -> Picture:
    """Draw events over time, by schema or by the values of a field."""
    return _drawn(
        tables, lambda figures: figures.timeline(histogram(tables, zone=zone, by=by), zone=zone)
    )


def timeline_png(tables: Tables, zone: tzinfo | None) -> bytes | None:
    """Draw events over time as PNG; None where matplotlib is not installed."""
    try:
        return timeline(tables, zone)._repr_png_()
    except UsageError:
        return None


def top(
    tables: Tables, field: str, count: int, once_per: str | None, taxonomy: Taxonomy
) -> Picture:
    """Draw the most frequent values of a field."""
    counted = at_most("top", "values", count, 200)
    return _drawn(
        tables,
        lambda figures: figures.top(
            tally(tables, field, counted, once_per=once_per, taxonomy=taxonomy), once_per
        ),
    )


def graph(
    tables: Tables, source: str | None, target: str | None, count: int, taxonomy: Taxonomy
) -> Picture:
    """Draw who talks to whom."""
    pairs = at_most("graph", "pairs", count, 500)
    return _drawn(
        tables, lambda figures: figures.graph(flows(tables, taxonomy, pairs, source, target))
    )


def at_most(call: str, things: str, n: int, most: int | None = None) -> int:
    """Return a number that a call was given, if it can be drawn."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise UsageError(f"{call}() takes a number of {things}, not {n!r}")
    if most is not None and n > most:
        raise UsageError(f"{call}() draws at most {most}, not {n:,}")
    return n


def _drawn(tables: Tables, draw: Callable[[Any], Picture]) -> Picture:
    figures = import_optional("vastlab.display.figures", extra="plots")
    has_events = any(part.num_rows for parts in tables.values() for part in parts)
    picture: Picture = draw(figures) if has_events else figures.nothing()
    return picture
