"""Large sets of values against the sets of Python."""

from __future__ import annotations

from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import arrow_strategies
from vastlab.arrow import value_sets
from vastlab.arrow.address import MAPPED_PREFIX
from vastlab.arrow.types import IPType
from vastlab.arrow.value_sets import AddressSet, PlainSet, TextSet
from vastlab.types import Kind, Type

TEXTS = st.text(max_size=30) | st.text("ab", max_size=20) | st.just("")
FOUR = st.binary(min_size=4, max_size=4).map(MAPPED_PREFIX.__add__)
NEAR_FOUR = st.sampled_from([MAPPED_PREFIX + b"\xff" * 4, MAPPED_PREFIX + bytes(4)])
ADDRESSES = FOUR | NEAR_FOUR | st.binary(min_size=16, max_size=16) | st.just(bytes(16))


@given(st.lists(TEXTS, min_size=1), st.lists(st.none() | TEXTS), st.data())
def test_texts(known, asked, data):
    """A text is found if it is in the set, also in a part of a column."""
    asked += data.draw(st.lists(st.sampled_from(known)))
    start = data.draw(st.integers(0, len(asked)))
    column = pa.array(asked, pa.string()).slice(start)
    assert TextSet(known).contains(column).to_pylist() == [t in known for t in asked[start:]]


def test_texts_with_the_same_ends():
    """Strings that begin and end alike are distinguished."""
    alike = [f"begins {'x' * 20}{i}{'x' * 20} ends!!!" for i in range(10)]
    found = TextSet(alike[:5]).contains(pa.array(alike))
    assert found.to_pylist() == [True] * 5 + [False] * 5


def test_a_column_without_texts():
    """Nulls are in no set; empty strings may be."""
    column = pa.array([None, None], pa.string())
    assert TextSet(["", "a"]).contains(column).to_pylist() == [False, False]
    assert TextSet(["", "a"]).contains(pa.array(["", ""])).to_pylist() == [True, True]


@st.composite
def networks(draw):
    """Draw the first and the last address of a network."""
    length = draw(st.integers(0, 128))
    host = (1 << (128 - length)) - 1
    low = int.from_bytes(draw(ADDRESSES), "big") & ~host
    return low.to_bytes(16, "big"), (low | host).to_bytes(16, "big")


@given(st.lists(ADDRESSES), st.lists(networks(), max_size=4), st.lists(ADDRESSES), st.data())
def test_addresses(known, nets, asked, data):
    """An address is found if it is in the set or in a network, also in a part of a column."""
    for edge in (*known, *(end for net in nets for end in net)):
        asked += [edge, (int.from_bytes(edge, "big") ^ 1).to_bytes(16, "big")]
    asked = [None if data.draw(st.integers(0, 9)) == 9 else a for a in asked]
    start = data.draw(st.integers(0, len(asked)))
    column = pa.array(asked, pa.binary(16)).slice(start)
    assert AddressSet(known, nets).contains(column).to_pylist() == [
        a is not None and (a in known or any(low <= a <= high for low, high in nets))
        for a in asked[start:]
    ]


def test_networks_wider_than_ipv4():
    """A network that contains all of IPv4 contains each address; empty sets contain none."""
    four, six = MAPPED_PREFIX + bytes([10, 0, 0, 1]), bytes(15) + b"\1"
    column = pa.array([four, None, six], pa.binary(16))
    everything = [(bytes(16), b"\xff" * 16), (bytes(15) + b"\1", bytes(15) + b"\7")]
    assert AddressSet([], everything).contains(column).to_pylist() == [True, False, True]
    assert AddressSet([four], []).contains(column).to_pylist() == [True, False, False]
    assert AddressSet([six], []).contains(column).to_pylist() == [False, False, True]
    assert AddressSet([], []).contains(column.slice(0, 1)).to_pylist() == [False]


@given(st.lists(TEXTS, min_size=1, max_size=3), st.lists(st.none() | TEXTS), st.integers(0, 9))
def test_long_columns_of_texts(known, asked, start):
    """A column much longer than the set gives the same answers."""
    asked += [*known, None, "c"] * 8
    column = pa.array(asked, pa.string()).slice(start)
    assert TextSet(known).contains(column).to_pylist() == [t in known for t in asked[start:]]


@pytest.mark.parametrize("type_", [pa.binary(16), IPType()], ids=str)
@given(known=st.lists(ADDRESSES, max_size=3), asked=st.lists(ADDRESSES), start=st.integers(0, 9))
def test_long_columns_of_addresses(type_, known, asked, start):
    """The same for addresses, also as the type that stands for them in files."""
    asked += [*known, None, bytes(15) + b"\2"] * 8
    column = pa.array(asked, pa.binary(16))
    column = column if type_ == column.type else pa.ExtensionArray.from_storage(type_, column)
    found = AddressSet(known, []).contains(column.slice(start))
    assert found.to_pylist() == [a in known for a in asked[start:]]


