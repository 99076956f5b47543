from __future__ import annotations

import copy
import datetime
import enum
import ipaddress
import math
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from tests import language_strategies as language
from vastlab.errors import ParameterError
from vastlab.expression import Expr, bind, parse
from vastlab.expression import literals as lit
from vastlab.expression.ast import And, Not, Or
from vastlab.expression.parameters import names, to_literal
from vastlab.expression.parser import parse_literal
from vastlab.expression.rewrite import normalise, predicates

NANOSECONDS = 1_684_934_055_123_456_789
MICROSECONDS = NANOSECONDS // 1000 * 1000
MOMENT = datetime.datetime(2023, 5, 24, 13, 14, 15, 123456)
EAST = datetime.timezone(datetime.timedelta(hours=2))
MAPPED = bytes(10) + b"\xff\xff"


class Word(str):
    """A text that lies about itself."""

    __slots__ = ()

    def __str__(self) -> str:
        return '" || :string != "'


class Number(enum.IntEnum):
    TWO = 2


class NoZone(datetime.tzinfo):
    def utcoffset(self, dt):
        return None


def _kind(value):
    """Name a parameter by its type: some texts change from run to run, and so would the names."""
    return value if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(
    "value, expected",
    [
        (None, lit.Null()),
        (pd.NA, lit.Null()),
        (pd.NaT, lit.Null()),
        (np.datetime64("NaT"), lit.Null()),
        (np.timedelta64("NaT"), lit.Null()),
        (True, lit.Bool(True)),
        (np.bool_(False), lit.Bool(False)),
        (0, lit.UInt64(0)),
        (2**64 - 1, lit.UInt64(2**64 - 1)),
        (-1, lit.Int64(-1)),
        (-(2**63), lit.Int64(-(2**63))),
        (Number.TWO, lit.UInt64(2)),
        (np.uint8(7), lit.UInt64(7)),
        (np.int64(-7), lit.Int64(-7)),
        (0.5, lit.Double(0.5)),
        (math.nan, lit.Double(math.nan)),
        (np.float64(1.5), lit.Double(1.5)),
        (np.float32(0.1), lit.Double(float(np.float32(0.1)))),
        ("", lit.String("")),
        ("two\nlines", lit.String("two\nlines")),
        (Word("x"), lit.String("x")),
        (np.str_("x"), lit.String("x")),
        (MOMENT, lit.Time(MICROSECONDS)),
        (MOMENT.replace(tzinfo=NoZone()), lit.Time(MICROSECONDS)),
        (MOMENT.replace(tzinfo=EAST), lit.Time(MICROSECONDS - 7200 * 10**9)),
        (datetime.datetime(1969, 12, 31, 23, 59, 59), lit.Time(-(10**9))),
        (pd.Timestamp(NANOSECONDS), lit.Time(NANOSECONDS)),
        (pd.Timestamp(NANOSECONDS, tz="UTC").tz_convert("Asia/Tokyo"), lit.Time(NANOSECONDS)),
        (pd.Timestamp("2023-05-24").as_unit("s"), lit.Time(1_684_886_400 * 10**9)),
        (datetime.date(2023, 5, 24), lit.Time(1_684_886_400 * 10**9)),
        (np.datetime64("2023-05-24"), lit.Time(1_684_886_400 * 10**9)),
        (datetime.timedelta(seconds=-1.5), lit.Duration(-1_500_000_000)),
        (pd.Timedelta(3, "ns"), lit.Duration(3)),
        (np.timedelta64(5, "D"), lit.Duration(5 * 86_400 * 10**9)),
        (ipaddress.ip_address("10.0.0.1"), lit.IP(MAPPED + bytes([10, 0, 0, 1]))),
        (ipaddress.ip_address("::ffff:10.0.0.1"), lit.IP(MAPPED + bytes([10, 0, 0, 1]))),
        (ipaddress.ip_address("::1"), lit.IP(bytes(15) + b"\x01")),
        (ipaddress.ip_network("10.0.0.0/8"), lit.Subnet(MAPPED + bytes([10, 0, 0, 0]), 104)),
        (ipaddress.ip_network("fe80::/10"), lit.Subnet(b"\xfe\x80" + bytes(14), 10)),
        ([], lit.ListLiteral(())),
        ((1, "a"), lit.ListLiteral((lit.UInt64(1), lit.String("a")))),
        ({"b", "a", 1}, lit.ListLiteral((lit.String("a"), lit.String("b"), lit.UInt64(1)))),
        (frozenset({-1}), lit.ListLiteral((lit.Int64(-1),))),
        (pd.Series(["a", None]), lit.ListLiteral((lit.String("a"), lit.Null()))),
        (pd.Series([1, None], dtype="Int64"), lit.ListLiteral((lit.UInt64(1), lit.Null()))),
        (pd.Series([1.5, math.nan]), lit.ListLiteral((lit.Double(1.5), lit.Null()))),
        (pd.Series([True]), lit.ListLiteral((lit.Bool(True),))),
        (pd.Series(["x"], dtype="category"), lit.ListLiteral((lit.String("x"),))),
        (pd.Series([pd.Timestamp(0)]), lit.ListLiteral((lit.Time(0),))),
        (pd.Index([1, 2]), lit.ListLiteral((lit.UInt64(1), lit.UInt64(2)))),
        (pd.Series(["a", "a"]).unique(), lit.ListLiteral((lit.String("a"),))),
        (np.array([1.5]), lit.ListLiteral((lit.Double(1.5),))),
    ],
    ids=_kind,
)
def test_to_literal(value, expected):
    """Python, numpy and pandas values have one literal each."""
    assert to_literal(value) == expected


