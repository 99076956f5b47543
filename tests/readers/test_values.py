from __future__ import annotations

import datetime
import ipaddress
from decimal import Context, Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.readers import text_columns, values
from vastlab.types import Kind

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
WIDE = Context(prec=60)


def seconds(nanoseconds: int) -> str:
    return str(Decimal(nanoseconds).scaleb(-9))


@given(INT64)
def test_seconds_keep_every_nanosecond(number):
    """Text of seconds is exact over the whole range of 64 bits, as one value and as a column."""
    text = f"{Decimal(seconds(number)):.9f}"
    assert values.nanoseconds(text) == number
    column = pa.array([text, None]).cast(pa.decimal128(38, 9))
    found = text_columns.from_decimal(column, Kind.TIME)
    assert found.cast(pa.int64()).to_pylist() == [number, None]


@pytest.mark.parametrize(
    "text, number", [("1e-05", 10_000), ("-3.5", -3_500_000_000), ("0.0000000025", 2)]
)
def test_seconds_in_any_notation(text, number):
    """Exponents are read, and what is finer than a nanosecond is rounded half to even."""
    assert values.nanoseconds(text) == number


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "9223372036.854775808", "1e300"])
def test_text_that_is_not_seconds_is_an_error(text):
    """Words and numbers outside of 64 bits are errors, and quickly so."""
    with pytest.raises(ValueError, match=r"seconds|64-bit"):
        values.nanoseconds(text)


def test_a_column_with_a_time_out_of_range_has_a_null_there():
    """The range is checked for whole columns too, and the other values stay."""
    column = pa.array(["9223372036.854775808", "1"]).cast(pa.decimal128(38, 9))
    found = text_columns.from_decimal(column, Kind.DURATION).cast(pa.int64())
    assert found.to_pylist() == [None, 10**9]


def test_a_sliced_column_keeps_its_place():
    """Offsets of Arrow arrays are respected."""
    column = pa.array(["1", "2", None, "3"]).cast(pa.decimal128(19, 9)).slice(1)
    found = text_columns.from_decimal(column, Kind.DURATION).cast(pa.int64())
    assert found.to_pylist() == [2_000_000_000, None, 3_000_000_000]


@given(st.ip_addresses())
def test_addresses_are_sixteen_bytes(ip):
    """IPv4 takes the mapped form, IPv6 its own."""
    packed = values.address(str(ip))
    mapped = ip if ip.version == 6 else ipaddress.ip_address(f"::ffff:{ip}")
    assert packed == mapped.packed


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.4.5", "fe80::1%eth0", "x", "1.2.3.4\0"])
def test_text_that_is_not_an_address_is_an_error(text):
    """Also addresses with a zone, which name another thing on every machine."""
    with pytest.raises(ValueError, match="is not an IP address"):
        values.address(text)


@given(st.lists(st.none() | st.ip_addresses()), st.booleans())
def test_a_column_of_addresses_has_the_bytes_of_each(ips, encoded):
    """A column converts each text like a single value, and nulls stay null."""
    texts = pa.array([None if ip is None else str(ip) for ip in ips], pa.string())
    found = text_columns.addresses(
        texts.dictionary_encode() if encoded else texts
    ).storage.to_pylist()
    assert found == [None if ip is None else values.address(str(ip)) for ip in ips]


@pytest.mark.parametrize("text", ["", "1.2.3.4/8", "fe80::1%eth0", "01.2.3.4"])
def test_a_column_of_addresses_holds_nothing_else(text):
    """One text that is not an address is null, and can be found and named."""
    texts = pa.array(["10.0.0.1", None, text, "::1"])
    found = text_columns.addresses(texts)
    assert found.is_null().to_pylist() == [False, True, True, False]
    assert text_columns.lost_rows(texts, found).tolist() == [2]
    with pytest.raises(ValueError, match=f"'{text}' is not an IP address"):
        values.address(text)


