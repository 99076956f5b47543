"""A reproducible generator of Zeek and Suricata events, with a small intrusion in them.

One office network, one week, two sensors: Zeek and Suricata see the same sessions, so that
uids, flow ids and community ids join up. The same arguments give the same events (as long as
numpy draws the same numbers). Everything outside the office lies in address and name spaces that
are reserved for documentation and tests.

The story to find, about 800 events whatever the size of the rest:

1. Wednesday 09:42: a workstation, 10.1.4.17, looks up ``invoice-portal.example``, a name that
   no other host looks up, and fetches a disk image from 203.0.113.66.
2. From 09:50 it connects to 203.0.113.99 over TLS, every ten minutes (± 30 seconds).
3. Thursday 02:10: the workstation connects to servers by SMB and RDP for the first time.
4. Friday 01:30: the file server, 10.1.0.5, sends five gigabytes to 203.0.113.99.

There are also edge cases: every kind of number at its limits, null columns, empty lists and lists
with nulls, and text that attacks the program that displays it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_types
from vastlab.demo.events import ASSET_SCHEMA, lists, nested, render
from vastlab.demo.scenario import (
    DAY,
    DAYS,
    FLOW,
    SECOND,
    SERVERS,
    START,
    World,
    at,
    background,
    ends,
    events_of,
    fixed_sessions,
    packed,
    times,
)
from vastlab.types import Kind, Type

__all__ = ["DAYS", "REVISION", "START", "batches"]

REVISION = 2  # changes when the same arguments give other events

_ASSETS = 40
_BLOCK = 32_768  # background events made at a time


def batches(events: int = 200_000, seed: int = 0) -> Iterator[pa.RecordBatch]:
    """Generate events of one week, a few thousand at a time.

    Parameters
    ----------
    events
        How many, over all schemas. Memory does not grow with it; the week stays the same.
        Below about 1,000 there is no room for the whole story.
    seed
        Another seed gives other background traffic around the same story.

    Yields
    ------
    pyarrow.RecordBatch
        Events of one schema in nested form, never empty; each schema is in order of time.

    Examples
    --------
    >>> sum(batch.num_rows for batch in batches(5_000))
    5000
    """
    world = World.build(seed)
    hosts = min(_ASSETS, events // 10)
    fixed = fixed_sessions(world)
    fixed = np.sort(fixed[np.cumsum(events_of(fixed)) <= events - hosts], order="ts")
    rest = events - hosts - int(events_of(fixed).sum())
    if hosts:
        yield _inventory(hosts)
    blocks = -(-rest // _BLOCK) or 1
    late = fixed[:0]
    for block in range(blocks):
        share = rest * (block + 1) // blocks - rest * block // blocks
        rng = np.random.default_rng([seed, block])
        start, end = times(np.array([block, block + 1]) / blocks)
        made = background(world, rng, share, (block / blocks, (block + 1) / blocks))
        story = fixed[(fixed["ts"] >= start) & (fixed["ts"] < end)]
        sessions = np.sort(np.concatenate([made, story]), order="ts")
        until = end if block + 1 < blocks else np.iinfo(np.int64).max
        flows = np.concatenate([late, sessions[sessions["events"] & FLOW > 0]])
        late = flows[ends(flows) >= until]
        yield from render(world, sessions, flows[ends(flows) < until])


# --- the inventory --------------------------------------------------------------------------


def _inventory(size: int) -> pa.RecordBatch:
    """List some hosts, with the types and the limits that network logs do not have."""
    rows = [_asset(number) for number in range(size)]
    types = {field.name: field.type for field in ASSET_SCHEMA.fields}
    columns = {name: _values([row[name] for row in rows], type_) for name, type_ in types.items()}
    return nested(ASSET_SCHEMA, columns, size)


_NETWORKS = ("10.1.4.0/22", "10.1.0.0/24", "fd00:1:4::/64", "0.0.0.0/0", "::1/128", None)
_DOUBLES = (0.5, float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308)
_SERIALS = (0, (1 << 53) + 1, (1 << 64) - 1, None, 42)
_DRIFTS = (0, -1, -(1 << 63), (1 << 63) - 1, None)
_SKEWS = (0, -1, 1, -1_500, 999_999_999, -3 * DAY, None)
_INSTALLED = (-1, 1_700_000_000_123_456_789, -86_400 * SECOND * 400 + 1, 0, None)
_LABELS: tuple[list[str | None] | None, ...] = (
    [],
    ["floor-2"],
    [None],
    ["", None, "<b>loan</b>"],
    None,
    ["\u202egolb", "\x1b[1mx"],
)
_ADDRESSES = ("10.1.4.17", "::1", "fd00:1:4::12", "::ffff:192.0.2.1", "::", "2001:db8::ff", None)


def _asset(number: int) -> dict[str, Any]:
    """Make one host; each field cycles through its edge cases."""

    def turn(values: tuple[Any, ...]) -> Any:
        return values[number % len(values)]

    server = number < len(SERVERS)
    address = SERVERS[number] if server else f"10.1.4.{10 + number}"
    doubles = [turn(_DOUBLES), None]
    return {
        "seen": at(0, 6, 0) + number * 1_000_000_001,
        "host": f"srv-{number:02}" if server else f"pc-{number:03}",
        "address": turn((address, address, turn(_ADDRESSES))),
        "network": _NETWORKS[1] if server else turn(_NETWORKS),
        "role": "server" if server else turn(("workstation", "workstation", "printer", None)),
        "addresses": turn(([address, None], [], [turn(_ADDRESSES), address], None)),
        "networks": turn(([], [turn(_NETWORKS), None], None)),
        "open_ports": turn(([], [22, 443], [None, 65535], None)),
        "labels": turn(_LABELS),
        "risk": turn((None, *_DOUBLES)),
        "scores": turn(([], doubles, None)),
        "drift": turn(_DRIFTS),
        "serial": turn(_SERIALS),
        "clock_skew": turn(_SKEWS),
        "installed": turn(_INSTALLED),
        "restarts": turn(([at(0, 5, 0), None, -1], [], None)),
        "key": turn((b"\x00\xff" * 16, b"", None)),
        "managed": turn((True, False, None)),
        "note": None,
    }


def _values(values: list[Any], type_: Type) -> pa.Array:
    """Make a column of Python values, with extension types at any depth."""
    match type_.kind:
        case Kind.IP:
            return pa.array([None if v is None else packed(v) for v in values], arrow_types.IP)
        case Kind.SUBNET:
            return _subnets([None if v is None else ipaddress.ip_network(v) for v in values])
        case Kind.LIST if type_.item is not None:
            counts = np.array([len(value or ()) for value in values], np.int64)
            items = _values([item for value in values for item in value or ()], type_.item)
            return lists(counts, items, np.array([value is None for value in values], bool))
        case _:
            return pa.array(values, arrow_schema.type_to_arrow(type_))


def _subnets(networks: list[Any]) -> pa.Array:
    """Make networks; lengths count in the space of 128 bits."""
    known = [network or ipaddress.ip_network("::/0") for network in networks]
    addresses = pa.array([packed(str(n.network_address)) for n in known], arrow_types.IP)
    lengths = [n.prefixlen + (96 if n.version == 4 else 0) for n in known]
    storage = pa.StructArray.from_arrays(
        [addresses, pa.array(lengths, pa.uint8())],
        fields=list(arrow_types.SUBNET.storage_type),
        mask=pa.array([network is None for network in networks], pa.bool_()),
    )
    return pa.ExtensionArray.from_storage(arrow_types.SUBNET, storage)
