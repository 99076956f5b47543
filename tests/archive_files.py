"""Files as VAST and Tenzir write them into ``archive/``: two columns, under either prefix."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vastlab.arrow import types as arrow_arrays
from vastlab.arrow import types as arrow_types

FORMATS = ("feather", "parquet")
PREFIXES = ("VAST", "TENZIR")


def wrap(batch, import_time=0, *, prefix="VAST", origin=None, absent=()):
    """Put events into the two columns; `absent` numbers the rows whose event is null."""
    fields, arrays = _renamed(batch.columns, list(batch.schema), prefix)
    if arrays:
        mask = pa.array([i in absent for i in range(len(batch))], pa.bool_())
        event = pa.StructArray.from_arrays(arrays, fields=fields, mask=mask)
    else:
        event = pa.Array.from_buffers(pa.struct([]), len(batch), [None])
    metadata = {} if origin is None else {f"{prefix}:store:origin": origin}
    schema = pa.schema(
        [
            pa.field("import_time", pa.timestamp("ns")),
            pa.field("event", event.type, metadata=_metadata(batch.schema.metadata, prefix)),
        ],
        metadata,
    )
    times = pa.array([import_time] * len(batch), pa.timestamp("ns"))
    return pa.RecordBatch.from_arrays([times, event], schema=schema)


def write(path, *wrapped):
    """Write wrapped batches of one schema; the suffix of the path decides the format."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_batches(wrapped), path, compression="zstd")
        return path
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(str(path), wrapped[0].schema, options=options) as writer:
        for part in wrapped:
            writer.write_batch(part)
    return path


def add(folder, batch, import_time=0, *, suffix="feather", **how):
    """Add a partition to a database folder as a node does: it appears whole."""
    archive = Path(folder) / "archive"
    archive.mkdir(parents=True, exist_ok=True)
    target = archive / f"{uuid.uuid4()}.{suffix}"
    # Written elsewhere first, so that no reader finds half of it.
    beside = write(Path(folder) / target.name, wrap(batch, import_time, **how))
    return beside.rename(target)


def _renamed(arrays, fields, prefix):
    pairs = [_rename(array, field, prefix) for array, field in zip(arrays, fields, strict=True)]
    return [field for _, field in pairs], [array for array, _ in pairs]


def _rename(array, field, prefix):
    renamed = _array(array, prefix)
    metadata = _metadata(field.metadata, prefix)
    return renamed, pa.field(field.name, renamed.type, field.nullable, metadata)


def _array(array, prefix):
    tenzir = prefix == "TENZIR"
    type_ = array.type
    match type_:
        case arrow_types.IPType() if tenzir:
            return pa.ExtensionArray.from_storage(arrow_types.TenzirIPType(), array.storage)
        case arrow_types.SubnetType() if tenzir:
            inner = arrow_types.TenzirIPType()
            target = arrow_types.TenzirSubnetType(inner)
            address = _array(array.storage.field(0), prefix)
            storage = pa.StructArray.from_arrays(
                [address, array.storage.field(1)],
                fields=list(target.storage_type),
                mask=array.is_null(),
            )
            return pa.ExtensionArray.from_storage(target, storage)
        case arrow_types.EnumerationType() if tenzir:
            target = arrow_types.TenzirEnumerationType(type_.labels)
            return pa.ExtensionArray.from_storage(target, array.storage)
        case pa.StructType() if type_.num_fields:
            inner = [array.field(i) for i in range(type_.num_fields)]
            fields, arrays = _renamed(inner, list(type_), prefix)
            return pa.StructArray.from_arrays(arrays, fields=fields, mask=array.is_null())
        case pa.ListType():
            offsets, (values,) = arrow_arrays.list_parts(array)
            values, item = _rename(values, type_.value_field, prefix)
            return pa.ListArray.from_arrays(
                offsets, values, type=pa.list_(item), mask=array.is_null()
            )
        case pa.MapType():
            offsets, (keys, values) = arrow_arrays.list_parts(array)
            keys, key = _rename(keys, type_.key_field, prefix)
            values, item = _rename(values, type_.item_field, prefix)
            target = pa.map_(key, item)
            return pa.MapArray.from_arrays(offsets, keys, values, type=target, mask=array.is_null())
        case _:
            return array


def _metadata(metadata, prefix):
    pairs = {key.decode(): value.decode() for key, value in (metadata or {}).items()}
    return {key.replace("VAST:", f"{prefix}:", 1): value for key, value in pairs.items()}
