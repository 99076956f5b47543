"""The extension types: what they are equal to, how they travel, what they refuse."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest
from hypothesis import given

from tests import arrow_strategies as arrow_st
from vastlab.arrow import types as arrow_types
from vastlab.errors import FormatError

TYPES = [
    arrow_types.IP,
    arrow_types.SUBNET,
    arrow_types.EnumerationType((("red", 3), ("blue", 1))),
    arrow_types.TenzirIPType(),
    arrow_types.TenzirSubnetType(arrow_types.TenzirIPType()),
    arrow_types.TenzirEnumerationType((("red", 3),)),
]


@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.extension_name)
def test_types_survive_pickle_and_ipc(type_):
    """Pickle and Arrow IPC give the same type under the same name."""
    copies = [
        pickle.loads(pickle.dumps(type_)),  # noqa: S301 - our own bytes
        pa.ipc.read_schema(pa.schema([("x", type_)]).serialize()).field("x").type,
    ]
    for copy in copies:
        assert copy == type_
        assert copy.extension_name == type_.extension_name
        assert copy.storage_type == type_.storage_type


@pytest.mark.parametrize("index", range(len(TYPES)))
def test_types_of_different_names_differ(index):
    """Types of different names or kinds differ, also inside of a list."""
    for other, type_ in enumerate(TYPES):
        same = other == index
        assert (TYPES[index] == type_) == same
        assert (pa.list_(TYPES[index]) == pa.list_(type_)) == same


def test_equal_enumerations_are_one_key():
    """A set holds two enumerations of the same labels once, and keeps others apart."""
    labels = [(("red", 3), ("blue", 1)), (("red", 3), ("blue", 1)), (("red", 3),)]
    assert len({arrow_types.EnumerationType(pairs) for pairs in labels}) == 2


@given(arrow_st.labels(), arrow_st.labels())
def test_enumerations_are_their_labels(left, right):
    """Two enumerations are equal, and hash alike, exactly when their labels and keys are."""
    types = [arrow_types.EnumerationType(labels) for labels in (left, right)]
    assert (types[0] == types[1]) == (left == right)
    assert (pa.list_(types[0]) == pa.list_(types[1])) == (left == right)
    assert len(set(types)) == (1 if left == right else 2)


@pytest.mark.parametrize(
    "name, storage, parameters",
    [
        ("vast.address", pa.string(), "vast.address"),
        ("tenzir.ip", pa.binary(4), "tenzir.ip"),
        ("vast.subnet", pa.struct([("address", pa.binary(16))]), ""),
        ("vast.subnet", pa.int64(), ""),
        ("tenzir.subnet", pa.struct([("address", pa.binary(16)), ("length", pa.int64())]), ""),
        ("vast.enumeration", pa.string(), "{}"),
        ("vast.enumeration", pa.dictionary(pa.uint8(), pa.string()), "{broken"),
        ("vast.enumeration", pa.dictionary(pa.uint8(), pa.string()), "[1]"),
        ("tenzir.enumeration", pa.dictionary(pa.uint8(), pa.string()), '{"red": "1"}'),
    ],
)
def test_wrong_storage_types_are_rejected(name, storage, parameters):
    """A registered name over values of another layout never reaches their memory."""
    metadata = {"ARROW:extension:name": name, "ARROW:extension:metadata": parameters}
    schema = pa.schema([pa.field("x", storage, metadata=metadata)])
    with pytest.raises(FormatError, match=r"stored as|enumeration"):
        pa.ipc.read_schema(schema.serialize())


def test_labels_may_have_blanks_around_them():
    """VAST writes blanks into the JSON of its labels, and sparse keys."""
    assert arrow_types.parse_labels(b'{ "red": 7, "blue": 2 }') == (("red", 7), ("blue", 2))
    assert arrow_types.parse_labels(b"") == ()


def test_registering_twice_is_harmless():
    """A second registration keeps the first one."""
    arrow_types.register()
    arrow_types.register()


@pytest.mark.parametrize(
    "serialized",
    [
        b"[]", b"{", b'{"red": true}', b'{"red": 1.0}', b'{"red": "1"}', b'{"red": null}',
        b'{"\xff": 1}', rb'{"\ud800": 1}', b'{"red": NaN}', b'{"red": ' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_labels_of_another_form_are_one_error(serialized):
    """A file from elsewhere with damaged labels is an error of its format, and no other."""
    with pytest.raises(FormatError, match="labels of an enumeration must be a JSON object of int"):
        arrow_types.parse_labels(serialized)
