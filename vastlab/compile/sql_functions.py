"""Functions of addresses and networks for SQL: addresses are 16 bytes there, networks are text."""

from __future__ import annotations

from collections.abc import Callable

import datafusion
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vastlab import _text
from vastlab.arrow import address, render
from vastlab.arrow.plain import BYTES, TEXT
from vastlab.errors import UsageError

FUNCTIONS = {
    "ip": "ip('192.0.2.1'): the address",
    "try_ip": "try_ip(text): the address, or null where the text is none",
    "ip_text": "ip_text(a): the address as text",
    "subnet": "subnet('10.0.0.0/8'): the network as this field's text writes it",
    "in_subnet": "in_subnet(a, '10.0.0.0/8'): whether an address lies in a network",
}

_WHOLE = 128  # bits of an address


def register(context: datafusion.SessionContext, failed: Callable[[UsageError], None]) -> None:
    """Register the functions; `failed` takes an error before the engine wraps it as text."""

    def reporting(function: Callable[..., pa.Array]) -> Callable[..., pa.Array]:
        def call(*arrays: pa.Array) -> pa.Array:
            try:
                return function(*arrays)
            except UsageError as error:
                failed(error)
                raise

        return call

    for name, function, takes, gives in (
        ("ip", _ip, [TEXT], BYTES),
        ("try_ip", _try_ip, [TEXT], BYTES),
        ("ip_text", render.ip_text, [BYTES], TEXT),
        ("subnet", _subnet, [TEXT], TEXT),
        ("in_subnet", _in_subnet, [BYTES, TEXT], pa.bool_()),
    ):
        context.register_udf(datafusion.udf(reporting(function), takes, gives, "immutable", name))


def _ip(texts: pa.StringArray) -> pa.Array:
    encoded = texts.dictionary_encode()
    matrix, lengths = address.parse(encoded.dictionary)
    hint = "for networks: in_subnet(a, '10.0.0.0/8')"
    _require(encoded.dictionary, lengths == _WHOLE, "an address", hint)
    return _packed(matrix).take(encoded.indices)


def _try_ip(texts: pa.StringArray) -> pa.Array:
    matrix, lengths = address.parse(texts)
    return _packed(matrix, lengths == _WHOLE)


def _subnet(texts: pa.StringArray) -> pa.Array:
    encoded = texts.dictionary_encode()
    matrix, lengths = _networks(encoded.dictionary)
    masked = matrix & _masks()[lengths]
    written = address.address_and_length_text(_packed(masked), pa.array(lengths.astype(np.uint8)))
    return written.take(encoded.indices)


def _in_subnet(addresses: pa.FixedSizeBinaryArray, texts: pa.StringArray) -> pa.Array:
    encoded = texts.dictionary_encode()
    networks, lengths = _networks(encoded.dictionary)
    matrix = address.octets(addresses)
    rows = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    if not len(lengths):
        return pa.nulls(len(addresses), pa.bool_())
    if len(lengths) == 1:  # a literal
        whole = np.full(len(matrix), _WHOLE, np.int16)
        inside = address.within(matrix, whole, (networks[0].tobytes(), int(lengths[0])))
    else:
        bits = _masks()[lengths[rows]]
        inside = ((matrix ^ networks[rows]) & bits == 0).all(axis=1)
    null = pc.or_(addresses.is_null(), encoded.indices.is_null())
    return pa.array(inside, mask=null.to_numpy(zero_copy_only=False))


def _networks(texts: pa.StringArray) -> tuple[address.Octets, npt.NDArray[np.int16]]:
    matrix, lengths = address.parse(texts)
    _require(texts, lengths >= 0, "a network", "such as '10.0.0.0/8'")
    return matrix, lengths


def _require(texts: pa.StringArray, valid: address.Mask, what: str, hint: str) -> None:
    wrong = np.flatnonzero(~valid & texts.is_valid().to_numpy(zero_copy_only=False))
    if wrong.size:
        text = _text.cut(texts[int(wrong[0])].as_py(), 80)
        raise UsageError(f"{text!r} is not {what}", hint=hint)


def _packed(matrix: address.Octets, valid: address.Mask | None = None) -> pa.Array:
    bits = None
    if valid is not None:
        bits = pa.py_buffer(np.packbits(valid, bitorder="little").tobytes())
    data = pa.py_buffer(np.ascontiguousarray(matrix).tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(BYTES, len(matrix), [bits, data])


def _masks() -> address.Octets:
    """Return for each length the bits that count."""
    columns = np.arange(_WHOLE)
    return np.packbits(columns < np.arange(_WHOLE + 1)[:, None], axis=1)