@given(st.ip_addresses(), st.integers(0, 128))
def test_subnets_count_in_the_space_of_ipv6(ip, length):
    """A v4 network of length 8 is stored as 104, with the bits behind it cleared."""
    length = min(length, ip.max_prefixlen)
    address, bits = values.subnet(f"{ip}/{length}")
    network = ipaddress.ip_network(f"{ip}/{length}", strict=False)
    assert bits == length + (96 if ip.version == 4 else 0)
    assert address.endswith(network.network_address.packed)


def test_columns_of_subnets():
    """Nulls stay null, and networks keep both their parts."""
    found = text_columns.subnets(pa.array(["10.0.0.0/8", None, "fe80::/64"]))
    assert found.is_null().to_pylist() == [False, True, False]
    assert found.storage.field("length").to_pylist()[::2] == [104, 64]


@given(st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)))
def test_iso_times_are_utc_unless_they_say_otherwise(moment):
    """Without a zone a time is UTC; a zone is subtracted."""
    epoch = datetime.datetime(1970, 1, 1)
    number = (moment - epoch) // datetime.timedelta(microseconds=1) * 1000
    assert values.iso_time(moment.isoformat()) == number
    assert values.iso_time(moment.isoformat(" ") + "Z") == number
    assert values.iso_time(moment.isoformat() + "+0230") == number - 9000 * 10**9


@pytest.mark.parametrize("text", ["", "2020", "2020-13-01", "2020-01-01T25:00", "9999-01-01"])
def test_text_that_is_not_a_time_is_an_error(text):
    """Nothing is guessed, and nothing wraps around."""
    with pytest.raises(ValueError, match=r"not a time|64-bit"):
        values.iso_time(text)


def test_numbers_too_large_for_seconds_are_milliseconds():
    """Zeek can write times of JSON in milliseconds."""
    assert values.epoch(Decimal("1258531221.486539")) == 1258531221486539000
    assert values.epoch(1258531221486, milliseconds=True) == 1258531221486000000


@given(st.integers(-(1 << 70), 1 << 70))
def test_integers_have_their_range(number):
    """64 bits, with a sign or without."""
    for kind, low, high in ((Kind.INT64, -(1 << 63), 1 << 63), (Kind.UINT64, 0, 1 << 64)):
        if low <= number < high:
            assert values.integer(str(number), kind) == number
        else:
            with pytest.raises(ValueError, match=kind.value):
                values.integer(str(number), kind)


def test_booleans_are_two_words():
    """Anything else is null, not false."""
    assert text_columns.booleans(pa.array(["T", None, "F", "x"])).to_pylist() == [
        True,
        None,
        False,
        None,
    ]


# --- durations and times in text ------------------------------------------------------------


@pytest.mark.parametrize(
    "text, number",
    [
        ("163.82ms", 163_820_000),
        ("1.28min", 76_800_000_000),
        ("1.28m", 76_800_000_000),
        ("-12us", -12_000),
        ("7ns", 7),
        ("1h30m", 5_400_000_000_000),
        ("3d", 3 * 86_400 * 10**9),
        ("1w", 7 * 86_400 * 10**9),
        ("5 seconds", 5_000_000_000),
        (".5s", 500_000_000),
        ("16.666666666666668min", 1_000_000_000_000),
        ("0 days 00:00:00.023000", 23_000_000),
        ("-1 days +23:59:59", -1_000_000_000),
        ("1 day 00:00:01.000000001", 86_401_000_000_001),
        ("0.023", 23_000_000),
    ],
)
def test_durations_in_all_notations(text, number):
    """What VAST, Tenzir, pandas and Zeek write is exact, as one value and as a column."""
    assert values.duration(text) == number
    found = text_columns.from_text(pa.array([text, None, text]), Kind.DURATION)
    assert found.cast(pa.int64()).to_pylist() == [number, None, number]


