from __future__ import annotations

import datetime
import ipaddress
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.store.readers import _values
from vastlab.types import Kind

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


def seconds(nanoseconds: int) -> str:
    return str(Decimal(nanoseconds).scaleb(-9))


@given(INT64)
def test_seconds_keep_every_nanosecond(number):
    """Text of seconds is exact over the whole range of 64 bits, alone and as a column."""
    text = f"{Decimal(seconds(number)):.9f}"
    assert _values.nanoseconds(text) == number
    column = pa.array([text, None]).cast(pa.decimal128(38, 9))
    found = _values.from_decimal(column, Kind.TIME)
    assert found.cast(pa.int64()).to_pylist() == [number, None]


@pytest.mark.parametrize(
    "text, number", [("1e-05", 10_000), ("-3.5", -3_500_000_000), ("0.0000000025", 2)]
)
def test_seconds_in_any_notation(text, number):
    """Exponents are read, and what is finer than a nanosecond is rounded half to even."""
    assert _values.nanoseconds(text) == number


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "9223372036.854775808", "1e300"])
def test_what_is_no_seconds_is_refused(text):
    """Words and numbers outside of 64 bits are errors, and quickly so."""
    with pytest.raises(ValueError, match="seconds"):
        _values.nanoseconds(text)


def test_a_column_with_a_time_out_of_range_is_refused():
    """The range is checked for whole columns too, but not for nulls."""
    column = pa.array(["9223372036.854775808"]).cast(pa.decimal128(38, 9))
    with pytest.raises(ValueError, match="64 bits"):
        _values.from_decimal(column, Kind.DURATION)


def test_a_sliced_column_keeps_its_place():
    """Offsets of Arrow arrays are respected."""
    column = pa.array(["1", "2", None, "3"]).cast(pa.decimal128(19, 9)).slice(1)
    found = _values.from_decimal(column, Kind.DURATION).cast(pa.int64())
    assert found.to_pylist() == [2_000_000_000, None, 3_000_000_000]


@given(st.ip_addresses())
def test_addresses_are_sixteen_bytes(ip):
    """IPv4 takes the mapped form, IPv6 its own."""
    packed = _values.address(str(ip))
    mapped = ip if ip.version == 6 else ipaddress.ip_address(f"::ffff:{ip}")
    assert packed == mapped.packed


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.4.5", "fe80::1%eth0", "x", "1.2.3.4\0"])
def test_what_is_no_address_is_refused(text):
    """Also addresses with a zone, which name another thing on every machine."""
    with pytest.raises(ValueError, match="is no address"):
        _values.address(text)


@given(st.lists(st.none() | st.ip_addresses()), st.booleans())
def test_a_column_of_addresses_has_the_bytes_of_each(ips, encoded):
    """A column reads each text as it is read alone, and nulls stay null."""
    texts = pa.array([None if ip is None else str(ip) for ip in ips], pa.string())
    found = _values.addresses(texts.dictionary_encode() if encoded else texts).storage.to_pylist()
    assert found == [None if ip is None else _values.address(str(ip)) for ip in ips]


@pytest.mark.parametrize("text", ["", "1.2.3.4/8", "fe80::1%eth0", "01.2.3.4"])
def test_a_column_of_addresses_holds_nothing_else(text):
    """One text that is no address is an error that names it."""
    with pytest.raises(ValueError, match=f"'{text}' is no address"):
        _values.addresses(pa.array(["10.0.0.1", None, text, "::1"]))


@given(st.ip_addresses(), st.integers(0, 128))
def test_subnets_count_in_the_space_of_ipv6(ip, length):
    """A v4 network of length 8 is stored as 104, with the bits behind it cleared."""
    length = min(length, ip.max_prefixlen)
    address, bits = _values.subnet(f"{ip}/{length}")
    network = ipaddress.ip_network(f"{ip}/{length}", strict=False)
    assert bits == length + (96 if ip.version == 4 else 0)
    assert address.endswith(network.network_address.packed)


def test_columns_of_subnets():
    """Nulls stay null, and networks keep both their parts."""
    found = _values.subnets(pa.array(["10.0.0.0/8", None, "fe80::/64"]))
    assert found.is_null().to_pylist() == [False, True, False]
    assert found.storage.field("length").to_pylist()[::2] == [104, 64]


@given(st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)))
def test_iso_times_are_utc_unless_they_say_otherwise(moment):
    """Without a zone a time is UTC; a zone is subtracted."""
    epoch = datetime.datetime(1970, 1, 1)
    number = (moment - epoch) // datetime.timedelta(microseconds=1) * 1000
    assert _values.iso_time(moment.isoformat()) == number
    assert _values.iso_time(moment.isoformat(" ") + "Z") == number
    assert _values.iso_time(moment.isoformat() + "+0230") == number - 9000 * 10**9


@pytest.mark.parametrize("text", ["", "2020", "2020-13-01", "2020-01-01T25:00", "9999-01-01"])
def test_what_is_no_time_is_refused(text):
    """Nothing is guessed, and nothing wraps around."""
    with pytest.raises(ValueError, match=r"no time|64 bits"):
        _values.iso_time(text)


def test_numbers_too_large_for_seconds_are_milliseconds():
    """Zeek can write times of JSON in milliseconds."""
    assert _values.epoch(Decimal("1258531221.486539")) == 1258531221486539000
    assert _values.epoch(1258531221486) == 1258531221486000000


@given(st.integers(-(1 << 70), 1 << 70))
def test_integers_have_their_range(number):
    """64 bits, with a sign or without."""
    for kind, low, high in ((Kind.INT64, -(1 << 63), 1 << 63), (Kind.UINT64, 0, 1 << 64)):
        if low <= number < high:
            assert _values.integer(str(number), kind) == number
        else:
            with pytest.raises(ValueError, match=kind.value):
                _values.integer(str(number), kind)


def test_booleans_are_two_words():
    """Anything else is an error, not false."""
    assert _values.booleans(pa.array(["T", None, "F"])).to_pylist() == [True, None, False]
    with pytest.raises(ValueError, match="'T' nor 'F'"):
        _values.booleans(pa.array(["T", "x"]))
