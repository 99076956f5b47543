"""Untrusted batches: damage is an error, and invalid UTF-8 is escaped."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from tests import arrow_strategies as arrow_st
from vastlab.arrow.ipc import check
from vastlab.arrow.types import EnumerationType
from vastlab.errors import FormatError


def text(*values: bytes | None, large: bool = False) -> pa.Array:
    """Make text of any bytes, as a careless writer would."""
    plain = pa.array(values, pa.large_binary() if large else pa.binary())
    return plain.view(pa.large_string() if large else pa.string())


@given(arrow_st.tables())
def test_good_batches_pass(pair):
    """A sound batch comes back itself."""
    _, batch = pair
    assert check(batch) is batch


WRONG = text(b"ok", b"\xff<\xfe", None)
OFFSETS = pa.array([0, 1, 3], pa.int32())
DICTIONARY = pa.DictionaryArray.from_arrays(pa.array([2, 1, None], pa.uint8()), WRONG)


@pytest.mark.parametrize(
    "array, expected",
    [
        (WRONG, ["ok", r"\xff<\xfe", None]),
        (WRONG.slice(1), [r"\xff<\xfe", None]),
        (text(b"\xff", large=True), [r"\xff"]),
        (pa.StructArray.from_arrays([WRONG], ["s"]).slice(1), [{"s": r"\xff<\xfe"}, {"s": None}]),
        (pa.ListArray.from_arrays(OFFSETS, WRONG), [["ok"], [r"\xff<\xfe", None]]),
        (
            pa.MapArray.from_arrays(pa.array([0, 1], pa.int32()), text(b"\xff"), pa.array([1])),
            [[(r"\xff", 1)]],
        ),
        (DICTIONARY, [None, r"\xff<\xfe", None]),
        (
            pa.ExtensionArray.from_storage(EnumerationType((("ok", 0),)), DICTIONARY),
            [None, r"\xff<\xfe", None],
        ),
    ],
)
def test_wrong_bytes_become_escapes(array, expected):
    """Text that is not UTF-8 keeps each wrong byte as an escape, at any depth."""
    other = pa.array(range(len(array)))
    repaired = check(pa.RecordBatch.from_arrays([array, other], names=["x", "n"]))
    repaired.validate(full=True)
    assert repaired.column(0).type == array.type
    assert repaired.column(0).to_pylist() == expected
    assert repaired.column(1) == other


@pytest.mark.parametrize("offsets", [[0, 9, 3], [0, 2, 1], [2, 1, 3]])
def test_wrong_offsets_are_an_error(offsets):
    """Decreasing offsets or offsets outside of the data are an error."""
    buffers = [None, pa.py_buffer(np.array(offsets, np.int32)), pa.py_buffer(b"abc")]
    array = pa.Array.from_buffers(pa.string(), 2, buffers)
    with pytest.raises(FormatError, match="the events are damaged"):
        check(pa.RecordBatch.from_arrays([array], names=["x"]))
