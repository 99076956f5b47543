"""Commands that group events: summarize, top, timeline."""

from __future__ import annotations

import base64
import itertools
import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vastlab._text import about, plain, plural
from vastlab.cli.app import QUERIES, app
from vastlab.cli.messages import complain, console
from vastlab.cli.options import (
    NO_BOUNDS,
    Bounds,
    CountFormat,
    Endpoint,
    Expression,
    Number,
    format_or_default,
    no_words,
)
from vastlab.cli.queries import opened
from vastlab.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from rich.text import Text


_BAR = 40  # characters
_NEEDS_QUOTES = re.compile(r"[,\"\r\n\t;|#]|^\s|\s$")

Field = Annotated[
    str, Parameter(completer=no_words, help="A field, as in an expression, or a concept.")
]
Every = Annotated[
    str | None,
    Parameter(metavar="SPAN", help="The length of buckets of the event time, such as 1h."),
]


@app.command(
    group=QUERIES,
    help_epilogue="""\
Examples:
  vastlab summarize -e demo: --by id.orig_h 'bytes=sum(orig_bytes)'
  vastlab summarize -e logs/ --by net.src.ip --every 1h 'resp_p == 22'
  vastlab summarize -e logs/ --by query 'clients=count_distinct(id.orig_h)' -f csv
""",
)
async def summarize(
    *arguments: Annotated[
        str,
        Parameter(
            completer=no_words,
            help="Aggregates as NAME=FUNCTION(FIELD), and at most one expression. Functions: "
            "count, sum, min, max, mean, count_distinct, distinct, any, all.",
        ),
    ],
    by: Annotated[
        tuple[str, ...],
        Parameter(metavar="FIELD", help="What a group has in common. May be repeated."),
    ] = (),
    every: Every = None,
    limit: Annotated[Number, Parameter(name=("--limit", "-n"))] = 0,
    bounds: Bounds = NO_BOUNDS,
    format_: CountFormat = None,
    endpoint: Endpoint = None,
) -> int:
    """Group the events that match, and print aggregates of each group.

    Parameters
    ----------
    limit
        At most N groups; 0 for all.
    """
    aggregates, expression = _split(arguments)
    options = {"by": by, "every": every, "limit": limit, "aggregates": aggregates}
    frame = await _asked(endpoint, "summarize", expression, **options, **bounds.of(expression))
    _print(frame, format_, bar=None, keys=by)
    if others := frame.attrs.get("other_groups"):
        complain(f"{plural(others, 'more group')}; -n 0 for all", style="yellow")
    return 0


@app.command(
    group=QUERIES,
    help_epilogue="""\
Examples:
  vastlab top -e demo: net.src.ip
  vastlab top -e demo: id.orig_h --by 'sum(orig_bytes)' 'resp_p == 443'
""",
)
async def top(
    field: Field,
    expression: Expression = "",
    /,
    *,
    by: Annotated[
        str, Parameter(metavar="AGGREGATE", help="events, or such as 'sum(orig_bytes)'.")
    ] = "events",
    limit: Annotated[Number, Parameter(name=("--limit", "-n"))] = 20,
    bounds: Bounds = NO_BOUNDS,
    format_: CountFormat = None,
    endpoint: Endpoint = None,
) -> int:
    """Print the most frequent values of a field.

    Parameters
    ----------
    limit
        At most N values; 0 for all.
    """
    options = {"n": limit, "by": by}
    frame = await _asked(endpoint, "top", field, expression, **options, **bounds.of(expression))
    _print(frame, format_, bar=frame.columns[1], keys=(field,))
    return 0


@app.command(
    group=QUERIES,
    help_epilogue="""\
Examples:
  vastlab timeline -e demo: 'resp_p == 22'
  vastlab timeline -e demo: --every 1d --by proto -f csv
""",
)
async def timeline(
    expression: Expression = "",
    /,
    *,
    every: Every = None,
    by: Annotated[
        str, Parameter(metavar="FIELD", help="What is counted on its own in a bucket.")
    ] = "#type",
    bounds: Bounds = NO_BOUNDS,
    format_: CountFormat = None,
    endpoint: Endpoint = None,
) -> int:
    """Print how many events there are over time; a table sums over --by."""
    options = {"every": every, "by": by}
    frame = await _asked(endpoint, "timeline", expression, **options, **bounds.of(expression))
    if format_or_default(format_) == "table":
        facts = frame.attrs
        frame = frame.groupby("time", dropna=False)["events"].sum().reset_index()
        frame.attrs = facts
    _print(frame, format_, bar="events")
    return 0


async def _asked(endpoint: str | None, call: str, *words: str, **options: Any) -> pd.DataFrame:
    """Make one call of a client, and show its progress."""
    from vastlab.cli.progress import Reporter, progress  # here, since help does not need it

    reporter = Reporter()
    async with opened(endpoint) as vast:
        with progress("summarize", reporter=reporter):
            frame: pd.DataFrame = await getattr(vast, call)(*words, **options, report=reporter)
            return frame


