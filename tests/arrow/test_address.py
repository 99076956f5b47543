"""Addresses as bytes: read from text, written as text, compared with networks."""

from __future__ import annotations

import ipaddress

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies as arrow_st
from vastlab.arrow import address
from vastlab.types import Kind, Type


@given(st.lists(arrow_st.addresses(), max_size=8))
def test_addresses_survive_text(packed):
    """What is written as text is read as the same bytes."""
    storage = pa.array(packed, pa.binary(16))
    matrix, lengths = address.parse(address.address_text(storage))
    assert [row.tobytes() for row in matrix] == packed
    assert lengths.tolist() == [128] * len(packed)


@given(st.lists(arrow_st.networks(), max_size=8))
def test_networks_survive_text(networks):
    """Networks keep address and length on their way through text."""
    storage = arrow_st.array(Type(Kind.SUBNET), networks).storage
    matrix, lengths = address.parse(address.network_text(storage))
    read = [(row.tobytes(), length) for row, length in zip(matrix, lengths.tolist(), strict=True)]
    assert read == networks


TEXTS = {
    "10.0.0.1": (arrow_st.V4_MAPPED + b"\x0a\0\0\1", 128),
    "10.0.0.0/8": (arrow_st.V4_MAPPED + b"\x0a\0\0\0", 104),
    "2001:db8::/32": (b"\x20\x01\x0d\xb8" + bytes(12), 32),
}


@pytest.mark.parametrize("texts", [list(TEXTS), ["10.0.0.0/8", "2001:db8::/32"], ["10.0.0.1"], []])
def test_addresses_and_networks_may_be_mixed(texts):
    """Each text is parsed independently of the others; addresses have 128 bits."""
    matrix, lengths = address.parse(pa.array(texts, pa.string()))
    read = [(row.tobytes(), length) for row, length in zip(matrix, lengths.tolist(), strict=True)]
    assert read == [TEXTS[text] for text in texts]


@pytest.mark.parametrize(
    "text", ["", "10.0.0", "10.0.0.256", "01.2.3.4", "1.2.3.4.5", "1.2.3.4/33", "::g", "host", None]
)
def test_other_text_is_not_an_address(text):
    """What `ipaddress` refuses has no length."""
    _, lengths = address.parse(pa.array([text, "10.0.0.1"], pa.string()))
    assert lengths.tolist() == [-1, 128]


@given(st.lists(arrow_st.addresses(), min_size=1, max_size=8), arrow_st.networks())
def test_containment_counts_bits(packed, network):
    """An address lies in a network exactly when it shares the bits of its prefix."""
    wide = ipaddress.IPv6Network(network)
    matrix = address.octets(pa.array(packed, pa.binary(16)))
    lengths = np.full(len(packed), 128, np.int16)
    expected = [ipaddress.IPv6Address(value) in wide for value in packed]
    assert address.within(matrix, lengths, network).tolist() == expected


def test_networks_lie_in_networks():
    """A network lies in another with at most as many bits that it shares; no text lies nowhere."""
    texts = ["10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/7", "11.0.0.1", "::/0", "host"]
    inside = address.within(*address.parse(pa.array(texts)), address.parse_network("10.0.0.0/8"))
    assert inside.tolist() == [True, True, False, False, False, False]


def test_keys_sort_by_address_then_length():
    """Keys of networks compare like their addresses, and of equal ones like their lengths."""
    networks = [(bytes(16), 0), (bytes(16), 96), None, (bytes(15) + b"\1", 128)]
    keys = address.network_keys(arrow_st.array(Type(Kind.SUBNET), networks).storage)
    assert keys.to_pylist() == [n and n[0] + bytes([n[1]]) for n in networks]
    addresses, lengths = address.split_keys(keys.drop_null())
    assert addresses.to_pylist() == [n[0] for n in networks if n]
    assert lengths.to_pylist() == [n[1] for n in networks if n]


def test_no_values_need_no_memory():
    """An array without a buffer, as streams have them, is empty, not an error."""
    assert address.octets(pa.Array.from_buffers(pa.binary(16), 0, [None, None])).shape == (0, 16)


@given(st.lists(st.one_of(arrow_st.networks(), st.none()), max_size=8))
def test_keys_hold_networks(networks):
    """Keys are null where the network is, and split into what they were made of."""
    storage = arrow_st.array(Type(Kind.SUBNET), networks).storage
    keys = address.network_keys(storage)
    assert keys.is_null().to_pylist() == [network is None for network in networks]
    addresses, lengths = address.split_keys(keys.drop_null())
    assert list(zip(addresses.to_pylist(), lengths.to_pylist(), strict=True)) == [
        network for network in networks if network is not None
    ]