@pytest.mark.parametrize(
    "text", ["", "5x", "1y", "soon", "5e3s", "300000d", "0 days 24:00:00", "1.s.2"]
)
def test_text_that_is_not_a_duration_is_null(text):
    """Years differ between VAST and Tenzir; whatever is unclear is not guessed."""
    with pytest.raises(ValueError, match=r"not a|64-bit|sign"):
        values.duration(text)
    assert text_columns.from_text(pa.array([text, "1s"]), Kind.DURATION).null_count == 1


@given(INT64, st.sampled_from(sorted(values.UNITS)))
def test_durations_with_units_are_exact_to_the_nanosecond(number, unit):
    """A whole number of nanoseconds survives in every unit that can write it."""
    factor = values.UNITS[unit]
    if number % factor == 0:
        text = f"{number // factor}{unit}"
        assert values.duration(text) == number
        found = text_columns.from_text(pa.array([text]), Kind.DURATION).cast(pa.int64())
        assert found.to_pylist() == [number]


@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59:59",
        "1601-01-01T00:00:00Z",
        "2024-03-04T23:59:60Z",
        "2024-03-04T24:00:00",
        "2024-02-30",
        "2024-03-04T05:06:07.1234567891Z",
        "2024-03-04T05:06:07+99:00",
    ],
)
def test_times_that_do_not_fit_are_null_in_a_column(text):
    """A wrong time is worse than none; the times beside it stay."""
    texts = pa.array(["2024-03-04T05:06:07Z", text, "2024-03-04 05:06:07.5", "1709528767"])
    found = text_columns.from_text(texts, Kind.TIME).cast(pa.int64()).to_pylist()
    assert found == [1709528767 * 10**9, None, 1709528767_500_000_000, 1709528767 * 10**9]
    with pytest.raises(ValueError, match=r"not a time|64-bit|finer"):
        values.time(text)


def test_zeros_after_nanoseconds_are_accepted():
    """Ten digits of which the last is zero are still exact."""
    assert values.iso_time("1970-01-01T00:00:00.1234567890Z") == 123_456_789


EXPONENTS = ["1e-999999999", "1E-99999", "0e-999999999", "1e999999999", "-1e-400", "1e-99"]


@pytest.mark.parametrize("text", [*EXPONENTS, "9" * 100_000, "0." + "1" * 100_000])
@pytest.mark.parametrize("kind", values.PLAIN_KINDS)
def test_no_number_in_text_ends_the_process(kind, text):
    """Arrow's decimal parser writes out of bounds where an exponent is long."""
    found = text_columns.from_text(pa.array([text, None]), kind)
    assert len(found) == 2
    try:
        values.value_from_text(text, kind)
    except ValueError as error:
        assert len(str(error)) < 200  # noqa: PT017  # not all kinds refuse it


@given(st.lists(st.none() | st.text("0123456789.-+:TZex /smdh", max_size=24), max_size=8))
def test_columns_read_as_single_values_do(texts):
    """A column is only a faster way to the same values."""
    for kind in values.PLAIN_KINDS:
        column = text_columns.from_text(pa.array(texts, pa.string()), kind)
        single = []
        for text in texts:
            try:
                single.append(None if text is None else values.value_from_text(text, kind))
            except ValueError:
                single.append(None)
        if kind is Kind.IP:
            assert column.storage.to_pylist() == single
        elif kind is Kind.SUBNET:
            assert column.is_null().to_pylist() == [value is None for value in single]
        elif kind in (Kind.TIME, Kind.DURATION):
            assert column.cast(pa.int64()).to_pylist() == single
        else:
            assert column.to_pylist() == single