def _split(arguments: Sequence[str]) -> tuple[dict[str, str], str]:
    """Tell aggregates from the expression: only an aggregate is ``NAME=FUNCTION(...)``."""
    from vastlab.expression.aggregates import check_unnamed

    aggregates, expressions = {}, []
    for argument in arguments:
        name, equals, call = argument.partition("=")
        if equals and name.strip().isidentifier() and not call.startswith("="):
            if name.strip() in aggregates:
                raise UsageError(f"the aggregate {name.strip()!r} is given twice")
            aggregates[name.strip()] = call
        else:
            check_unnamed(argument)
            expressions.append(argument)
    if len(expressions) > 1:
        raise UsageError(
            f"two expressions: {expressions[0]!r} and {expressions[1]!r}",
            hint="an aggregate is written NAME=FUNCTION(FIELD), an expression in quotes",
        )
    return aggregates, "".join(expressions)


def _print(
    frame: pd.DataFrame, format_: str | None, bar: str | None, keys: Sequence[str] = ()
) -> None:
    from vastlab.cli import output
    from vastlab.group_frames import left_out_notes

    match format_or_default(format_):
        case "table":
            _draw(frame, bar, keys)
        case "csv":
            columns = [list(map(_cell, column)) for column in zip(*_rows(frame), strict=True)]
            output.write_table(list(map(str, frame.columns)), columns)
        case _:
            names = list(map(str, frame.columns))
            rows = (dict(zip(names, row, strict=True)) for row in _rows(frame))
            output.write_lines(json.dumps(row, ensure_ascii=False) for row in rows)
    for note in left_out_notes(frame):
        complain(note, style="dim")


def _rows(frame: pd.DataFrame) -> Iterator[list[Any]]:
    """Return the rows with values that JSON can hold."""
    for row in zip(*(frame[name] for name in frame.columns), strict=True):
        yield [_value(value) for value in row]


def _value(value: Any) -> Any:
    import pandas as pd

    from vastlab.expression.literals import duration

    if isinstance(value, list):
        return [_value(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if pd.isna(value) or (isinstance(value, float) and math.isinf(value)):
        return None
    if isinstance(value, pd.Timestamp):
        return value.tz_localize(None).isoformat()  # in UTC, as all times on the shell
    if isinstance(value, pd.Timedelta):
        return duration(value.value)
    return value.item() if hasattr(value, "item") else value


def _cell(value: Any) -> str | None:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return value if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _draw(frame: pd.DataFrame, bar: str | None, keys: Sequence[str]) -> None:
    """Draw a table, with a bar for each value of one column."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name in frame.columns:
        numeric = frame[name].dtype.kind in "iuf"
        table.add_column(Text(plain(str(name))), justify="right" if numeric else "left")
    if bar is not None:
        table.add_column("")
    sizes = [_length(value) for value in frame[bar]] if bar else []
    largest = max(sizes, default=0.0)
    names = [str(name) for name in frame.columns]
    empty = _empty_spans(frame)
    for number, row in enumerate(_rows(frame)):
        if number in empty:
            table.add_row(Text(f"... {about(empty[number])} without events", "dim"))
        cells = [_drawn(value, name in keys) for name, value in zip(names, row, strict=True)]
        if bar is not None:
            length = round(_BAR * sizes[number] / largest) if largest else 0
            cells.append(Text("█" * length, "cyan"))
        table.add_row(*cells)
    console().print(table)
    if not len(frame):
        complain("nothing matches", style="yellow")


def _empty_spans(frame: pd.DataFrame) -> dict[int, int]:
    """Return how long no bucket has events before a row, in nanoseconds, where that is so."""
    import pandas as pd

    if not len(frame) or "every" not in frame.attrs:
        return {}
    every = frame.attrs["every"].value
    # As numbers of Python, since times may be further apart than a span of pandas is long.
    times = [None if pd.isna(time) else time.value for time in frame["time"]]
    pairs = enumerate(itertools.pairwise(times), 1)
    gaps = ((row, b - a - every) for row, (a, b) in pairs if a is not None and b is not None)
    return {row: gap for row, gap in gaps if gap > 0}


def _length(value: Any) -> float:
    """Return the length of a bar; what is not a positive number has none."""
    is_number = isinstance(value, int | float) or hasattr(value, "dtype")
    number = float(value) if is_number else 0.0
    return number if 0 < number < math.inf else 0.0


def _drawn(value: Any, is_key: bool) -> Text:
    from rich.text import Text

    if value is None:
        return Text("-", "dim")
    grouped = isinstance(value, int) and not isinstance(value, bool) and not is_key
    return Text(plain(f"{value:,}" if grouped else _cell(value) or ""))
