"""What a script sees of one value: addresses, networks and labels of Python and pandas."""

from __future__ import annotations

import ipaddress

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.arrow import types as arrow_types
from vastlab.arrow.types import address_of, network_of

MAPPED = bytes(10) + b"\xff\xff"
RED_BLUE = arrow_types.EnumerationType((("red", 0), ("blue", 1)))


def addresses(values, type_=arrow_types.IP):
    return pa.ExtensionArray.from_storage(type_, pa.array(values, pa.binary(16)))


def networks(pairs, type_=arrow_types.SUBNET):
    inner = type_.storage_type.field(0).type
    parts = [addresses([packed for packed, _ in pairs], inner)]
    parts.append(pa.array([length for _, length in pairs], pa.uint8()))
    storage = pa.StructArray.from_arrays(parts, fields=list(type_.storage_type))
    return pa.ExtensionArray.from_storage(type_, storage)


def labels(values):
    storage = pa.array(values, pa.dictionary(pa.uint8(), pa.string()))
    return pa.ExtensionArray.from_storage(RED_BLUE, storage)


@given(st.ip_addresses())
def test_an_address_is_that_of_python(address):
    """Both kinds of addresses, and those with few bits too, are what was packed."""
    packed = MAPPED + address.packed if address.version == 4 else address.packed
    mapped = address.version == 6 and address.ipv4_mapped
    assert address_of(packed) == (mapped or address)


@pytest.mark.parametrize("type_", [arrow_types.IP, arrow_types.TenzirIPType()])
def test_columns_of_addresses_give_addresses(type_):
    """Alone, in records and in lists; null stays null."""
    column = addresses([MAPPED + bytes([10, 0, 0, 1]), None, bytes(15) + b"\1"], type_)
    expected = [ipaddress.ip_address("10.0.0.1"), None, ipaddress.ip_address("::1")]
    assert column.to_pylist() == expected
    record = pa.StructArray.from_arrays([column], ["ip"])
    assert pa.table({"id": record}).to_pylist() == [{"id": {"ip": ip}} for ip in expected]
    assert pa.ListArray.from_arrays([0, 3], column).to_pylist() == [expected]


@pytest.mark.parametrize(
    "type_",
    [arrow_types.SUBNET, arrow_types.TenzirSubnetType(arrow_types.TenzirIPType())],
)
def test_columns_of_networks_give_networks(type_):
    """10.0.0.0/8 is read from 104, as VAST stores it, and from 8, as PyVAST does."""
    ten = MAPPED + bytes([10, 0, 0, 0])
    pairs = [(ten, 104), (ten, 8), (bytes(15) + b"\1", 128), (None, None), (ten, None)]
    texts = ["10.0.0.0/8", "10.0.0.0/8", "::1/128"]
    assert networks(pairs, type_).to_pylist() == [*map(ipaddress.ip_network, texts), None, None]


def test_null_network_is_none():
    """Values below a null are ignored."""
    assert pa.nulls(2, arrow_types.SUBNET).to_pylist() == [None, None]


@given(st.ip_addresses(), st.integers(0, 128))
def test_every_network_has_a_value(address, length):
    """Every length gives a network, even if it is implausible."""
    packed = MAPPED + address.packed if address.version == 4 else address.packed
    network = network_of(packed, length)
    assert network.prefixlen in {length, length - 96}


def test_a_table_with_labels_is_a_frame():
    """Labels become a categorical of all labels; pyarrow itself would crash."""
    table = pa.table({"colour": labels(["red", None, "red"])})
    frame = table.to_pandas()
    assert frame["colour"].dtype == "category"
    assert frame["colour"].astype(object).where(frame["colour"].notna(), None).tolist() == [
        "red",
        None,
        "red",
    ]
    assert table.to_pylist()[0] == {"colour": "red"}
    assert table.slice(0, 0).to_pandas().empty
