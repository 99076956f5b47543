"""Every node groups the same events: its summary is that of a plain group-by of its export."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vastlab.frames import to_frames
from vastlab.table_slice import collect_pyarrow

pytestmark = pytest.mark.filterwarnings("ignore::vastlab.errors.VastlabWarning")

EXPRESSIONS = ("", "resp_p < 100", '#type == "zeek.dns"', "orig_bytes > 1000 || :string == /.*a/")
SOURCES = {
    "zeek.conn": "id.orig_h",
    "zeek.dns": "id.orig_h",
    "zeek.http": "id.orig_h",
    "suricata.flow": "src_ip",
    "suricata.http": "src_ip",
    "suricata.alert": "src_ip",
}
BY = ("#type", "net.src.ip", "proto", "id.resp_p", "service", "local_orig", "severity")
SPANS = {"1h": 3_600, "6h": 21_600, "1d": 86_400}
NUMBERS = ("orig_bytes", "id.resp_p", "duration", "severity")
AGGREGATES = (
    "count()",
    "count(service)",
    *(f"{name}({field})" for name in ("sum", "mean", "min", "max") for field in NUMBERS),
    "min(uid)",
    "min(ts)",
    "max(timestamp)",
    "max(id.orig_h)",
    "count_distinct(id.resp_h)",
    "distinct(proto)",
    "any(local_resp)",
    "all(local_resp)",
)


class Exported(dict):
    """What was exported, by kind of node and expression; too much to print."""

    __repr__ = object.__repr__


@pytest.fixture(scope="session")
def exported():
    """Return what was exported before."""
    return Exported()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
@given(
    expression=st.sampled_from(EXPRESSIONS),
    by=st.lists(st.sampled_from(BY), max_size=2, unique=True),
    every=st.sampled_from([None, *SPANS]),
    functions=st.lists(st.sampled_from(AGGREGATES), min_size=1, max_size=4, unique=True),
)
@example(
    expression=EXPRESSIONS[0],
    by=["service", "#type"],
    every=None,
    functions=["mean(orig_bytes)", "min(ts)", "count(service)"],  # a VAST node groups these
)
async def test_a_summary_is_a_group_by(demo, exported, expression, by, every, functions):
    """By any fields, in any buckets, with any functions."""
    key = demo.kind, expression
    if key not in exported:
        exported[key] = to_frames(await collect_pyarrow(demo.client.export(expression, limit=0)))
    aggregates = {f"a{number}": text for number, text in enumerate(functions)}
    answer = await demo.client.summarize(expression, by=by, every=every, aggregates=aggregates)
    groups, left_out = grouped(exported[key], by, every)
    assert answer.attrs["left_out"].keys() >= left_out
    keys = (["time"] if every else []) + by
    assert len(answer) == len(groups)
    for _, row in answer.iterrows():
        rows = groups[tuple(plain(row[name]) for name in keys)]
        for name, text in aggregates.items():
            assert same(row[name], computed(text, rows)), (text, row.to_dict())


def grouped(frames, by, every):
    """Group rows by key; also say which schemas lack a field."""
    groups, left_out = defaultdict(list), set()
    for name, frame in frames.items():
        columns = [SOURCES.get(name) if each == "net.src.ip" else each for each in by]
        found = [each if each == "#type" else column(frame, each) for each in columns]
        time = next((each for each in frame.columns if frame[each].dtype.kind == "M"), None)
        if None in found or (every and time is None):
            left_out.add(name)
            continue
        for row in frame.to_dict("records"):
            key = tuple(name if each == "#type" else plain(row[each]) for each in found)
            if every:
                seconds = row[time].value // 10**9 // SPANS[every] * SPANS[every]
                key = (pd.Timestamp(seconds, unit="s", tz="UTC"), *key)
            groups[key].append({"": 1, **{each: row[each] for each in frame.columns}})
    if not by and not every and not groups:
        groups[()] = []
    return groups, left_out


def column(frame, field):
    """Return the column of a frame that a name means."""
    if field is None:
        return None
    return next((c for c in frame.columns if c == field or c.endswith(f".{field}")), None)


def computed(text, rows):
    """Compute an aggregate of some rows."""
    function, _, field = text.removesuffix(")").partition("(")
    values = [
        value
        for row in rows
        for name, value in row.items()
        if (name == field or name.endswith(f".{field}")) and not missing(value)
    ]
    match function:
        case "count":
            return len(values)
        case "count_distinct":
            return len(set(values))
        case "distinct":
            return sorted(set(values))
        case "any":
            return any(values) if values else None
        case "all":
            return all(values) if values else None
        case "mean":
            return mean(values) if values else None
        case "sum":
            return sum(values[1:], values[0]) if values else None
        case "min":
            return min(values, key=ordered) if values else None
        case _:
            return max(values, key=ordered) if values else None


def mean(values):
    """Return the mean, of spans of time too."""
    if isinstance(values[0], pd.Timedelta):
        return pd.Timedelta(round(sum(value.value for value in values) / len(values)))
    return math.fsum(values) / len(values)


def ordered(value):
    """Order addresses as numbers, as the engine does."""
    import ipaddress

    try:
        address = ipaddress.ip_address(value) if isinstance(value, str) else None
    except ValueError:
        address = None
    if address is None:
        return value.encode() if isinstance(value, str) else value
    return int(address) if address.version == 6 else (0xFFFF << 32) + int(address)


def missing(value):
    """Whether a value of a frame is null."""
    return value is None or (not isinstance(value, list | dict) and pd.isna(value))


def plain(value):
    """Return a key that can be compared."""
    return None if missing(value) else value


def same(found, expected):
    """Compare values; sums of fractions depend on the order of the events."""
    if expected is None:
        return missing(found)
    if isinstance(expected, pd.Timedelta):
        return abs(found - expected) <= pd.Timedelta(1000)
    if isinstance(expected, float) or isinstance(found, float | np.floating):
        return math.isclose(float(found), float(expected), rel_tol=1e-9)
    return found == expected
