"""Batches from outside, before anything looks into them."""

from __future__ import annotations

import pyarrow as pa

from vastlab.arrow import arrays as arrow_arrays
from vastlab.errors import FormatError

__all__ = ["check"]


def check(batch: pa.RecordBatch) -> pa.RecordBatch:
    r"""Make sure that a batch is whole: pyarrow itself trusts, and ends the process later.

    Parameters
    ----------
    batch
        From a file or a pipe.

    Returns
    -------
    pyarrow.RecordBatch
        The same, unless a text is not UTF-8: its wrong bytes are written as ``\xff`` then.

    Raises
    ------
    FormatError
        Where lengths, offsets or indices point outside of the data.

    Examples
    --------
    >>> batch = pa.RecordBatch.from_pydict({"port": [80, 443]})
    >>> check(batch) is batch
    True
    """
    try:
        batch.validate(full=True)
    except pa.ArrowException:
        return _repair(batch)
    return batch


def _repair(batch: pa.RecordBatch) -> pa.RecordBatch:
    try:
        batch.validate()  # what makes it safe to reach for the arrays inside
        arrays = [_repair_text(array) for array in batch.columns]
        repaired = arrow_arrays.record_batch(arrays, batch.schema, batch.num_rows)
        repaired.validate(full=True)
    except pa.ArrowException as error:
        raise FormatError(f"the events are damaged: {error}") from error
    return repaired


def _repair_text(array: pa.Array) -> pa.Array:
    match array:
        case pa.ExtensionArray():
            return pa.ExtensionArray.from_storage(array.type, _repair_text(array.storage))
        case pa.StringArray() | pa.LargeStringArray():
            return _as_utf8(array)
        case pa.DictionaryArray():
            dictionary = _repair_text(array.dictionary)
            return pa.DictionaryArray.from_arrays(array.indices, dictionary, safe=False)
        case pa.StructArray() if array.type.num_fields:
            children = [_repair_text(array.field(i)) for i in range(array.type.num_fields)]
            mask = arrow_arrays.null_mask(array)
            return pa.StructArray.from_arrays(children, fields=list(array.type), mask=mask)
        case pa.ListArray() | pa.MapArray():
            offsets, inner = arrow_arrays.list_parts(array)
            inner = tuple(_repair_text(values) for values in inner)
            mask = arrow_arrays.null_mask(array)
            return type(array).from_arrays(offsets, *inner, type=array.type, mask=mask)
        case _:
            return array


def _as_utf8(array: pa.Array) -> pa.Array:
    plain = pa.large_binary() if pa.types.is_large_string(array.type) else pa.binary()
    values = array.view(plain)
    values.validate(full=True)
    texts = [
        None if value is None else value.decode("utf-8", "backslashreplace")
        for value in values.to_pylist()
    ]
    return pa.array(texts, array.type)