def test_an_empty_column():
    """No value gives no answer."""
    assert TextSet(["a"]).contains(pa.array([], pa.string())).to_pylist() == []


def test_plain_values():
    """A null is in no set."""
    assert PlainSet(pa.array([1])).contains(pa.array([1, None, 2])).to_pylist() == [
        True,
        False,
        False,
    ]


def test_columns_that_outnumber_a_set():
    """Addresses of one version alone, and our own type, are found as well."""
    four, six = MAPPED_PREFIX + bytes([10, 0, 0, 1]), bytes(15) + b"\1"
    texts = pa.array(["a", "b", None, "a"] * 9)
    assert TextSet(["a"]).contains(texts).to_pylist() == [True, False, False, True] * 9
    column = pa.array([four] * 9, pa.binary(16))
    assert AddressSet([four], []).contains(column).to_pylist() == [True] * 9
    assert AddressSet([six], [(four, four)]).contains(column).to_pylist() == [True] * 9
    typed = arrow_strategies.array(Type(Kind.IP), [four, six, None] * 9)
    found = AddressSet([four, six], [(six, six)]).contains(typed)
    assert found.to_pylist() == [True, True, False] * 9


def test_addresses_of_one_fingerprint():
    """Another fingerprint is taken if two addresses of a set share one."""
    one, other, third = (bytes([a] * 8 + [b] * 8) for a, b in ((1, 2), (2, 1), (3, 0)))
    with mock.patch("secrets.randbits", side_effect=[1, 12345]) as drawn:
        found = AddressSet([one, other, one], [])
    assert drawn.call_count == 2
    assert found.contains(pa.array([third, other, one], pa.binary(16))).to_pylist() == [
        False,
        True,
        True,
    ]


def test_sets_of_columns():
    """A set is made of a column as of its values, and tells short texts from long ones."""
    texts = [kind * length for length in (1, 8, 9, 30) for kind in "ab"]
    asked = pa.array([*texts, "c" * 30, ""])
    assert TextSet(pa.array(texts)).contains(asked).to_pylist() == [True] * 8 + [False] * 2
    long = pa.array(texts[2:])
    assert TextSet(long).contains(long).to_pylist() == [True] * 6
    column = pa.array([bytes(16), bytes(15) + b"\1"], pa.binary(16))
    assert AddressSet(column[:1], ()).contains(column).to_pylist() == [True, False]


@pytest.mark.parametrize("times", [1, 9], ids=["few values", "many values"])
def test_numbers_of_values(times):
    """As many as are in the set, in all parts of a column."""
    four, six = MAPPED_PREFIX + bytes([10, 0, 0, 1]), bytes(15) + b"\1"
    texts = [pa.array(["a", None, "b"] * times), pa.array(["b"]), pa.array([], pa.string())]
    assert TextSet(["a", "b", "c", "d"]).count(texts) == 2 * times + 1
    assert TextSet(["c"]).count([]) == 0
    addresses = [pa.array([four, None, six] * times, pa.binary(16)), pa.array([six], pa.binary(16))]
    assert AddressSet([six], []).count(addresses) == times + 1
    assert AddressSet([], [(four, four)]).count(addresses) == times
    assert PlainSet(pa.array([1, 2])).count([pa.array([1, None, 3] * times)]) == times
    assert PlainSet(pa.array([1])).count([]) == 0


def test_a_long_column_is_looked_up_part_by_part(monkeypatch):
    """Parts are put together up to a size, and what is left in the end counts, too."""
    monkeypatch.setattr(value_sets, "_LOOKED_UP", 20)
    parts = [pa.array([1, None, 3], pa.int64())] * 5
    assert PlainSet(pa.array([1, 2])).count(parts) == 5


@pytest.mark.parametrize("compared", [0, 64])
@pytest.mark.parametrize("length", [0, 3, 4, 5, 8, 11, 12, 13, 16, 40])
def test_texts_in_several_buffers(monkeypatch, compared, length):
    """A view of a long text names the buffer that holds it."""
    monkeypatch.setattr(value_sets, "_COMPARED", compared)
    texts = [f"{number:x}".rjust(length, "-")[-max(length, 1) :] for number in range(9000)]
    views = pa.array([None, *texts, ""], pa.string_view())
    assert length < 16 or len(views.buffers()) > 3
    known = texts[::7]
    expected = [text in set(known) for text in [None, *texts, ""]]
    for start in (0, 5):
        part = views.slice(start)
        assert TextSet(known).contains(part).to_pylist() == expected[start:]
        assert TextSet(known).count([part, part]) == 2 * sum(expected[start:])


def test_most_of_a_column_in_a_set():
    """Where many values are in a set, Arrow compares them."""
    column = pa.array(["allowed", "other", None, "permitted"] * 50)
    assert (
        TextSet(["allowed", "permitted"]).contains(column).to_pylist()
        == [True, False, False, True] * 50
    )
    assert TextSet(["allowed", "permitted"]).count([column]) == 100
