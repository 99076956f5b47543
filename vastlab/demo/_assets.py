"""The inventory: types and limits that network logs do not have."""

from __future__ import annotations

import ipaddress
from typing import Any

import numpy as np
import pyarrow as pa

from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_types
from vastlab.demo.events import ASSET_SCHEMA, lists, nested
from vastlab.demo.scenario import DAY, SECOND, SERVERS, at, packed
from vastlab.types import Kind, Type


def inventory(size: int) -> pa.RecordBatch:
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