@pytest.mark.parametrize(
    "texts, expected",
    [
        (["10.0.0.1", None, "::1"], "[10.0.0.1, null, ::1]"),
        (["10.0.0.0/8", "fe80::/10"], "[10.0.0.0/8, fe80::/10]"),
        (["10.0.0.1", "host"], '["10.0.0.1", "host"]'),
        (["10.0.0.1x"], '["10.0.0.1x"]'),
        (["10.0.0.0/33"], '["10.0.0.0/33"]'),
        ([1, 2], "[1, 2]"),
    ],
)
def test_categorical_of_addresses(texts, expected):
    """Frames hold addresses as categories of text; as parameters they are addresses again."""
    series = pd.Series([*texts, *texts], dtype="category").iloc[: len(texts)]
    assert str(to_literal(series)) == expected
    assert str(to_literal(series.array)) == expected
    assert str(to_literal(pd.Index(series))) == expected
    words = [text for text in texts if isinstance(text, str)]
    assert all(isinstance(item, lit.String) for item in to_literal(words).items)


@pytest.mark.parametrize(
    "value, words",
    [
        (object(), "type object"),
        (b"x", "type bytes"),
        (np.bytes_(b"x"), "numpy.bytes_"),
        ({"a": 1}, "type dict"),
        (1j, "type complex"),
        (datetime.time(1), "datetime.time"),
        (ipaddress.ip_interface("10.0.0.1/8"), "IPv4Interface"),
        (ipaddress.ip_interface("fe80::1/8"), "IPv6Interface"),
        (ipaddress.ip_address("fe80::1%eth0"), "IPv6Address"),
        (pd.Period("2023"), "Period"),
        (pd.DataFrame({"a": [1]}), "DataFrame"),
        ([[1]], "type list"),
        ([1, object()], "type object"),
        (np.array(1), "ndarray"),
        (np.array([[1]]), "ndarray"),
        (pd.MultiIndex.from_tuples([(1, 2)]), "MultiIndex"),
        (2**64, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        ("\ud800", "unpaired surrogate"),
        (datetime.datetime(9999, 1, 1), "out of range"),
        (datetime.timedelta(days=200_000), "out of range"),
        (np.datetime64("9999-01-01"), "9999"),
        (pd.Timestamp("9999-01-01"), "9999"),
        (np.timedelta64(1, "Y"), "Y"),
    ],
    ids=_kind,
)
def test_unsupported_value_is_an_error(value, words):
    """The error names the parameter and what is wrong with its value."""
    with pytest.raises(ParameterError, match=r"^the parameter \$x: ") as caught:
        bind(parse("a == $x"), {"x": value})
    assert words in str(caught.value)


def test_missing_value_suggests_close_names():
    """A misspelled name gives close names as a hint."""
    expr = parse("src_ip in $suspect")
    with pytest.raises(ParameterError) as caught:
        bind(expr, {"suspects": [], "other": 1, 3: 4})
    assert str(caught.value) == ("the parameter $suspect has no value (did you mean $suspects?)")
    with pytest.raises(ParameterError) as caught:
        bind(expr, {})
    assert str(caught.value) == "the parameter $suspect has no value"


@pytest.mark.parametrize("text", ["10.0.0.1", "/a.*/i", "[1, null]", "<a: 1>", "{1 -> 2}", "now"])
def test_to_literal_keeps_literals(text):
    """What was read as a value is bound as it is."""
    literal = parse_literal(text)
    assert to_literal(literal) is literal
    assert bind(parse("a == $x"), {"x": literal}) == parse(f"a == {text}")


def test_parameter_as_value_is_an_error():
    """A value that is itself to come is refused."""
    with pytest.raises(ParameterError, match="are not supported"):
        to_literal(lit.Parameter("y"))


def test_names_come_in_order_and_once():
    """A lookup of values gets the types it has to look for."""
    assert names(parse("a == $b || c in $a && d == $b")) == ("b", "a")
    assert names(parse('a == "$x" || b == /$y/')) == ()


def test_bind_without_parameters():
    """Unused values are ignored."""
    expr = parse("a == 1")
    assert bind(expr, {"x": object()}) is expr


@pytest.mark.parametrize(
    "text, value, bound",
    [
        ("$x", ipaddress.ip_address("10.0.0.1"), ":ip == 10.0.0.1"),
        ("$x", ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        ("!$x", ipaddress.ip_network("10.0.0.0/8"), "!10.0.0.0/8"),
        ("$x", "evil", '"evil"'),
        ("!$x", None, "!null"),
        ("$x < :int64", 0.5, ":int64 >= 1"),
        (":int64 == $x", 1, ":int64 == +1"),
        ("a && b != $x", "x", 'a && b != "x"'),
        ("$x ni a", ipaddress.ip_network("10.0.0.0/8"), "a in 10.0.0.0/8"),
    ],
    ids=_kind,
)
def test_bound_parameter_equals_literal(text, value, bound):
    """Written in its place, the literal gives the same tree."""
    assert bind(parse(text), {"x": value}) == parse(bound)


@pytest.mark.parametrize(
    "text, value, words",
    [
        ("#type == $x", 5, "#type cannot be compared with a number"),
        ("#import_time > $x", "now", "#import_time cannot be compared with a string"),
        (":ip == $x", "10.0.0.1", ":ip == does not accept a string"),
    ],
    ids=_kind,
)
def test_incompatible_value_is_an_error(text, value, words):
    """What is an error in a text is an error for a value, too."""
    with pytest.raises(ParameterError, match=r"the parameter \$x has an invalid value") as caught:
        bind(parse(text), {"x": value})
    assert words in str(caught.value)


SCALARS = st.one_of(
    language.texts(),
    st.sampled_from(('" || :string != "', "$y", "/.*/", "1) || (a", "10.0.0.0/8", "null")),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.booleans(),
    st.none(),
    st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)),
    st.timedeltas(datetime.timedelta(days=-9999), datetime.timedelta(days=9999)),
    st.ip_addresses(),
)
VALUES = SCALARS | st.lists(SCALARS, max_size=4) | st.frozensets(SCALARS, max_size=3)
SHAPE = parse("a == $x && (b !in $y || !($x ni c)) && :port > $y && d == 1")


