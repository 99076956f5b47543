"""Commands that group events: summarize, top, timeline."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from vastlab._text import plain, plural
from vastlab.cli.app import QUERIES, app
from vastlab.cli.messages import complain, console
from vastlab.cli.options import (
    CountFormat,
    Endpoint,
    Expression,
    Lists,
    Number,
    Since,
    Until,
    Values,
    format_or_default,
    no_words,
    parameters,
)
from vastlab.cli.queries import opened
from vastlab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import pandas as pd

    from vastlab.client import VAST

_BAR = 40  # characters

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
    since: Since = None,
    until: Until = None,
    format_: CountFormat = None,
    param: Values = (),
    params_from: Lists = (),
    endpoint: Endpoint = None,
) -> int:
    """Group the events that match, and print aggregates of each group.

    Parameters
    ----------
    limit
        At most N groups; 0 for all.
    """
    aggregates, expression = _split(arguments)
    bounds = {"since": since, "until": until, "params": parameters(expression, param, params_from)}

    async def ask(vast: VAST, **options: Any) -> pd.DataFrame:
        return await vast.summarize(
            expression, by=by, every=every, limit=limit, aggregates=aggregates, **options
        )

    frame = await _asked(endpoint, lambda vast, **options: ask(vast, **bounds, **options))
    _print(frame, format_, bar=None)
    for name, missing in frame.attrs["left_out"].items():
        complain(plain(f"{name} is left out: it has no {missing}"), style="dim")
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
    since: Since = None,
    until: Until = None,
    format_: CountFormat = None,
    param: Values = (),
    params_from: Lists = (),
    endpoint: Endpoint = None,
) -> int:
    """Print the most frequent values of a field.

    Parameters
    ----------
    limit
        At most N values; 0 for all.
    """
    bounds = {"since": since, "until": until, "params": parameters(expression, param, params_from)}
    frame = await _asked(
        endpoint,
        lambda vast, **options: vast.top(field, expression, n=limit, by=by, **bounds, **options),
    )
    _print(frame, format_, bar=by)
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
    since: Since = None,
    until: Until = None,
    format_: CountFormat = None,
    param: Values = (),
    params_from: Lists = (),
    endpoint: Endpoint = None,
) -> int:
    """Print how many events there are over time; a table shows all of a bucket together."""
    bounds = {"since": since, "until": until, "params": parameters(expression, param, params_from)}
    frame = await _asked(
        endpoint,
        lambda vast, **options: vast.timeline(expression, every=every, by=by, **bounds, **options),
    )
    if format_or_default(format_) == "table":
        frame = frame.groupby("time")["events"].sum().reset_index()
    _print(frame, format_, bar="events")
    return 0


async def _asked(endpoint: str | None, ask: Callable[..., Awaitable[pd.DataFrame]]) -> pd.DataFrame:
    from vastlab.cli import output  # here, as in all commands, since help does not need it

    reporter = output.Reporter()
    async with opened(endpoint) as vast:
        with output.progress("summarize", reporter=reporter):
            return await ask(vast, report=reporter)


def _split(arguments: Sequence[str]) -> tuple[dict[str, str], str]:
    """Tell aggregates from the expression: only an aggregate is ``NAME=FUNCTION(...)``."""
    aggregates, expressions = {}, []
    for argument in arguments:
        name, equals, call = argument.partition("=")
        if equals and name.strip().isidentifier() and not call.startswith("="):
            aggregates[name.strip()] = call
        else:
            expressions.append(argument)
    if len(expressions) > 1:
        raise UsageError(
            f"two expressions: {expressions[0]!r} and {expressions[1]!r}",
            hint="an aggregate is written NAME=FUNCTION(FIELD), an expression in quotes",
        )
    return aggregates, "".join(expressions)


def _print(frame: pd.DataFrame, format_: str | None, bar: str | None) -> None:
    match format_or_default(format_):
        case "table":
            _draw(frame, bar)
        case "csv":
            lines = [list(map(str, frame.columns)), *(map(_cell, row) for row in _rows(frame))]
            for line in lines:
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerow(line)
                sys.stdout.write(_safe(text.getvalue()))
        case _:
            for row in _rows(frame):
                named = dict(zip(frame.columns, row, strict=True))
                sys.stdout.write(_safe(json.dumps(named, ensure_ascii=False) + "\n"))


def _safe(line: str) -> str:
    """Return a line as it is, but for a terminal without controls."""
    return f"{plain(line[:-1])}\n" if sys.stdout.isatty() else line


def _rows(frame: pd.DataFrame) -> Iterator[list[Any]]:
    """Return the rows with values that JSON can hold."""
    for row in zip(*(frame[name] for name in frame.columns), strict=True):
        yield [_value(value) for value in row]


def _value(value: Any) -> Any:
    import pandas as pd

    from vastlab.expression.literals import duration

    if isinstance(value, list):
        return [_value(item) for item in value]
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if isinstance(value, pd.Timedelta):
        return duration(value.value)
    return value.item() if hasattr(value, "item") else value


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _draw(frame: pd.DataFrame, bar: str | None) -> None:
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
    largest = max((value for value in frame[bar] if value == value), default=0) if bar else 0
    for row in _rows(frame):
        cells = [Text("-", "dim") if value is None else Text(plain(_shown(value))) for value in row]
        if bar is not None:
            value = row[list(frame.columns).index(bar)]
            length = round(_BAR * value / largest) if value and largest else 0
            cells.append(Text("█" * length, "cyan"))
        table.add_row(*cells)
    console().print(table)
    if not len(frame):
        complain("nothing matches", style="yellow")


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _cell(value)