@pytest.mark.parametrize(
    "text",
    [
        "0x1F",
        "0" * 21 + "1",
        "-" + "0" * 19 + "1",
        "-0",
        "18446744073709551615",
        "18446744073709551616",
        "True",
        "FALSE",
        "2024-01-31T051607",
        "2024-01-31T05+01:00",
        "2024-01-31T0516+01:00",
        "2024-01-31T051607+01:00",
        "2024-01-31T05:16:07.",
        "2024-01-31T05:16:07,25",
        "2024-01-31T05:16:60",
        "2024-01-31T24:00:00",
        "2024-02-30T05:16:07",
        "9999-01-31T05:16:07",
        "2024-01-31T05:16:07.123456789Z",
        "2024-01-31T05:16:07.1234567890",
    ],
)
@pytest.mark.parametrize("kind", [Kind.INT64, Kind.UINT64, Kind.BOOL, Kind.TIME])
def test_arrow_reads_no_more_than_single_values(text, kind):
    """Arrow has rules of its own for numbers and times; a column has those of single values."""
    usual = {Kind.BOOL: "true", Kind.TIME: "2024-01-31T05:16:07.123"}.get(kind, "17")
    for texts in ([text], [usual, text, None], [text, None, usual]):
        found = text_columns.from_text(pa.array(texts, pa.string()), kind)
        found = found.cast(pa.int64()) if kind is Kind.TIME else found
        assert found.to_pylist() == [_or_none(each, kind) for each in texts]


def _or_none(text, kind):
    try:
        return None if text is None else values.value_from_text(text, kind)
    except ValueError:
        return None


@given(st.lists(st.none() | st.integers(-(1 << 80), 1 << 80), min_size=1), st.integers(0, 16))
def test_decimals_are_rounded_half_to_even(numbers, zeros):
    """Nanoseconds are those of Python's decimals, also for halves; null beyond 64 bits."""
    most = (10**38 - 1) // (5 * 10**zeros)  # that 38 digits hold
    numbers = [None if n is None else max(-most, min(n, most)) * 5 * 10**zeros for n in numbers]
    column = pa.array(
        [None if n is None else Decimal(n).scaleb(-24, WIDE) for n in numbers],
        pa.decimal128(38, 24),
    )
    expected = [
        None if n is None else int(Decimal(n).scaleb(-15, WIDE).to_integral_value(context=WIDE))
        for n in numbers
    ]
    expected = [n if n is not None and -(1 << 63) <= n < 1 << 63 else None for n in expected]
    for start in (0, 1):
        found = text_columns.rounded(column.slice(start), Kind.TIME).cast(pa.int64())
        assert found.to_pylist() == expected[start:]


DURATION_COLUMN = (
    "0 days 00:00:00.003062183",
    "-1 days +23:59:59",
    "1 day 02:03:04.5",
    "-99999 days +00:00:00",
    "106751 days 23:47:16",
    "106752 days 00:00:00",
    "3 days",
    "0 days -01:00:00",
    "0 days 24:00:00",
    "12ns",
    "-999999999999999999ns",
    "9999999999999999999ns",
    "0.0000000015ms",
    "163.82ms",
    "2h",
    "7",
    "x",
)


@pytest.mark.parametrize("texts", [DURATION_COLUMN, *zip(DURATION_COLUMN, strict=True)])
def test_a_column_of_durations_reads_each_as_a_single_value(texts):
    """Also in columns of one notation, with nulls between the values, which Arrow converts."""
    column = pa.array([None, *texts, None])
    found = text_columns.from_text(column, Kind.DURATION).cast(pa.int64()).to_pylist()
    assert found == [_duration_or_none(text) for text in column.to_pylist()]


@pytest.mark.parametrize("text", ["0 days 00:00:00.003062183", "2523108449ns", "163.82ms"])
def test_durations_in_a_column_with_nulls_are_not_read_one_by_one(monkeypatch, text):
    """The usual notations are converted by Arrow."""
    monkeypatch.setattr(text_columns, "_one_by_one", lambda *_: pytest.fail("read one by one"))
    found = text_columns.from_text(pa.array([text, None]), Kind.DURATION)
    assert found.null_count == 1


def _duration_or_none(text: str | None) -> int | None:
    try:
        return None if text is None else values.duration(text)
    except ValueError:
        return None