@hypothesis.given(VALUES, VALUES)
def test_values_do_not_change_the_tree(x, y):
    """Binding replaces the parameters and nothing else, whatever the values say."""
    bound = bind(SHAPE, {"x": x, "y": y})
    literals = {"x": to_literal(x), "y": to_literal(y)}
    expected = [
        literals[p.literal.name] if isinstance(p.literal, lit.Parameter) else p.literal
        for p in predicates(SHAPE)
    ]
    assert [p.literal for p in predicates(bound)] == expected
    assert [(p.extractor, p.operator) for p in predicates(bound)] == [
        (p.extractor, p.operator) for p in predicates(SHAPE)
    ]
    assert outline(bound) == outline(SHAPE)


def outline(expr: Expr) -> object:
    match expr:
        case And(operands) | Or(operands):
            return type(expr), [outline(operand) for operand in operands]
        case _:
            return type(expr)


@hypothesis.given(language.texts())
def test_bound_string_prints_and_parses(text):
    """Printed and read again, a bound text selects what it was."""
    bound = bind(parse("a == $x"), {"x": text})
    read = parse(str(bound))
    assert read == bound or isinstance(read.literal, lit.Pattern)


@pytest.mark.parametrize(
    "values, expected",
    [
        (
            [ipaddress.ip_address("::1"), "evil", ipaddress.ip_network("10.0.0.0/8"), 80, "b"],
            ':ip in [::1, 10.0.0.0/8] || :string in ["evil", "b"] || :subnet in [10.0.0.0/8] '
            "|| :uint64 in [80]",
        ),
        ([ipaddress.ip_network("10.0.0.0/8")], ":subnet in [10.0.0.0/8] || :ip in [10.0.0.0/8]"),
        (["a", None], ':string in ["a"]'),
        (parse_literal("[5m, [1], {1 -> 2}, <3>]"), ":duration in [5m]"),
        ([], '#type == ""'),
        ([None], '#type == ""'),
    ],
)
def test_bare_list(values, expected):
    """Each value is looked for in the fields of its own type, and without any nothing is found."""
    assert str(bind(parse("$list"), {"list": values})) == expected
    negated = bind(parse("!$list"), {"list": values})
    assert negated == normalise(Not(bind(parse("$list"), {"list": values})))


