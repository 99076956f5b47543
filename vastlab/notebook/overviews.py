"""What a node holds and how it is, in few enough lines for a screen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

import yaml

from vastlab import _text
from vastlab._text import plural
from vastlab.types import Schema

_STATUS_LINES = 24
_SCHEMAS = 12


def schemas(
    known: Mapping[str, Schema], status: Mapping[str, Any], zone: tzinfo | None = None
) -> str:
    """Describe each schema in one line, by what the node's status says of it."""
    held = _held(status)
    rows = [
        [name, _events(held.get(name, {})), plural(len(schema.types_by_name), "field"), when]
        for name, schema in known.items()
        for when in [_times(held.get(name, {}), zone)]
    ]
    return _aligned(rows)


def status(found: Mapping[str, Any]) -> str:
    """Write a status without what has lines for each schema, and count these."""
    held = _held(found)
    catalog = found.get("catalog")
    if isinstance(catalog, Mapping):
        rest = {key: value for key, value in catalog.items() if key != "schemas"}
        found = {**found, "catalog": rest}
    text = yaml.safe_dump(
        dict(found), sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    lines = text.rstrip().split("\n")
    if len(lines) > _STATUS_LINES:
        more = len(lines) - _STATUS_LINES
        lines = [*lines[:_STATUS_LINES], f"... {plural(more, 'more line')}: vast.status() has all"]
    most = sorted(held, key=lambda name: (-_number(held[name]), name))
    if most:
        lines += _aligned([[name, _events(held[name])] for name in most[:_SCHEMAS]]).split("\n")
    if len(most) > _SCHEMAS:
        lines.append(f"and {plural(len(most) - _SCHEMAS, 'more schema')}: %vast_schemas lists all")
    return "\n".join(lines)


def _held(status: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    catalog = status.get("catalog")
    held = catalog.get("schemas") if isinstance(catalog, Mapping) else None
    if not isinstance(held, Mapping):
        return {}
    return {name: facts for name, facts in held.items() if isinstance(facts, Mapping)}


def _number(facts: Mapping[str, Any]) -> int:
    number = facts.get("num-events")
    return number if isinstance(number, int) else 0


def _events(facts: Mapping[str, Any]) -> str:
    return plural(_number(facts), "event") if "num-events" in facts else ""


def _times(facts: Mapping[str, Any], zone: tzinfo | None) -> str:
    bounds = facts.get("event-time")
    if not isinstance(bounds, Mapping):
        return ""
    first, last = (_minute(bounds.get(end), zone) for end in ("min", "max"))
    return first if first == last else f"{first} to {last}"


def _minute(time: Any, zone: tzinfo | None) -> str:
    try:
        moment = datetime.fromisoformat(str(time)[:26])
    except ValueError:
        return str(time)
    return f"{moment.replace(tzinfo=UTC).astimezone(zone or UTC):%Y-%m-%d %H:%M}"


def _aligned(rows: list[list[str]]) -> str:
    shown = [[_text.plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = []
    for first, *others in shown:
        cells = [first.ljust(widths[0])]
        cells += [
            cell.rjust(width) if number < 2 else cell
            for number, (cell, width) in enumerate(zip(others, widths[1:], strict=True))
        ]
        lines.append("  ".join(cell for cell, width in zip(cells, widths, strict=True) if width))
    return "\n".join(line.rstrip() for line in lines)
