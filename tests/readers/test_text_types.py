"""What text without a declared type is taken for."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vastlab.readers import text_types
from vastlab.readers.text_types import KINDS, Scalar, classify, is_exact, join, learn

TEXTS = {
    Scalar.BOOL: ["true", "false"],
    Scalar.IP: ["192.0.2.1", "::1", "2001:db8::1", "::ffff:192.0.2.1"],
    Scalar.SUBNET: ["192.0.2.0/24", "fe80::/10", "::/0"],
    Scalar.TIME: [
        "2026-03-04T05:06:07Z",
        "2026-03-04",
        "2026-03-04 05:06:07.123456",
        "2026-03-04T05:06:07.5+0200",
        "2026-03-04T05:06:07+02:00",
    ],
    Scalar.DURATION: ["163.82ms", "1.28min", "-5s", "1h30m", "0 days 00:00:00.023000"],
    Scalar.QUOTED_NATURAL: ["5", "0"],
    Scalar.QUOTED_INT64: ["-5"],
    Scalar.QUOTED_UINT64: ["18446744073709551615"],
    Scalar.QUOTED_DOUBLE: ["1.5", "1e5", "-0.25"],
    Scalar.TEXT: [
        "",
        "007",
        "1.2.3.4.5",
        "1.2.3",
        "01:02:03",
        "12:34",
        "null",
        "192.0.2.10/24",
        "192.0.2.0/33",
        "192.0.2.0/255.255.255.0",
        "fe80::1%eth0",
        "01.2.3.4",
        "9999-12-31",
        "2026-02-30",
        "2026-03-04T24:00:00",
        "1y",
        "5 s",
        "3e2d",
        "18446744073709551616",
        "1e999",
        "-0",
        "+5",
        "abc",
        "True",
    ],
}
PAIRS = [(text, scalar) for scalar, texts in TEXTS.items() for text in texts]
TEXT = st.sampled_from([text for text, _ in PAIRS]) | st.text("0123456789.-+:/TZesmh ", max_size=9)


@pytest.mark.parametrize("text, scalar", PAIRS)
def test_text_is_typed_where_it_is_unmistakable(text, scalar):
    """As VAST and Tenzir do, but never so that something of the text is lost."""
    assert classify(text) is scalar
    assert learn(Scalar.NULL, pa.array([text, None])).state is scalar


def test_numbers_in_text_count_where_the_format_has_no_quotes():
    """In CSV a number is a number; leading zeros are part of an identifier."""
    texts = ("5", "-5", "1.5", "007", "TRUE", "18446744073709551615")
    assert [classify(text, numbers=True) for text in texts] == [
        Scalar.NATURAL,
        Scalar.INT64,
        Scalar.DOUBLE,
        Scalar.TEXT,
        Scalar.BOOL,
        Scalar.UINT64,
    ]


@given(st.lists(st.sampled_from(Scalar), max_size=6), st.randoms())
def test_the_order_of_values_does_not_matter(scalars, random):
    """What values have in common is the same in whatever order they come."""
    shuffled = scalars[:]
    random.shuffle(shuffled)
    found = []
    for order in (scalars, shuffled):
        state = Scalar.NULL
        for scalar in order:
            state = join(state, scalar)
        found.append(state)
    assert found[0] is found[1]


@given(st.lists(st.none() | TEXT, max_size=6), st.booleans(), st.integers(0, 6))
def test_columns_are_classified_as_single_texts_are(texts, numbers, cut):
    """Any split of a column gives one type, and the first row that does not have it."""
    state = Scalar.NULL
    for text in texts:
        if text is not None:
            state = join(state, classify(text, numbers=numbers))
    whole = learn(Scalar.NULL, pa.array(texts, pa.string()), numbers=numbers)
    first = learn(Scalar.NULL, pa.array(texts[:cut], pa.string()), numbers=numbers)
    second = learn(first.state, pa.array(texts[cut:], pa.string()), numbers=numbers)
    whole_numbers = [text for text in texts if text and text.lstrip("-").isdigit()]
    doubles = (Scalar.DOUBLE, Scalar.QUOTED_DOUBLE)
    if state in doubles and not all(map(is_exact, whole_numbers)):
        # A part of it may only tell when the column is read once more.
        assert whole.state is Scalar.TEXT
        return
    assert whole.state is second.state is state
    valid = [text is not None for text in texts]
    assert whole.column.is_valid().to_pylist() == valid
    if whole.mismatch is not None:
        before = learn(Scalar.NULL, pa.array(texts[: whole.mismatch]), numbers=numbers).state
        assert KINDS[before] is not KINDS[Scalar.TEXT]


def test_the_first_value_that_does_not_fit_is_named():
    """Its row leads to the line of the file."""
    texts = pa.array([None, "192.0.2.1", "::1", "n/a", "x"])
    found = learn(Scalar.NULL, texts)
    assert (found.state, found.mismatch) == (Scalar.TEXT, 3)
    assert learn(Scalar.IP, texts.slice(3)).mismatch == 0
    assert learn(Scalar.TEXT, texts).mismatch is None
    assert learn(Scalar.NULL, pa.array(["x", "192.0.2.1"])).mismatch is None


def test_text_becomes_values():
    """The column has vastlab's own form, and nulls stay."""
    found = learn(Scalar.NULL, pa.array(["163.82ms", None, "1.28min"])).column
    assert found.cast(pa.int64()).to_pylist() == [163_820_000, None, 76_800_000_000]
    assert text_types.convert(pa.array([None], pa.string()), Scalar.NULL).type == pa.null()
