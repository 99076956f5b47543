"""Converts JSON objects to batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from vastlab.arrow import convert
from vastlab.arrow import schema as arrow_schema
from vastlab.arrow import types as arrow_types
from vastlab.readers import inference, json_documents, schemas
from vastlab.readers.inference import Context
from vastlab.readers.json_columns import Columns, enumerate_labels
from vastlab.readers.json_documents import Lines
from vastlab.readers.json_forms import (
    TYPE_KEY,
    KeyForm,
    UnsupportedFormError,
    has_decimals,
    schema_of,
)
from vastlab.readers.problems import Mismatches, Problems
from vastlab.readers.shapes import Leaf, ListShape, Observer, RecordShape, Shape, root_of, type_of
from vastlab.readers.text_columns import subnet_array
from vastlab.readers.text_types import KINDS, Scalar, join
from vastlab.types import Field, Kind, Schema, Type


def make_batch(columns: Mapping[str, pa.Array], schema: Schema, count: int) -> pa.RecordBatch:
    """Build a batch; the columns may lack the metadata of nested fields."""
    target = arrow_schema.to_arrow(schema)
    arrays = [
        convert.convert(columns[member.name], pa.field("", columns[member.name].type), member.type)
        for member in schema.fields
    ]
    return arrow_types.record_batch(arrays, target, count)


def root(name: str, context: Context) -> RecordShape:
    """Return the shape of the events of a schema, with its declared fields."""
    found = context.schemas.find(name)
    if found is not None:
        return context.inference.root(name, lambda: root_of(found.fields))
    module = name.partition(".")[0]
    match module:
        case "suricata":
            common = schemas.load("suricata").schemas["suricata.common"].fields
            return context.inference.root(name, lambda: root_of(common))
        case "zeek":
            return context.inference.root(name, lambda: root_of(*_zeek_fields()))
        case _:
            return context.inference.root(name, lambda: root_of(()))


def _zeek_fields() -> tuple[tuple[Field, ...], tuple[Field, ...]]:
    """Return the fields that all Zeek logs have, and those that many have."""
    conn = {member.name: member for member in schemas.load("zeek").schemas["zeek.conn"].fields}
    return (conn["ts"], conn["uid"]), (conn["id"],)


SAMPLE = 100
REFUSALS = (ValueError, pa.ArrowException, UnsupportedFormError)
# Exponents that Arrow's decimal parser must not get: it reads out of the bounds of its tables.
_EXPONENT = r"[:,\[][ \t]*-?[0-9]+(\.[0-9]+)?[eE]-([0-9]{3,}|[3-9][0-9])"

_Numbered = Sequence[tuple[int, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Parsed:
    """Lines that another thread parses, and the schema for them."""

    schema: pa.Schema
    columns: Future[dict[str, pa.Array]]


class JSONTable:
    """Converts the events of one schema in one file; adds fields to the shape `root`."""

    def __init__(self, name: str, root: RecordShape, path: str, context: Context) -> None:
        self._name = name
        self._root = root
        self._path = path
        self._context = context
        self._key_forms: dict[str, KeyForm] = {}
        self._observer = Observer(root, self._remark, infer=context.infer)
        self._sampled = False
        self._schema: Schema | None = None

    # --- with Arrow's parser ----------------------------------------------------------------

    def fast(
        self,
        lines: Lines,
        wanted: tuple[str, str] | None = None,
        ahead: Parsed | None = None,
    ) -> pa.RecordBatch | None:
        """Convert lines with Arrow's parser; None if it cannot, or if an event is not `wanted`.

        `wanted` is a field, and the text that it must have in all events. Arrow's parser is
        recursive, but the schema ends it at the first level that is not expected. `ahead` is the
        result of `parse_ahead`, which is used if no later type has changed.
        """
        known = self._context.inference.forms.setdefault(self._name, {})
        if known and not self._sampled:
            # For a small log, decoding a sample takes longer than all the rest.
            batch = self._try(lines, wanted, ahead, known)
            if batch is not None:
                return batch
        batch = self._try(lines, wanted, ahead)
        if batch is not None:
            known.update(self._key_forms)
        return batch

    def _try(
        self,
        lines: Lines,
        wanted: tuple[str, str] | None,
        ahead: Parsed | None,
        known: Mapping[str, KeyForm] | None = None,
    ) -> pa.RecordBatch | None:
        """Convert lines that are written as those of earlier files, or as the sample shows."""
        mismatches = Mismatches(self._path, self._context.problems)
        try:
            forms = self._sample(lines) if known is None else known
            schema = schema_of(forms, self._root)
            if ahead is not None and ahead.schema == schema:
                columns = ahead.columns.result()
            else:
                columns = _parse(lines, schema)
            if wanted is not None and not _all_equal(columns.get(wanted[0]), wanted[1]):
                return None
            work = Columns(mismatches, self._became_text, self._context.infer)
            arrays = work.convert(columns, forms, self._root, lines.numbers)
            batch = self._batch(arrays, len(lines.numbers))
        except REFUSALS:
            return None
        mismatches.report()
        return batch

    def parse_ahead(self, lines: Lines, pool: Executor) -> Parsed | None:
        """Start to parse lines with the types that are known now; None if that is not possible."""
        try:
            schema = schema_of(self._sample(lines), self._root)
        except REFUSALS:
            return None
        return Parsed(schema, pool.submit(_parse, lines, schema))

    def _sample(self, lines: Lines) -> dict[str, KeyForm]:
        """Return how the values of this file are written; a sample of its first lines tells it."""
        if not self._sampled:
            self._sampled = True
            sample = lines.texts()[:: len(lines) // SAMPLE + 1]
            decoded = json_documents.decode_lines(sample, range(len(sample)), "", Problems(keep=0))
            self.observe([*decoded])
        return self._key_forms

    def observe(self, events: _Numbered) -> None:
        """Extend the shapes and forms for decoded events."""
        for _, event in events:
            named = isinstance(event.get(TYPE_KEY), str)
            fields = {k: v for k, v in event.items() if k != TYPE_KEY} if named else event
            self._observer.observe(fields)
            for key, value in event.items():
                self._key_forms.setdefault(key, KeyForm()).note(value)

    # --- without Arrow's parser -------------------------------------------------------------

    def slow(self, events: _Numbered) -> pa.RecordBatch | None:
        """Convert decoded lines one by one, after `observe`."""
        mismatches = Mismatches(self._path, self._context.problems)
        rows = []
        for number, event in events:

            def report(field: str, reason: str, number: int = number) -> None:
                mismatches.add(field, number, reason)

            if isinstance(event.get(TYPE_KEY), str):
                event = {k: v for k, v in event.items() if k != TYPE_KEY}
            row = inference.arrange(event, self._root, "", report)
            self._report_change(row, self._root, "", number)
            rows.append(inference.fit_record(row, self._root, "", report))
        mismatches.report()
        if not rows:
            return None
        members = type_of(self._root).fields
        arrays = {m.name: build([row.get(m.name) for row in rows], m.type) for m in members}
        return self._batch(arrays, len(rows))

    def _report_change(self, value: Any, shape: Shape, path: str, number: int) -> None:
        """Report the first value that does not match the type of earlier ones, once per field."""
        match shape, value:
            case RecordShape(fields), dict():
                above = f"{path}." if path else ""
                for name, member in value.items():
                    if name in fields:
                        self._report_change(member, fields[name], f"{above}{name}", number)
            case ListShape(item), list():
                for member in value:
                    self._report_change(member, item, path, number)
            case Leaf(reported=False), _ if value is not None:
                found = self._observer.scalar(value)
                fallen = KINDS[shape.first] not in (Kind.NULL, Kind.STRING)
                if (
                    fallen
                    and shape.state is Scalar.TEXT
                    and join(shape.first, found) is Scalar.TEXT
                ):
                    self._became_text(path, number, value, shape)
                if shape.first is Scalar.NULL:
                    shape.first = found
                shape.reported = shape.reported or KINDS[shape.first] is Kind.STRING
            case _:
                pass

    # --- both -------------------------------------------------------------------------------

    def _batch(self, arrays: dict[str, pa.Array], count: int) -> pa.RecordBatch:
        """Build a batch, and check its types."""
        schema = Schema(self._name, type_of(self._root).fields)
        if schema != self._schema:
            self._schema = schema
            self._context.inference.check_types(schema)
        return make_batch(arrays, schema, count)

    def _became_text(self, field: str, line: int, value: object, leaf: Leaf) -> None:
        leaf.reported = True
        kind = KINDS[leaf.first].value
        line += self._context.inference.lines_before
        reason = f"{self._path}:{line}: {inference.brief(value)} is not {kind} as before"
        self._context.inference.remark(self._name, field, f"{field} is text: {reason}")

    def _remark(self, field: str, sentence: str) -> None:
        where = f"{sentence} (in {self._path})"
        self._context.inference.remark(self._name, field, where)


def _parse(lines: Lines, schema: pa.Schema) -> dict[str, pa.Array]:
    data = lines.data
    data.isascii() or data.decode()
    if has_decimals(schema) and _has_long_exponent(data):
        raise ValueError("an exponent is too long for Arrow's parser")
    table = pyarrow.json.read_json(
        pa.BufferReader(data),
        pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 64),
        pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    )
    if table.num_rows != len(lines) or table.schema != schema:
        raise ValueError("a value does not match the shape")
    return {name: table.column(name).combine_chunks() for name in schema.names}


def _all_equal(column: pa.Array | None, text: str) -> bool:
    if column is None or not pa.types.is_string(column.type) or column.null_count:
        return False
    return bool(pc.all(pc.equal(column, text)).as_py())


def _has_long_exponent(data: bytes) -> bool:
    octets = np.frombuffer(data, np.uint8)
    signs = np.flatnonzero(octets[1:-1] == ord("-")) + 1
    signs = signs[(octets[signs - 1] | 0x20) == ord("e")]
    following = octets[signs + 1]
    if not bool(((following >= ord("0")) & (following <= ord("9"))).any()):
        return False
    # It may be a number, or part of an identifier.
    whole = pa.array([data], pa.large_binary())
    return bool(pc.match_substring_regex(whole, _EXPONENT)[0].as_py())


def build(values: Sequence[Any], type_: Type) -> pa.Array:
    """Build an array of converted values; the members of null records are null."""
    match type_.kind:
        case Kind.LIST:
            flat = [item for value in values for item in value or ()]
            lengths = (len(value or ()) for value in values)
            return pa.ListArray.from_arrays(
                pa.array(accumulate(lengths, initial=0), pa.int32()),
                build(flat, type_.item or Type(Kind.NULL)),
                type=arrow_schema.type_to_arrow(type_),
                mask=_null_mask(values),
            )
        case Kind.RECORD if type_.fields:
            rows = [{} if value is None else value for value in values]
            return pa.StructArray.from_arrays(
                [build([row.get(m.name) for row in rows], m.type) for m in type_.fields],
                fields=list(arrow_schema.type_to_arrow(type_)),
                mask=_null_mask(values),
            )
        case Kind.ENUM:
            return enumerate_labels(pa.array(values, pa.string()), type_)
        case Kind.IP:
            return pa.ExtensionArray.from_storage(arrow_types.IP, pa.array(values, pa.binary(16)))
        case Kind.SUBNET:
            return subnet_array(values)
        case _:
            return pa.array(values, arrow_schema.type_to_arrow(type_))


def _null_mask(values: Sequence[Any]) -> pa.Array:
    return pa.array([value is None for value in values], pa.bool_())