def test_long_lists_of_addresses_and_texts():
    """What is read without a second look is read as one by one."""
    networks = [ipaddress.ip_network(n) for n in ("10.0.0.0/8", "2001:db8::/32")]
    values = ["a", "ä", ipaddress.ip_address("10.0.0.1"), *networks]
    assert to_literal(values).items == tuple(map(to_literal, values))
    with pytest.raises(ParameterError, match="unpaired surrogate"):
        to_literal(["\ud800"])


LONG = [f"text {number}" for number in range(lit.LONG_LIST_LENGTH + 1)]
HOSTS = [ipaddress.IPv4Address(number) for number in range(lit.LONG_LIST_LENGTH)]
MIXED = [*HOSTS, ipaddress.IPv6Address("2001:db8::1"), HOSTS[0]]


@pytest.mark.parametrize(
    "values", [LONG, MIXED, pd.Series(map(str, HOSTS + HOSTS), dtype="category")], ids=len
)
def test_a_long_list_is_that_of_its_values(values):
    """Many values are one array, of which nobody notices anything."""
    found = to_literal(values)
    one_by_one = lit.ListLiteral(
        tuple(to_literal(values[i : i + 1]).items[0] for i in range(len(values)))
    )
    assert isinstance(found.items, lit.Values)
    assert found == one_by_one == found
    assert hash(found) == hash(one_by_one)
    assert hash(found.items) == hash(one_by_one.items)
    assert repr(found.items) == repr(one_by_one.items)
    assert found.kinds == one_by_one.kinds
    assert str(found) == str(one_by_one)
    assert pickle.loads(pickle.dumps(found)) == found  # noqa: S301 - of our own
    assert found.items[-1] == one_by_one.items[-1]
    assert found != to_literal(list(values)[1:])


def test_a_long_list_of_numbers():
    """Each is a literal."""
    assert to_literal([*range(200)]).items == tuple(map(lit.UInt64, range(200)))


def test_a_long_categorical_of_other_texts():
    """One text that is no IPv4 address, and each is looked at."""
    texts = [*map(str, MIXED), "2001:db8::2"]
    assert to_literal(pd.Series(texts, dtype="category")) == to_literal(
        [*MIXED, ipaddress.IPv6Address("2001:db8::2")]
    )
    assert to_literal(pd.Series([*texts, "host"], dtype="category")) == to_literal([*texts, "host"])


@pytest.mark.parametrize("values", [LONG, MIXED], ids=["texts", "addresses"])
def test_a_long_set_has_the_same_order_in_each_process(values):
    """However the values are hashed."""
    assert to_literal(set(values)) == to_literal(frozenset(reversed(values)))
    assert set(to_literal(set(values)).items) == set(to_literal(values).items)


@pytest.mark.parametrize(
    "value, words",
    [("\udc80", "surrogate"), (ipaddress.IPv6Address("fe80::1%eth0"), "IPv6Address")],
)
def test_an_invalid_value_in_a_long_list_is_an_error(value, words):
    """As in a short one."""
    others = LONG if isinstance(value, str) else MIXED
    with pytest.raises(ParameterError, match=words):
        to_literal([*others, value])


def test_a_long_bare_list_compares_the_fields_of_its_type():
    """Like the expression that names the type."""
    for type_, values in ((":string", LONG), (":ip", MIXED)):
        bare, named = (bind(parse(text), {"x": values}) for text in ("$x", f"{type_} in $x"))
        assert bare == named


def test_threads_derive_from_a_list_once():
    """What one thread computes, the other waits for."""
    found, computed = to_literal(LONG), []
    barrier = threading.Barrier(2)

    def derive():
        barrier.wait()
        return found.cached("x", lambda: computed.append(1) or object())

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(derive), pool.submit(derive)
        assert first.result() is second.result()
    assert computed == [1]


def test_list_cache_does_not_affect_equality():
    """Only the items count for equality, hash, copy and pickle."""
    one, other = to_literal(["a", "b"]), to_literal(["a", "b"])
    assert hash(one) == hash(other)
    assert one.kinds == {lit.String}
    assert pickle.loads(pickle.dumps(one)) == copy.copy(one) == other  # noqa: S301 - our own bytes
    assert repr(one) == repr(other)
    assert "_cache" not in repr(one)


def test_error_for_parameter_with_schema_names_has_hint():
    """The error of a value that does not fit says as much as that of a text."""
    with pytest.raises(ParameterError, match=r'write #type != "a" && #type != "b"'):
        bind(parse("#type !in $names"), {"names": ["a", "b"]})
